"""Where k-space is sampled: units of trajectories, and what a trajectory can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.linop.operator import Shape

Unit = Literal["rad/pixel", "cycles/pixel", "cycles/fov", "1/m", "rad/m"]
SLACK = 1e-3  # share of pi by which rounding may lead beyond
COVERED = 1 / 3  # share of the band that a trajectory reaches along some axis, unless its unit is another one


def radians_per_pixel(
    trajectory: ArrayLike | Tensor,
    unit: Unit,
    *,
    matrix: Sequence[int] | None = None,
    pixel_size: float | Sequence[float] | None = None,
) -> Tensor:
    """Return a trajectory in radians per pixel, float64, from the unit it is given in; never guessed from its values.

    Arguments:
        trajectory: k-space positions, `(..., d)`, the last axis in the order of the image's axes, (ky, kx).
        unit: "rad/pixel"; "cycles/pixel" (times 2 pi); "cycles/fov" (times 2 pi / N); "1/m" (times 2 pi times the
            pixel's size) or "rad/m" (times the pixel's size).
        matrix: N, pixels per axis of the field of view that the cycles are counted in, for "cycles/fov": that of the
            acquisition, not of the reconstruction.
        pixel_size: in metres, one number or one per axis, for "1/m" and "rad/m".

    ValueError for an unknown unit and where what it needs is missing.
    """
    if unit not in get_args(Unit):
        raise ValueError(f"radians_per_pixel: unit is one of {', '.join(get_args(Unit))}, got {unit!r}")
    k = _as_double(trajectory)
    d = k.shape[-1]
    if unit == "cycles/fov":
        if matrix is None or len(tuple(matrix)) != d:
            raise ValueError(f"radians_per_pixel: cycles/fov needs matrix=, {d} sizes of the field of view")
        return 2 * math.pi * k / torch.tensor(tuple(matrix), dtype=torch.float64)
    if unit in ("1/m", "rad/m"):
        if pixel_size is None:
            raise ValueError(f"radians_per_pixel: {unit} needs pixel_size= in metres")
        return (2 * math.pi if unit == "1/m" else 1.0) * k * torch.as_tensor(pixel_size, dtype=torch.float64)
    return k if unit == "rad/pixel" else 2 * math.pi * k


def checked_trajectory(trajectory: ArrayLike | Tensor, image_shape: Shape, frames: int) -> Tensor:
    """Return a trajectory `([frames], *samples, d)` wrapped into [-pi, pi), float64 on the CPU.

    Wrapping is exact, as pixels have whole indices. ValueError for a wrong last axis, NaN and positions beyond
    pi (1 + 1e-3), with the unit that would fit.
    """
    omega, d = _as_double(trajectory), len(image_shape)
    if omega.ndim < 2 + (frames > 1) or omega.shape[-1] != d or not omega.numel():
        due = f"({'frames, ' if frames > 1 else ''}*samples, {d})"
        raise ValueError(f"NonCartesianMRI: a trajectory has the shape {due}, got {tuple(omega.shape)}")
    if frames > 1 and omega.shape[0] != frames:
        raise ValueError(f"NonCartesianMRI: {frames} frames, but a trajectory of {omega.shape[0]}")
    bad = int((~omega.isfinite()).any(-1).sum())
    if bad:
        raise ValueError(f"NonCartesianMRI: {bad} of {omega[..., 0].numel()} positions are NaN or infinite")
    reach = omega.detach().abs()
    if float(reach.max()) > math.pi * (1 + SLACK):
        axis = int(reach.reshape(-1, d).amax(0).argmax())
        count, largest = int((reach > math.pi * (1 + SLACK)).any(-1).sum()), float(reach.max())
        raise ValueError(
            f"NonCartesianMRI: {count} of {reach[..., 0].numel()} positions lie beyond pi radians per pixel, up to "
            f"{largest:.4g} along axis {axis}; {_hint(largest, image_shape[axis])}"
        )
    return omega - 2 * math.pi * torch.floor((omega + math.pi) / (2 * math.pi)).detach()


def reaches_little(omega: Tensor) -> str | None:
    """Return what is doubtful about a trajectory that stays near the centre along every axis, None if it does not."""
    reach = omega.detach().abs().reshape(-1, omega.shape[-1]).amax(0) / math.pi
    if bool((reach >= COVERED).any()):
        return None
    shares = " x ".join(f"{float(share):.2g}" for share in reach)
    unit = "cycles per pixel" if float(reach.max()) * math.pi <= 0.5 * (1 + SLACK) else "another unit"
    return (
        f"the trajectory reaches {shares} of the band of the pixels: they are finer than the data tell, or it is in "
        f"{unit} (radians_per_pixel)"
    )


def _hint(largest: float, n: int) -> str:
    fits = largest <= n / 2 * (1 + SLACK)
    unit = "cycles/fov" if fits else "1/m"
    way = f"matrix={n}" if fits else "pixel_size="
    return (
        f"cycles per field of view would fit: radians_per_pixel(k, {unit!r}, {way})"
        if fits
        else (f"what is in {unit} or the like goes through radians_per_pixel(k, {unit!r}, {way})")
    )


def _as_double(trajectory: ArrayLike | Tensor) -> Tensor:
    if isinstance(trajectory, Tensor):
        if trajectory.is_complex():
            raise ValueError("a trajectory is real, (..., d): take torch.view_as_real(k), and mind the order of axes")
        return trajectory.to(torch.float64)
    given = np.asarray(trajectory)
    if np.iscomplexobj(given):
        raise ValueError("a trajectory is real, (..., d): stack k.imag and k.real, in the order of the image's axes")
    return torch.from_numpy(np.array(given, dtype=np.float64))
