"""A functional times a number: what balances a fidelity against its noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Functional, Scalar


class Multiple(Functional):
    """c g(x); it can what g can.

    Arguments:
        functional: g.
        factor: c > 0, a number or one per item, `(*batch,)`.
    """

    def __init__(self, functional: Functional, factor: Scalar) -> None:
        super().__init__()
        self.functional = functional
        self.factor: Scalar
        if isinstance(factor, Tensor):
            self.register_buffer("factor", factor, persistent=False)
        else:
            self.factor = factor
        self.ndim, self.convex = functional.ndim, functional.convex

    @property
    def supports(self) -> frozenset[str]:
        """What g has."""
        return self.functional.supports

    @property
    def y(self) -> Tensor | None:
        """The data that g holds, if it does."""
        return getattr(self.functional, "y", None)

    def hessian(self) -> linalg.NormalTerm | None:
        """Return c times that of a quadratic g, None for others."""
        known = getattr(self.functional, "hessian", None)
        found = None if known is None else known()
        return None if found is None else replace(found, scale=found.scale * self.factor)

    def value(self, x: Tensor) -> Tensor:
        """Return c g(x) per item."""
        found = self.functional.value(x)
        return found * torch.as_tensor(self.factor).to(found)

    def grad(self, x: Tensor) -> Tensor:
        """Return c grad g(x)."""
        return linalg.per_item(self.factor, x, self.ndim) * self.functional.grad(x)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return the prox of g with step c tau."""
        return self.functional.prox(v, self.factor * tau)

    def lipschitz(self) -> Scalar | None:
        """Return c times that of g."""
        found = self.functional.lipschitz()
        return None if found is None else self.factor * found

    def curvature(self) -> Scalar | None:
        """Return c times that of g."""
        found = self.functional.curvature()
        return None if found is None else self.factor * found
