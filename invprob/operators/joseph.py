"""Joseph's projector (IEEE TMI 1, 1982) for arbitrary rays in the plane, and its exact transpose, on all CPU threads.

A ray is stepped along the axis it is steeper to, one pixel row at a time, and reads the row by linear
interpolation. So a ray is four numbers (family, start, slope, length per step), whatever the geometry. Forward,
a chunk of rays walks down the rows together; backward, a thread owns a block of rows and all rays write into it:
no two threads ever write the same number, so the transpose is exact, race-free and bit-identical every time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CHUNK = 512  # rays that walk together: their accumulators stay in the first-level cache
ROWS = 8  # image rows a thread fills at a time on the way back
PAD_LEFT, PAD_RIGHT = 1, 2  # zero border that makes clamped reads harmless


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, cached on disk where that is possible."""
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "reassoc", "nsz", "arcp"},
        "error_model": "numpy",
    }
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable place for the cache
        compiled = numba.njit(**options)(function)
    return compiled


@dataclass(frozen=True)
class RayFamily:
    """Rays that step over the same axis: position(row) = start + slope * row in pixels, `length` per step.

    `index` is the place of each ray in the flattened sinogram.
    """

    start: Array
    slope: Array
    length: Array
    index: Array


@dataclass(frozen=True)
class RayTable:
    """All rays of a geometry for one image grid: those stepping over rows and those stepping over columns."""

    over_rows: RayFamily
    over_columns: RayFamily
    image_shape: tuple[int, int]
    count: int

    @classmethod
    def build(
        cls, points: Array, directions: Array, image_shape: tuple[int, int], pixel_size: float, dtype: Any
    ) -> RayTable:
        """Return the table of the lines through `points` along `directions`, (..., 2) as (x, y) in length units."""
        height, width = image_shape
        points, directions = points.reshape(-1, 2), directions.reshape(-1, 2)
        column = points[:, 0] / pixel_size + (width - 1) / 2
        row = (height - 1) / 2 - points[:, 1] / pixel_size
        dc, dr = directions[:, 0] / pixel_size, -directions[:, 1] / pixel_size
        steep = np.abs(dr) >= np.abs(dc)

        def family(chosen: Array, along: Array, step: Array, across: Array, drift: Array) -> RayFamily:
            slope = drift[chosen] / step[chosen]
            start = across[chosen] - slope * along[chosen]
            length = pixel_size * np.sqrt(1 + slope**2)
            return RayFamily(start.astype(dtype), slope.astype(dtype), length.astype(dtype), np.flatnonzero(chosen))

        return cls(family(steep, row, dr, column, dc), family(~steep, column, dc, row, dr), image_shape, len(points))


def project(images: Array, table: RayTable, threads: int) -> Array:
    """Return the line integrals, (items, rays), of images (items, H, W)."""
    sinogram = np.zeros((len(images), table.count), images.dtype)
    for family, stack in ((table.over_rows, images), (table.over_columns, images.swapaxes(1, 2))):
        if not len(family.index):
            continue
        rows: Array = _padded(stack)
        values: Array = np.empty((len(family.index), len(images)), images.dtype)
        walk = _walk_many
        if len(images) == 1:
            walk, rows, values = _walk_one, rows.reshape(rows.shape[:2]), values.reshape(-1)
        share(partial(walk, rows, family.start, family.slope, family.length, values), len(values), CHUNK, threads)
        sinogram[:, family.index] = values.reshape(len(family.index), len(images)).T
    return sinogram


def backproject(sinogram: Array, table: RayTable, threads: int) -> Array:
    """Return the transpose of `project` applied to a sinogram (items, rays): images (items, H, W)."""
    height, width = table.image_shape
    images = np.zeros((len(sinogram), height, width), sinogram.dtype)
    for family, steps, across, target in (
        (table.over_rows, height, width, images),
        (table.over_columns, width, height, images.swapaxes(1, 2)),
    ):
        if not len(family.index):
            continue
        values: Array = np.ascontiguousarray(sinogram[:, family.index].T) * family.length[:, None]
        rows: Array = np.zeros((steps, across + PAD_LEFT + PAD_RIGHT, len(sinogram)), sinogram.dtype)
        spread = _spread_many
        if len(sinogram) == 1:
            spread, rows, values = _spread_one, rows.reshape(rows.shape[:2]), values.reshape(-1)
        share(partial(spread, rows, family.start, family.slope, values), steps, ROWS, threads)
        stack = rows.reshape(steps, across + PAD_LEFT + PAD_RIGHT, len(sinogram))
        target += stack[:, PAD_LEFT:-PAD_RIGHT].transpose(2, 0, 1)
    return images


