"""Noise models for simulated measurements."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.linop.doors import takes_arrays
from invprob.phantoms.random import as_generator

__all__ = ["add_gaussian_noise", "poisson_transmission"]


@takes_arrays
def add_gaussian_noise(
    y: Tensor, level: float, generator: int | torch.Generator, *, ndim: int = 2, measured: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return y + sigma n and sigma, where sigma = level * max |y| per item: `level=0.05` is "5 % noise".

    `y` holds the clean data, `(*batch, *item)` with `ndim` item axes; the noisy data have its dtype (integers become
    float32). `sigma`, shape `(*batch,)` and real, is the standard deviation in the units of y. n is standard normal;
    for complex y it is circular with E|n|^2 = 1, so that each of the two parts has the standard deviation sigma /
    sqrt(2). `measured`, an operator's, a boolean that broadcasts against y, says which entries are readings: others
    have no part in the maximum and stay as they are. Raises `ValueError` for a negative or non-finite level and for an
    `ndim` that does not fit.
    """
    if not (math.isfinite(level) and level >= 0):
        raise ValueError(
            f"add_gaussian_noise: level must be a finite number >= 0, got {level}; "
            "it is a fraction of the largest |y|, 0.05 for 5 % noise"
        )
    if not 1 <= ndim <= y.ndim:
        raise ValueError(
            f"add_gaussian_noise: ndim={ndim} item axes do not fit data of shape {tuple(y.shape)}; "
            f"choose ndim between 1 and {y.ndim}"
        )
    y = _inexact(y)
    seen = None if measured is None else measured.to(y.device)
    sizes = y.abs() if seen is None else torch.where(seen, y.abs(), 0.0)
    sigma = level * sizes.amax(dim=tuple(range(-ndim, 0)))
    noisy = y + sigma.reshape(*sigma.shape, *[1] * ndim) * _normal_like(y, as_generator(generator))
    return (noisy if seen is None else torch.where(seen, noisy, y)), sigma


@takes_arrays
def poisson_transmission(line_integrals: Tensor, photons: float, generator: int | torch.Generator) -> Tensor:
    """Return line integrals as counting photons shows them: -log(max(N, 1/2) / photons).

    N ~ Poisson(photons * exp(-y)) is the count of a detector bin that `photons` quanta would reach without
    the object; y is dimensionless, of any shape, and its dtype is kept (integers become float32). A bin
    that no photon reaches is read as half a count, which bounds the result by log(2 photons). Counts
    are drawn in float64, exact up to 2^53. Raises `TypeError` for complex y, `ValueError` for a photon
    number that is not positive and finite and for y that is not finite.
    """
    if not (math.isfinite(photons) and photons > 0):
        raise ValueError(
            f"poisson_transmission: photons must be a finite number > 0, got {photons}; "
            "it is the mean count per bin without the object, such as 1e5"
        )
    if line_integrals.is_complex():
        raise TypeError("poisson_transmission: line integrals are real, got complex data; pass the real part")
    y = _inexact(line_integrals)
    if not bool(y.isfinite().all()):
        raise ValueError("poisson_transmission: y has non-finite entries; mask or replace dead bins before")
    generator = as_generator(generator)
    rate = (photons * torch.exp(-y.to(torch.float64))).to(generator.device)
    counts = torch.poisson(rate, generator=generator)
    return -torch.log(counts.clamp(min=0.5) / photons).to(y)


def _inexact(y: Tensor) -> Tensor:
    return y if y.is_floating_point() or y.is_complex() else y.to(torch.float32)


def _normal_like(y: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of y's shape and dtype, drawn where the generator lives."""
    return torch.randn(y.shape, dtype=y.dtype, generator=generator, device=generator.device).to(y.device)
