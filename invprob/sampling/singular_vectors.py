"""The basis that makes A^H W A diagonal: the singular values of W^1/2 A, in closed form or from a dense matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.linop.bases import Basis, from_basis, to_basis

MOST = 2048  # numbers of an image up to which a dense A^H A is taken apart
SMALLEST = 1e-4  # singular values below this share of the largest are none: dividing by them would blow noise up


@dataclass(frozen=True)
class SingularVectors:
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


def singular_vectors_of(A: LinearOperator, weights: Tensor | None, like: Tensor) -> SingularVectors:
    """Return the singular values and vectors of W^1/2 A, in closed form or from a dense matrix, as real as `like`.

    ValueError for an operator that is diagonal in no basis and has images of more than 2048 numbers, and for weights
    that differ between items.
    """
    shape, ndim = A.domain_shape, len(A.domain_shape)
    found = A.gram_diagonal(weights)
    if found is not None:
        square, basis = found.values.to(like), found.basis
        square = square.expand(torch.broadcast_shapes(square.shape, shape))  # type: ignore[no-untyped-call]
        return SingularVectors(_singular(square, ndim), basis, ndim)
    size = math.prod(shape)
    if size > MOST or (weights is not None and weights.ndim > len(A.range_shape)):
        raise ValueError(
            f"ddrm needs singular vectors, of which {type(A).__name__} knows none for {size} numbers: use flower or dds"
        )
    identity = torch.eye(size, dtype=A.domain_dtype, device=A.device).reshape(size, *shape)
    gram = A.gram(identity, weights).reshape(size, size).mT
    square, vectors = torch.linalg.eigh((gram + gram.mH).to(_wide(gram)) / 2)
    return SingularVectors(_singular(square.reshape(shape).to(like), ndim), vectors.to(gram.dtype), ndim)


def _singular(square: Tensor, ndim: int) -> Tensor:
    s = square.clamp(min=0).sqrt()
    largest = s.flatten(-ndim).amax(-1).reshape(*s.shape[:-ndim], *(1,) * ndim)
    return torch.where(s > SMALLEST * largest, s, 0.0)


def _wide(t: Tensor) -> torch.dtype:
    return torch.complex128 if t.is_complex() else torch.float64
