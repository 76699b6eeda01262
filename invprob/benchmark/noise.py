"""How data are spoilt: each noise model returns data, the noise level and the weights that a scan is told of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from invprob.phantoms import add_gaussian_noise, poisson_transmission
from invprob.phantoms.random_textures import coloured_noise

__all__ = ["Noise", "Noisy", "coloured", "decibels", "gaussian", "photons"]

Noisy = tuple[Tensor, Tensor, "Tensor | None"]
Noise = Callable[[Tensor, torch.Generator], Noisy]


def gaussian(y: Tensor, generator: torch.Generator, *, level: float) -> Noisy:
    """Add white noise of standard deviation sigma = `level` max |y|; E|n|^2 = sigma^2 where the data are complex."""
    data, sigma = add_gaussian_noise(y, level, generator, ndim=y.ndim)
    return data, sigma, None


def decibels(y: Tensor, generator: torch.Generator, *, ratio: float) -> Noisy:
    """Add white noise whose power is `ratio` dB below the mean power of the data; E|n|^2 = sigma^2 if complex."""
    sigma = y.abs().double().square().mean().sqrt() / 10 ** (ratio / 20)
    noise = torch.randn(y.shape, dtype=y.dtype, generator=generator)
    return y + sigma.to(y.real.dtype) * noise, sigma, None


def coloured(y: Tensor, generator: torch.Generator, *, level: float, slope: float) -> Noisy:
    """Add noise of that standard deviation and the amplitude spectrum |f|^-slope, to real pictures (H, W)."""
    if y.ndim != 2 or y.is_complex():
        raise ValueError(f"coloured noise is for real pictures (H, W), got data of shape {tuple(y.shape)}, {y.dtype}")
    sigma = level * y.abs().amax()
    square = coloured_noise(1, max(y.shape), generator, slope=torch.tensor([slope]))[0]
    return y + sigma * square[: y.shape[0], : y.shape[1]], sigma, None


def photons(y: Tensor, generator: torch.Generator, *, count: float) -> Noisy:
    """Measure line integrals by counting that many photons per ray: a reading of N photons has the variance 1 / N.

    Sauer & Bouman 1993, IEEE Trans. Signal Process. 41, 534.
    """
    data = poisson_transmission(y, count, generator)
    return data, torch.ones(()), count * torch.exp(-data)
