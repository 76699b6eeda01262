"""Proximal gradient: plain, accelerated (FISTA), with restart; without a prior it is gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar, require
from invprob.linalg import per_item
from invprob.linop import LinearOperator
from invprob.solvers.base import Assumption, Solver, State, never, start_image

HALVINGS = 60  # of a step, before the point is taken for a minimum as far as rounding can tell
ROUNDING = 4  # how many units in the last place an objective may seem to rise


@dataclass(frozen=True, eq=False)
class ProximalGradientState(State):
    """Where proximal gradient stands.

    Arguments:
        point: where the next gradient is taken.
        momentum: FISTA's t, `(*batch,)`.
        step_size: tau, `(*batch,)`.
    """

    point: Tensor
    momentum: Tensor
    step_size: Tensor


@dataclass(frozen=True, kw_only=True)
class ProximalGradient(Solver[ProximalGradientState]):
    """x <- prox_{tau g}(v - tau grad f(v)), with v = x or extrapolated (Beck & Teboulle 2009).

    The residual is |x - v| / |x|. A prior without a prox changes places with the fidelity: gradient steps on g, prox
    steps on f.

    Arguments:
        step_size: tau; by default 1 / Lip(grad f). One that cannot converge is refused.
        accelerate: whether points are extrapolated; None (the default) means: unless backtracking.
        restart: whether an item's momentum is dropped when it points uphill (O'Donoghue & Candes 2015).
        backtracking: whether an item's tau, which then is only the first to try, is halved until
            f(x) <= f(v) + <grad f(v), x - v> + |x - v|^2 / (2 tau) (Beck & Teboulle), or, without momentum and where f
            and g have values, until f + g falls by |x - v|^2 / (4 tau) (Hurault et al. 2022, algorithm 1), so that the
            objective never rises.
    """

    step_size: float | None = None
    accelerate: bool | None = None
    restart: bool = True
    backtracking: bool = False

    @property
    def with_momentum(self) -> bool:
        """Whether the points are extrapolated."""
        return not self.backtracking if self.accelerate is None else self.accelerate

    def init(self, f: Functional, g: Functional, x0: Tensor) -> ProximalGradientState:
        """Return the state at x0."""
        x0 = start_image(self, f, g, x0)
        smooth, simple = _roles(f, g)
        require(smooth, "grad", self)
        require(simple, "prox", self)
        if self.backtracking:
            require(smooth, "value", self)
            tau = _first_step(self.step_size, smooth)
        else:
            # with full momentum a mode of curvature h is stable for tau h < 4/3, without for tau h < 2
            limit = 4 / 3 if self.with_momentum else 2.0
            tau = legal_step(self, self.step_size, smooth.lipschitz(), smooth, limit)
        like = never(x0, f.ndim)
        return ProximalGradientState(x0, 0, like, x0, torch.ones_like(like), tau.to(like).expand(like.shape))

    def step(self, f: Functional, g: Functional, state: ProximalGradientState) -> ProximalGradientState:
        """Return the next state."""
        ndim, v = f.ndim, state.point
        smooth, simple = _roles(f, g)
        if self.backtracking:
            x, tau = _search(smooth, simple, v, state.step_size, by_objective=not self.with_momentum)
        else:
            tau = state.step_size
            x = simple.prox(v - per_item(tau, v, ndim) * smooth.grad(v), tau)
        residual = linalg.ratio(linalg.norm(x - v, ndim), linalg.norm(x, ndim))
        momentum = torch.ones_like(state.momentum)
        point = x
        if self.with_momentum:
            momentum = (1 + (1 + 4 * state.momentum**2).sqrt()) / 2
            inertia = (state.momentum - 1) / momentum
            if self.restart:
                uphill = (linalg.inner(v - x, x - state.x, ndim) > 0).detach()
                momentum = torch.where(uphill, 1.0, momentum)
                inertia = torch.where(uphill, 0.0, inertia)
            point = x + per_item(inertia, x, ndim) * (x - state.x)
        return ProximalGradientState(x, state.iteration + 1, residual, point, momentum, tau)

    def prox_steps(
        self, f: Functional, g: Functional, state: ProximalGradientState
    ) -> tuple[tuple[Functional, Scalar], ...]:
        """Return the step size with the part whose prox is taken."""
        return ((_roles(f, g)[1], state.step_size),)

    def assumptions(self, f: Functional, g: Functional, state: ProximalGradientState) -> tuple[Assumption, ...]:
        """Return the conditions of Beck & Teboulle 2009, theorem 4.4 (3.1 when plain)."""
        known = super().assumptions(f, g, state)
        smooth, simple = _roles(f, g)
        if not self.backtracking:
            return (*known, step_assumption(state.step_size, smooth.lipschitz(), smooth))
        falls = not self.with_momentum and "value" in smooth.supports & simple.supports
        reason = "every step was tested" if falls else "with momentum, or without a value, only the step is tested"
        return (*known, Assumption("the objective never rises", falls or None, reason))


def _roles(f: Functional, g: Functional) -> tuple[Functional, Functional]:
    """Return the part whose gradient and the part whose prox is taken: (f, g) unless only (g, f) will do."""
    swap = "prox" not in g.supports and "grad" in g.supports and "prox" in f.supports
    return (g, f) if swap else (f, g)


def _first_step(given: float | None, smooth: Functional) -> Tensor:
    """Return the step that backtracking tries first: 1 / curvature unless given."""
    if given is not None:
        if not 0 < given < float("inf"):
            raise ValueError(f"ProximalGradient: step_size must be positive, got {given:g}")
        return torch.tensor(float(given), dtype=torch.float64)
    found = smooth.curvature()
    if found is None:
        raise ValueError(
            f"ProximalGradient: {type(smooth).__name__} does not know how curved it is: give step_size, the first "
            "step that backtracking tries"
        )
    curvature = torch.as_tensor(found, dtype=torch.float64)
    return torch.where((curvature > 0) & curvature.isfinite(), 1 / curvature, 1.0)


def _search(
    smooth: Functional, simple: Functional, v: Tensor, tau: Tensor, *, by_objective: bool
) -> tuple[Tensor, Tensor]:
    """Return the prox-gradient step from v per item, and its tau: halved until it passes, v itself if none does."""
    ndim, slope, before = smooth.ndim, smooth.grad(v), smooth.value(v).double()
    by_objective = by_objective and "value" in simple.supports
    total = before + simple.value(v).double() if by_objective else before
    slack = ROUNDING * torch.finfo(v.dtype).eps * total.abs()
    chosen, accepted = v, torch.zeros_like(before, dtype=torch.bool)
    for _ in range(HALVINGS):
        x = simple.prox(v - per_item(tau, v, ndim) * slope, tau)
        move = x - v
        square = linalg.inner(move, move, ndim)
        after = smooth.value(x).double()
        if by_objective:
            passes = ~(after + simple.value(x).double() > total - square / (4 * tau) + slack)
        else:
            passes = ~(after > before + linalg.inner(slope, move, ndim) + square / (2 * tau) + slack)
        passes = passes.detach() & ~accepted
        chosen = linalg.choose(passes, x, chosen, ndim)
        accepted = accepted | passes
        if bool(accepted.all()):
            break
        tau = torch.where(accepted, tau, tau / 2)
    return chosen, tau


def legal_step(
    solver: object,
    given: float | None,
    lipschitz: Scalar | None,
    f: Functional,
    limit: float,
    M: LinearOperator | None = None,
) -> Tensor:
    """Return the step size per item, 1 / L unless given; ValueError if there is no L or the step must diverge.

    M is the preconditioner of the gradient, None for the identity.
    """
    if given is not None:
        surely = _certain_curvature(f, M)
        if not 0 < given < float("inf") or given * surely > limit:
            legal = f"(0, {limit / surely:g}], as Lip(grad f) is at least {surely:g}" if surely else "(0, inf)"
            raise ValueError(f"{type(solver).__name__}: step_size={given:g} cannot converge; it must lie in {legal}")
        return torch.tensor(float(given), dtype=torch.float64)
    if lipschitz is None:
        raise ValueError(
            f"{type(solver).__name__}: {type(f).__name__} has no Lipschitz gradient, so no step is safe; "
            "give step_size, or use a splitting solver"
        )
    constant = torch.as_tensor(lipschitz, dtype=torch.float64)
    return torch.where(constant > 0, 1 / constant, 1.0)


def joint_curvature(f: Functional, M: LinearOperator) -> Tensor | None:
    """Return max w |A M A^H| >= Lip(M^{1/2} grad f M^{1/2}) per item for a quadratic f, else None."""
    if not isinstance(f, QuadraticFidelity):
        return None
    hessian = f.normal_term()
    A = hessian.operator
    if A is None:
        return None
    of_phi = None if hessian.weights is None else f.phi.lipschitz()
    most = torch.as_tensor(1.0 if of_phi is None else of_phi, dtype=torch.float64)
    return most * torch.as_tensor(hessian.scale, dtype=torch.float64) * (A @ M @ A.H).norm_bound().double()


def _certain_curvature(f: Functional, M: LinearOperator | None) -> float:
    """Return what Lip(grad f) surely reaches: min w |A|^2 (|A M A^H|) estimated from below; 0 if nothing is known."""
    term = f.normal_term() if isinstance(f, QuadraticFidelity) else None
    if term is None:
        return 0.0
    A, weights = term.operator, term.weights
    least = torch.as_tensor(term.scale).amin() * (1.0 if weights is None else weights.amin())
    if A is None:
        return float(least)
    square = A.norm().double() ** 2 if M is None else (A @ M @ A.H).norm().double()
    return float((least * square.amin()).detach())


def step_assumption(
    step: Tensor, lipschitz: Scalar | None, f: Functional, M: LinearOperator | None = None
) -> Assumption:
    """Return whether the step is within 1 / L, for every item."""
    statement = "step_size <= 1 / L"
    if lipschitz is None:
        return Assumption(statement, None, "the gradient has no Lipschitz constant")
    A = f.normal_term().operator if isinstance(f, QuadraticFidelity) else f.A if isinstance(f, Fidelity) else None
    how = "given by the functional" if A is None else (A if M is None else A @ M @ A.H).norm_bound_kind
    product = float((step * torch.as_tensor(lipschitz, dtype=torch.float64).to(step.device)).max())
    return Assumption(statement, product <= 1 + 1e-6, f"step_size L <= {product:.3g}; |A|: {how}")
