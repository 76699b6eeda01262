"""The alternating direction method of multipliers for f(x) + sum_i g_i(C_i x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar, Term, require
from invprob.linalg import NormalTerm, per_item
from invprob.solvers.base import FLAT, Assumption, Solver, State, least_force, never, size_of, start_image

PENALTY = 0.1  # default rho_i |C_i|^2 relative to Lip(grad f): the best of a study on sparse and limited-angle CT
REFRESH = 20  # iterations after which the residual of the x-update is computed anew, against the drift of rounding
BALANCED = 50  # iterations in which rho may be balanced: it has to rest for convergence


@dataclass(frozen=True, eq=False)
class ADMMState(State):
    """Where ADMM stands.

    x is what the identity term made of it where there is one (so that constraints hold), else `primal`.

    Arguments:
        primal: solves the linear system.
        z, u: the split and the scaled dual variables, one per term.
        rho: the penalties, `(*batch,)`, one per term.
        data: A^H W y.
        scale: its length per item, `(*batch,)`.
        pulled: sum_i rho_i C_i^H z_i.
        target: the right-hand side of the next x-update.
        remainder: what `primal` leaves of it.
    """

    primal: Tensor
    z: tuple[Tensor, ...]
    u: tuple[Tensor, ...]
    rho: tuple[Tensor, ...]
    data: Tensor
    scale: Tensor
    pulled: Tensor
    target: Tensor
    remainder: Tensor


@dataclass(frozen=True, kw_only=True)
class ADMM(Solver[ADMMState]):
    """x <- argmin f(x) + sum rho_i/2 |C_i x - z_i + u_i|^2, z_i <- prox_{g_i / rho_i}(C_i x + u_i), u_i += C_i x - z_i.

    Boyd et al. 2011, sections 3 and 7. The x-update is a closed form where every part is diagonal in one basis and
    else conjugate gradients. Quadratic terms join the x-update; a fidelity that is not quadratic joins the terms
    through its phi.

    Arguments:
        rho: the penalty, a number > 0, one per item, `(*batch,)`, or a sequence with one per term; by default from the
            norms of the operators.
        relaxation: in [1, 2), that of Eckstein & Bertsekas 1992; 1 for none. Boyd section 3.4.3 suggests 1.5 to 1.8.
        balance: whether rho is adapted to equal residuals (Boyd section 3.4.1) in the first 50 steps.
        x_accuracy: in (0, 1), the share to which conjugate gradients cut the residual that they start from.
        x_steps: the most conjugate gradients of an x-update, which leaves the rest to the next one.
    """

    rho: Scalar | Sequence[Scalar] | None = None
    relaxation: float = 1.6
    balance: bool = False
    x_accuracy: float = 0.3
    x_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.rho if isinstance(self.rho, Sequence) else () if self.rho is None else (self.rho,)
        if not all(bool(((r > 0) & r.isfinite()).all()) for r in map(torch.as_tensor, given)):
            raise ValueError(f"ADMM: rho must be positive, got {self.rho}")
        if not 1 <= self.relaxation < 2:
            raise ValueError(f"ADMM: relaxation must lie in [1, 2), got {self.relaxation}")
        if not 0 < self.x_accuracy < 1:
            raise ValueError(f"ADMM: x_accuracy must lie in (0, 1), got {self.x_accuracy}")
        if self.x_steps < 1:
            raise ValueError(f"ADMM: x_steps must be at least 1, got {self.x_steps}")

    def init(self, f: Functional, g: Functional, x0: Tensor) -> ADMMState:
        """Return the state at x0, with z_i = C_i x0 and zero duals."""
        x0 = start_image(self, f, g, x0)
        split = _Splitting(f, g, x0)
        if not split.terms:
            raise ValueError("ADMM has nothing to split, as f and g are both quadratic: use ConjugateGradient")
        for term in split.terms:
            require(term.functional, "prox", self)
        z = tuple(term.apply(x0) for term in split.terms)
        rho = self._penalties(f, split.terms, never(x0, f.ndim))
        return _first(f, split, x0, z, rho)

    def with_duals(self, f: Functional, g: Functional, state: ADMMState, u: tuple[Tensor, ...]) -> ADMMState:
        """Return the state before a first iteration with other scaled dual variables."""
        before = replace(state, u=u, x=state.primal, iteration=0, residual=never(state.primal, f.ndim))
        return _refreshed(_Splitting(f, g, state.x), before)

    def step(self, f: Functional, g: Functional, state: ADMMState) -> ADMMState:
        """Return the next state."""
        return self.prepared(f, g, state)(state)

    def prepared(self, f: Functional, g: Functional, state: ADMMState) -> Callable[[ADMMState], ADMMState]:
        """Return the step for f and g with their terms and the linear system of the x-update built once."""
        return partial(self._step, _Splitting(f, g, state.x))

    def _step(self, split: _Splitting, state: ADMMState) -> ADMMState:
        primal, remainder = self._x_update(split.system(state.rho), state)
        Cx = tuple(term.apply(primal) for term in split.terms)
        # over-relaxed, C_i x + u_i is a C_i x + (1 - a) z_i + u_i
        v = tuple(torch.add(z + u, c - z, alpha=self.relaxation) for c, z, u in zip(Cx, state.z, state.u, strict=True))
        proxes = zip(split.terms, v, state.rho, state.z, strict=True)
        z = tuple(term.functional.prox_near(part, 1 / rho, guess) for term, part, rho, guess in proxes)
        u = tuple(part - value for part, value in zip(v, z, strict=True))
        del v, proxes  # large images take memory
        lengths = tuple(linalg.norm(t, term.functional.ndim) for term, t in zip(split.terms, u, strict=True))
        primal_residual = _primal_residual(split, primal, Cx, z, lengths)
        del Cx
        pulled, force = split.pull(state.rho, z), split.pull(state.rho, u)
        target = state.data + (pulled - force)
        dual_residual = _dual_residual(split, state, pulled, force, lengths)
        following = replace(
            state,
            x=_presented(split.terms, primal, z),
            iteration=state.iteration + 1,
            residual=torch.maximum(primal_residual, dual_residual),
            primal=primal,
            z=z,
            u=u,
            pulled=pulled,
            target=target,
            remainder=remainder + (target - state.target),
        )
        if self.balance and state.iteration < BALANCED:
            following = _balanced(split, following, primal_residual, dual_residual)
        return _refreshed(split, following) if following.iteration % REFRESH == 0 else following

    def _x_update(self, system: linalg.NormalSystem, state: ADMMState) -> tuple[Tensor, Tensor]:
        """Return the x with M x = target and the remainder target - M x: none of a closed form."""
        if system.closed(state.target):
            return system.solve(state.target), torch.zeros_like(state.target)
        correction, remainder = system.correct(state.remainder, reduction=self.x_accuracy, max_iter=self.x_steps)
        return state.primal + correction, remainder

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
        split = _Splitting(f, g, state.x)
        duals = zip(split.terms, state.u, state.rho, strict=True)
        return (
            *((term, term.functional.grad(term.apply(state.x))) for term in split.quadratic),
            *((term, per_item(rho, u, term.functional.ndim) * u) for term, u, rho in duals),
        )

    def prox_steps(self, f: Functional, g: Functional, state: ADMMState) -> tuple[tuple[Functional, Scalar], ...]:
        """Return 1 / rho_i per split term."""
        terms = _Splitting(f, g, state.x).terms
        return tuple((term.functional, 1 / rho) for term, rho in zip(terms, state.rho, strict=True))

    def assumptions(self, f: Functional, g: Functional, state: ADMMState) -> tuple[Assumption, ...]:
        """Return the conditions of Eckstein & Bertsekas 1992, theorem 8."""
        constant = True if not self.balance or state.iteration > BALANCED else None
        return (
            *super().assumptions(f, g, state),
            Assumption("the penalty is constant", constant, f"rho is balanced for {BALANCED} steps at most"),
            Assumption("the errors of the x-updates are summable", None, "each cuts its residual by a fixed factor"),
        )


class _Splitting:
    """f + g taken apart, the same in all steps: `terms` are split off, the `quadratic` ones of g join f."""

    def __init__(self, f: Functional, g: Functional, x: Tensor) -> None:
        self.ndim = f.ndim
        parts = [(term, term.normal_term()) for term in g.terms(x)]
        of_f = f.normal_term()
        self.terms = tuple(term for term, hessian in parts if hessian is None)
        self.quadratic = tuple(term for term, hessian in parts if hessian is not None)
        if of_f is None:
            if not isinstance(f, Fidelity):
                raise TypeError(f"ADMM needs a fidelity phi(A x), got {type(f).__name__}")
            self.terms = (*self.terms, Term(f.phi, f.A))
        self._smooth = [hessian for hessian in (of_f, *(h for _, h in parts)) if hessian is not None]
        self._rho: tuple[Tensor, ...] = ()

    def system(self, rho: tuple[Tensor, ...]) -> linalg.NormalSystem:
        """Return the system of the x-update, the one of the last call unless rho is another."""
        if len(rho) != len(self._rho) or any(a is not b for a, b in zip(rho, self._rho, strict=True)):
            penalties = (NormalTerm(term.operator, scale=r) for term, r in zip(self.terms, rho, strict=True))
            self._rho, self._system = rho, linalg.NormalSystem([*self._smooth, *penalties], self.ndim)
        return self._system

    def pull(self, rho: Sequence[Tensor], duals: Sequence[Tensor]) -> Tensor:
        """Return sum_i rho_i C_i^H of one dual variable per term."""
        parts = (_scaled(r, term.pull(d), self.ndim) for term, r, d in zip(self.terms, rho, duals, strict=True))
        first, *rest = parts
        return sum(rest, start=first)


def _scaled(rho: Tensor, x: Tensor, ndim: int) -> Tensor:
    return per_item(rho, x, ndim) * x


def _first(
    f: Functional, split: _Splitting, primal: Tensor, z: tuple[Tensor, ...], rho: tuple[Tensor, ...]
) -> ADMMState:
    """Return the state before the first iteration."""
    zero = _nothing(primal)
    data = f.back_projected() if isinstance(f, QuadraticFidelity) else zero
    state = ADMMState(
        x=primal,
        iteration=0,
        residual=never(primal, f.ndim),
        primal=primal,
        z=z,
        u=tuple(_nothing(t) for t in z),
        rho=rho,
        data=data,
        scale=linalg.norm(data, f.ndim),
        pulled=split.pull(rho, z),
        target=zero,
        remainder=zero,
    )
    return _refreshed(split, state)


def _nothing(like: Tensor) -> Tensor:
    """Return zeros that take no memory."""
    return like.new_zeros(()).expand_as(like)


def _refreshed(split: _Splitting, state: ADMMState) -> ADMMState:
    """Return the state with what follows from z, u and rho worked out anew."""
    system, pulled = split.system(state.rho), split.pull(state.rho, state.z)
    target = state.data + (pulled - split.pull(state.rho, state.u))
    # a closed form does not start from a remainder
    remainder = state.remainder if system.closed(target) else target - system.apply(state.primal)
    return replace(state, pulled=pulled, target=target, remainder=remainder)


def _primal_residual(
    split: _Splitting, primal: Tensor, Cx: Sequence[Tensor], z: Sequence[Tensor], u: Sequence[Tensor]
) -> Tensor:
    """Return max_i |C_i x - z_i| relative to the sizes of C_i x, z_i and, a hundredth, u_i (given as |u_i|)."""
    residual, length = torch.zeros_like(u[0]), linalg.norm(primal, split.ndim)
    for term, c, value, dual in zip(split.terms, Cx, z, u, strict=True):
        k = term.functional.ndim
        # where the solution is zero, x is small beside what holds it there
        size = torch.maximum(size_of(term, c, length), torch.maximum(linalg.norm(value, k), FLAT * dual))
        residual = torch.maximum(residual, linalg.ratio(linalg.norm(c - value, k), size))
    return residual


def _dual_residual(split: _Splitting, state: ADMMState, pulled: Tensor, force: Tensor, u: Sequence[Tensor]) -> Tensor:
    """Return |sum_i rho_i C_i^H (z_i - z_i before)| relative to the forces at work, with |u_i| for u."""
    scale = torch.maximum(linalg.norm(force, split.ndim), state.scale)
    for term, dual, rho in zip(split.terms, u, state.rho, strict=True):
        scale = torch.maximum(scale, rho * least_force(term, dual))
    return linalg.ratio(linalg.norm(pulled - state.pulled, split.ndim), scale)


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


def _balanced(split: _Splitting, state: ADMMState, primal: Tensor, dual: Tensor) -> ADMMState:
    """Double rho where the primal residual is ten times the dual one, halve it where it is a tenth; u rho stays."""
    factor = torch.where(primal > 10 * dual, 2.0, torch.where(dual > 10 * primal, 0.5, 1.0)).detach()
    if bool((factor == 1).all()):
        return state
    u = tuple(t / per_item(factor, t, term.functional.ndim) for term, t in zip(split.terms, state.u, strict=True))
    return _refreshed(split, replace(state, rho=tuple(r * factor for r in state.rho), u=u))
