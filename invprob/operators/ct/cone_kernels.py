"""Joseph's projector (IEEE TMI 1, 1982) for cone beams and its exact transpose, without a step per ray.

All rays of one detector column share their path in the plane: at step t they read the same z-profile p_t, which is
interpolated between two neighbouring pixel columns, at heights that are affine in t. Inside one z-cell a ray's sum
is linear in sums of p_t and t p_t alone, so with Q_s = sum_{t<s} (s - t) p_t, the profile summed twice along the
path, a ray through a block of n steps is

    sum_t p_t(z_t) = [P_n](z_n) - z' (Q_n[j + 1] - Q_n[j]) + |z'| sum_k (second z-difference of Q)_{s_k}[k],

P_n = sum p_t, j the cell of z_n, and k the z-nodes the ray meets at its steps s_k (between whole steps Q is linear):
the work per ray is its few changes of cell instead of its steps, and everything else runs along z, which is stored
innermost. The transpose runs the same loops backwards. There a thread owns a block of steps and a slab of slices,
which do not depend on the number of threads: no number has two writers and the result is bit-identical every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.simd import load, store
from invprob.threads import jit, team

Array = NDArray[Any]
STEPS = 32  # steps per block: bounds both the rounding of the double sums and their size in the cache
COLUMNS = 16  # neighbouring detector columns projected together: they read the same pixels
SLICES = 64  # slices of a slab on the way back
PAD = 2  # zero slices below; as many and one more above, rounded up to whole vectors
LANES = 16


@dataclass(frozen=True)
class ColumnPaths:
    """The path in the plane of each (view, detector column), in pixels over the index of the step.

    It steps over rows where `over_rows`, else over columns; its position across is `start + slope * step` and its
    distance from the source, in units of the axis' distance, `depth + growth * step`; it meets the image at the
    steps `first` to `end`. `heights` are those of the detector rows on the axis, from the middle plane, in voxels.
    """

    over_rows: Array
    start: Array
    slope: Array
    depth: Array
    growth: Array
    first: Array
    end: Array
    heights: Array
    voxel_size: float

    @classmethod
    def build(
        cls, points: Array, directions: Array, heights: Array, plane_shape: tuple[int, int], voxel_size: float
    ) -> ColumnPaths:
        """Return the paths through `points` (at depth 1) along `directions` (source to point), (views, columns, 2)."""
        height, width = plane_shape
        column = points[..., 0] / voxel_size + (width - 1) / 2
        row = (height - 1) / 2 - points[..., 1] / voxel_size
        dc, dr = directions[..., 0] / voxel_size, -directions[..., 1] / voxel_size
        over_rows = np.abs(dr) >= np.abs(dc)
        growth = 1 / np.where(over_rows, dr, dc)
        slope = np.where(over_rows, dc, dr) * growth
        along, across = np.where(over_rows, row, column), np.where(over_rows, column, row)
        start, depth = across - slope * along, 1 - growth * along
        steps, extent = np.where(over_rows, height, width), np.where(over_rows, width, height)
        with np.errstate(divide="ignore"):
            ends = np.stack([(-1 - start) / slope, (extent - start) / slope])
        still = np.abs(slope) < 1e-9  # parallel to the axis to a hair: inside all the way, or never
        inside = (start > -1) & (start < extent)
        low = np.where(still, np.where(inside, 0, steps), ends.min(0))
        high = np.where(still, steps, ends.max(0))
        first = np.ceil(np.clip(low, 0, steps)).astype(np.int64)
        end = np.ceil(np.clip(high, 0, steps)).astype(np.int64)
        return cls(over_rows, start, slope, depth, growth, first, end, heights, voxel_size)

    def fields(self) -> tuple[Array, ...]:
        """Return the arrays per (view, column), in the order in which the kernels take them."""
        return self.over_rows, self.start, self.slope, self.depth, self.growth, self.first, self.end


def project(volume: Array, paths: ColumnPaths, threads: int) -> Array:
    """Return the line integrals (views, rows, columns) of a volume (Z, Y, X)."""
    slices, height, width = volume.shape
    views, columns = paths.start.shape
    padded = np.zeros((height + 2, width + 2, _padded(slices)), volume.dtype)
    data = np.empty((views, len(paths.heights), columns), volume.dtype)
    work = partial(_project, padded, slices, paths.fields(), paths.heights, paths.voxel_size, data)
    with team(threads) as share:
        share(partial(_store_slices, volume, padded), height, 8)
        share(work, views * -(-columns // COLUMNS), 1)
    return data


def backproject(data: Array, paths: ColumnPaths, volume_shape: tuple[int, int, int], threads: int) -> Array:
    """Return the transpose of `project` applied to data (views, rows, columns): a volume (Z, Y, X)."""
    slices, height, width = volume_shape
    views, columns = paths.start.shape
    slabs = -(-slices // SLICES)
    values = np.empty((views, columns, len(paths.heights)), data.dtype)
    padded = np.zeros((slabs, height + 2, width + 2, _padded(min(SLICES, slices))), data.dtype)
    volume = np.empty(volume_shape, data.dtype)
    weigh = partial(_store_columns, data, paths.slope, paths.growth, paths.heights, paths.voxel_size, values)
    with team(threads) as share:
        share(weigh, views, 1)
        for over_rows, steps in ((True, height), (False, width)):
            work = partial(_backproject, padded, slices, over_rows, paths.fields(), paths.heights, values)
            share(work, -(-steps // STEPS) * slabs, 1)
        share(partial(_load_slices, padded, volume), slices, 8)
    return volume


def _padded(slices: int) -> int:
    return -(-(slices + 2 * PAD + 1) // LANES) * LANES


@jit
def _store_slices(volume: Array, padded: Array, first: int, end: int) -> None:
    """Copy the rows first .. end of (Z, Y, X) into (Y + 2, X + 2, Z + border)."""
    for row in range(first, end):
        for column in range(volume.shape[2]):
            for z in range(volume.shape[0]):
                padded[row + 1, column + 1, z + PAD] = volume[z, row, column]


@jit
def _load_slices(padded: Array, volume: Array, first: int, end: int) -> None:
    """Copy the slices first .. end out of the slabs (slabs, Y + 2, X + 2, Z + border)."""
    for row in range(volume.shape[1]):
        for z in range(first, end):
            slab, height = z // SLICES, z % SLICES + PAD
            for column in range(volume.shape[2]):
                volume[z, row, column] = padded[slab, row + 1, column + 1, height]


@jit
def _store_columns(
    data: Array, slope: Array, growth: Array, heights: Array, voxel_size: float, values: Array, first: int, end: int
) -> None:
    """Copy the views first .. end of (views, rows, columns) into (views, columns, rows), times the length of a step."""
    real = data.dtype.type
    for view in range(first, end):
        for column in range(data.shape[2]):
            flat = 1 + slope[view, column] ** 2
            for row in range(data.shape[1]):
                length = np.sqrt(flat + (heights[row] * growth[view, column]) ** 2) * voxel_size
                values[view, column, row] = data[view, row, column] * real(length)


@jit
def _project(
    volume: Array,
    slices: int,
    paths: tuple[Array, ...],
    heights: Array,
    voxel_size: float,
    data: Array,
    lo: int,
    hi: int,
) -> None:
    """Project the groups lo .. hi of neighbouring columns."""
    real = volume.dtype.type
    over_rows, start, slope, depth, growth, first, end = paths
    centre = PAD + (slices - 1) / 2
    rows, columns = data.shape[1], data.shape[2]
    groups = -(-columns // COLUMNS)
    blocks = -(-max(volume.shape[0] - 2, volume.shape[1] - 2) // STEPS)
    size = volume.shape[2]
    once = np.empty(size, volume.dtype)
    twice = np.zeros((STEPS + 2) * size, volume.dtype)
    bent = np.zeros((STEPS + 1) * size, volume.dtype)
    place, share_right = np.empty(STEPS, np.int64), np.empty(STEPS, volume.dtype)
    voxels = volume.reshape(-1)
    total = np.empty((COLUMNS, rows), volume.dtype)
    for group in range(lo, hi):
        view = group // groups
        begin = group % groups * COLUMNS
        stop = min(begin + COLUMNS, columns)
        total[:] = real(0)
        for block in range(blocks):
            for c in range(begin, stop):
                t0, t1 = max(first[view, c], block * STEPS), min(end[view, c], (block + 1) * STEPS)
                if t0 >= t1:
                    continue
                across = _locate(volume, over_rows[view, c], start[view, c], slope[view, c], t0, t1, place, share_right)
                _sum_path(voxels, place, across, share_right, t1 - t0, once, twice, bent)
                near = depth[view, c] + growth[view, c] * t0
                _read_rays(once, twice, bent, t1 - t0, heights, centre, near, growth[view, c], slices, total[c - begin])
        for row in range(rows):
            for c in range(begin, stop):
                length = np.sqrt(1 + slope[view, c] ** 2 + (heights[row] * growth[view, c]) ** 2) * voxel_size
                data[view, row, c] = total[c - begin, row] * real(length)


@jit
def _locate(
    volume: Array, over_rows: bool, start: float, slope: float, t0: int, t1: int, place: Array, share_right: Array
) -> int:
    """Find each step's left pixel column in memory and its right neighbour's share; return how far off that one is."""
    real = share_right.dtype.type
    size, line = volume.shape[2], volume.shape[1] * volume.shape[2]
    along, across = (line, size) if over_rows else (size, line)
    last = volume.shape[1] - 1 if over_rows else volume.shape[0] - 1
    for t in range(t0, t1):
        p = min(max(start + slope * t + 1, 0.0), float(last))
        j = min(int(p), last - 1)
        place[t - t0] = (t + 1) * along + j * across
        share_right[t - t0] = real(p - j)
    return int(across)


@jit
def _sum_path(
    voxels: Array, place: Array, across: int, share_right: Array, n: int, once: Array, twice: Array, bent: Array
) -> None:
    """Sum the profiles of n steps once and twice along the path, and take second differences along z."""
    two = once.dtype.type(2)
    size = len(once)
    for z in range(0, size, LANES):
        single = load(twice, z, LANES)  # the first row is zero
        double = single
        for t in range(n):
            left, right = load(voxels, place[t] + z, LANES), load(voxels, place[t] + across + z, LANES)
            single = single + (left + share_right[t] * (right - left))
            double = double + single
            store(twice, (t + 1) * size + z, double)
        store(once, z, single)
    for k in range(size, (n + 1) * size, LANES):
        store(bent, k, load(twice, k - 1, LANES) - two * load(twice, k, LANES) + load(twice, k + 1, LANES))


@jit
def _read_rays(
    once: Array,
    twice: Array,
    bent: Array,
    n: int,
    heights: Array,
    centre: float,
    near: float,
    growth: float,
    slices: int,
    total: Array,
) -> None:
    """Add to `total` the sum over n steps of each ray that starts at depth `near`."""
    real = once.dtype.type
    size = len(once)
    last = twice[n * size : (n + 1) * size]
    top = float(slices + 2 * PAD - 1)
    far = near + growth * n
    for row in range(len(heights)):
        h = heights[row]
        z0, drift = centre + h * near, h * growth
        z1 = centre + h * far
        if max(z0, z1) <= 0 or min(z0, z1) >= top:
            continue
        a, b = min(max(z0, 0.0), top), min(max(z1, 0.0), top)
        i, j = int(a), int(b)
        f, g = real(b - j), real(drift)
        value = once[j] + f * (once[j + 1] - once[j]) - g * (last[j + 1] - last[j])
        if i != j:
            pace = 1 / drift
            change = real(0)
            for k in range(min(i, j) + 1, max(i, j) + 1):
                s = min(max((k - z0) * pace, 0.0), float(n))
                m = min(int(s), n - 1)
                before, after = bent[m * size + k], bent[(m + 1) * size + k]
                change += before + real(s - m) * (after - before)
            value += abs(g) * change
        total[row] += value


@jit
def _backproject(
    slabs: Array,
    slices: int,
    family: bool,
    paths: tuple[Array, ...],
    heights: Array,
    values: Array,
    lo: int,
    hi: int,
) -> None:
    """Fill the units lo .. hi, each a block of steps of one slab, with the rays that step over rows (or columns)."""
    over_rows, start, slope, depth, growth, first, end = paths
    size = slabs.shape[3]
    once, slow = np.zeros(size, slabs.dtype), np.zeros(size, slabs.dtype)
    bent = np.zeros((STEPS + 2) * size, slabs.dtype)
    place, share_right = np.empty(STEPS, np.int64), np.empty(STEPS, slabs.dtype)
    for unit in range(lo, hi):
        slab, block = unit % len(slabs), unit // len(slabs)
        volume = slabs[slab]
        voxels = volume.reshape(-1)
        middle, count = PAD + (slices - 1) / 2 - slab * SLICES, min(SLICES, slices - slab * SLICES)
        for view in range(start.shape[0]):
            for c in range(start.shape[1]):
                if over_rows[view, c] != family:
                    continue
                t0, t1 = max(first[view, c], block * STEPS), min(end[view, c], (block + 1) * STEPS)
                if t0 >= t1:
                    continue
                near = depth[view, c] + growth[view, c] * t0
                _write_rays(once, slow, bent, t1 - t0, heights, middle, near, growth[view, c], count, values[view, c])
                across = _locate(volume, family, start[view, c], slope[view, c], t0, t1, place, share_right)
                _spread_path(voxels, place, across, share_right, t1 - t0, once, slow, bent)


@jit
def _write_rays(
    once: Array,
    slow: Array,
    bent: Array,
    n: int,
    heights: Array,
    centre: float,
    near: float,
    growth: float,
    slices: int,
    values: Array,
) -> None:
    """Transpose of `_read_rays`: `slow` receives what goes to the last row of `twice`."""
    real = once.dtype.type
    size = len(once)
    top = float(slices + 2 * PAD - 1)
    far = near + growth * n
    for row in range(len(heights)):
        h = heights[row]
        z0, drift = centre + h * near, h * growth
        z1 = centre + h * far
        if max(z0, z1) <= 0 or min(z0, z1) >= top:
            continue
        a, b = min(max(z0, 0.0), top), min(max(z1, 0.0), top)
        i, j = int(a), int(b)
        value = values[row]
        right, slant = real(b - j) * value, real(drift) * value
        once[j] += value - right
        once[j + 1] += right
        slow[j] += slant
        slow[j + 1] -= slant
        if i != j:
            pace = 1 / drift
            change = abs(real(drift)) * value
            for k in range(min(i, j) + 1, max(i, j) + 1):
                s = min(max((k - z0) * pace, 0.0), float(n))
                m = min(int(s), n - 1)
                late = real(s - m) * change
                bent[m * size + k] += change - late
                bent[(m + 1) * size + k] += late


@jit
def _spread_path(
    voxels: Array, place: Array, across: int, share_right: Array, n: int, once: Array, slow: Array, bent: Array
) -> None:
    """Transpose of `_sum_path`; leaves the three buffers at zero."""
    real = once.dtype.type
    two = real(2)
    size = len(once)
    for z in range(0, size, LANES):
        single, double = load(once, z, LANES), load(slow, z, LANES)
        for t in range(n - 1, -1, -1):
            k = (t + 1) * size + z
            double = double + (load(bent, k - 1, LANES) - two * load(bent, k, LANES) + load(bent, k + 1, LANES))
            single = single + double
            part = share_right[t] * single
            left, right = place[t] + z, place[t] + across + z
            store(voxels, left, load(voxels, left, LANES) + (single - part))
            store(voxels, right, load(voxels, right, LANES) + part)
    once[:] = real(0)
    slow[:] = real(0)
    bent[: (n + 1) * size] = real(0)
