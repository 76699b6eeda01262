"""Curves for the page, as PNG data inside it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from torch import Tensor

from invprob import metrics
from invprob.report.picture import png_uri

__all__ = ["curves", "reliability"]

_INK, _FAINT, _LINE = "#1c2430", "#c9d1da", "#1f5fa8"
_DECADE = 10  # a curve that spans more is drawn on a logarithmic axis
_ROOM = 0.2  # of the width of a plot, for the label of a place on its axis
_LEVELS = np.linspace(0.05, 0.95, 19)  # of the intervals whose coverage is drawn
_CURVES = {"residual": "Relative change over the iterations", "objective": "Objective over the iterations"}


def curves(history: Mapping[str, Tensor]) -> dict[str, str]:
    """Return plots over the iterations, and of the search for a strength, as data URIs, by what they show."""
    found = {}
    if "iteration" in history and history["iteration"].numel() >= 2:
        iterations = history["iteration"].numpy()
        drawn = {title: _curve(history[name]) for name, title in _CURVES.items() if name in history}
        found = {title: _plot(iterations, values) for title, values in drawn.items() if _line(values)}
    if "trial_strength" in history:
        strengths, scores = (_middle(history[name]) for name in ("trial_strength", "trial_score"))
        tried = np.isfinite(strengths) & (strengths > 0) & np.isfinite(scores)  # rows that settle early are not tried
        strengths, scores = strengths[tried], scores[tried]
        if _line(scores) and scores.min() > 0:
            found["Expected error over the strengths tried"] = _plot(strengths, scores / scores.min(), of_trials=True)
    return found


def reliability(x: Tensor, spread: Tensor, truth: Tensor, ndim: int) -> dict[str, str]:
    """Return the plot of the share of values inside x +- z spread over the share promised, by what it shows."""
    covered = [float(metrics.coverage(x, spread, truth, level=level, ndim=ndim)) for level in _LEVELS.tolist()]
    figure, axes = _empty()
    axes.plot((0, 1), (0, 1), color=_FAINT, linewidth=1.2)
    axes.plot(_LEVELS, covered, color=_LINE, linewidth=1.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("promised", fontsize=8, color=_INK)
    return {"What intervals hold, below the diagonal less than they promise": _finished(figure, axes)}


def _empty() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.6, 2.3), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _plot(x: NDArray[Any], values: NDArray[Any], *, of_trials: bool = False) -> str:
    figure, axes = _empty()
    axes.plot(x, values, color=_LINE, linewidth=1.6, marker="o" if of_trials else "", markersize=4)
    if np.nanmax(values) > _DECADE * np.nanmin(values) > 0:
        axes.set_yscale("log")
    if of_trials:
        axes.set_xscale("log")
        marked = _apart(x, float(x[values.argmin()]))
        axes.set_xticks(marked, [f"{strength:.2g}" for strength in marked])
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("strength" if of_trials else "iteration", fontsize=8, color=_INK)
    return _finished(figure, axes)


def _apart(strengths: NDArray[Any], best: float) -> list[float]:
    """Return the ends of what was tried, and the best strength where its label finds room between them."""
    low, high = float(strengths.min()), float(strengths.max())
    room = _ROOM * np.log(high / low)
    return [low, *([best] if np.log(best / low) > room and np.log(high / best) > room else []), high]


def _finished(figure: Figure, axes: Axes) -> str:
    """Return a figure in the house's dress, as data."""
    axes.tick_params(labelsize=8, colors=_INK, which="both")
    axes.grid(True, color=_FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return png_uri(stream.getvalue())


def _line(values: NDArray[Any]) -> bool:
    """Return whether there is something to draw: an objective may be unknown at every step."""
    return bool(np.isfinite(values).sum() >= 2)


def _middle(column: Tensor) -> NDArray[Any]:
    """Return the column of the item that pictures show, the middle one."""
    rows: NDArray[Any] = column.double().numpy().reshape(len(column), -1)
    return rows[:, rows.shape[1] // 2]


def _curve(column: Tensor) -> NDArray[Any]:
    """Return the column over the iterations, of a stack the worst row."""
    values = column.double().numpy().reshape(len(column), -1)
    worst: NDArray[Any] = np.fmax.reduce(np.where(np.isfinite(values), values, np.nan), axis=1)
    return worst
