"""Joseph's projector (IEEE TMI 1, 1982) for arbitrary rays in the plane, and its exact transpose, on all CPU threads.

A ray is stepped along the axis it is steeper to, one pixel row at a time, and reads the row by linear
interpolation. So a ray is four numbers (family, start, slope, length per step), whatever the geometry. The images of
a batch, and the turned and mirrored copies of an image whose rays are the same paths (`symmetry`), lie side by side:
one look-up serves them all. Forward, a thread walks rays of its own; backward, a thread owns a block of rows and all
rays write into it: no two threads ever write the same number, so the transpose is exact, race-free and bit-identical
every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob import processor
from invprob.operators.ct.simd import four, half, index, joined, load, pair, store, total, whole, woven
from invprob.operators.ct.symmetry import Orbits, Turn, pixel_map
from invprob.threads import jit, team

Array = NDArray[Any]
Lines = Callable[[Array], tuple[Array, Array]]
COPIED, COLLECTED = 16, 1024  # rows of copies, readings of rays that a thread takes at a time
SHARES = 4  # of the work, at least, for each thread, so that they end together
LANES = 16  # images side by side: one register, or a few
PREPARED = 1024  # rays that are worked out at a time
WORTH = 500_000  # steps of rays that are worth the start of one more thread
PAD_LEFT, PAD_RIGHT = 1, 2  # zero border that makes clamped reads harmless


@dataclass(frozen=True)
class RayFamily:
    """Rays that step over the same axis: position(row) = start + slope * row in pixels, `length` per step.

    A ray meets the image in the rows `enter` .. `leave`. The rays see `steps` rows of `across` pixels; `turned` says
    that these are the image's columns. `members` (rays, copies) is the place of each ray in the flattened sinogram,
    copy by copy; `maps` (copies, 3) where the flattened copies take their pixels as offset, per row, per column, and
    `inverses` where the image finds them in the padded copies.
    """

    start: Array
    slope: Array
    length: Array
    enter: Array
    leave: Array
    members: Array
    maps: Array
    inverses: Array
    steps: int
    across: int
    turned: bool


@dataclass(frozen=True)
class RayTable:
    """All rays of a geometry for one image grid: those stepping over rows and those stepping over columns."""

    families: tuple[RayFamily, ...]
    image_shape: tuple[int, int]
    count: int
    turns: tuple[Turn, ...]

    @classmethod
    def build(
        cls,
        lines: Lines,
        count: int,
        image_shape: tuple[int, int],
        pixel_size: float,
        dtype: Any,
        orbits: Orbits | None = None,
        steep: Array | None = None,
    ) -> RayTable:
        """Return the table of `count` rays, worked out in float64, some at a time: the table is all that takes memory.

        Arguments:
            lines: returns points on rays of given numbers and directions, (n, 2) each as (x, y) in length units.
            count: how many rays there are.
            image_shape: (H, W).
            pixel_size: the side of a pixel.
            dtype: the precision of the table.
            orbits: which rays are walked; by default all.
            steep: which rays step over rows, by default those that are steeper to them.
        """
        height, width = image_shape
        walked = count if orbits is None else len(orbits.rays)
        turns = Orbits.none(0).turns if orbits is None else orbits.turns
        parts = [slice(first, min(first + PREPARED, walked)) for first in range(0, walked, PREPARED)]

        def numbers(part: slice) -> Array:
            return np.arange(part.start, part.stop) if orbits is None else orbits.rays[part]

        def is_steep(part: slice) -> Array:
            rays = numbers(part)
            return _steeper(lines(rays)[1] / pixel_size) if steep is None else steep[rays]

        down = [int(np.count_nonzero(is_steep(part))) for part in parts]
        over_rows = _Draft(sum(down), turns, image_shape, dtype, turned=False)
        over_columns = _Draft(walked - sum(down), turns, image_shape, dtype, turned=True)
        for part in parts:
            rays = numbers(part)
            members = rays[:, None] if orbits is None else orbits.members[part]
            points, directions = lines(rays)
            column = points[:, 0] / pixel_size + (width - 1) / 2
            row = (height - 1) / 2 - points[:, 1] / pixel_size
            dc, dr = directions[:, 0] / pixel_size, -directions[:, 1] / pixel_size
            chosen = is_steep(part)
            over_rows.add(chosen, row, dr, column, dc, members, pixel_size)
            over_columns.add(~chosen, column, dc, row, dr, members, pixel_size)
        found = tuple(draft.family for draft in (over_rows, over_columns) if draft.filled)
        return cls(found, image_shape, count, turns)

    @property
    def copies(self) -> int:
        """How many copies of an image are walked at once."""
        return len(self.turns)

    def steep(self) -> Array:
        """Return which rays, of all, step over the rows of the image."""
        flags = np.zeros(self.count, bool)
        for family in self.families:
            for turn, members in zip(self.turns, family.members.T, strict=True):
                flags[members[members >= 0]] = family.turned == bool(turn.quarters % 2)
        return flags

    def threads(self, items: int, most: int) -> int:
        """Return how many threads the work is worth, `most` at most."""
        steps = sum(len(family.start) * family.steps for family in self.families)
        return max(1, min(most, items * steps // WORTH))

    def passes(self, items: int) -> Iterator[tuple[slice, int]]:
        """Deal out a batch: which items are worked on together, and in how many lanes (a power of two)."""
        together = max(1, LANES // self.copies)
        for first in range(0, items, together):
            chosen = slice(first, min(first + together, items))
            yield chosen, 1 << ((chosen.stop - first) * self.copies - 1).bit_length()


class _Draft:
    """A family of rays with room for so many, which is filled part by part."""

    def __init__(self, count: int, turns: tuple[Turn, ...], image_shape: tuple[int, int], dtype: Any, *, turned: bool):
        height, width = image_shape
        steps, size = (width, height) if turned else (height, width)
        found = [pixel_map(turn, image_shape, transposed=turned) for turn in turns]
        inverses = np.array([m.inverse().strides(PAD_LEFT + size + PAD_RIGHT) for m in found])
        inverses[:, 0] += PAD_LEFT
        start, slope, length = (np.empty(count, dtype) for _ in range(3))
        enter, leave = (np.empty(count, np.int32) for _ in range(2))
        members, maps = np.empty((count, len(turns)), np.int32), np.array([m.strides(width) for m in found])
        self.family = RayFamily(start, slope, length, enter, leave, members, maps, inverses, steps, size, turned)
        self.filled = 0

    def add(
        self,
        chosen: Array,
        along: Array,
        step: Array,
        across: Array,
        drift: Array,
        members: Array,
        pixel_size: float,
    ) -> None:
        """Add the chosen rays: where they are and go along the axis that they step over, and across it."""
        family, first = self.family, self.filled
        slope = drift[chosen] / step[chosen]
        start = across[chosen] - slope * along[chosen]
        place = slice(first, first + len(slope))
        family.start[place], family.slope[place] = start, slope
        family.length[place] = pixel_size * np.sqrt(1 + slope**2)
        family.enter[place], family.leave[place] = _meets(start, slope, family.steps, family.across)
        family.members[place] = members[chosen]
        self.filled = place.stop


def _steeper(directions: Array) -> Array:
    """Return which rays cross more rows than columns."""
    found: Array = np.abs(directions[:, 1]) >= np.abs(directions[:, 0])
    return found


def _meets(start: Array, slope: Array, steps: int, across: int) -> tuple[Array, Array]:
    """Return the rows enter .. leave (not included) in which -1 <= start + slope * row <= across."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(-1 - start) / slope, (across - start) / slope])
    level = slope == 0
    ends[:, level] = np.where((start[level] >= -1) & (start[level] <= across), [[0], [steps]], -1)
    enter = np.clip(np.ceil(ends.min(axis=0)), 0, steps).astype(np.int32)
    leave = np.clip(np.floor(ends.max(axis=0)) + 1, enter, steps).astype(np.int32)
    return enter, leave