def _padded(stack: Array) -> Array:
    """Return (rows, columns + border, items): items innermost, so that a batch is read as vectors."""
    items, height, width = stack.shape
    rows = np.zeros((height, width + PAD_LEFT + PAD_RIGHT, items), stack.dtype)
    rows[:, PAD_LEFT:-PAD_RIGHT] = stack.transpose(1, 2, 0)
    return rows


def share(work: Callable[[int, int], None], count: int, size: int, threads: int) -> None:
    """Run `work(first, last)` on pieces of `size` that make up 0 .. count, dealt out in turn to the threads."""
    starts = range(0, count, size)

    def lane(k: int) -> None:
        for start in starts[k::threads]:
            work(start, min(start + size, count))

    with ThreadPoolExecutor(max(1, threads - 1)) as pool:  # this thread takes the first lane
        others = [pool.submit(lane, k) for k in range(1, min(threads, len(starts)))]
        lane(0)
        for other in others:
            other.result()


@jit
def _walk_one(rows: Array, start: Array, slope: Array, length: Array, values: Array, lo: int, hi: int) -> None:
    """Forward, one image: a chunk of rays walks down rows (steps, padded width)."""
    real = rows.dtype.type
    n = hi - lo
    first, drift = start[lo:hi], slope[lo:hi]
    total = np.zeros(n, rows.dtype)
    for i in range(rows.shape[0]):
        row = rows[i]
        for k in range(n):
            p = min(max(first[k] + drift[k] * real(i) + real(PAD_LEFT), real(0)), real(rows.shape[1] - PAD_RIGHT))
            j = np.uint32(p)
            total[k] += row[j] + (p - real(np.int32(p))) * (row[j + 1] - row[j])
    for k in range(n):
        values[lo + k] = total[k] * length[lo + k]


@jit
def _walk_many(rows: Array, start: Array, slope: Array, length: Array, values: Array, lo: int, hi: int) -> None:
    """Forward, a batch: rows (steps, padded width, items), one ray after the other, items as vectors."""
    real = rows.dtype.type
    items = rows.shape[2]
    total = np.empty(items, rows.dtype)
    for k in range(lo, hi):
        total[:] = real(0)
        for i in range(rows.shape[0]):
            p = start[k] + slope[k] * real(i) + real(PAD_LEFT)
            if p <= real(0) or p >= real(rows.shape[1] - PAD_RIGHT):
                continue
            j = np.uint32(p)
            f = p - real(np.int32(p))
            left, right = rows[i, j], rows[i, j + 1]
            for b in range(items):
                total[b] += left[b] + f * (right[b] - left[b])
        for b in range(items):
            values[k, b] = total[b] * length[k]


@jit
def _spread_one(rows: Array, start: Array, slope: Array, values: Array, lo: int, hi: int) -> None:
    """Backward, one image: all rays write into the rows lo..hi, which this thread owns."""
    real = rows.dtype.type
    last = real(rows.shape[1] - PAD_RIGHT)
    for k in range(len(start)):
        first, drift, value = start[k] + real(PAD_LEFT), slope[k], values[k]
        for i in range(lo, hi):
            p = first + drift * real(i)
            if p <= real(0) or p >= last:
                continue
            j = np.uint32(p)
            right = (p - real(np.int32(p))) * value
            rows[i, j] += value - right
            rows[i, j + 1] += right


@jit
def _spread_many(rows: Array, start: Array, slope: Array, values: Array, lo: int, hi: int) -> None:
    """Backward, a batch: values (rays, items), rows (steps, padded width, items)."""
    real = rows.dtype.type
    last = real(rows.shape[1] - PAD_RIGHT)
    items = rows.shape[2]
    for k in range(len(start)):
        for i in range(lo, hi):
            p = start[k] + slope[k] * real(i) + real(PAD_LEFT)
            if p <= real(0) or p >= last:
                continue
            j = np.uint32(p)
            f = p - real(np.int32(p))
            left, right, value = rows[i, j], rows[i, j + 1], values[k]
            for b in range(items):
                weighted = f * value[b]
                left[b] += value[b] - weighted
                right[b] += weighted
