"""The alternating direction method of multipliers for f(x) + sum_i g_i(C_i x)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar, Term, require
from invprob.linalg import per_item
from invprob.solvers.base import FLAT, Assumption, Solver, State, least_force, never, size_of, start_image

PENALTY = 0.1  # default rho_i |C_i|^2 relative to Lip(grad f): the best of a study on sparse and limited-angle CT
REFRESH = 20  # iterations after which the residual of the x-update is computed anew, against the drift of rounding


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
    pulled: Tensor  # sum_i rho_i C_i^H z_i
    target: Tensor  # right-hand side of the next x-update
    remainder: Tensor  # what primal leaves of it


@dataclass(frozen=True, kw_only=True)
class ADMM(Solver[ADMMState]):
    """x <- argmin f(x) + sum rho_i/2 |C_i x - z_i + u_i|^2, z_i <- prox_{g_i / rho_i}(C_i x + u_i), u_i += C_i x - z_i.

    Boyd et al. 2011, sections 3 and 7. The x-update is a closed form where every part is diagonal in one basis and
    else conjugate gradients, which cut the residual they start from to `x_accuracy` of it. Quadratic terms join the
    x-update; a fidelity that is not quadratic joins the terms through its phi. `rho` is the penalty, a number, one per
    item or a sequence with one per term (default: from the norms of the operators); `relaxation` in [1, 2) is that of
    Eckstein & Bertsekas 1992; `balance` adapts rho to equal residuals (Boyd section 3.4.1) for 50 steps.
    """

    rho: Scalar | Sequence[Scalar] | None = None
    relaxation: float = 1.6
    balance: bool = False
    x_accuracy: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.rho if isinstance(self.rho, Sequence) else () if self.rho is None else (self.rho,)
        if not all(bool(((r > 0) & r.isfinite()).all()) for r in map(torch.as_tensor, given)):
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
        rho = self._penalties(f, split, never(x0, f.ndim))
        return self._from(f, g, x0, z, tuple(torch.zeros_like(t) for t in z), rho)

    def with_duals(self, f: Functional, g: Functional, state: ADMMState, u: tuple[Tensor, ...]) -> ADMMState:
        """Return the state with other scaled dual variables."""
        return self._from(f, g, state.primal, state.z, u, state.rho)

    def step(self, f: Functional, g: Functional, state: ADMMState) -> ADMMState:
        """Return the next state."""
        ndim = f.ndim
        split = _split_terms(f, g, state.x)
        correction, remainder = linalg.correct_normal(
            _normal_terms(f, g, split, state), state.remainder, reduction=self.x_accuracy, max_iter=100, ndim=ndim
        )
        primal = state.primal + correction
        z_new, u_new, primal_residuals = [], [], []
        for term, z, u, rho in zip(split, state.z, state.u, state.rho, strict=True):
            k = term.functional.ndim
            Cx = term.apply(primal)
            mixed = self.relaxation * Cx + (1 - self.relaxation) * z + u
            z_next = term.functional.prox_near(mixed, 1 / rho, z)
            u_next = mixed - z_next
            # where the solution is zero, x is small beside what holds it there
            sizes = (size_of(term, Cx, primal, ndim), linalg.norm(z_next, k), FLAT * linalg.norm(u_next, k))
            primal_residuals.append(linalg.ratio(linalg.norm(Cx - z_next, k), torch.stack(sizes).amax(0)))
            z_new.append(z_next)
            u_new.append(u_next)
        pulled, force = (_pull(split, state.rho, parts, ndim) for parts in (z_new, u_new))
        target = state.data + pulled - force
        primal_residual = torch.stack(primal_residuals).amax(0)
        least = (rho * least_force(term, u) for term, u, rho in zip(split, u_new, state.rho, strict=True))
        scale = torch.stack([linalg.norm(force, ndim), linalg.norm(state.data, ndim), *least]).amax(0)
        dual_residual = linalg.ratio(linalg.norm(pulled - state.pulled, ndim), scale)
        following = ADMMState(
            x=_presented(split, primal, z_new),
            iteration=state.iteration + 1,
            residual=torch.maximum(primal_residual, dual_residual),
            primal=primal,
            z=tuple(z_new),
            u=tuple(u_new),
            rho=state.rho,
            data=state.data,
            pulled=pulled,
            target=target,
            remainder=remainder + (target - state.target),
        )
        balancing = self.balance and state.iteration < 50
        if balancing:
            penalties, duals = _balanced(split, state.rho, following.u, primal_residual, dual_residual)
            following = replace(following, rho=penalties, u=duals)
        return self._prepared(f, g, following) if balancing or following.iteration % REFRESH == 0 else following

    def _from(
        self,
        f: Functional,
        g: Functional,
        primal: Tensor,
        z: tuple[Tensor, ...],
        u: tuple[Tensor, ...],
        rho: tuple[Tensor, ...],
    ) -> ADMMState:
        """Return the state before the first iteration."""
        data = f.back_projected() if isinstance(f, QuadraticFidelity) else torch.zeros_like(primal)
        zero = torch.zeros_like(primal)
        state = ADMMState(primal, 0, never(primal, f.ndim), primal, z, u, rho, data, zero, zero, zero)
        return self._prepared(f, g, state)

    def _prepared(self, f: Functional, g: Functional, state: ADMMState) -> ADMMState:
        """Return the state with what follows from its variables worked out."""
        split = _split_terms(f, g, state.x)
        pulled, force = (_pull(split, state.rho, parts, f.ndim) for parts in (state.z, state.u))
        target = state.data + pulled - force
        remainder = target - linalg.apply_normal(_normal_terms(f, g, split, state), state.primal, f.ndim)
        return replace(state, pulled=pulled, target=target, remainder=remainder)

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

    def prox_steps(self, f: Functional, g: Functional, state: ADMMState) -> tuple[tuple[Functional, Scalar], ...]:
        """Return 1 / rho_i per split term."""
        split = _split_terms(f, g, state.x)
        return tuple((term.functional, 1 / rho) for term, rho in zip(split, state.rho, strict=True))

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


def _normal_terms(f: Functional, g: Functional, split: tuple[Term, ...], state: ADMMState) -> list[linalg.NormalTerm]:
    """Return the parts of the matrix of the x-update."""
    smooth = [t for t in (f.normal_term(), *(term.normal_term() for term in g.terms(state.x))) if t is not None]
    return [*smooth, *((term.operator, None, rho) for term, rho in zip(split, state.rho, strict=True))]


def _pull(split: tuple[Term, ...], rho: Sequence[Tensor], duals: Sequence[Tensor], ndim: int) -> Tensor:
    """Return sum_i rho_i C_i^H of one dual variable per term."""
    parts = []
    for term, r, dual in zip(split, rho, duals, strict=True):
        part = term.pull(dual)
        parts.append(per_item(r, part, ndim) * part)
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def _default_penalty(f: Functional, term: Term) -> Tensor:
    """Return PENALTY times the curvature of f / |C|^2 for a term of g, and that of phi for the fidelity's own."""
    own = isinstance(f, Fidelity) and term.functional is f.phi
    found = term.functional.curvature() if own else f.curvature()
    curvature = torch.as_tensor(1.0 if found is None else found, dtype=torch.float64)
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