def project(images: Array, table: RayTable, threads: int) -> Array:
    """Return the line integrals, (items, rays), of images (items, H, W)."""
    pixels = np.ascontiguousarray(images).reshape(len(images), math.prod(table.image_shape))
    sinogram: Array = np.empty((len(images), table.count), images.dtype)
    team_size = table.threads(len(images), threads)
    with team(team_size) as share:
        for chosen, lanes in table.passes(len(images)):
            for family in table.families:
                rows: Array = np.empty((family.steps, PAD_LEFT + family.across + PAD_RIGHT, lanes), images.dtype)
                share(partial(_copy, rows, pixels[chosen], family.maps), family.steps, COPIED)
                paths = (family.start, family.slope, family.enter, family.leave)
                ends = (family.length, family.members, sinogram[chosen])
                block, chunk = _cut(rows, len(family.start), team_size)
                share(partial(_walk(lanes), rows, *paths, *ends, block), len(family.start), chunk)
    return sinogram


def backproject(sinogram: Array, table: RayTable, threads: int) -> Array:
    """Return the transpose of `project` applied to a sinogram (items, rays): images (items, H, W)."""
    sinogram = np.ascontiguousarray(sinogram)
    images: Array = np.zeros((len(sinogram), *table.image_shape), sinogram.dtype)
    height, width = table.image_shape
    pixels = images.reshape(len(images), height * width)
    threads = table.threads(len(sinogram), threads)
    with team(threads) as share:
        for chosen, lanes in table.passes(len(sinogram)):
            for family in table.families:
                values: Array = np.empty((len(family.start), lanes), sinogram.dtype)
                ends = (sinogram[chosen], family.length, family.members)
                share(partial(_collect, values, *ends), len(values), COLLECTED)
                rows: Array = np.empty((family.steps, PAD_LEFT + family.across + PAD_RIGHT, lanes), sinogram.dtype)
                paths = (family.start, family.slope, family.enter, family.leave)
                block = _even(
                    family.steps, min(processor.pieces(rows[0].nbytes, 0.5), -(-family.steps // (2 * threads)))
                )
                share(partial(_spread(lanes), rows, *paths, values), family.steps, block)
                share(partial(_fold, pixels[chosen], rows, family.inverses, width), height, COPIED)
    return images


def _cut(rows: Array, rays: int, threads: int) -> tuple[int, int]:
    """Return how many rows are read by how many rays before the next ones: both stay in the second-level cache.

    The more rays, the less often the rows come in from memory. (A quarter of the cache each: a half and an eighth are
    as fast or slower.)
    """
    rays_each = max(64, -(-rays // (SHARES * threads)))
    return _even(len(rows), processor.pieces(rows[0].nbytes, 0.25)), min(
        processor.pieces(rows[0, 0].nbytes, 0.25), rays_each
    )


def _even(count: int, size: int) -> int:
    """Return a size of about this one whose pieces make up `count` without a small one left over at the end."""
    return -(-count // max(1, round(count / size)))


@jit
def _copy(rows: Array, pixels: Array, maps: Array, lo: int, hi: int) -> None:
    """Write rows lo..hi of all copies of all images side by side, with a border of zeros."""
    lanes, width = rows.shape[2], rows.shape[1] - PAD_LEFT - PAD_RIGHT
    items, copies = pixels.shape[0], maps.shape[0]
    for i in range(lo, hi):
        rows[i, :PAD_LEFT] = 0
        rows[i, PAD_LEFT + width :] = 0
        line = rows[i, PAD_LEFT : PAD_LEFT + width]
        for lane in range(lanes):
            if lane >= items * copies:
                line[:, lane] = 0
                continue
            image = pixels[lane // copies]
            place, step = maps[lane % copies, 0] + i * maps[lane % copies, 1], maps[lane % copies, 2]
            for j in range(width):
                line[j, lane] = image[place + j * step]


@jit
def _down(flat: Array, stride: int, first: Any, drift: Any, sum_: Any, a: int, b: int) -> Any:
    """Add to a sum, a vector of two, what one ray reads in the rows a .. b."""
    real = flat.dtype.type
    for i in range(a, b):
        p = first + drift * real(i)
        j = np.int32(p)
        f = p - real(j)
        sum_ = sum_ + pair(real(1) - f, f) * load(flat, i * stride + np.int64(j), 2)
    return sum_


@cache
def _walk(lanes: int) -> Callable[..., None]:
    """Return the forward kernel for so many lanes: rays lo..hi go down rows (steps, padded width, lanes)."""

    def walk(
        rows: Array,
        start: Array,
        slope: Array,
        enter: Array,
        leave: Array,
        length: Array,
        members: Array,
        sinogram: Array,
        block: int,
        lo: int,
        hi: int,
    ) -> None:
        real = rows.dtype.type
        flat, stride = rows.reshape(-1), rows.shape[1] * lanes
        sums = np.zeros((hi - lo) * lanes, rows.dtype)
        for top in range(0, rows.shape[0], block):
            for k in range(lo, hi):
                a, b = max(enter[k], top), min(leave[k], top + block)
                if a >= b:
                    continue
                first, drift = start[k] + real(PAD_LEFT), slope[k]
                at = (k - lo) * lanes
                sum_ = load(sums, at, lanes)
                for i in range(a, b):
                    p = first + drift * real(i)
                    j = np.int32(p)
                    place = i * stride + np.int64(j) * lanes
                    left = load(flat, place, lanes)
                    sum_ = sum_ + (left + (p - real(j)) * (load(flat, place + lanes, lanes) - left))
                store(sums, at, sum_)
        copies = members.shape[1]
        for k in range(lo, hi):
            for item in range(sinogram.shape[0]):
                for copy in range(copies):
                    if members[k, copy] >= 0:
                        sinogram[item, members[k, copy]] = sums[(k - lo) * lanes + item * copies + copy] * length[k]

    def walk_one(
        rows: Array,
        start: Array,
        slope: Array,
        enter: Array,
        leave: Array,
        length: Array,
        members: Array,
        sinogram: Array,
        block: int,
        lo: int,
        hi: int,
    ) -> None:
        real = rows.dtype.type
        flat, stride = rows.reshape(-1), rows.shape[1]
        at, by = start + real(PAD_LEFT), slope
        nothing = pair(real(0), real(0))
        for k in range(lo, hi - 3, 4):
            # the rows that four rays share, side by side, as each sum waits for the one before it
            a = max(max(enter[k], enter[k + 1]), max(enter[k + 2], enter[k + 3]))
            b = min(min(leave[k], leave[k + 1]), min(leave[k + 2], leave[k + 3]))
            if a >= b:
                a = b = rows.shape[0]
            s0 = _down(flat, stride, at[k], by[k], nothing, enter[k], min(a, leave[k]))
            s1 = _down(flat, stride, at[k + 1], by[k + 1], nothing, enter[k + 1], min(a, leave[k + 1]))
            s2 = _down(flat, stride, at[k + 2], by[k + 2], nothing, enter[k + 2], min(a, leave[k + 2]))
            s3 = _down(flat, stride, at[k + 3], by[k + 3], nothing, enter[k + 3], min(a, leave[k + 3]))
            first4 = four(at[k], at[k + 1], at[k + 2], at[k + 3])
            drift4 = four(by[k], by[k + 1], by[k + 2], by[k + 3])
            one4 = four(real(1), real(1), real(1), real(1))
            s01, s23 = joined(s0, s1), joined(s2, s3)
            for i in range(a, b):
                p4 = first4 + real(i) * drift4
                f4 = p4 - whole(p4)
                g4 = one4 - f4
                line = i * stride
                left = joined(load(flat, line + index(p4, 0), 2), load(flat, line + index(p4, 1), 2))
                right = joined(load(flat, line + index(p4, 2), 2), load(flat, line + index(p4, 3), 2))
                s01 = s01 + woven(g4, f4, 0) * left
                s23 = s23 + woven(g4, f4, 2) * right
            s0, s1, s2, s3 = half(s01, 0), half(s01, 2), half(s23, 0), half(s23, 2)
            s0 = _down(flat, stride, at[k], by[k], s0, b, leave[k])
            s1 = _down(flat, stride, at[k + 1], by[k + 1], s1, b, leave[k + 1])
            s2 = _down(flat, stride, at[k + 2], by[k + 2], s2, b, leave[k + 2])
            s3 = _down(flat, stride, at[k + 3], by[k + 3], s3, b, leave[k + 3])
            sinogram[0, members[k, 0]] = total(s0) * length[k]
            sinogram[0, members[k + 1, 0]] = total(s1) * length[k + 1]
            sinogram[0, members[k + 2, 0]] = total(s2) * length[k + 2]
            sinogram[0, members[k + 3, 0]] = total(s3) * length[k + 3]
        for k in range(hi - (hi - lo) % 4, hi):
            sum_ = _down(flat, stride, at[k], by[k], nothing, enter[k], leave[k])
            sinogram[0, members[k, 0]] = total(sum_) * length[k]

    return jit(walk_one if lanes == 1 else walk)


@jit
def _collect(values: Array, sinogram: Array, length: Array, members: Array, lo: int, hi: int) -> None:
    """Gather what rays lo..hi spread: values (rays, lanes), times the length of a step."""
    items, copies = sinogram.shape[0], members.shape[1]
    for k in range(lo, hi):
        values[k] = 0
        for item in range(items):
            for copy in range(copies):
                if members[k, copy] >= 0:
                    values[k, item * copies + copy] = sinogram[item, members[k, copy]] * length[k]


@cache
def _spread(lanes: int) -> Callable[..., None]:
    """Return the backward kernel for so many lanes: all rays write into the rows lo..hi, which this thread owns."""

    def spread(
        rows: Array, start: Array, slope: Array, enter: Array, leave: Array, values: Array, lo: int, hi: int
    ) -> None:
        real = rows.dtype.type
        flat, given, stride = rows.reshape(-1), values.reshape(-1), rows.shape[1] * lanes
        rows[lo:hi] = 0
        for k in range(len(start)):
            a, b = max(enter[k], lo), min(leave[k], hi)
            if a >= b:
                continue
            first, drift = start[k] + real(PAD_LEFT), slope[k]
            value = load(given, k * lanes, lanes)
            for i in range(a, b):
                p = first + drift * real(i)
                j = np.int32(p)
                place = i * stride + np.int64(j) * lanes
                right = (p - real(j)) * value
                store(flat, place, load(flat, place, lanes) + (value - right))
                store(flat, place + lanes, load(flat, place + lanes, lanes) + right)

    def spread_one(
        rows: Array, start: Array, slope: Array, enter: Array, leave: Array, values: Array, lo: int, hi: int
    ) -> None:
        real = rows.dtype.type
        flat, stride = rows.reshape(-1), rows.shape[1]
        rows[lo:hi] = 0
        for k in range(len(start)):
            a, b = max(enter[k], lo), min(leave[k], hi)
            if a >= b:
                continue
            first, drift = start[k] + real(PAD_LEFT), slope[k]
            value = values[k, 0]
            for i in range(a, b):
                p = first + drift * real(i)
                j = np.int32(p)
                place = i * stride + np.int64(j)
                right = (p - real(j)) * value
                store(flat, place, load(flat, place, 2) + pair(value - right, right))

    return jit(spread_one if lanes == 1 else spread)


@jit
def _fold(pixels: Array, rows: Array, maps: Array, width: int, lo: int, hi: int) -> None:
    """Add to the image rows lo..hi of every item what its copies hold there."""
    copies, lanes, flat = maps.shape[0], rows.shape[2], rows.reshape(-1)
    for item in range(pixels.shape[0]):
        for copy in range(copies):
            place, row, column = maps[copy, 0], maps[copy, 1], maps[copy, 2]
            lane = item * copies + copy
            for i in range(lo, hi):
                line = pixels[item, i * width : (i + 1) * width]
                at = (place + i * row) * lanes + lane
                for j in range(width):
                    line[j] += flat[at + j * column * lanes]
