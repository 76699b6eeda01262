"""Total variation denoising of real images and volumes on the CPU: all iterations of one inside one compiled loop.

Every sweep reads and writes the dual field once, row by row, so that an iteration costs little more than the
traffic to the cache. Images of a batch are shared out among the threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.priors import tv_volume_kernel
from invprob.threads import jit, share

Array = NDArray[Any]
CHECK_EVERY = 10  # sweeps between two looks at the duality gap


def denoise(
    images: Array, radii: Array, slopes: Sequence[float], tol: float, max_iter: int, isotropic: bool, threads: int
) -> Array:
    """Return argmin_x 1/2 |x - v|^2 + t TV(x) for v = images, t = radii (items,).

    Images are (items, H, W) with neighbours 1 apart, or (items, D, H, W) with `slopes`, 1 / h along the three axes.
    """
    result = np.empty_like(images)
    per_axis = np.array(slopes, images.dtype)
    work = partial(_denoise_items, images, radii, per_axis, tol, max_iter, isotropic, result)
    share(work, len(images), 1, threads)
    return result


@jit
def _denoise_items(
    images: Array,
    radii: Array,
    slopes: Array,
    tol: float,
    max_iter: int,
    isotropic: bool,
    result: Array,
    lo: int,
    hi: int,
) -> None:
    """Fast projected gradient on the dual (Beck & Teboulle, IEEE TIP 18, 2009), restarted when it runs uphill.

    The restart (O'Donoghue & Candes 2015) is decided one sweep late, which saves a sweep over the field.
    """
    axes = images.ndim - 1
    for item in range(lo, hi):
        v, t = images[item], radii[item]
        if t == 0:
            result[item] = v
            continue
        p, q = np.zeros((axes, *v.shape), v.dtype), np.zeros((axes, *v.shape), v.dtype)
        momentum = 1.0
        for iteration in range(1, max_iter + 1):
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            inertia = v.dtype.type((momentum - 1) / following)
            if images.ndim == 4:
                uphill = tv_volume_kernel.sweep(v, p, q, t, inertia, slopes, isotropic)
            else:
                uphill = _sweep(v, p, q, t, inertia, isotropic)
            momentum = 1.0 if uphill > 0 else following
            if iteration % CHECK_EVERY > 0:
                continue
            if images.ndim == 4:
                found = tv_volume_kernel.gap(v, p, t, slopes, isotropic, result[item])
            else:
                found = _gap(v, p, t, isotropic, result[item])
            if not found > tol:
                break
        if images.ndim == 4:
            tv_volume_kernel.primal(v, p, slopes, result[item])
        else:
            _primal(v, p, result[item])


@jit
def _sweep(v: Array, p: Array, q: Array, t: float, inertia: float, isotropic: bool) -> float:
    """Make p <- P(q + D(v - D^T q) / 8) and q <- p + inertia (p - p_old) in place; return <q - p, p - p_old>."""
    height, width = v.shape
    step = v.dtype.type(0.125)
    here, below = np.empty(width, v.dtype), np.empty(width, v.dtype)
    _row_of_primal(v, q, 0, here)
    uphill = 0.0
    for i in range(height):
        last = i == height - 1
        if last:
            below[:] = here  # no difference across the border
        else:
            _row_of_primal(v, q, i + 1, below)
        py, px, qy, qx = p[0, i], p[1, i], q[0, i], q[1, i]
        along = v.dtype.type(0)
        for j in range(width):
            right = here[j + 1] if j < width - 1 else here[j]
            gy = qy[j] + step * (below[j] - here[j])
            gx = qx[j] + step * (right - here[j])
            if isotropic:
                shrink = t / max(t, np.sqrt(gy * gy + gx * gx))
                gy, gx = gy * shrink, gx * shrink
            else:
                gy, gx = min(max(gy, -t), t), min(max(gx, -t), t)
            dy, dx = gy - py[j], gx - px[j]
            along += (qy[j] - gy) * dy + (qx[j] - gx) * dx
            py[j], px[j] = gy, gx
            qy[j], qx[j] = gy + inertia * dy, gx + inertia * dx
        uphill += along
        here, below = below, here
    return uphill


@jit
def _row_of_primal(v: Array, p: Array, i: int, row: Array) -> None:
    """Write row i of v - D^T p."""
    width = v.shape[1]
    above, here, along = p[0, max(i - 1, 0)], p[0, i], p[1, i]
    first = v.dtype.type(1 if i > 0 else 0)
    row[0] = v[i, 0] - first * above[0] + here[0] + along[0]
    for j in range(1, width):
        row[j] = v[i, j] - first * above[j] + here[j] + along[j] - along[j - 1]


@jit
def _primal(v: Array, p: Array, x: Array) -> None:
    """Write x = v - D^T p."""
    for i in range(v.shape[0]):
        _row_of_primal(v, p, i, x[i])


@jit
def _gap(v: Array, p: Array, t: float, isotropic: bool, x: Array) -> float:
    """Write x = v - D^T p and return the duality gap t TV(x) - <D x, p>, relative to the objective."""
    _primal(v, p, x)
    height, width = v.shape
    variation = work = distance = 0.0
    for i in range(height):
        below = x[min(i + 1, height - 1)]
        tv_row = work_row = distance_row = v.dtype.type(0)
        for j in range(width):
            gy = below[j] - x[i, j]
            gx = (x[i, j + 1] if j < width - 1 else x[i, j]) - x[i, j]
            tv_row += np.sqrt(gy * gy + gx * gx) if isotropic else abs(gy) + abs(gx)
            work_row += gy * p[0, i, j] + gx * p[1, i, j]
            distance_row += (x[i, j] - v[i, j]) ** 2
        variation, work, distance = variation + tv_row, work + work_row, distance + distance_row
    objective = t * variation + 0.5 * distance
    return (t * variation - work) / objective if objective > 0 else 0.0
