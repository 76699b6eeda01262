"""Priors made of priors: a sum, and a prior of the analysis coefficients C x."""

from __future__ import annotations

from itertools import chain

from torch import Tensor, nn

from invprob.functional import Functional, Scalar, Term
from invprob.linop import LinearOperator


class Sum(Functional):
    """g(x) = sum_i g_i(x). Splitting solvers take it apart; it has no prox of its own unless it has one part.

    Arguments:
        parts: the priors g_i, of items with the same number of axes; ValueError else.
    """

    def __init__(self, *parts: Functional) -> None:
        super().__init__()
        sizes = {part.ndim for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"Sum: the parts must agree in ndim, got {sorted(sizes) or 'no parts'}")
        self.parts = nn.ModuleList(parts)
        self.ndim = sizes.pop()
        self.convex = all(part.convex for part in parts)

    def _list(self) -> list[Functional]:
        return [part for part in self.parts if isinstance(part, Functional)]

    @property
    def supports(self) -> frozenset[str]:
        """What all parts have, the prox excepted."""
        common = frozenset.intersection(*(part.supports for part in self._list()))
        return common if len(self._list()) == 1 else common - {"prox"}

    def value(self, x: Tensor) -> Tensor:
        """Return sum g_i(x) per item."""
        first, *rest = (part.value(x) for part in self._list())
        return sum(rest, start=first)

    def grad(self, x: Tensor) -> Tensor:
        """Return sum grad g_i(x)."""
        first, *rest = (part.grad(x) for part in self._list())
        return sum(rest, start=first)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return the prox of the only part."""
        return self._only().prox(v, tau)

    def prox_near(self, v: Tensor, tau: Scalar, guess: Tensor) -> Tensor:
        """Return the prox of the only part, sought from a guess."""
        return self._only().prox_near(v, tau, guess)

    def _only(self) -> Functional:
        """Return the only part; TypeError if there are more, which have no prox together."""
        first, *rest = self._list()
        if rest:
            raise self._lacks("prox")
        return first

    def lipschitz(self) -> Scalar | None:
        """Return the sum of the parts' constants."""
        total: Scalar = 0.0
        for part in self._list():
            constant = part.lipschitz()
            if constant is None:
                return None
            total = total + constant
        return total

    def terms(self, x: Tensor) -> tuple[Term, ...]:
        """Return the terms of all parts."""
        return tuple(chain.from_iterable(part.terms(x) for part in self._list()))


class Analysis(Functional):
    """g(C x) for a prior g of the coefficients; splitting solvers see g and C apart.

    Arguments:
        prior: g, whose `ndim` is the number of axes of what C gives; ValueError else.
        C: the linear operator from images to coefficients, such as `Gradient` or `Wavelet`.
    """

    def __init__(self, prior: Functional, C: LinearOperator) -> None:
        super().__init__()
        if prior.ndim != len(C.range_shape):
            raise ValueError(f"Analysis: {type(prior).__name__} has ndim={prior.ndim}, C gives items {C.range_shape}")
        self.prior = prior
        self.C = C
        self.ndim = len(C.domain_shape)
        self.convex = prior.convex

    @property
    def supports(self) -> frozenset[str]:
        """Value and gradient as far as g has them."""
        return self.prior.supports - {"prox"}

    def value(self, x: Tensor) -> Tensor:
        """Return g(C x) per item."""
        return self.prior.value(self.C(x))

    def grad(self, x: Tensor) -> Tensor:
        """Return C^H grad g(C x)."""
        return self.C.adjoint(self.prior.grad(self.C(x)))

    def lipschitz(self) -> Scalar | None:
        """Return Lip(grad g) |C|^2."""
        constant = self.prior.lipschitz()
        return None if constant is None else constant * self.C.norm_bound() ** 2

    def terms(self, x: Tensor) -> tuple[Term, ...]:
        """Return g and C, or what g is made of."""
        inner = self.prior.terms(self.C.as_data(x.new_empty(self.C.range_shape)))
        return tuple(Term(t.functional, self.C if t.operator is None else t.operator @ self.C) for t in inner)
