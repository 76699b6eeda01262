"""Acquisitions of an ISMRM Raw Data file that lie along trajectories of their own, as spokes and spirals do."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.io.imaging import Imaging, ReadOut, items_of
from invprob.io.off_grid import OffGrid

__all__ = ["along_trajectory"]


def along_trajectory(imaging: Imaging, where: str) -> OffGrid:
    """Return the samples of the image with their positions, the read-outs of an item in the order of the file.

    InputError where acquisitions have no positions, or other numbers of samples, coils or read-outs than their
    neighbours.
    """
    heads, (width, height, depth) = imaging.heads, imaging.encoding.encoded
    name = printable(imaging.encoding.trajectory, 40) or "nameless"
    axes = {int(n) for n in heads["trajectory_dimensions"]}
    if len(axes) > 1 or not axes <= {2, 3}:
        raise InputError(
            f"{where}: acquisitions along a {name} trajectory have positions of {sorted(axes)} axes, expected 2 or 3: "
            "the file does not tell where its samples lie"
        )
    d = 2 if depth == 1 else 3
    if max(axes) < d:
        raise InputError(f"{where}: positions of 2 axes in a volume of {depth} slices: stacks are not read")
    readouts = [imaging.read_out(int(i)) for i in imaging.indices]
    shapes = sorted({one.samples.shape for one in readouts})
    if len(shapes) > 1:
        sizes = ", ".join(f"{coils} x {n}" for coils, n in shapes[:4])
        raise InputError(f"{where}: acquisitions of {sizes} samples in one image: check how it was written")
    batch = items_of(heads)
    order = _by_item(heads, batch, where)
    positions = np.stack([_positions(imaging, readouts[i], int(imaging.indices[i])) for i in order.ravel()])
    if positions.shape[-1] > d and positions[..., 2].any():
        warnings.warn(
            f"{where}: the third axis of the trajectory, {positions[..., 2].min():.4g} to "
            f"{positions[..., 2].max():.4g}, is left out, as the header has a plane: it may hold weights",
            InputWarning,
            stacklevel=2,
        )
    positions = positions[..., :d][..., ::-1].reshape(*order.shape, *positions.shape[1:-1], d)
    samples = np.stack([readouts[i].samples for i in order.ravel()]).reshape(*order.shape, *shapes[0])
    matrix = (depth, height, width)[-d:]
    view = (imaging.encoding.view or ())[:d][::-1]
    sides = tuple(mm / 1000 / n for mm, n in zip(view, matrix, strict=False) if math.isfinite(mm))
    return OffGrid(
        np.moveaxis(samples, -2, len(batch)),
        positions,
        where,
        batch,
        matrix=matrix,
        pixel_size=sides if len(sides) == d else None,
        noise=imaging.noise,
        provenance=dict(imaging.told) | {"acquired along": name},
    )


def _positions(imaging: Imaging, one: ReadOut, i: int) -> NDArray[np.float64]:
    return np.asarray(imaging.acquisitions.positions[i][one.kept], np.float64)


def _by_item(heads: NDArray[Any], batch: dict[str, range], where: str) -> NDArray[np.int64]:
    """Return which acquisitions every item has, `(*batch, read-outs)`, in the order of the file."""
    lead = tuple(len(indices) for indices in batch.values())
    counters = tuple(heads["idx"][name].astype(np.int64) for name in batch)
    item = np.ravel_multi_index(counters, lead) if lead else np.zeros(len(heads), np.int64)
    counts = np.bincount(item, minlength=math.prod(lead))
    if counts.min() < counts.max():
        few = np.unravel_index(int(counts.argmin()), lead)
        words = ", ".join(f"{name} {i}" for name, i in zip(batch, few, strict=True))
        raise InputError(
            f"{where}: {words} has {counts.min()} acquisitions, and others have {counts.max()}: the file is incomplete"
        )
    return np.argsort(item, kind="stable").reshape(*lead, -1)
