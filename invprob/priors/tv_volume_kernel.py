"""One sweep of total variation denoising over a volume, and its duality gap; the loop around them is `tv_kernel`'s.

A sweep goes plane by plane. It holds two planes of the primal volume, padded by their own border so that differences
across it vanish, and reads and writes the dual field once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.threads import jit

Array = NDArray[Any]


@jit
def sweep(v: Array, p: Array, q: Array, t: float, inertia: float, slopes: Array, isotropic: bool) -> float:
    """Make p <- P(q + D(v - D^T q) / |D|^2) and q <- p + inertia (p - p_old) in place; return <q - p, p - p_old>.

    `slopes` are 1 / h along the three axes, and 4 times the sum of their squares bounds |D|^2.
    """
    planes, height, width = v.shape
    step = v.dtype.type(0.25) / (slopes * slopes).sum()
    along_z, along_y, along_x = step * slopes
    here, below = np.empty((height + 1, width + 1), v.dtype), np.empty((height + 1, width + 1), v.dtype)
    _plane_of_primal(v, q, slopes, 0, here)
    uphill = 0.0
    for k in range(planes):
        if k == planes - 1:
            below[:] = here  # no difference across the border
        else:
            _plane_of_primal(v, q, slopes, k + 1, below)
        for i in range(height):
            pz, py, px, qz, qy, qx = p[0, k, i], p[1, k, i], p[2, k, i], q[0, k, i], q[1, k, i], q[2, k, i]
            row, under, next_plane = here[i], here[i + 1], below[i]
            ahead = v.dtype.type(0)
            for j in range(width):
                gz = qz[j] + along_z * (next_plane[j] - row[j])
                gy = qy[j] + along_y * (under[j] - row[j])
                gx = qx[j] + along_x * (row[j + 1] - row[j])
                if isotropic:
                    shrink = t / max(t, np.sqrt(gz * gz + gy * gy + gx * gx))
                    gz, gy, gx = gz * shrink, gy * shrink, gx * shrink
                else:
                    gz, gy, gx = min(max(gz, -t), t), min(max(gy, -t), t), min(max(gx, -t), t)
                dz, dy, dx = gz - pz[j], gy - py[j], gx - px[j]
                ahead += (qz[j] - gz) * dz + (qy[j] - gy) * dy + (qx[j] - gx) * dx
                pz[j], py[j], px[j] = gz, gy, gx
                qz[j], qy[j], qx[j] = gz + inertia * dz, gy + inertia * dy, gx + inertia * dx
            uphill += ahead
        here, below = below, here
    return uphill


@jit
def _plane_of_primal(v: Array, p: Array, slopes: Array, k: int, plane: Array) -> None:
    """Write plane k of v - D^T p, and its last row and column once more."""
    height, width = v.shape[1:]
    sz, sy, sx = slopes
    above = v.dtype.type(1 if k > 0 else 0)
    for i in range(height):
        before = v.dtype.type(1 if i > 0 else 0)
        values, row = v[k, i], plane[i]
        pz, py, px = p[0, k, i], p[1, k, i], p[2, k, i]
        pz_above, py_before = p[0, max(k - 1, 0), i], p[1, k, max(i - 1, 0)]
        for j in range(width):
            row[j] = values[j] + sz * (pz[j] - above * pz_above[j]) + sy * (py[j] - before * py_before[j]) + sx * px[j]
        for j in range(1, width):
            row[j] -= sx * px[j - 1]
        row[width] = row[width - 1]
    plane[height] = plane[height - 1]


@jit
def primal(v: Array, p: Array, slopes: Array, x: Array) -> None:
    """Write x = v - D^T p."""
    plane = np.empty((v.shape[1] + 1, v.shape[2] + 1), v.dtype)
    for k in range(v.shape[0]):
        _plane_of_primal(v, p, slopes, k, plane)
        x[k] = plane[:-1, :-1]


@jit
def gap(v: Array, p: Array, t: float, slopes: Array, isotropic: bool, x: Array) -> float:
    """Write x = v - D^T p and return the duality gap t TV(x) - <D x, p>, relative to the objective."""
    primal(v, p, slopes, x)
    planes, height, width = v.shape
    sz, sy, sx = slopes
    variation = work = distance = 0.0
    for k in range(planes):
        for i in range(height):
            row, under, next_plane = x[k, i], x[k, min(i + 1, height - 1)], x[min(k + 1, planes - 1), i]
            pz, py, px, values = p[0, k, i], p[1, k, i], p[2, k, i], v[k, i]
            tv_row = work_row = distance_row = v.dtype.type(0)
            for j in range(width):
                gz, gy = sz * (next_plane[j] - row[j]), sy * (under[j] - row[j])
                gx = sx * (row[min(j + 1, width - 1)] - row[j])
                tv_row += np.sqrt(gz * gz + gy * gy + gx * gx) if isotropic else abs(gz) + abs(gy) + abs(gx)
                work_row += gz * pz[j] + gy * py[j] + gx * px[j]
                distance_row += (row[j] - values[j]) ** 2
            variation, work, distance = variation + tv_row, work + work_row, distance + distance_row
    objective = t * variation + 0.5 * distance
    return (t * variation - work) / objective if objective > 0 else 0.0
