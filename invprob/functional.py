"""What has a value, a gradient or a prox: the base of every fidelity and every prior."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator
from invprob.linop.doors import open_doors
from invprob.linop.module import Module

Scalar = float | Tensor
ABILITIES = ("value", "grad", "prox")


class Term(NamedTuple):
    """One g_i(C_i x) of a sum; operator None stands for the identity."""

    functional: Functional
    operator: LinearOperator | None

    def apply(self, x: Tensor) -> Tensor:
        """Return C x."""
        return x if self.operator is None else self.operator(x)

    def pull(self, p: Tensor) -> Tensor:
        """Return C^H p."""
        return p if self.operator is None else self.operator.adjoint(p)

    def norm_bound(self) -> Tensor:
        """Return a bound of |C|, in float64."""
        one = torch.ones((), dtype=torch.float64)
        return one if self.operator is None else self.operator.norm_bound().double()

    def normal_term(self) -> linalg.NormalTerm | None:
        """Return the Hessian of g_i(C_i x) as `Functional.normal_term` does."""
        inner = self.functional.normal_term()
        if inner is None or self.operator is None:
            return inner
        return replace(inner, operator=self.operator if inner.operator is None else inner.operator @ self.operator)


class Functional(Module, ABC):
    """g(x) for x of shape `(*batch, *item)`, `ndim` item axes; numbers come per item, of shape `(*batch,)`.

    A subclass writes those of `value`, `grad` and `prox` that the mathematics gives; `supports` says which.
    """

    ndim: int
    convex: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        open_doors(cls, ("__init__",))  # of operators some want arrays

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

    def prox_near(self, v: Tensor, tau: Scalar, guess: Tensor) -> Tensor:
        """Return prox(v, tau), to its usual accuracy; where it takes a search, that begins at `guess`, of v's shape."""
        del guess
        return self.prox(v, tau)

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma g*, by Moreau: v - sigma prox_{g / sigma}(v / sigma)."""
        s = linalg.per_item(sigma, v, self.ndim)
        return v - s * self.prox(v / s, 1 / sigma)

    def lipschitz(self) -> Scalar | None:
        """Return a Lipschitz constant of the gradient, a number or `(*batch,)`; None where there is none."""
        return None

    def curvature(self) -> Scalar | None:
        """Return how curved the functional typically is, which scales the default steps of splitting solvers.

        A number or `(*batch,)`, in units of value / |x|^2; the Lipschitz constant unless a subclass knows better.
        """
        return self.lipschitz()

    def normal_term(self) -> linalg.NormalTerm | None:
        """Return the Hessian rho C^H W C if the functional is quadratic, None if it is not."""
        return None

    def terms(self, x: Tensor) -> tuple[Term, ...]:
        """Return the functional as a sum of g_i(C_i x) with easy g_i, for images like x: what splitting needs."""
        del x
        return (Term(self, None),)

    def _lacks(self, ability: str) -> TypeError:
        return TypeError(f"{type(self).__name__} has no {ability}; it has {_listed(self)}")


def require(functional: Functional, ability: str, solver: object) -> None:
    """Raise TypeError, naming what is missing, unless the functional has the ability a solver needs."""
    if ability not in functional.supports:
        raise TypeError(
            f"{type(solver).__name__} needs the {ability} of {type(functional).__name__}, "
            f"which has {_listed(functional)}"
        )


def _listed(functional: Functional) -> str:
    return ", ".join(name for name in ABILITIES if name in functional.supports) or "nothing"


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

    def terms(self, x: Tensor) -> tuple[Term, ...]:
        """Return no term."""
        del x
        return ()
