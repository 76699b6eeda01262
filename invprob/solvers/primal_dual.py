"""The primal-dual hybrid gradient method for phi(A x) + sum_i g_i(C_i x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar, Term, require
from invprob.linalg import per_item
from invprob.solvers.base import Assumption, Solver, State, least_force, never, size_of, start_image

BALANCE = 0.05  # default dual step of the fidelity over the curvature of phi: best over sparse and limited-angle CT


@dataclass(frozen=True, eq=False)
class PrimalDualState(State):
    """Where the primal-dual method stands.

    Arguments:
        p: the dual variables p_i, one per dual term.
        Kx: K_i x, likewise.
        Kp: K_i^H p_i, likewise.
        sigma: their steps, `(*batch,)` each.
        tau: the primal step, `(*batch,)`.
        scale: |A^H W y| per item, 0 where there is no such thing.
    """

    p: tuple[Tensor, ...]
    Kx: tuple[Tensor, ...]
    Kp: tuple[Tensor, ...]
    sigma: tuple[Tensor, ...]
    tau: Tensor
    scale: Tensor


@dataclass(frozen=True, kw_only=True)
class PrimalDual(Solver[PrimalDualState]):
    """x <- prox_{tau h}(x - tau K^H p), p_i <- prox_{sigma_i g_i*}(p_i + sigma_i K_i (2 x - x_old)).

    Chambolle & Pock 2011, algorithm 1; h is the first term of g without an operator, every other one and phi o A
    are dual. Steps obey tau sum_i sigma_i |K_i|^2 <= 1, each term with an equal share, whatever the norms. Each step
    costs one A and one A^H.

    Arguments:
        balance: > 0, the dual step of the fidelity relative to the curvature of phi.
    """

    balance: float = BALANCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.balance < float("inf"):
            raise ValueError(f"PrimalDual: balance must be positive, got {self.balance}")

    def init(self, f: Functional, g: Functional, x0: Tensor) -> PrimalDualState:
        """Return the state at x0 with zero duals."""
        x0 = start_image(self, f, g, x0)
        primal, duals = _arrange(f, g, x0)
        for term in (*duals, *([primal] if primal else [])):
            require(term.functional, "prox", self)
        Kx = tuple(term.apply(x0) for term in duals)
        curvature = duals[0].functional.curvature()
        first = self.balance * torch.as_tensor(1.0 if curvature is None else curvature, dtype=torch.float64)
        squares = [_positive(term.norm_bound() ** 2) for term in duals]
        tau = 1 / (len(duals) * _positive(first) * squares[0])
        like = never(x0, f.ndim)
        return PrimalDualState(
            x=x0,
            iteration=0,
            residual=like,
            p=tuple(torch.zeros_like(t) for t in Kx),
            Kx=Kx,
            Kp=tuple(torch.zeros_like(x0) for _ in duals),
            sigma=tuple((1 / (len(duals) * tau * square)).to(like).expand(like.shape) for square in squares),
            tau=tau.to(like).expand(like.shape),
            scale=linalg.norm(f.back_projected(), f.ndim)
            if isinstance(f, QuadraticFidelity)
            else torch.zeros_like(like),
        )

    def step(self, f: Functional, g: Functional, state: PrimalDualState) -> PrimalDualState:
        """Return the next state."""
        return self.prepared(f, g, state)(state)

    def prepared(
        self, f: Functional, g: Functional, state: PrimalDualState
    ) -> Callable[[PrimalDualState], PrimalDualState]:
        """Return the step for f and g with their terms and operators built once."""
        primal, duals = _arrange(f, g, state.x)
        return partial(self._step, f.ndim, primal, duals)

    def _step(self, ndim: int, primal: Term | None, duals: tuple[Term, ...], state: PrimalDualState) -> PrimalDualState:
        tau = per_item(state.tau, state.x, ndim)
        total = torch.stack(state.Kp).sum(0)
        x = state.x - tau * total
        if primal is not None:
            x = primal.functional.prox(x, state.tau)
        length = linalg.norm(x, ndim)
        p_new, Kx_new, Kp_new, dual_residuals = [], [], [], []
        for term, p, Kx_old, sigma in zip(duals, state.p, state.Kx, state.sigma, strict=True):
            k = term.functional.ndim
            s = per_item(sigma, p, k)
            Kx = term.apply(x)
            p_next = term.functional.conjugate_prox(p + s * (2 * Kx - Kx_old), sigma)
            drift = (p - p_next) / s - (Kx_old - Kx)
            dual_residuals.append(linalg.ratio(linalg.norm(drift, k), size_of(term, Kx, length)))
            p_new.append(p_next)
            Kx_new.append(Kx)
            Kp_new.append(term.pull(p_next))
        drift = (state.x - x) / tau - (total - torch.stack(Kp_new).sum(0))
        lengths = (linalg.norm(p, term.functional.ndim) for term, p in zip(duals, p_new, strict=True))
        forces = (*(linalg.norm(t, ndim) for t in Kp_new), *map(least_force, duals, lengths))
        scale = torch.stack([state.scale, *forces]).amax(0)
        residual = torch.stack([linalg.ratio(linalg.norm(drift, ndim), scale), *dual_residuals]).amax(0)
        return replace(
            state,
            x=x,
            iteration=state.iteration + 1,
            residual=residual,
            p=tuple(p_new),
            Kx=tuple(Kx_new),
            Kp=tuple(Kp_new),
        )

    def multipliers(
        self, f: Functional, g: Functional, state: PrimalDualState
    ) -> tuple[tuple[Term, Tensor], ...] | None:
        """Return the dual variables of the terms of g; the primal one's follows from stationarity."""
        primal, duals = _arrange(f, g, state.x)
        pairs = tuple(zip(duals[1:], state.p[1:], strict=True))
        return pairs if primal is None else (*pairs, (primal, -torch.stack(state.Kp).sum(0)))

    def prox_steps(self, f: Functional, g: Functional, state: PrimalDualState) -> tuple[tuple[Functional, Scalar], ...]:
        """Return the primal step with the term it belongs to; a denoiser under an operator has no known level."""
        primal, _ = _arrange(f, g, state.x)
        return () if primal is None else ((primal.functional, state.tau),)

    def assumptions(self, f: Functional, g: Functional, state: PrimalDualState) -> tuple[Assumption, ...]:
        """Return the conditions of Chambolle & Pock 2011, theorem 1."""
        _, duals = _arrange(f, g, state.x)
        kinds = dict.fromkeys(term.operator.norm_bound_kind for term in duals if term.operator is not None)
        sure = None if any("estimate" in kind for kind in kinds) else True
        return (
            *super().assumptions(f, g, state),
            Assumption("tau sum_i sigma_i |K_i|^2 <= 1", sure, f"by construction; |K_i|: {', '.join(kinds)}"),
        )


def _arrange(f: Functional, g: Functional, x: Tensor) -> tuple[Term | None, tuple[Term, ...]]:
    """Return the term whose prox is taken in image space, if any, and the dual ones, the fidelity first."""
    if not isinstance(f, Fidelity):
        raise TypeError(f"PrimalDual needs a fidelity phi(A x), got {type(f).__name__}")
    terms = g.terms(x)
    primal = next((t for t in terms if t.operator is None), None)
    return primal, (Term(f.phi, f.A), *(t for t in terms if t is not primal))


def _positive(t: Tensor) -> Tensor:
    """Return t with ones for zeros: the step of an operator that is zero may be anything."""
    return torch.where(t > 0, t, 1.0)
