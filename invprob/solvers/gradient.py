"""Gradient descent for smooth problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Functional, Scalar, require
from invprob.linalg import per_item
from invprob.solvers.base import Assumption, Solver, State, never, start_image
from invprob.solvers.proximal_gradient import legal_step, step_assumption


@dataclass(frozen=True, eq=False)
class GradientState(State):
    """`step_size` is `(*batch,)`."""

    step_size: Tensor


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Solver[GradientState]):
    """x <- x - tau (grad f(x) + grad g(x)) (Landweber 1951 for f = L2); tau = 1 / (L_f + L_g) unless given.

    Both parts need a gradient; a step that must diverge is refused. The residual is |tau grad| / |x|.
    """

    step_size: float | None = None

    def init(self, f: Functional, g: Functional, x0: Tensor) -> GradientState:
        """Return the state at x0."""
        x0 = start_image(self, f, g, x0)
        require(f, "grad", self)
        require(g, "grad", self)
        tau = legal_step(self, self.step_size, _lipschitz(f, g), f, 2.0)
        like = never(x0, f.ndim)
        return GradientState(x0, 0, like, tau.to(like).expand(like.shape))

    def step(self, f: Functional, g: Functional, state: GradientState) -> GradientState:
        """Return the next state."""
        move = per_item(state.step_size, state.x, f.ndim) * (f.grad(state.x) + g.grad(state.x))
        x = state.x - move
        residual = linalg.ratio(linalg.norm(move, f.ndim), linalg.norm(x, f.ndim))
        return GradientState(x, state.iteration + 1, residual, state.step_size)

    def assumptions(self, f: Functional, g: Functional, state: GradientState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence (Nesterov 2004, theorem 2.1.14)."""
        return (*super().assumptions(f, g, state), step_assumption(state.step_size, _lipschitz(f, g), f))


def _lipschitz(f: Functional, g: Functional) -> Scalar | None:
    of_f, of_g = f.lipschitz(), g.lipschitz()
    if of_f is None or of_g is None:
        return None
    constant = torch.as_tensor(of_f, dtype=torch.float64)
    return constant + torch.as_tensor(of_g, dtype=torch.float64, device=constant.device)
