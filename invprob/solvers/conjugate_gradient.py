"""Conjugate gradients for quadratic problems: least squares and Tikhonov."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import QuadraticFidelity
from invprob.functional import Functional
from invprob.linalg import per_item
from invprob.solvers.base import Assumption, Solver, State, item_ndim, never, refuse_unmatched, terms_of, true_adjoint


@dataclass(frozen=True)
class CGState(State):
    """`misfit` is y - A x, `gradient` minus the gradient of the objective, `direction` the search direction."""

    misfit: Tensor
    gradient: Tensor
    direction: Tensor
    scale: Tensor  # |A^H W y| per item


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient(Solver[CGState]):
    """Minimises a quadratic fidelity, 1/2 |A x - y|^2_W, plus quadratic priors (Hestenes & Stiefel 1952, in the CGLS form of Bjorck 1996).

    Stops at |gradient| <= tol |A^H W y|. `discrepancy`, a number or `(*batch,)`, stops an item as soon as
    |A x - y|_W is no larger: early stopping is then the regularisation (Morozov 1966).
    """

    tol: float = 1e-6
    discrepancy: float | Tensor | None = None

    def init(self, f: Functional, g: Functional, x0: Tensor) -> CGState:
        """Return the state at x0; TypeError if f or g is not quadratic."""
        ndim = item_ndim(f, g, x0)
        refuse_unmatched(f, self)
        fidelity = _least_squares(f)
        _quadratic(g, x0, ndim)
        misfit = fidelity.y - fidelity.A(x0)
        gradient = fidelity.A.adjoint(fidelity.weigh(misfit)) - _pull(g, x0, ndim)
        scale = linalg.norm(fidelity.back_projected(), ndim)
        return CGState(x0, 0, never(x0, ndim), misfit, gradient, gradient, scale)

    def step(self, f: Functional, g: Functional, state: CGState) -> CGState:
        """Return the next state."""
        fidelity, ndim, p = _least_squares(f), f.ndim, state.direction
        Ap, Gp = fidelity.A(p), _pull(g, p, ndim)
        curvature = linalg.inner(Ap, fidelity.weigh(Ap), len(fidelity.A.range_shape)) + linalg.inner(p, Gp, ndim)
        energy = linalg.inner(state.gradient, state.gradient, ndim)
        alpha = torch.where(curvature > 0, linalg.ratio(energy, curvature), 0.0)
        x = state.x + per_item(alpha, p, ndim) * p
        misfit = state.misfit - per_item(alpha, Ap, len(fidelity.A.range_shape)) * Ap
        gradient = fidelity.A.adjoint(fidelity.weigh(misfit)) - _pull(g, x, ndim)
        beta = linalg.ratio(linalg.inner(gradient, gradient, ndim), energy)
        residual = linalg.ratio(linalg.norm(gradient, ndim), state.scale)
        if self.discrepancy is not None:
            size = linalg.inner(misfit, fidelity.weigh(misfit), len(fidelity.A.range_shape)).sqrt()
            residual = torch.where(size <= torch.as_tensor(self.discrepancy, device=size.device), 0.0, residual)
        return CGState(
            x, state.iteration + 1, residual, misfit, gradient, gradient + per_item(beta, p, ndim) * p, state.scale
        )

    def assumptions(self, f: Functional, g: Functional, state: CGState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence."""
        del g, state
        return (
            Assumption("the objective is quadratic and convex", True, "checked on entry"),
            true_adjoint(f),
        )


def _least_squares(f: Functional) -> QuadraticFidelity:
    if not isinstance(f, QuadraticFidelity):
        raise TypeError(f"ConjugateGradient minimises quadratic fidelities, got {type(f).__name__}")
    return f


def _quadratic(g: Functional, x: Tensor, ndim: int) -> None:
    for term in terms_of(g, x, ndim):
        if term.functional.normal_term() is None:
            raise TypeError(f"ConjugateGradient needs a quadratic prior, {type(term.functional).__name__} is none")


def _pull(g: Functional, x: Tensor, ndim: int) -> Tensor:
    """Return the gradient of the quadratic prior at x."""
    return g.grad(x) if terms_of(g, x, ndim) else torch.zeros_like(x)
