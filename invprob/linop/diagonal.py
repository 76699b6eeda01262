"""Matrices that a known unitary basis makes diagonal: what closed forms and preconditioners are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from invprob.linop.bases import Basis


@dataclass(frozen=True)
class Diagonal:
    """M = B^H diag(values) B for a unitary B; basis `"any"` says that M is a multiple of the identity."""

    values: Tensor
    basis: Basis

    def joined(self, other: Diagonal, combine: Callable[[Tensor, Tensor], Tensor]) -> Diagonal | None:
        """Return what `combine` (a sum, a product) makes of two in one basis, None where the bases differ."""
        if "any" not in (self.basis, other.basis) and self.basis != other.basis:
            return None
        return Diagonal(combine(self.values, other.values), self.basis if other.basis == "any" else other.basis)

    def gram(self, weights: Tensor | None) -> Diagonal | None:
        """Return M^H W M, None where the weights are not diagonal in the basis of M."""
        square = self.values.abs().square()
        if weights is None:
            return Diagonal(square, self.basis)
        return Diagonal(square * weights, "pixel") if self.basis in ("any", "pixel") else None

    def largest(self, ndim: int) -> Tensor:
        """Return the largest value of an item, in float64."""
        values = self.values.double()
        return values.reshape(*values.shape[: max(values.ndim - ndim, 0)], -1).amax(-1)
