"""Gradient descent for smooth problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Functional, require
from invprob.solvers.base import Assumption, Solver, State, convexity, item_ndim, never, refuse_unmatched, true_adjoint
from invprob.solvers.proximal_gradient import legal_step, step_assumption


@dataclass(frozen=True)
class GradientState(State):
    """`step_size` is a 0-d tensor."""

    step_size: Tensor


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Solver[GradientState]):
    """x <- x - tau (grad f(x) + grad g(x)) (Landweber 1951 for f = L2); tau = 1 / (L_f + L_g) unless given.

    Both parts need a gradient; a step that must diverge is refused. The residual is |tau grad| / |x|.
    """

    step_size: float | None = None

    def init(self, f: Functional, g: Functional, x0: Tensor) -> GradientState:
        """Return the state at x0."""
        ndim = item_ndim(f, g, x0)
        refuse_unmatched(f, self)
        require(f, "grad", self)
        require(g, "grad", self)
        tau = legal_step(self, self.step_size, _lipschitz(f, g), f, 2.0).to(x0.device)
        return GradientState(x0, 0, never(x0, ndim), tau)

    def step(self, f: Functional, g: Functional, state: GradientState) -> GradientState:
        """Return the next state."""
        move = state.step_size.to(state.x.real.dtype) * (f.grad(state.x) + g.grad(state.x))
        x = state.x - move
        residual = linalg.ratio(linalg.norm(move, f.ndim), linalg.norm(x, f.ndim))
        return GradientState(x, state.iteration + 1, residual, state.step_size)

    def assumptions(self, f: Functional, g: Functional, state: GradientState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence (Nesterov 2004, theorem 2.1.14)."""
        return (*convexity(f, g), true_adjoint(f), step_assumption(state.step_size, _lipschitz(f, g), f, "1 / L"))


def _lipschitz(f: Functional, g: Functional) -> Tensor | None:
    of_f, of_g = f.lipschitz(), g.lipschitz()
    return None if of_f is None or of_g is None else torch.as_tensor(of_f, dtype=torch.float64) + of_g
