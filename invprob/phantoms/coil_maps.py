"""Coil maps and phases that are trigonometric polynomials, so that k-space of what they multiply is known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.phantoms.random import as_generator

__all__ = ["TrigonometricMaps", "birdcage", "smooth_phase"]

FINE = 32  # points per axis at which a birdcage's fields are fitted
DISTANCE = 1.5  # of the coils' centres from the middle, in half sides of the field of view
RIDGE = 1e-6  # of the fit, relative to its largest eigenvalue
PERIOD = 2.0  # in sides of the field of view: shifts of spectra are then multiples of half a sample


@dataclass(frozen=True, eq=False)
class TrigonometricMaps:
    """S_c(r) = sum_q a_cq exp(2 pi i q . r / (2 N)), r in pixels from pixel floor(N / 2), |q| <= L per axis.

    The sinusoidal model of Guerquin-Kern et al. (IEEE TMI 31, 2012). The spectrum of f S_c is a sum of shifted
    ones of f, sum_q a_cq F(omega - pi q / N).

    Arguments:
        coefficients: a, `(coils, 2 L + 1, ..., 2 L + 1)`, complex, one axis per axis of the image, q from -L to L.

    ValueError for axes of even or different lengths.
    """

    coefficients: Tensor

    def __post_init__(self) -> None:
        sizes = set(self.coefficients.shape[1:])
        if len(sizes) != 1 or sizes.pop() % 2 == 0:
            raise ValueError(
                "TrigonometricMaps: coefficients have the shape (coils, 2 L + 1, ...), "
                f"got {tuple(self.coefficients.shape)}"
            )
        object.__setattr__(self, "coefficients", self.coefficients.to(torch.complex128))

    def __len__(self) -> int:
        """Return the number of coils."""
        return len(self.coefficients)

    @property
    def order(self) -> int:
        """L."""
        return self.coefficients.shape[-1] // 2

    def sampled(self, shape: Sequence[int]) -> Tensor:
        """Return the maps at the pixels of an image, `(coils, *shape)`, complex128."""
        values = self.coefficients
        for n in shape:
            place = torch.arange(n, dtype=torch.float64) - n // 2
            angle = 2 * math.pi / (PERIOD * n) * torch.outer(place, self._q())
            waves = torch.polar(torch.ones_like(angle), angle)
            values = torch.tensordot(values, waves, dims=([1], [1]))  # the axis of q goes, that of pixels comes last
        return values

    def times(self, other: TrigonometricMaps) -> TrigonometricMaps:
        """Return the products of every coil with the one map of another: a phase of the object, say."""
        if len(other) != 1:
            raise ValueError(f"TrigonometricMaps.times: the other has {len(other)} maps, one is due")
        a, b = self.coefficients, other.coefficients[0]
        d = b.ndim
        size = a.shape[-1] + b.shape[-1] - 1
        axes = tuple(range(-d, 0))
        spectra = torch.fft.fftn(a, s=(size,) * d, dim=axes) * torch.fft.fftn(b, s=(size,) * d, dim=axes)
        return TrigonometricMaps(torch.fft.ifftn(spectra, dim=axes))

    def shifts(self, shape: Sequence[int]) -> Tensor:
        """Return pi q / N for every coefficient, `(terms, d)`, radians per pixel."""
        steps = [2 * math.pi / (PERIOD * n) * self._q() for n in shape]
        return torch.stack(torch.meshgrid(*steps, indexing="ij"), -1).reshape(-1, len(steps))

    def _q(self) -> Tensor:
        return torch.arange(-self.order, self.order + 1, dtype=torch.float64)


def birdcage(coils: int, *, ndim: int = 2, order: int = 2) -> TrigonometricMaps:
    """Return maps like those of coils around the object, with sum |S|^2 = 1 on average over the field of view.

    The field of a coil at r_c is exp(-i arg(r - r_c)) / |r - r_c| in the plane of the last two axes, fitted over the
    whole square of the field of view, as polynomials grow fast outside of where they are fitted.

    Arguments:
        coils: how many.
        ndim: axes of the image, 2 or 3; along the first of three the coils alternate between two rings.
        order: L of the polynomials.

    ValueError for no coil and other axes.
    """
    if coils < 1 or ndim not in (2, 3):
        raise ValueError(f"birdcage: at least one coil around an image of two or three axes, got {coils} and {ndim}")
    count = FINE if ndim == 2 else FINE // 2
    line = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 / count - 1
    points = torch.stack(torch.meshgrid(*[line] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    angle = 2 * math.pi * torch.arange(coils, dtype=torch.float64) / coils
    y, x = points[:, -2, None] + DISTANCE * angle.sin(), points[:, -1, None] - DISTANCE * angle.cos()
    z = torch.zeros_like(x)
    if ndim == 3:
        z = points[:, :1] - 0.7 * (1 - 2 * (torch.arange(coils) % 2).double())
    distance = (x.square() + y.square() + z.square()).sqrt()
    fields = torch.polar(1 / distance, -torch.atan2(-y, x))  # (points, coils)
    q = torch.arange(-order, order + 1, dtype=torch.float64)
    terms = torch.stack(torch.meshgrid(*[q] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    phase = math.pi / PERIOD * points @ terms.mT  # r = N / 2 at 1
    basis = torch.polar(torch.ones_like(phase), phase)
    gram = basis.mH @ basis
    ridge = RIDGE * torch.linalg.eigvalsh(gram)[-1] * torch.eye(len(terms), dtype=gram.dtype)
    a = torch.linalg.solve(gram + ridge, basis.mH @ fields)
    power = (basis @ a).abs().square().sum(-1).mean()
    return TrigonometricMaps((a / power.sqrt()).mT.reshape(coils, *(2 * order + 1,) * ndim))


def smooth_phase(generator: int | torch.Generator, *, ndim: int = 2, strength: float = 0.3) -> TrigonometricMaps:
    """Return one map, 1 + a few waves of random amplitude and phase, over its largest modulus; it makes things complex.

    Arguments:
        generator: a generator, or a seed.
        ndim: axes of the image.
        strength: of all waves together, relative to the constant; below 1 the map has no zero.
    """
    waves = torch.randn((3,) * ndim, dtype=torch.complex128, generator=as_generator(generator))
    middle = (1,) * ndim
    waves[middle] = 0
    waves = strength * waves / waves.abs().sum()
    waves[middle] = 1
    return TrigonometricMaps(waves[None] / (1 + strength))
