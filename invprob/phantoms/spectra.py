"""The exact spectrum of ellipses, as a scanner with coils would read it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invprob.phantoms.coil_maps import TrigonometricMaps
from invprob.phantoms.ellipses import Ellipses

__all__ = ["cartesian_positions", "measured_spectrum"]

NEAR_ZERO = 1e-4  # of q, below which the series is exact
TERMS = 2**21  # positions times shifts worked on at once


def measured_spectrum(
    body: Ellipses, omega: Tensor, shape: tuple[int, int], pixel_size: float, coils: TrigonometricMaps | None
) -> Tensor:
    """Return what `Ellipses.kspace` does."""
    if omega.shape[-1:] != (2,):
        raise ValueError(f"Ellipses.kspace: positions are (omega_y, omega_x), (..., 2), got {tuple(omega.shape)}")
    points = omega.to(torch.float64).reshape(-1, 2)
    if coils is None:
        return _spectrum(body, points, shape, pixel_size).reshape(omega.shape[:-1])
    shifts, terms = coils.shifts(shape), coils.coefficients.flatten(1)
    parts = []
    for some in torch.split(points, max(1, TERMS // len(shifts))):
        shifted = some[:, None] - shifts  # (points, terms, 2)
        parts.append(_spectrum(body, shifted.reshape(-1, 2), shape, pixel_size).reshape(len(some), -1) @ terms.mT)
    return torch.cat(parts).mT.reshape(len(coils), *omega.shape[:-1])


def cartesian_positions(shape: Sequence[int]) -> Tensor:
    """Return where `CartesianMRI` samples, `(*shape, d)`, radians per pixel."""
    axes = [2 * math.pi * (torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def _spectrum(body: Ellipses, omega: Tensor, shape: tuple[int, int], pixel_size: float) -> Tensor:
    """Return the sum over the ellipses at positions (n, 2), relative to pixel floor(N / 2)."""
    k_y, k_x = -omega[:, 0] / (2 * math.pi), omega[:, 1] / (2 * math.pi)  # cycles per pixel, y up
    height, width = shape
    right, up = (width - 1) / 2 - width // 2, height // 2 - (height - 1) / 2  # the image's middle from that pixel
    total = torch.zeros(len(omega), dtype=torch.complex128)
    table = torch.cat([body.values[:, None], body.centres, body.semi_axes, body.tilt[:, None]], dim=1)
    for value, x, y, a, b, tilt in table.tolist():
        a, b, x, y = a / pixel_size, b / pixel_size, x / pixel_size + right, y / pixel_size + up
        cos, sin = math.cos(tilt), math.sin(tilt)
        q = torch.hypot(a * (k_x * cos + k_y * sin), b * (k_y * cos - k_x * sin))
        small = q < NEAR_ZERO
        safe = torch.where(small, 1.0, q)
        size = torch.where(
            small, math.pi * (1 - 0.5 * (math.pi * q).square()), torch.special.bessel_j1(2 * math.pi * safe) / safe
        )
        total += torch.polar(torch.ones_like(q), -2 * math.pi * (k_x * x + k_y * y)) * (value * a * b * size)
    return total / math.sqrt(height * width)
