"""Going on from where another run ended: with another strength, on a finer grid."""

from __future__ import annotations

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
        slopes: of ADMM one per split term, rho_i u_i over the strength: subgradients of the terms of a prior of
            strength 1, which the next strength multiplies. None (the default) of other solvers and of a first image.
    """

    x: Tensor
    slopes: tuple[Tensor, ...] = ()

    def first(self) -> Reached:
        """Return that of the first of a batch alone."""
        return Reached(self.x[0], tuple(slope[0] for slope in self.slopes))

    def keep(self, before: Reached | None, which: Tensor) -> Reached:
        """Return this, but for the items `which`, `(*batch,)`, where it ended before."""
        if before is None or not bool(which.any()):
            return self
        pairs = zip(before.slopes, self.slopes, strict=True)
        return Reached(_chosen(which, before.x, self.x), tuple(_chosen(which, old, new) for old, new in pairs))


def reached(state: State, strength: Tensor) -> Reached:
    """Return where a run with a strength per item ended."""
    if not isinstance(state, ADMMState):
        return Reached(state.x)
    one = torch.where(strength > 0, strength, 1.0)
    return Reached(state.x, tuple(_times(rho / one.to(rho), u) for rho, u in zip(state.rho, state.u, strict=True)))


def continued(problem: Problem, solver: Solver[Any], f: Misfit, g: Functional, at: Reached, strength: Tensor) -> State:
    """Return the start at where another run ended: its image, interpolated on a finer grid, with its multipliers.

    The multipliers of data that are no least squares are those that the image asks for; so are all where `at` is an
    image alone, which no run has led to.
    """
    start = started(problem, solver, f, g, prolong(at.x, f.A.domain_shape, smooth=True))
    if not at.slopes or not isinstance(solver, ADMM) or not isinstance(start, ADMMState):
        return start
    of_prior = len(start.u) - (f.normal_term() is None)
    one = torch.where(strength > 0, strength, 1.0)
    u = tuple(
        _times(one.to(rho) / rho, prolong(slope, tuple(t.shape[-f.ndim :]), smooth=False))
        for slope, t, rho in zip(at.slopes[:of_prior], start.u, start.rho, strict=False)
    )
    return solver.with_duals(f, g, start, (*u, *start.u[len(u) :]))


def _times(factor: Tensor, t: Tensor) -> Tensor:
    return t * per_item(factor, t, t.ndim - factor.ndim)


def _chosen(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(which.reshape(which.shape + (1,) * (b.ndim - which.ndim)), a, b)
