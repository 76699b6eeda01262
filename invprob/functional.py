"""What has a value, a gradient or a prox: the base of every fidelity and every prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invprob import linalg
from invprob.linop import LinearOperator

Scalar = float | Tensor
ABILITIES = ("value", "grad", "prox")


class Term(NamedTuple):
    """One g_i(C_i x) of a sum; operator None stands for the identity."""

    functional: Functional
    operator: LinearOperator | None


class Functional(nn.Module):
    """g(x) for x of shape `(*batch, *item)`, `ndim` item axes; numbers come per item, of shape `(*batch,)`.

    A subclass writes those of `value`, `grad` and `prox` that the mathematics gives; `supports` says which.
    """

    ndim: int
    convex: bool = True

    @property
    def supports(self) -> frozenset[str]:
        """Which of value, grad and prox this functional has; solvers check it before they start."""
        return frozenset(name for name in ABILITIES if getattr(type(self), name) is not getattr(Functional, name))

    def value(self, x: Tensor) -> Tensor:
        """Return g(x) per item, +inf where x is outside the domain."""
        raise self._lacks("value")

    def grad(self, x: Tensor) -> Tensor:
        """Return the gradient of g at x; for complex x with respect to Re <., .>."""
        raise self._lacks("grad")

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return argmin_x tau g(x) + 1/2 |x - v|^2; tau a number or `(*batch,)` (Moreau 1965)."""
        raise self._lacks("prox")

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma g*, by Moreau: v - sigma prox_{g / sigma}(v / sigma)."""
        s = linalg.per_item(sigma, v, self.ndim)
        return v - s * self.prox(v / s, 1 / torch.as_tensor(sigma))

    def lipschitz(self) -> Scalar | None:
        """Return a Lipschitz constant of the gradient, None where there is none."""
        return None

    def normal_term(self) -> linalg.Term | None:
        """Return (C, W, rho) if the functional is quadratic with Hessian rho C^H W C, None if it is not."""
        return None

    def terms(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> tuple[Term, ...]:
        """Return the functional as a sum of g_i(C_i x) with easy g_i, for items of `shape`: what splitting needs."""
        del shape, dtype, device
        return (Term(self, None),)

    def _lacks(self, ability: str) -> TypeError:
        has = ", ".join(name for name in ABILITIES if name in self.supports) or "nothing"
        return TypeError(f"{type(self).__name__} has no {ability}; it has {has}")


def require(functional: Functional, ability: str, solver: object) -> None:
    """Raise TypeError, naming what is missing, unless the functional has the ability a solver needs."""
    if ability not in functional.supports:
        has = ", ".join(name for name in ABILITIES if name in functional.supports) or "nothing"
        raise TypeError(
            f"{type(solver).__name__} needs the {ability} of {type(functional).__name__}, which has {has}"
        )


class Zero(Functional):
    """g(x) = 0: no prior."""

    def __init__(self, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = ndim

    def value(self, x: Tensor) -> Tensor:
        """Return 0 per item."""
        return x.real.new_zeros(x.shape[: x.ndim - self.ndim])

    def grad(self, x: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(x)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return v."""
        del tau
        return v

    def lipschitz(self) -> Scalar:
        """Return 0."""
        return 0.0

    def terms(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> tuple[Term, ...]:
        """Return no term."""
        del shape, dtype, device
        return ()
