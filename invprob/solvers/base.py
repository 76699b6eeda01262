"""What a solver is: frozen settings, an `init` and a pure `step` from state to state."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from invprob.fidelities import Fidelity
from invprob.functional import Functional, Term


@dataclass(frozen=True)
class State:
    """Where a solver stands: the image, the iteration number, the relative fixed-point residual per item.

    A subclass adds tensors, and tuples of tensors, whose leading axes are the batch.
    """

    x: Tensor
    iteration: int
    residual: Tensor  # (*batch,)

    def keep(self, old: Self, finished: Tensor) -> Self:
        """Return this state with the items marked in `finished` (*batch,) as they were in `old`."""

        def choose(new: object, before: object) -> object:
            if isinstance(new, tuple) and isinstance(before, tuple):
                return tuple(choose(n, b) for n, b in zip(new, before, strict=True))
            if isinstance(new, Tensor) and isinstance(before, Tensor) and new is not before:
                return torch.where(finished.reshape(finished.shape + (1,) * (new.ndim - finished.ndim)), before, new)
            return new

        fields = [field.name for field in dataclasses.fields(self)]
        return dataclasses.replace(self, **{name: choose(getattr(self, name), getattr(old, name)) for name in fields})


@dataclass(frozen=True)
class Assumption:
    """One condition of a convergence theorem: whether it holds (None: nobody knows) and why."""

    statement: str
    holds: bool | None
    reason: str


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True)
class Solver(ABC, Generic[S]):
    """Settings of a method for min_x f(x) + g(x); stops at `tol` in the relative fixed-point residual or `max_iter`."""

    max_iter: int = 1000
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if self.max_iter < 1:
            raise ValueError(f"{type(self).__name__}: max_iter must be at least 1, got {self.max_iter}")
        if not 0 <= self.tol < float("inf"):
            raise ValueError(f"{type(self).__name__}: tol must be a number >= 0, got {self.tol}")

    @abstractmethod
    def init(self, f: Functional, g: Functional, x0: Tensor) -> S:
        """Return the state at x0; TypeError naming what f or g lacks."""

    @abstractmethod
    def step(self, f: Functional, g: Functional, state: S) -> S:
        """Return the next state; pure and differentiable, all items at once."""

    def multipliers(self, f: Functional, g: Functional, state: S) -> tuple[tuple[Term, Tensor], ...] | None:
        """Return the terms of g with their dual variables p_i, near the subgradient of g_i at C_i x; None if unknown."""
        del f, g, state
        return None

    def assumptions(self, f: Functional, g: Functional, state: S) -> tuple[Assumption, ...]:
        """Return the conditions under which this method is known to converge, checked."""
        del state
        return convexity(f, g)


def item_ndim(f: Functional, g: Functional, x: Tensor) -> int:
    """Return the number of item axes f and g agree on; ValueError if they do not."""
    if f.ndim != g.ndim:
        raise ValueError(
            f"{type(f).__name__} works on items of {f.ndim} axes, {type(g).__name__} has ndim={g.ndim}: "
            f"give the prior ndim={f.ndim} or lift the operator"
        )
    if x.ndim < f.ndim:
        raise ValueError(f"the start image of shape {tuple(x.shape)} has fewer than {f.ndim} axes")
    return f.ndim


def never(x: Tensor, ndim: int) -> Tensor:
    """Return the residual of a state that has made no step: +inf per item."""
    return torch.full(x.shape[: x.ndim - ndim], float("inf"), dtype=torch.float64, device=x.device)


def terms_of(g: Functional, x: Tensor, ndim: int) -> tuple[Term, ...]:
    """Return the terms of g for images like x."""
    return g.terms(x.shape[x.ndim - ndim :], x.real.dtype, x.device)


def apply(term: Term, x: Tensor) -> Tensor:
    """Return C x."""
    return x if term.operator is None else term.operator(x)


def pull(term: Term, p: Tensor) -> Tensor:
    """Return C^H p."""
    return p if term.operator is None else term.operator.adjoint(p)


def convexity(f: Functional, g: Functional) -> tuple[Assumption, ...]:
    """Return the assumption every convex theorem makes."""
    return tuple(
        Assumption(
            f"{name} is convex",
            part.convex or None,
            f"{type(part).__name__} " + ("is convex" if part.convex else "is not known to be"),
        )
        for name, part in (("f", f), ("g", g))
    )


def true_adjoint(f: Functional) -> Assumption:
    """Return the assumption that the adjoint is one."""
    matched = not isinstance(f, Fidelity) or f.A.matched
    return Assumption("A^H is the adjoint of A", matched, "exact" if matched else "the back end's pair is unmatched")


def refuse_unmatched(f: Functional, solver: object) -> None:
    """Raise ValueError for an operator whose adjoint only approximates A^H."""
    if isinstance(f, Fidelity) and not f.A.matched:
        raise ValueError(f"{type(solver).__name__} needs a true adjoint; {f.A!r} has an unmatched one")


