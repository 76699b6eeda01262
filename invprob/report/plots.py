"""Curves for the page, as PNG data inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["curves"]

_INK, _FAINT, _LINE = "#1c2430", "#c9d1da", "#1f5fa8"
_DECADE = 10  # a curve that spans more is drawn on a logarithmic axis
_CURVES = {"residual": "Relative change", "objective": "Objective"}


def curves(history: Mapping[str, Tensor]) -> dict[str, str]:
    """Return plots over the iterations as data URIs, by what they show; none without a history."""
    if "iteration" not in history or history["iteration"].numel() < 2:
        return {}
    iterations = history["iteration"].numpy()
    return {title: _plot(iterations, _curve(history[name])) for name, title in _CURVES.items() if name in history}


def _plot(iterations: NDArray[Any], values: NDArray[Any]) -> str:
    figure = Figure(figsize=(3.6, 2.3), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(iterations, values, color=_LINE, linewidth=1.6)
    if np.nanmax(values) > _DECADE * np.nanmin(values) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("iteration", fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, which="both")
    axes.grid(True, color=_FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return _encoded(stream.getvalue())


def _curve(column: Tensor) -> NDArray[Any]:
    """Return the column over the iterations, of a stack the worst row."""
    values = column.double().numpy().reshape(len(column), -1)
    worst: NDArray[Any] = np.nanmax(np.where(np.isfinite(values), values, np.nan), axis=1)
    return worst


def _encoded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
