"""The alternating direction method of multipliers for f(x) + sum_i g_i(C_i x)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar, Term, require
from invprob.linalg import per_item
from invprob.solvers.base import Assumption, Solver, State, never, size_of, start_image

PENALTY = 0.1  # default rho_i |C_i|^2 relative to Lip(grad f): the best of a study on sparse and limited-angle CT


@dataclass(frozen=True, eq=False)
class ADMMState(State):
    """`primal` solves the linear system, `z` and `u` are the split and the scaled dual variables per term.

    x is what the identity term made of it where there is one (so that constraints hold), else `primal`.
    """

    primal: Tensor
    z: tuple[Tensor, ...]
    u: tuple[Tensor, ...]
    rho: tuple[Tensor, ...]  # (*batch,) each
    data: Tensor  # A^H W y


@dataclass(frozen=True, kw_only=True)
class ADMM(Solver[ADMMState]):
    """x <- argmin f(x) + sum rho_i/2 |C_i x - z_i + u_i|^2, z_i <- prox_{g_i / rho_i}(C_i x + u_i), u_i += C_i x - z_i.

    Boyd et al. 2011, sections 3 and 7. The x-update is a closed form where every part is diagonal in one basis and
    else conjugate gradients, which cut the residual they start from to `x_accuracy` of it. Quadratic terms join the
    x-update; a fidelity that is not quadratic joins the terms through its phi. `rho` is the penalty, a number, one per
    item or a sequence with one per term (default: from the norms of the operators); `relaxation` in [1, 2) is that of
    Eckstein & Bertsekas 1992; `balance` adapts rho to equal residuals (Boyd section 3.4.1) for 50 steps.
    """

    rho: Scalar | Sequence[float] | None = None
    relaxation: float = 1.6
    balance: bool = False
    x_accuracy: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [] if self.rho is None else torch.as_tensor(self.rho).flatten().tolist()
        if not all(0 < r < float("inf") for r in given):
            raise ValueError(f"ADMM: rho must be positive, got {self.rho}")
        if not 1 <= self.relaxation < 2:
            raise ValueError(f"ADMM: relaxation must lie in [1, 2), got {self.relaxation}")
        if not 0 < self.x_accuracy < 1:
            raise ValueError(f"ADMM: x_accuracy must lie in (0, 1), got {self.x_accuracy}")

    def init(self, f: Functional, g: Functional, x0: Tensor) -> ADMMState:
        """Return the state at x0, with z_i = C_i x0 and zero duals."""
        x0 = start_image(self, f, g, x0)
        split = _split_terms(f, g, x0)
        if not split:
            raise ValueError("ADMM has nothing to split, as f and g are both quadratic: use ConjugateGradient")
        for term in split:
            require(term.functional, "prox", self)
        z = tuple(term.apply(x0) for term in split)
        return ADMMState(
            x=x0,
            iteration=0,
            residual=never(x0, f.ndim),
            primal=x0,
            z=z,
            u=tuple(torch.zeros_like(t) for t in z),
            rho=self._penalties(f, split, never(x0, f.ndim)),
            data=f.back_projected() if isinstance(f, QuadraticFidelity) else torch.zeros_like(x0),
        )

    def step(self, f: Functional, g: Functional, state: ADMMState) -> ADMMState:
        """Return the next state."""
        ndim = f.ndim
        split = _split_terms(f, g, state.x)
        primal = self._solve_x(f, g, split, state)
        z_new, u_new, primal_residuals = [], [], []
        change, force = torch.zeros_like(primal), torch.zeros_like(primal)
        for term, z, u, rho in zip(split, state.z, state.u, state.rho, strict=True):
            k = term.functional.ndim
            Cx = term.apply(primal)
            mixed = self.relaxation * Cx + (1 - self.relaxation) * z
            z_next = term.functional.prox(mixed + u, 1 / rho)
            u_next = u + mixed - z_next
            r = per_item(rho, primal, ndim)
            change = change + r * term.pull(z_next - z)
            force = force + r * term.pull(u_next)
            size = torch.maximum(size_of(term, Cx, primal, ndim), linalg.norm(z_next, k))
            primal_residuals.append(linalg.ratio(linalg.norm(Cx - z_next, k), size))
            z_new.append(z_next)
            u_new.append(u_next)
        primal_residual = torch.stack(primal_residuals).amax(0)
        scale = torch.maximum(linalg.norm(force, ndim), linalg.norm(state.data, ndim))
        dual_residual = linalg.ratio(linalg.norm(change, ndim), scale)
        rho_new, u_scaled = state.rho, tuple(u_new)
        if self.balance and state.iteration < 50:
            rho_new, u_scaled = _balanced(split, rho_new, u_scaled, primal_residual, dual_residual)
        return ADMMState(
            x=_presented(split, primal, z_new),
            iteration=state.iteration + 1,
            residual=torch.maximum(primal_residual, dual_residual),
            primal=primal,
            z=tuple(z_new),
            u=u_scaled,
            rho=rho_new,
            data=state.data,
        )

    def _solve_x(self, f: Functional, g: Functional, split: tuple[Term, ...], state: ADMMState) -> Tensor:
        ndim, b = f.ndim, state.data
        normal = [t for t in (f.normal_term(), *(term.normal_term() for term in g.terms(state.x))) if t is not None]
        for term, z, u, rho in zip(split, state.z, state.u, state.rho, strict=True):
            b = b + per_item(rho, b, ndim) * term.pull(z - u)
            normal.append((term.operator, None, rho))
        floor = 10 * torch.finfo(b.dtype).eps
        return linalg.solve_normal(
            normal, b, x0=state.primal, tol=floor, reduction=self.x_accuracy, max_iter=100, ndim=ndim
        )

    def _penalties(self, f: Functional, split: tuple[Term, ...], like: Tensor) -> tuple[Tensor, ...]:
        if self.rho is None:
            penalties = [_default_penalty(f, term) for term in split]
        elif isinstance(self.rho, Sequence):
            penalties = [torch.as_tensor(r) for r in self.rho]
        else:
            penalties = [torch.as_tensor(self.rho)] * len(split)
        if len(penalties) != len(split):
            raise ValueError(f"ADMM: {len(penalties)} values of rho for {len(split)} terms")
        return tuple(r.to(like).expand(like.shape) for r in penalties)

    def multipliers(self, f: Functional, g: Functional, state: ADMMState) -> tuple[tuple[Term, Tensor], ...] | None:
        """Return rho_i u_i, a subgradient of g_i at z_i, per split term, and the gradient per quadratic one."""
        if f.normal_term() is None:
            return None
        quadratic = (term for term in g.terms(state.x) if term.normal_term() is not None)
        return (
            *((term, term.functional.grad(term.apply(state.x))) for term in quadratic),
            *(
                (term, per_item(rho, u, term.functional.ndim) * u)
                for term, u, rho in zip(_split_terms(f, g, state.x), state.u, state.rho, strict=True)
            ),
        )

    def assumptions(self, f: Functional, g: Functional, state: ADMMState) -> tuple[Assumption, ...]:
        """Return the conditions of Eckstein & Bertsekas 1992, theorem 8."""
        constant = True if not self.balance or state.iteration > 50 else None
        return (
            *super().assumptions(f, g, state),
            Assumption("the penalty is constant", constant, "rho is balanced for 50 steps at most"),
            Assumption("the errors of the x-updates are summable", None, "each cuts its residual by a fixed factor"),
        )


def _split_terms(f: Functional, g: Functional, x: Tensor) -> tuple[Term, ...]:
    """Return what is split off: the terms of g that are not quadratic, and phi of a fidelity that is not."""
    split = tuple(term for term in g.terms(x) if term.normal_term() is None)
    if f.normal_term() is None:
        if not isinstance(f, Fidelity):
            raise TypeError(f"ADMM needs a fidelity phi(A x), got {type(f).__name__}")
        split = (*split, Term(f.phi, f.A))
    return split


def _default_penalty(f: Functional, term: Term) -> Tensor:
    """Return PENALTY Lip(grad f) / |C|^2 for a term of g, and Lip(grad phi) for the fidelity's own."""
    own = isinstance(f, Fidelity) and term.functional is f.phi
    lipschitz = term.functional.lipschitz() if own else f.lipschitz()
    curvature = torch.as_tensor(1.0 if lipschitz is None else lipschitz, dtype=torch.float64)
    rho = curvature if own else PENALTY * curvature / term.norm_bound() ** 2
    return torch.where((rho > 0) & rho.isfinite(), rho, 1.0)


def _presented(split: tuple[Term, ...], primal: Tensor, z: Sequence[Tensor]) -> Tensor:
    for term, value in zip(split, z, strict=True):
        if term.operator is None:
            return value
    return primal


def _balanced(
    split: tuple[Term, ...], rho: tuple[Tensor, ...], u: tuple[Tensor, ...], primal: Tensor, dual: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Double rho where the primal residual is ten times the dual one, halve it where it is a tenth; u rho stays."""
    factor = torch.where(primal > 10 * dual, 2.0, torch.where(dual > 10 * primal, 0.5, 1.0)).detach()
    scaled = (t / per_item(factor, t, term.functional.ndim) for term, t in zip(split, u, strict=True))
    return tuple(r * factor for r in rho), tuple(scaled)
