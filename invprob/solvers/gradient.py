"""Gradient descent for smooth problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Functional, Scalar, require
from invprob.linalg import per_item
from invprob.linop import LinearOperator
from invprob.solvers.base import Assumption, Solver, State, never, start_image
from invprob.solvers.proximal_gradient import joint_curvature, legal_step, step_assumption


@dataclass(frozen=True, eq=False)
class GradientState(State):
    """Where gradient descent stands.

    Arguments:
        step_size: tau per item, `(*batch,)`.
    """

    step_size: Tensor


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Solver[GradientState]):
    """x <- x - tau M (grad f(x) + grad g(x)) (Landweber 1951 for f = L2, M = I).

    Both parts need a gradient. The residual is |tau M grad| / |x|.

    Arguments:
        step_size: tau; by default 1 / L with L = L_f + L_g. One that must diverge is refused.
        preconditioner: M, a self-adjoint positive operator on images, None for the identity. It puts |A M A^H| for
            |A|^2 in L_f and |M| L_g for L_g: descent along the gradient of another inner product, <u, M^-1 v>, such as
            the Sobolev gradient with M = SobolevMetric(shape, -2 t) (Neuberger 1997). What M sends to zero stays as it
            was at the start.
    """

    step_size: float | None = None
    preconditioner: LinearOperator | None = None

    def init(self, f: Functional, g: Functional, x0: Tensor) -> GradientState:
        """Return the state at x0."""
        x0 = start_image(self, f, g, x0)
        require(f, "grad", self)
        require(g, "grad", self)
        M = self.preconditioner
        item = tuple(x0.shape[x0.ndim - f.ndim :])
        if M is not None and not M.domain_shape == M.range_shape == item:
            raise ValueError(f"GradientDescent: the preconditioner {M!r} does not map images of shape {item} to such")
        tau = legal_step(self, self.step_size, self._lipschitz(f, g), f, 2.0, M)
        like = never(x0, f.ndim)
        return GradientState(x0, 0, like, tau.to(like).expand(like.shape))

    def step(self, f: Functional, g: Functional, state: GradientState) -> GradientState:
        """Return the next state."""
        gradient = f.grad(state.x) + g.grad(state.x)
        if self.preconditioner is not None:
            gradient = self.preconditioner(gradient)
        move = per_item(state.step_size, state.x, f.ndim) * gradient
        x = state.x - move
        residual = linalg.ratio(linalg.norm(move, f.ndim), linalg.norm(x, f.ndim))
        return GradientState(x, state.iteration + 1, residual, state.step_size)

    def assumptions(self, f: Functional, g: Functional, state: GradientState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence (Nesterov 2004, theorem 2.1.14)."""
        legal = step_assumption(state.step_size, self._lipschitz(f, g), f, self.preconditioner)
        return (*super().assumptions(f, g, state), legal)

    def _lipschitz(self, f: Functional, g: Functional) -> Scalar | None:
        """Return the Lipschitz constant of M^{1/2} grad (f + g) M^{1/2}, None where there is none."""
        of_f, of_g, M = f.lipschitz(), g.lipschitz(), self.preconditioner
        if of_f is None or of_g is None:
            return None
        constant = torch.as_tensor(of_f, dtype=torch.float64)
        other = torch.as_tensor(of_g, dtype=torch.float64, device=constant.device)
        if M is None:
            return constant + other
        size = M.norm_bound().double()
        joint = joint_curvature(f, M)
        return (constant * size if joint is None else torch.minimum(constant * size, joint)) + other * size
