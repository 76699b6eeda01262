"""Conjugate gradients for quadratic problems: least squares and Tikhonov."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import QuadraticFidelity
from invprob.functional import Functional
from invprob.linalg import per_item
from invprob.solvers.base import Assumption, Solver, State, never, start_image


@dataclass(frozen=True, eq=False)
class CGState(State):
    """Where conjugate gradients stand.

    Arguments:
        misfit: y - A x; in the normal form A^H W (y - A x).
        gradient: minus the gradient of the objective.
        direction: the search direction.
        scale: |A^H W y| per item.
        steepest: the largest curvature along a direction so far, per item.
    """

    misfit: Tensor
    gradient: Tensor
    direction: Tensor
    scale: Tensor
    steepest: Tensor


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient(Solver[CGState]):
    """Minimises a quadratic fidelity, 1/2 |A x - y|^2_W, plus quadratic priors (Hestenes & Stiefel 1952).

    In the CGLS form of Bjorck 1996, which never forms A^H A, or in the normal form, which asks for nothing but A^H W A
    and so is faster where that has a short form.

    Arguments:
        tol: stops at |gradient| <= tol |A^H W y|.
        discrepancy: stops an item as soon as |A x - y|_W is no larger, a number or `(*batch,)` in the unit of the data:
            early stopping is then the regularisation (Morozov 1966). None (the default) for never.
        steps: stops an item after so many, `(*batch,)`, early stopping again; None (the default) for never.
        normal: whether in the normal form, by default not. Misfits below 1 % of the data are then not told exactly.
    """

    tol: float = 1e-6
    discrepancy: float | Tensor | None = None
    steps: Tensor | None = None
    normal: bool = False

    def init(self, f: Functional, g: Functional, x0: Tensor) -> CGState:
        """Return the state at x0; TypeError if f or g is not quadratic."""
        x0 = start_image(self, f, g, x0)
        fidelity = _least_squares(f)
        for term in g.terms(x0):
            if term.normal_term() is None:
                raise TypeError(f"ConjugateGradient needs a quadratic prior, {type(term.functional).__name__} is none")
        if self.normal:
            misfit = fidelity.back_projected() - fidelity.normal_term().apply(x0, f.ndim)
            gradient = misfit - g.grad(x0)
        else:
            misfit = fidelity.y - fidelity.A(x0)
            gradient = fidelity.A.adjoint(fidelity.weigh(misfit)) - g.grad(x0)
        scale = linalg.norm(fidelity.back_projected(), f.ndim)
        scale = torch.where(scale > 0, scale, linalg.norm(gradient, f.ndim))
        never_yet = never(x0, f.ndim)
        return CGState(x0, 0, never_yet, misfit, gradient, gradient, scale, torch.zeros_like(never_yet))

    def step(self, f: Functional, g: Functional, state: CGState) -> CGState:
        """Return the next state."""
        fidelity, ndim, p = _least_squares(f), f.ndim, state.direction
        k = ndim if self.normal else len(fidelity.A.range_shape)
        Ap = fidelity.normal_term().apply(p, ndim) if self.normal else fidelity.A(p)
        of_data = linalg.inner(p, Ap, ndim) if self.normal else linalg.inner(Ap, fidelity.weigh(Ap), k)
        curvature = of_data + linalg.inner(p, g.grad(p), ndim)
        energy = linalg.inner(state.gradient, state.gradient, ndim)
        steepness = linalg.ratio(curvature, linalg.inner(p, p, ndim))
        steepest = torch.maximum(state.steepest, steepness)
        # along a direction that rounding cannot tell from the null space, stay
        told = steepness > steepest * (100 * torch.finfo(p.dtype).eps) ** 2
        alpha = torch.where(told, linalg.ratio(energy, curvature), 0.0)
        x = state.x + per_item(alpha, p, ndim) * p
        misfit = state.misfit - per_item(alpha, Ap, k) * Ap
        gradient = (misfit if self.normal else fidelity.A.adjoint(fidelity.weigh(misfit))) - g.grad(x)
        beta = linalg.ratio(linalg.inner(gradient, gradient, ndim), energy)
        residual = linalg.ratio(linalg.norm(gradient, ndim), state.scale)
        if self.discrepancy is not None:
            size = self._size(fidelity, x, misfit)
            residual = torch.where(size <= torch.as_tensor(self.discrepancy, device=size.device), 0.0, residual)
        if self.steps is not None:
            residual = torch.where(self.steps.to(residual.device) <= state.iteration + 1, 0.0, residual)
        direction = gradient + per_item(beta, p, ndim) * p
        return CGState(x, state.iteration + 1, residual, misfit, gradient, direction, state.scale, steepest)

    def _size(self, fidelity: QuadraticFidelity, x: Tensor, misfit: Tensor) -> Tensor:
        """Return |A x - y|_W, in the normal form by |y|_W^2 - <x, A^H W y + A^H W (y - A x)>."""
        k, y = len(fidelity.A.range_shape), fidelity.y
        if not self.normal:
            return linalg.inner(misfit, fidelity.weigh(misfit), k).sqrt()
        square = linalg.inner(y, fidelity.weigh(y), k)
        return (square - linalg.inner(x, fidelity.back_projected() + misfit, fidelity.ndim)).clamp(min=0).sqrt()

    def assumptions(self, f: Functional, g: Functional, state: CGState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence."""
        return (
            *super().assumptions(f, g, state),
            Assumption("the objective is quadratic", True, "checked on entry"),
        )


def _least_squares(f: Functional) -> QuadraticFidelity:
    if not isinstance(f, QuadraticFidelity):
        raise TypeError(f"ConjugateGradient minimises quadratic fidelities, got {type(f).__name__}")
    return f
