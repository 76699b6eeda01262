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
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob import processor
from invprob.operators.ct.ray_table import PAD_LEFT, PAD_RIGHT, RayTable
from invprob.simd import four, half, index, joined, load, pair, store, total, whole, woven
from invprob.threads import jit, team

Array = NDArray[Any]
COPIED, COLLECTED = 16, 1024  # rows of copies, readings of rays that a thread takes at a time
SHARES = 4  # of the work, at least, for each thread, so that they end together


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
                most = min(processor.pieces(rows[0].nbytes, 0.5), -(-family.steps // (2 * threads)))
                block = _even(family.steps, most)
                share(partial(_spread(lanes), rows, *paths, values), family.steps, block)
                share(partial(_fold, pixels[chosen], rows, family.inverses, width), height, COPIED)
    return images


def _cut(rows: Array, rays: int, threads: int) -> tuple[int, int]:
    """Return how many rows are read by how many rays before the next ones: both stay in the second-level cache.

    The more rays, the less often the rows come in from memory. (A quarter of the cache each: a half and an eighth are
    as fast or slower.)
    """
    rays_each = max(64, -(-rays // (SHARES * threads)))
    block = _even(len(rows), processor.pieces(rows[0].nbytes, 0.25))
    return block, min(processor.pieces(rows[0, 0].nbytes, 0.25), rays_each)


def _even(count: int, size: int) -> int:
    """Return a size of about this one, of which no small piece is left over at the end of `count`."""
    return -(-count // max(1, math.ceil(count / size - 0.25)))


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
            if abs(step) == 1:
                for j in range(width):
                    line[j, lane] = image[place + j * step]
    # of copies on their side a few columns at a time: what comes in with one row of them is there for the next ones
    for left in range(0, width, COPIED):
        right = min(left + COPIED, width)
        for lane in range(items * copies):
            image = pixels[lane // copies]
            first, down, step = maps[lane % copies, 0], maps[lane % copies, 1], maps[lane % copies, 2]
            if abs(step) == 1:
                continue
            for i in range(lo, hi):
                place = first + i * down
                for j in range(left, right):
                    rows[i, PAD_LEFT + j, lane] = image[place + j * step]


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
        nothing = pair(real(0), real(0))
        for k in range(lo, hi - 3, 4):
            # four rays side by side through the rows that they share, as each sum waits for its own step before
            p0, p1 = start[k] + real(PAD_LEFT), start[k + 1] + real(PAD_LEFT)
            p2, p3 = start[k + 2] + real(PAD_LEFT), start[k + 3] + real(PAD_LEFT)
            d0, d1, d2, d3 = slope[k], slope[k + 1], slope[k + 2], slope[k + 3]
            a = max(max(enter[k], enter[k + 1]), max(enter[k + 2], enter[k + 3]))
            b = min(min(leave[k], leave[k + 1]), min(leave[k + 2], leave[k + 3]))
            if a >= b:
                a = b = rows.shape[0]
            s0 = _down(flat, stride, p0, d0, nothing, enter[k], min(a, leave[k]))
            s1 = _down(flat, stride, p1, d1, nothing, enter[k + 1], min(a, leave[k + 1]))
            s2 = _down(flat, stride, p2, d2, nothing, enter[k + 2], min(a, leave[k + 2]))
            s3 = _down(flat, stride, p3, d3, nothing, enter[k + 3], min(a, leave[k + 3]))
            first, drift, one = four(p0, p1, p2, p3), four(d0, d1, d2, d3), four(real(1), real(1), real(1), real(1))
            s01, s23 = joined(s0, s1), joined(s2, s3)
            for i in range(a, b):
                p = first + real(i) * drift
                right = p - whole(p)
                left, line = one - right, i * stride
                of01 = joined(load(flat, line + index(p, 0), 2), load(flat, line + index(p, 1), 2))
                of23 = joined(load(flat, line + index(p, 2), 2), load(flat, line + index(p, 3), 2))
                s01 = s01 + woven(left, right, 0) * of01
                s23 = s23 + woven(left, right, 2) * of23
            s0 = _down(flat, stride, p0, d0, half(s01, 0), b, leave[k])
            s1 = _down(flat, stride, p1, d1, half(s01, 2), b, leave[k + 1])
            s2 = _down(flat, stride, p2, d2, half(s23, 0), b, leave[k + 2])
            s3 = _down(flat, stride, p3, d3, half(s23, 2), b, leave[k + 3])
            sinogram[0, members[k, 0]] = total(s0) * length[k]
            sinogram[0, members[k + 1, 0]] = total(s1) * length[k + 1]
            sinogram[0, members[k + 2, 0]] = total(s2) * length[k + 2]
            sinogram[0, members[k + 3, 0]] = total(s3) * length[k + 3]
        for k in range(hi - (hi - lo) % 4, hi):
            sum_ = _down(flat, stride, start[k] + real(PAD_LEFT), slope[k], nothing, enter[k], leave[k])
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
            first4, value4 = four(first, first, first, first), four(value, value, value, value)
            whole_fours = a + (b - a) // 4 * 4
            for i in range(a, whole_fours, 4):  # four rows side by side: what is written into them never meets
                p4 = first4 + drift * four(real(i), real(i + 1), real(i + 2), real(i + 3))
                right4 = (p4 - whole(p4)) * value4
                left4 = value4 - right4
                upper, lower = woven(left4, right4, 0), woven(left4, right4, 2)
                at0, at1 = i * stride + index(p4, 0), (i + 1) * stride + index(p4, 1)
                at2, at3 = (i + 2) * stride + index(p4, 2), (i + 3) * stride + index(p4, 3)
                store(flat, at0, load(flat, at0, 2) + half(upper, 0))
                store(flat, at1, load(flat, at1, 2) + half(upper, 2))
                store(flat, at2, load(flat, at2, 2) + half(lower, 0))
                store(flat, at3, load(flat, at3, 2) + half(lower, 2))
            for i in range(whole_fours, b):
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
