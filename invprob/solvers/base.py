"""What a solver is: frozen settings, an `init` and a pure `step` from state to state."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional, Scalar, Term

FLAT = 1e-2  # share of |C| |x| below which |C x| counts as that of a flat image; no measurement on record


@dataclass(frozen=True, eq=False)
class State:
    """Where a solver stands.

    A subclass adds tensors, and tuples of tensors, whose leading axes are the batch.

    Arguments:
        x: the image, `(*batch, *item)`.
        iteration: how many steps led here.
        residual: the relative fixed-point residual per item, `(*batch,)`.
    """

    x: Tensor
    iteration: int
    residual: Tensor

    def keep(self, old: Self, finished: Tensor) -> Self:
        """Return this state with the items marked in `finished` (*batch,) as they were in `old`."""
        if not bool(finished.any()):
            return self

        def choose(new: Any, before: Any) -> Any:
            if isinstance(new, tuple):
                return tuple(choose(n, b) for n, b in zip(new, before, strict=True))
            if isinstance(new, Tensor) and new is not before:
                return linalg.choose(finished, before, new, new.ndim - finished.ndim)
            return new

        names = [field.name for field in dataclasses.fields(self)]
        changes: dict[str, Any] = {name: choose(getattr(self, name), getattr(old, name)) for name in names}
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Assumption:
    """One condition of a convergence theorem.

    Arguments:
        statement: the condition, a formula or words.
        holds: whether it holds; None where that is not verified.
        reason: why, in words.
    """

    statement: str
    holds: bool | None
    reason: str


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True)
class Solver(ABC, Generic[S]):
    """Settings of a method for min_x f(x) + g(x).

    Arguments:
        max_iter: the most iterations.
        tol: an item has converged when its relative fixed-point residual falls to it; each method says what that is.

    ValueError for settings out of range.
    """

    max_iter: int = 1000
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if self.max_iter < 1:
            raise ValueError(f"{type(self).__name__}: max_iter must be at least 1, got {self.max_iter}")
        if not 0 <= self.tol < float("inf"):
            raise ValueError(f"{type(self).__name__}: tol must be a number >= 0, got {self.tol}")

    @abstractmethod
    def init(self, f: Functional, g: Functional, x0: Tensor) -> S:
        """Return the state at x0; TypeError naming what f or g lacks, ValueError for what does not fit."""

    @abstractmethod
    def step(self, f: Functional, g: Functional, state: S) -> S:
        """Return the next state; pure and differentiable, all items at once."""

    def prepared(self, f: Functional, g: Functional, state: S) -> Callable[[S], S]:
        """Return the step for f and g, with what is the same in all steps worked out once for states like this one.

        As `step` but for the cost, as long as f and g do not change. A solver that overrides it lets `step` call it.
        """
        del state
        return partial(self.step, f, g)

    def multipliers(self, f: Functional, g: Functional, state: S) -> tuple[tuple[Term, Tensor], ...] | None:
        """Return the terms of g with dual variables p_i, near the subgradient of g_i at C_i x; None if unknown.

        By default what stationarity asks of a prior that is a single term: p = -grad f(x).
        """
        terms = g.terms(state.x)
        if len(terms) > 1 or any(term.operator is not None for term in terms):
            return None
        return tuple((term, -f.grad(state.x)) for term in terms)

    def prox_steps(self, f: Functional, g: Functional, state: S) -> tuple[tuple[Functional, Scalar], ...]:
        """Return the functionals whose prox is taken, with the step: what a denoiser's noise level follows from."""
        del f, g, state
        return ()

    def assumptions(self, f: Functional, g: Functional, state: S) -> tuple[Assumption, ...]:
        """Return the conditions under which this method is known to converge, checked."""
        del state
        matched = not isinstance(f, Misfit) or f.A.matched
        reason = "exact" if matched else "the back end's pair is unmatched"
        return (
            *(_convexity(name, part) for name, part in (("f", f), ("g", g))),
            Assumption("A^H is the adjoint of A", matched, reason),
        )


def start_image(solver: Solver[Any], f: Functional, g: Functional, x0: Tensor) -> Tensor:
    """Return x0 in the precision, kind and batch of the problem; ValueError if f, g, x0 or A's adjoint will not do."""
    if f.ndim != g.ndim:
        raise ValueError(
            f"{type(f).__name__} works on items of {f.ndim} axes, {type(g).__name__} has ndim={g.ndim}: "
            f"give the prior ndim={f.ndim} or lift the operator"
        )
    if x0.ndim < f.ndim:
        raise ValueError(f"the start image of shape {tuple(x0.shape)} has fewer than {f.ndim} axes")
    if isinstance(f, Misfit) and not f.A.matched:
        raise ValueError(f"{type(solver).__name__} needs a true adjoint; {f.A!r} has an unmatched one")
    return f.admit(x0) if isinstance(f, Misfit) else x0


def size_of(term: Term, Cx: Tensor, length: Tensor) -> Tensor:
    """Return |C x| per item, what a residual of a split variable is relative to; `length` is |x|.

    A hundredth of |C| |x| where that is more: for a flat image C x = 0, and nothing is small beside that.
    """
    most = FLAT * term.norm_bound().to(length.device) * length
    return torch.maximum(linalg.norm(Cx, term.functional.ndim), most)


def least_force(term: Term, length: Tensor) -> Tensor:
    """Return a hundredth of |C| |p| per item, the least that a residual of stationarity is relative to, from |p|.

    Without a quadratic part the forces C_i^H p_i cancel at the solution, a single one is zero there.
    """
    return FLAT * term.norm_bound().to(length.device) * length


def never(x: Tensor, ndim: int) -> Tensor:
    """Return the residual of a state that has made no step: +inf per item."""
    return torch.full(x.shape[: x.ndim - ndim], float("inf"), dtype=torch.float64, device=x.device)


def _convexity(name: str, part: Functional) -> Assumption:
    how = "is convex" if part.convex else "is not known to be"
    return Assumption(f"{name} is convex", part.convex or None, f"{type(part).__name__} {how}")
