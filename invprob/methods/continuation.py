"""Going on from where another run ended: with another strength, on a finer grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.linalg import per_item
from invprob.methods.scales import started
from invprob.problem import Problem, prolong
from invprob.solvers import ADMM, Solver, State
from invprob.solvers.admm import ADMMState


@dataclass(frozen=True, eq=False)
class Reached:
    """Where a run ended.

    Arguments:
        x: the image.
        u: ADMM's scaled multipliers, one per split term, those of its last state, since large ones are not copied; none
            (the default) of other solvers and of a first image.
        scale: rho_i over the strength per item and term: scale_i u_i are subgradients of the terms of a prior of
            strength 1, which the next strength multiplies.
    """

    x: Tensor
    u: tuple[Tensor, ...] = ()
    scale: tuple[Tensor, ...] = ()

    def item(self, index: int) -> Reached:
        """Return that of one of a batch alone."""
        return Reached(self.x[index], tuple(u[index] for u in self.u), tuple(c[index] for c in self.scale))

    def beside(self, other: Reached) -> Reached:
        """Return both as a batch of two."""
        return self._with(other, lambda a, b: torch.stack([a, b]))

    def keep(self, before: Reached | None, which: Tensor) -> Reached:
        """Return this, but for the items `which`, `(*batch,)`, where it ended before."""
        if before is None or not bool(which.any()):
            return self
        return self._with(before, lambda new, old: _chosen(which, old, new))

    def _with(self, other: Reached, join: Callable[[Tensor, Tensor], Tensor]) -> Reached:
        u, scale = zip(self.u, other.u, strict=True), zip(self.scale, other.scale, strict=True)
        return Reached(join(self.x, other.x), tuple(join(*pair) for pair in u), tuple(join(*pair) for pair in scale))


def reached(state: State, strength: Tensor) -> Reached:
    """Return where a run with a strength per item ended."""
    if not isinstance(state, ADMMState):
        return Reached(state.x)
    return Reached(state.x, state.u, tuple(rho / _nonzero(strength).to(rho) for rho in state.rho))


def continued(problem: Problem, solver: Solver[Any], f: Misfit, g: Functional, at: Reached, strength: Tensor) -> State:
    """Return the start at where another run ended: its image, interpolated on a finer grid, with its multipliers.

    The multipliers of data that are no least squares are those that the image asks for; so are all where `at` is an
    image alone, which no run has led to.
    """
    start = started(problem, solver, f, g, prolong(at.x, f.A.domain_shape, smooth=True))
    if not at.u or not isinstance(solver, ADMM) or not isinstance(start, ADMMState):
        return start
    of_prior = len(start.u) - (f.normal_term() is None)
    one = _nonzero(strength)
    u = tuple(
        _times(scale * one.to(rho) / rho, prolong(u, tuple(t.shape[-f.ndim :]), smooth=False))
        for scale, u, t, rho in zip(at.scale, at.u[:of_prior], start.u, start.rho, strict=False)
    )
    return solver.with_duals(f, g, start, (*u, *start.u[len(u) :]))


def _nonzero(strength: Tensor) -> Tensor:
    return torch.where(strength > 0, strength, 1.0)


def _times(factor: Tensor, t: Tensor) -> Tensor:
    return t * per_item(factor, t, t.ndim - factor.ndim)


def _chosen(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(which.reshape(which.shape + (1,) * (b.ndim - which.ndim)), a, b)
