"""A volume as its three maximum projections in decibels, with axes in the unit of its grid."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.io.atomic import check_output, write_bytes

__all__ = ["projections_png", "save_projections"]

_PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # the axes across and up, and the one along which the largest is taken


def save_projections(
    path: str | os.PathLike[str],
    volume: Tensor,
    axes: Sequence[ArrayLike],
    *,
    unit: str = "m",
    dynamic_range: float = 30.0,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Draw max |x| over z, over y and over x, 0 dB being the largest magnitude, as a PNG.

    Of a volume of one layer its plane alone is drawn.

    Arguments:
        path: of the picture.
        volume: (X, Y, Z), real or complex.
        axes: the places of the voxels along x, y and z.
        unit: theirs, by default metres.
        dynamic_range: decibels below the largest that are black.
        title: above all three.
        overwrite: whether a file may be replaced.

    ValueError for other than one volume, OutputError if the path cannot be written.
    """
    content = projections_png(volume, axes, unit=unit, dynamic_range=dynamic_range, title=title)
    write_bytes(check_output(path, len(content), overwrite=overwrite), content, overwrite=overwrite)


def projections_png(
    volume: Tensor, axes: Sequence[ArrayLike], *, unit: str = "m", dynamic_range: float = 30.0, title: str = ""
) -> bytes:
    """Return what `save_projections` writes."""
    places = [np.asarray(axis, dtype=np.float64) for axis in axes]
    if tuple(volume.shape) != tuple(p.size for p in places):
        raise ValueError(f"save_projections: a volume {tuple(volume.shape)} does not fit its axes")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = volume.detach().abs().double().cpu().numpy()
    level = 20 * np.log10(np.maximum(size / max(size.max(), np.finfo(float).tiny), 10 ** (-dynamic_range / 20)))
    deep = [k for k, p in enumerate(places) if p.size > 1]
    planes = [plane for plane in _PLANES if set(plane[:2]) <= set(deep)] or _PLANES
    figure = Figure(figsize=(4 * len(planes) if len(planes) > 1 else 5, 4), layout="constrained")
    panels = figure.subplots(1, len(planes), squeeze=False)[0]
    for panel, (across, up, gone) in zip(panels, planes, strict=True):
        seen = level.max(axis=gone)
        halves = [_half(places[k]) for k in (across, up)]
        ends = [(places[k][0] - h, places[k][-1] + h) for k, h in zip((across, up), halves, strict=True)]
        drawn = panel.imshow(
            seen.T, origin="lower", extent=(*ends[0], *ends[1]), vmin=-dynamic_range, vmax=0, cmap="inferno"
        )
        panel.set_xlabel(f"{'xyz'[across]} ({unit})")
        panel.set_ylabel(f"{'xyz'[up]} ({unit})")
    figure.colorbar(drawn, ax=panels, label="dB")
    if title:
        figure.suptitle(title)
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight")
    return stream.getvalue()


def _half(places: np.ndarray) -> float:
    """Return half a voxel, of a single one a thousandth of a unit."""
    return float(places[1] - places[0]) / 2 if places.size > 1 else 5e-4
