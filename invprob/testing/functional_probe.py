"""What the laws of functionals try them on: images of the kinds they take, and functionals of other weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional
from invprob.linop import LinearOperator, Operator
from invprob.linop.module import COMPLEX_OF
from invprob.priors.base import Prior
from invprob.testing.numbers import normal

SIDES = {1: (7,), 2: (4, 5), 3: (2, 3, 4)}  # items it is tried on where nothing says which
Make = Callable[["float | Tensor"], Functional]


class FunctionalProbe:
    """A functional with what it is tried on.

    Arguments:
        g: the functional.
        shape: that of an item; by default that of its operator, else a small one.
        make: gives the same functional with another weight, a number or one per item.
        degree: d where g(c x) = c^d g(x) for c > 0; None (the default) where there is none.
        real, positive: whether it takes real images only, and whether it has a value for positive ones only; by default
            found out by trying.
        convex: whether it is; by default what it says itself.
        constraint: whether it is one, and so has no weight.
        tol: how far its prox may stay above the least value, relative.
        dtype: the precision of the images; by default that of its operators and networks, float64 without any.
        seed: of the random images.
        pickles: whether a pickled copy must work, too.
    """

    def __init__(
        self,
        g: Functional,
        *,
        shape: Sequence[int] | None = None,
        make: Make | None = None,
        degree: float | None = None,
        real: bool | None = None,
        positive: bool | None = None,
        convex: bool | None = None,
        constraint: bool = False,
        tol: float | None = None,
        dtype: torch.dtype | None = None,
        seed: int = 0,
        pickles: bool = False,
    ) -> None:
        self.g, self.degree, self.constraint, self.seed, self.pickles = g, degree, constraint, seed, pickles
        self.convex = g.convex if convex is None else convex
        self.dtype = precision_of(g) if dtype is None else dtype
        self.single = self.dtype == torch.float32
        self.rounding = 1e-5 if self.single else 1e-12
        if tol is None:
            tol = 1e-6 if isinstance(g, QuadraticFidelity) else 1e-9  # of the linear systems it solves
        self.tol = max(tol, 1e-5) if self.single else tol
        self.shape = tuple(shape) if shape is not None else shape_of(g)
        self.own_batch = g.start().shape[: -g.ndim] if isinstance(g, Fidelity) else torch.Size()
        self._make = make
        self._real, self._positive = real, positive

    @property
    def make(self) -> Make | None:
        """How to get the functional with another weight; None where that is not known."""
        if self._make is None and isinstance(self.g, Prior) and "lam" in self.g._buffers:
            return self._reweighted
        return self._make

    def _reweighted(self, lam: float | Tensor) -> Functional:
        twin = copy.deepcopy(self.g)
        twin.register_buffer("lam", torch.as_tensor(lam, dtype=torch.float64), persistent=False)
        return twin

    @cached_property
    def real(self) -> bool:
        """Whether it refuses complex images."""
        if self._real is not None:
            return self._real
        try:
            self.call(next(iter(sorted(self.g.supports)), "value"), self.draw(COMPLEX_OF[self.dtype], ()))
        except TypeError:
            return True
        return False

    @cached_property
    def advice(self) -> str:
        """What else to say of an exception: that complex images raise one, where real ones do not."""
        if self._real is not None or self._error(self.dtype) is not None:
            return ""
        if isinstance(self._error(COMPLEX_OF[self.dtype]), TypeError | None):
            return ""
        return "; of complex images alone: where it takes real ones only, say real=True, or let it raise TypeError"

    def _error(self, dtype: torch.dtype) -> Exception | None:
        """Return what one call with images of a kind raises, if anything."""
        try:
            self.call(next(iter(sorted(self.g.supports)), "value"), self.draw(dtype, ()))
        except Exception as error:  # whatever it is
            return error
        return None

    @cached_property
    def positive(self) -> bool:
        """Whether it has a value for positive images only."""
        if self._positive is not None or "value" not in self.g.supports or self.constraint:
            return bool(self._positive)
        x = self.draw(self.dtype, ())
        with torch.no_grad():
            return not bool(self.g.value(x).isfinite().all()) and bool(self.g.value(x.abs()).isfinite().all())

    def call(self, ability: str, x: Tensor) -> Tensor:
        """Return the value, the gradient or the prox at x."""
        return asked(self.g, ability, x, 0.7)

    def draw(self, dtype: torch.dtype, batch: Sequence[int], seed: int = 0) -> Tensor:
        """Return a random image."""
        x = normal((*batch, *self.own_batch, *self.shape), dtype, self.seed + seed)
        return x.to(next(iter(self.g.buffers()), x).device)

    def images(self, batch: Sequence[int] = (), seed: int = 0, *, inside: bool = False) -> Iterator[Tensor]:
        """Return real and, where it takes them, complex images; `inside` where it has a value."""
        for dtype in [self.dtype] if self.real else [self.dtype, COMPLEX_OF[self.dtype]]:
            x = self.draw(dtype, batch, seed)
            yield x.abs() + 0.1 if inside and self.positive else x

    def pairs(self, batch: Sequence[int] = (), *, inside: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Return two images of every kind."""
        return zip(self.images(batch, inside=inside), self.images(batch, 7, inside=inside), strict=True)

    @property
    def ndim(self) -> int:
        """Item axes."""
        return len(self.shape)


def asked(g: Functional, ability: str, x: Tensor, tau: float | Tensor) -> Tensor:
    """Return the value, the gradient or the prox of step tau at x."""
    found: Tensor = g.prox(x, tau) if ability == "prox" else getattr(g, ability)(x)
    return found


def precision_of(g: Functional) -> torch.dtype:
    """Return the precision a functional computes in: that of its operators or networks, float64 where it has none."""
    operators = (part.dtype for part in g.modules() if isinstance(part, Operator))
    weights = (weight.dtype for weight in g.parameters())
    return next(operators, next(weights, torch.float64))


def shape_of(g: Functional) -> tuple[int, ...]:
    """Return the item shape that a functional's own operator asks for, else a small one; ValueError beyond 3 axes."""
    if isinstance(A := getattr(g, "A", None), Operator):
        return A.domain_shape
    for part in g.modules():
        if isinstance(part, LinearOperator) and len(part.domain_shape) == g.ndim:
            return part.domain_shape
    if g.ndim not in SIDES:
        raise ValueError(f"{type(g).__name__} has items of {g.ndim} axes: say which with shape=...")
    return SIDES[g.ndim]
