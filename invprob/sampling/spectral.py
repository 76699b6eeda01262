"""Data steps in the basis that makes A^H A diagonal, coefficient by coefficient (Kawar, Elad, Ermon & Song 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.linop.bases import Basis, from_basis, to_basis
from invprob.sampling.data_steps import Corrected, DataStep, Moment
from invprob.sampling.measurement import Measurement

__all__ = ["Spectral", "Spectrum", "spectrum"]

MOST = 2048  # numbers of an image up to which a dense A^H A is taken apart
SMALLEST = 1e-4  # singular values below this share of the largest are none: dividing by them would blow noise up


@dataclass(frozen=True)
class Spectrum:
    """A^H W A = V diag(s^2) V^H: s, per coefficient, and the way there and back.

    Arguments:
        s: the singular values, in the shape of an image's coefficients, 0 for those too small to divide by.
        basis: the name of V, or its columns, `(N, N)`.
        ndim: item axes of an image.
    """

    s: Tensor
    basis: Basis | Tensor
    ndim: int

    def there(self, x: Tensor) -> Tensor:
        """Return V^H x."""
        if not isinstance(self.basis, Tensor):
            return to_basis(x, self.basis, self.ndim)
        flat = x.flatten(-self.ndim)
        return (flat.to(self.basis.dtype) @ self.basis.conj()).reshape(x.shape)

    def back(self, c: Tensor, like: Tensor) -> Tensor:
        """Return V c, of the kind of `like`."""
        if not isinstance(self.basis, Tensor):
            x = from_basis(c, self.basis, self.ndim)
        else:
            x = (c.flatten(-self.ndim) @ self.basis.mT).reshape(c.shape)
        return (x if like.is_complex() else x.real).to(like.dtype)


def spectrum(m: Measurement) -> Spectrum:
    """Return the singular values and vectors of W^1/2 A, in closed form or from a dense matrix.

    ValueError for an operator that is diagonal in no basis and has images of more than 2048 numbers, and for weights
    that differ between items.
    """
    A, shape = m.linear, m.linear.domain_shape
    found = A.gram_diagonal(m.weights)
    if found is not None:
        square, basis = found.values.to(m.y.real), found.basis
        square = square.expand(torch.broadcast_shapes(square.shape, shape))  # type: ignore[no-untyped-call]
        return Spectrum(_singular(square, m.ndim), basis, m.ndim)
    size = math.prod(shape)
    if size > MOST or (m.weights is not None and m.weights.ndim > m.k):
        raise ValueError(
            f"ddrm needs singular vectors, of which {type(A).__name__} knows none for {size} numbers: use flower or dds"
        )
    identity = torch.eye(size, dtype=A.domain_dtype, device=A.device).reshape(size, *shape)
    gram = A.gram(identity, m.weights).reshape(size, size).mT
    square, vectors = torch.linalg.eigh((gram + gram.mH).to(_wide(gram)) / 2)
    return Spectrum(_singular(square.reshape(shape).to(m.y.real), m.ndim), vectors.to(gram.dtype), m.ndim)


@dataclass(frozen=True)
class Spectral(DataStep):
    """Every coefficient moves as far towards its datum as the two noise levels allow.

    With y = V^H A^+ y and noise / s its standard deviation, of the next image at level sigma': where s = 0 that of the
    prior alone; where sigma' < noise / s the estimate, drawn to the datum by the part of sigma' that is not new noise;
    else around the datum, with what is missing of sigma' for noise.

    Arguments:
        eta: the share of new noise where data say little.
        eta_data: how far coefficients move to data that are better than sigma'.
    """

    eta: float = 0.85
    eta_data: float = 1.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the next image."""
        basis = spectrum(m)
        there, s = basis.there, basis.s
        known = s > 0
        safe = torch.where(known, s, 1.0)
        datum = there(m.pull(m.y)) / safe.square()
        level = linalg.per_item(m.noise, at.x.real, m.ndim) / safe
        x0, z, direction = there(at.x0), there(at.draw("transition")), there((at.x - at.x0) / at.sigma)
        kept = (1 - self.eta**2) ** 0.5
        unseen = x0 + at.after * (kept * direction + self.eta * z)
        weak = x0 + kept * at.after * (datum - x0) / level + self.eta * at.after * z
        room = (at.after**2 - (self.eta_data * level).square()).clamp(min=0).sqrt()
        strong = (1 - self.eta_data) * x0 + self.eta_data * datum + room * z
        following = torch.where(known, torch.where(level > at.after, weak, strong), unseen)
        return Corrected(at.x0, following=basis.back(following, at.x))


def _singular(square: Tensor, ndim: int) -> Tensor:
    s = square.clamp(min=0).sqrt()
    largest = s.flatten(-ndim).amax(-1).reshape(*s.shape[:-ndim], *(1,) * ndim)
    return torch.where(s > SMALLEST * largest, s, 0.0)


def _wide(t: Tensor) -> torch.dtype:
    return torch.complex128 if t.is_complex() else torch.float64
