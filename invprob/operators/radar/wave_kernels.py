"""Products of waves, voxel by voxel: the recurrence along the frequencies and the sums over antennas in one sweep.

Real and imaginary parts lie in planes of their own, and eight voxels side by side. The waves of a block of voxels stay
in the first caches while frequencies pass. Sums over voxels are kept as eight numbers each, which the caller adds up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.simd import load, store
from invprob.threads import jit

__all__ = [
    "LANES",
    "RECEIVERS",
    "TRANSMITTERS",
    "array_adjoint",
    "array_forward",
    "list_adjoint",
    "list_forward",
]

Array = NDArray[Any]

LANES = 8  # voxels of a vector
BLOCK = 128  # voxels whose waves stay in cache; from 64 to 512 they take the same time
TRANSMITTERS, RECEIVERS = 3, 2  # of a tile, whose sums fit into sixteen registers; rows are filled up with zeros
_NEAR = 2 * LANES


@jit
def array_forward(
    starts_a: Array, step_a: Array, starts_b: Array, step_b: Array, anchor: int, x: Array, first: int, out: Array
) -> None:
    """Add sum_n a_k[t, n] x[n] b_k[r, n] to out (K, T, R, 2, 8) over a chunk of voxels, which begins at `first` in x.

    Arguments:
        starts_a: waves a at every `anchor`-th frequency, (anchors, T, 2, n), their parts in planes.
        step_a: by which they change from one frequency to the next, (T, 2, n).
        starts_b: those of b, (anchors, R, 2, n).
        step_b: and their change.
        anchor: frequencies between two starts.
        x: the image, (2, voxels).
        first: its voxel with which the chunk begins.
        out: the sums.
    """
    frequencies, transmitters, receivers = out.shape[:3]
    voxels, image = step_a.shape[2], x.shape[1]
    a, b = np.empty((transmitters, 2, BLOCK), x.dtype), np.empty((receivers, 2, BLOCK), x.dtype)
    nothing = np.zeros(LANES, x.dtype)
    for at in range(0, voxels, BLOCK):
        size = min(BLOCK, voxels - at)
        for k in range(frequencies):
            if k % anchor == 0:
                _begin_weighted(starts_a, (k // anchor) * transmitters, at, voxels, x, first + at, image, a, size)
                _begin(starts_b, (k // anchor) * receivers, at, voxels, b, size)
            else:
                _advance(step_a, at, voxels, a, size)
                _advance(step_b, at, voxels, b, size)
            for t in range(0, transmitters, TRANSMITTERS):
                for r in range(0, receivers, RECEIVERS):
                    _add_tile(a, t, b, r, size, nothing, out, (k * transmitters + t) * receivers + r, receivers)


@jit
def _add_tile(
    a: Array, t: int, b: Array, r: int, size: int, nothing: Array, out: Array, place: int, receivers: int
) -> None:
    """Add the sums over a block of three rows of a times two of b to those of `out` from a place on."""
    zero = load(nothing, 0, 8), load(nothing, 0, 8)
    s00, s01, s10, s11, s20, s21 = zero, zero, zero, zero, zero, zero
    for j in range(0, size, LANES):
        b0, b1 = _at(b, r, j), _at(b, r + 1, j)
        a0, a1, a2 = _at(a, t, j), _at(a, t + 1, j), _at(a, t + 2, j)
        s00, s01 = _plus(s00, a0, b0), _plus(s01, a0, b1)
        s10, s11 = _plus(s10, a1, b0), _plus(s11, a1, b1)
        s20, s21 = _plus(s20, a2, b0), _plus(s21, a2, b1)
    for row, (first, second) in enumerate(((s00, s01), (s10, s11), (s20, s21))):
        _add(out, place + row * receivers, first)
        _add(out, place + row * receivers + 1, second)


@jit
def array_adjoint(
    starts_a: Array, step_a: Array, starts_b: Array, step_b: Array, anchor: int, y: Array, out: Array, first: int
) -> None:
    """Write sum_k sum_t a_k[t, n] sum_r b_k[r, n] y[k, t, r] over y (K, T, R, 2) to out (2, voxels) from `first` on.

    The waves are those of `array_forward`.
    """
    frequencies, transmitters, receivers = y.shape[:3]
    voxels = step_a.shape[2]
    a, b = np.empty((transmitters, 2, BLOCK), y.dtype), np.empty((receivers, 2, BLOCK), y.dtype)
    total, nothing = np.empty((1, 2, BLOCK), y.dtype), np.zeros(LANES, y.dtype)
    for at in range(0, voxels, BLOCK):
        size = min(BLOCK, voxels - at)
        total[:] = 0
        for k in range(frequencies):
            if k % anchor == 0:
                _begin(starts_a, (k // anchor) * transmitters, at, voxels, a, size)
                _begin(starts_b, (k // anchor) * receivers, at, voxels, b, size)
            else:
                _advance(step_a, at, voxels, a, size)
                _advance(step_b, at, voxels, b, size)
            for t in range(0, transmitters, TRANSMITTERS):
                _focus_tile(a, t, b, receivers, size, nothing, y, k, total)
        out[:, first + at : first + at + size] = total[0, :, :size]


@jit
def _focus_tile(
    a: Array, t: int, b: Array, receivers: int, size: int, nothing: Array, y: Array, k: int, total: Array
) -> None:
    """Add a[t] sum_r b[r] y[k, t, r] of three transmitters to the total of a block, sixteen voxels at a time."""
    for j in range(0, size, _NEAR):
        zero = load(nothing, 0, 8), load(nothing, 0, 8)
        u0, u1, u2, v0, v1, v2 = zero, zero, zero, zero, zero, zero
        for r in range(receivers):
            here, next_to = _at(b, r, j), _at(b, r, j + LANES)
            y0, y1, y2 = _reading(y, k, t, r), _reading(y, k, t + 1, r), _reading(y, k, t + 2, r)
            u0, v0 = _plus(u0, y0, here), _plus(v0, y0, next_to)
            u1, v1 = _plus(u1, y1, here), _plus(v1, y1, next_to)
            u2, v2 = _plus(u2, y2, here), _plus(v2, y2, next_to)
        for m, (s0, s1, s2) in ((j, (u0, u1, u2)), (j + LANES, (v0, v1, v2))):
            focused = _plus(_at(total, 0, m), _at(a, t, m), s0)
            focused = _plus(focused, _at(a, t + 1, m), s1)
            _put(total, 0, m, _plus(focused, _at(a, t + 2, m), s2))


@jit
def list_forward(starts: Array, step: Array, anchor: int, x: Array, first: int, out: Array) -> None:
    """Add sum_n w_k[p, n] x[n] to out (K, P, 2, 8) over a chunk of voxels; arguments as of `array_forward`."""
    frequencies, pairs = out.shape[:2]
    voxels, image = step.shape[2], x.shape[1]
    w, nothing = np.empty((1, 2, BLOCK), x.dtype), np.zeros(LANES, x.dtype)
    for p in range(pairs):
        for at in range(0, voxels, BLOCK):
            size = min(BLOCK, voxels - at)
            for k in range(frequencies):
                if k % anchor == 0:
                    _begin_weighted(starts, (k // anchor) * pairs + p, at, voxels, x, first + at, image, w, size)
                else:
                    _advance(step[p : p + 1], at, voxels, w, size)
                total = load(nothing, 0, 8), load(nothing, 0, 8)
                for j in range(0, size, LANES):
                    wave = _at(w, 0, j)
                    total = total[0] + wave[0], total[1] + wave[1]
                _add(out, k * pairs + p, total)


@jit
def list_adjoint(starts: Array, step: Array, anchor: int, y: Array, out: Array, first: int) -> None:
    """Write sum_k sum_p w_k[p, n] y[k, p] over y (K, P, 2) to out (2, voxels) from `first` on."""
    frequencies, pairs = y.shape[:2]
    voxels = step.shape[2]
    w, total = np.empty((1, 2, BLOCK), y.dtype), np.empty((1, 2, BLOCK), y.dtype)
    for at in range(0, voxels, BLOCK):
        size = min(BLOCK, voxels - at)
        total[:] = 0
        for p in range(pairs):
            for k in range(frequencies):
                if k % anchor == 0:
                    _begin(starts, (k // anchor) * pairs + p, at, voxels, w, size)
                else:
                    _advance(step[p : p + 1], at, voxels, w, size)
                reading = y[k, p, 0], y[k, p, 1]
                for j in range(0, size, LANES):
                    _put(total, 0, j, _plus(_at(total, 0, j), reading, _at(w, 0, j)))
        out[:, first + at : first + at + size] = total[0, :, :size]


@jit
def _begin(starts: Array, row: int, at: int, voxels: int, w: Array, size: int) -> None:
    """Copy waves of a block, from a row of all starts on."""
    for t in range(w.shape[0]):
        source = 2 * (row + t) * voxels + at
        for j in range(0, size, LANES):
            _put(w, t, j, (load(starts, source + j, 8), load(starts, source + voxels + j, 8)))


@jit
def _begin_weighted(
    starts: Array, row: int, at: int, voxels: int, x: Array, place: int, image: int, w: Array, size: int
) -> None:
    """Write waves of a block times the image, which the recurrence carries along."""
    for t in range(w.shape[0]):
        source = 2 * (row + t) * voxels + at
        for j in range(0, size, LANES):
            values = load(x, place + j, 8), load(x, image + place + j, 8)
            _put(w, t, j, _times((load(starts, source + j, 8), load(starts, source + voxels + j, 8)), values))


@jit
def _advance(step: Array, at: int, voxels: int, w: Array, size: int) -> None:
    """Multiply the waves of a block by what changes them to those of the next frequency."""
    for t in range(w.shape[0]):
        source = 2 * t * voxels + at
        for j in range(0, size, LANES):
            _put(w, t, j, _times(_at(w, t, j), (load(step, source + j, 8), load(step, source + voxels + j, 8))))


# ---- complex numbers as pairs (real, imaginary) of vectors, or of numbers


@jit
def _at(w: Array, row: int, j: int) -> Any:
    """Return eight voxels of a row of a block (rows, 2, BLOCK)."""
    place = 2 * BLOCK * row + j
    return load(w, place, 8), load(w, place + BLOCK, 8)


@jit
def _put(w: Array, row: int, j: int, z: Any) -> None:
    """Write eight voxels of a row of a block."""
    place = 2 * BLOCK * row + j
    store(w, place, z[0])
    store(w, place + BLOCK, z[1])


@jit
def _add(out: Array, place: int, z: Any) -> None:
    """Add to the sums of the reading number `place` in out (..., 2, 8)."""
    real, imaginary = 2 * LANES * place, 2 * LANES * place + LANES
    store(out, real, load(out, real, 8) + z[0])
    store(out, imaginary, load(out, imaginary, 8) + z[1])


@jit
def _reading(y: Array, k: int, t: int, r: int) -> Any:
    return y[k, t, r, 0], y[k, t, r, 1]


@jit
def _times(a: Any, b: Any) -> Any:
    """Return a b."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


@jit
def _plus(s: Any, a: Any, b: Any) -> Any:
    """Return s + a b."""
    return s[0] + a[0] * b[0] - a[1] * b[1], s[1] + a[0] * b[1] + a[1] * b[0]
