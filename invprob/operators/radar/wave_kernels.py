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
    "BLOCK",
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
    a0, a1, a2 = 2 * BLOCK * t, 2 * BLOCK * (t + 1), 2 * BLOCK * (t + 2)
    b0, b1 = 2 * BLOCK * r, 2 * BLOCK * (r + 1)
    zero = load(nothing, 0, 8)
    s00r, s00i, s01r, s01i = zero, zero, zero, zero
    s10r, s10i, s11r, s11i = zero, zero, zero, zero
    s20r, s20i, s21r, s21i = zero, zero, zero, zero
    for j in range(0, size, LANES):
        b0r, b0i = load(b, b0 + j, 8), load(b, b0 + BLOCK + j, 8)
        b1r, b1i = load(b, b1 + j, 8), load(b, b1 + BLOCK + j, 8)
        ar, ai = load(a, a0 + j, 8), load(a, a0 + BLOCK + j, 8)
        s00r, s00i = s00r + ar * b0r - ai * b0i, s00i + ar * b0i + ai * b0r
        s01r, s01i = s01r + ar * b1r - ai * b1i, s01i + ar * b1i + ai * b1r
        ar, ai = load(a, a1 + j, 8), load(a, a1 + BLOCK + j, 8)
        s10r, s10i = s10r + ar * b0r - ai * b0i, s10i + ar * b0i + ai * b0r
        s11r, s11i = s11r + ar * b1r - ai * b1i, s11i + ar * b1i + ai * b1r
        ar, ai = load(a, a2 + j, 8), load(a, a2 + BLOCK + j, 8)
        s20r, s20i = s20r + ar * b0r - ai * b0i, s20i + ar * b0i + ai * b0r
        s21r, s21i = s21r + ar * b1r - ai * b1i, s21i + ar * b1i + ai * b1r
    for row, values in enumerate(((s00r, s00i, s01r, s01i), (s10r, s10i, s11r, s11i), (s20r, s20i, s21r, s21i))):
        o = 2 * LANES * (place + row * receivers)
        _add(out, o, values[0])
        _add(out, o + LANES, values[1])
        _add(out, o + 2 * LANES, values[2])
        _add(out, o + 3 * LANES, values[3])


@jit
def _add(out: Array, place: int, values: Any) -> None:
    store(out, place, load(out, place, 8) + values)


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
    total = np.empty((2, BLOCK), y.dtype)
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
                _focus_tile(a, t, b, receivers, size, y, k, total)
        out[0, first + at : first + at + size] = total[0, :size]
        out[1, first + at : first + at + size] = total[1, :size]


@jit
def _focus_tile(a: Array, t: int, b: Array, receivers: int, size: int, y: Array, k: int, total: Array) -> None:
    """Add a[t] sum_r b[r] y[k, t, r] of three transmitters to the total of a block, sixteen voxels at a time."""
    y0, y1, y2 = y[k, t], y[k, t + 1], y[k, t + 2]
    a0, a1, a2 = 2 * BLOCK * t, 2 * BLOCK * (t + 1), 2 * BLOCK * (t + 2)
    for j in range(0, size, _NEAR):
        m = j + LANES
        br, bi = load(b, j, 8), load(b, BLOCK + j, 8)
        cr, ci = load(b, m, 8), load(b, BLOCK + m, 8)
        p, q = y0[0, 0], y0[0, 1]
        u0r, u0i, v0r, v0i = p * br - q * bi, p * bi + q * br, p * cr - q * ci, p * ci + q * cr
        p, q = y1[0, 0], y1[0, 1]
        u1r, u1i, v1r, v1i = p * br - q * bi, p * bi + q * br, p * cr - q * ci, p * ci + q * cr
        p, q = y2[0, 0], y2[0, 1]
        u2r, u2i, v2r, v2i = p * br - q * bi, p * bi + q * br, p * cr - q * ci, p * ci + q * cr
        for r in range(1, receivers):
            row = 2 * BLOCK * r
            br, bi = load(b, row + j, 8), load(b, row + BLOCK + j, 8)
            cr, ci = load(b, row + m, 8), load(b, row + BLOCK + m, 8)
            p, q = y0[r, 0], y0[r, 1]
            u0r, u0i = u0r + p * br - q * bi, u0i + p * bi + q * br
            v0r, v0i = v0r + p * cr - q * ci, v0i + p * ci + q * cr
            p, q = y1[r, 0], y1[r, 1]
            u1r, u1i = u1r + p * br - q * bi, u1i + p * bi + q * br
            v1r, v1i = v1r + p * cr - q * ci, v1i + p * ci + q * cr
            p, q = y2[r, 0], y2[r, 1]
            u2r, u2i = u2r + p * br - q * bi, u2i + p * bi + q * br
            v2r, v2i = v2r + p * cr - q * ci, v2i + p * ci + q * cr
        sr, si = load(total, j, 8), load(total, BLOCK + j, 8)
        wr, wi = load(total, m, 8), load(total, BLOCK + m, 8)
        ar, ai = load(a, a0 + j, 8), load(a, a0 + BLOCK + j, 8)
        sr, si = sr + ar * u0r - ai * u0i, si + ar * u0i + ai * u0r
        ar, ai = load(a, a1 + j, 8), load(a, a1 + BLOCK + j, 8)
        sr, si = sr + ar * u1r - ai * u1i, si + ar * u1i + ai * u1r
        ar, ai = load(a, a2 + j, 8), load(a, a2 + BLOCK + j, 8)
        sr, si = sr + ar * u2r - ai * u2i, si + ar * u2i + ai * u2r
        ar, ai = load(a, a0 + m, 8), load(a, a0 + BLOCK + m, 8)
        wr, wi = wr + ar * v0r - ai * v0i, wi + ar * v0i + ai * v0r
        ar, ai = load(a, a1 + m, 8), load(a, a1 + BLOCK + m, 8)
        wr, wi = wr + ar * v1r - ai * v1i, wi + ar * v1i + ai * v1r
        ar, ai = load(a, a2 + m, 8), load(a, a2 + BLOCK + m, 8)
        wr, wi = wr + ar * v2r - ai * v2i, wi + ar * v2i + ai * v2r
        store(total, j, sr)
        store(total, BLOCK + j, si)
        store(total, m, wr)
        store(total, BLOCK + m, wi)


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
                place = 2 * LANES * (k * pairs + p)
                sr, si = load(nothing, 0, 8), load(nothing, 0, 8)
                for j in range(0, size, LANES):
                    sr, si = sr + load(w, j, 8), si + load(w, BLOCK + j, 8)
                _add(out, place, sr)
                _add(out, place + LANES, si)


