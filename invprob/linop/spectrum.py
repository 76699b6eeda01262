"""The eigenvectors of A A^H: with few readings, what solves all systems of one operator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from invprob.linop.linear import LinearOperator

MOST_ROWS = 3200  # readings up to which A A^H is factored for one system that needs hundreds of iterations without
PER_SYSTEM = 130  # readings for each of many systems: the factors of 6240 cost a thousand iterations, and a system of
# C-SALSA takes 14, so that they are paid back by the second image at the latest
FITTING = 2**13  # readings whose factors, with what computes them, take 2 GB
AT_ONCE = 2**24  # numbers of images that rows are made of at a time


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A A^H = V diag(values) V^H on flattened data, for values (M,) >= 0 in float64 and unitary vectors V (M, M)."""

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Spectrum:
        """Return the spectrum of a Hermitian matrix A A^H, (M, M)."""
        values, vectors = torch.linalg.eigh(matrix)
        return cls(values.double().clamp(min=0), vectors)

    @classmethod
    def of_rows(cls, A: LinearOperator, weights: Tensor | None = None) -> Spectrum:
        """Return the spectrum of W^1/2 A A^H W^1/2, computed in double precision from all its rows."""
        shape, size = A.range_shape, math.prod(A.range_shape)
        root = torch.ones((), dtype=A.dtype, device=A.device) if weights is None else weights.sqrt()
        unit = root * torch.eye(size, dtype=A.domain_dtype, device=A.device).reshape(size, *shape)
        step = max(1, AT_ONCE // math.prod(A.domain_shape))
        parts = [root * A(A.adjoint(unit[first : first + step])) for first in range(0, size, step)]
        gram = torch.cat(parts).reshape(size, size)
        wide = gram.to(torch.complex128 if gram.is_complex() else torch.float64).mT
        found = cls.of((wide + wide.mH) / 2)
        return cls(found.values, found.vectors.to(gram.dtype))

    def multiplied(self, y: Tensor, factors: Tensor, ndim: int) -> Tensor:
        """Return V diag(factors) V^H y for data y of `ndim` item axes; factors (M,) or (*batch, M)."""
        shape = y.shape[y.ndim - ndim :]
        flat = y.flatten(-ndim)
        rows = flat.reshape(-1, flat.shape[-1])
        seen = (rows.conj().resolve_conj() @ self.vectors).conj().reshape(flat.shape)  # V^H y
        mixed = seen * factors.to(seen.real.dtype)
        back = mixed.reshape(-1, flat.shape[-1]) @ self.vectors.mT
        return back.reshape(*mixed.shape[:-1], *shape)


def worth_factoring(A: LinearOperator, systems: int = 1) -> bool:
    """Return whether A has so few readings, and no more than its images have numbers, that A A^H is worth factoring.

    For one system, or as many as are to be solved.
    """
    most = min(max(MOST_ROWS, PER_SYSTEM * systems), FITTING)
    return math.prod(A.range_shape) <= min(most, math.prod(A.domain_shape))