@jit
def list_adjoint(starts: Array, step: Array, anchor: int, y: Array, out: Array, first: int) -> None:
    """Write sum_k sum_p w_k[p, n] y[k, p] over y (K, P, 2) to out (2, voxels) from `first` on."""
    frequencies, pairs = y.shape[:2]
    voxels = step.shape[2]
    w, total = np.empty((1, 2, BLOCK), y.dtype), np.empty((2, BLOCK), y.dtype)
    for at in range(0, voxels, BLOCK):
        size = min(BLOCK, voxels - at)
        total[:] = 0
        for p in range(pairs):
            for k in range(frequencies):
                if k % anchor == 0:
                    _begin(starts, (k // anchor) * pairs + p, at, voxels, w, size)
                else:
                    _advance(step[p : p + 1], at, voxels, w, size)
                yr, yi = y[k, p, 0], y[k, p, 1]
                for j in range(0, size, LANES):
                    wr, wi = load(w, j, 8), load(w, BLOCK + j, 8)
                    store(total, j, load(total, j, 8) + yr * wr - yi * wi)
                    store(total, BLOCK + j, load(total, BLOCK + j, 8) + yr * wi + yi * wr)
        out[0, first + at : first + at + size] = total[0, :size]
        out[1, first + at : first + at + size] = total[1, :size]


@jit
def _begin(starts: Array, row: int, at: int, voxels: int, w: Array, size: int) -> None:
    """Copy waves of a block, from a row of all starts on."""
    for t in range(w.shape[0]):
        source, target = 2 * (row + t) * voxels + at, 2 * BLOCK * t
        for j in range(0, size, LANES):
            store(w, target + j, load(starts, source + j, 8))
            store(w, target + BLOCK + j, load(starts, source + voxels + j, 8))


@jit
def _begin_weighted(
    starts: Array, row: int, at: int, voxels: int, x: Array, place: int, image: int, w: Array, size: int
) -> None:
    """Write waves of a block times the image, which the recurrence carries along."""
    for t in range(w.shape[0]):
        source, target = 2 * (row + t) * voxels + at, 2 * BLOCK * t
        for j in range(0, size, LANES):
            xr, xi = load(x, place + j, 8), load(x, image + place + j, 8)
            wr, wi = load(starts, source + j, 8), load(starts, source + voxels + j, 8)
            store(w, target + j, wr * xr - wi * xi)
            store(w, target + BLOCK + j, wr * xi + wi * xr)


@jit
def _advance(step: Array, at: int, voxels: int, w: Array, size: int) -> None:
    """Multiply the waves of a block by what changes them to those of the next frequency."""
    for t in range(w.shape[0]):
        source, target = 2 * t * voxels + at, 2 * BLOCK * t
        for j in range(0, size, LANES):
            wr, wi = load(w, target + j, 8), load(w, target + BLOCK + j, 8)
            qr, qi = load(step, source + j, 8), load(step, source + voxels + j, 8)
            store(w, target + j, wr * qr - wi * qi)
            store(w, target + BLOCK + j, wr * qi + wi * qr)
