"""Proximal gradient: plain, accelerated (FISTA), with restart; without a prior it is gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity
from invprob.functional import Functional, require
from invprob.linalg import per_item
from invprob.solvers.base import (
    Assumption,
    Solver,
    State,
    convexity,
    item_ndim,
    never,
    refuse_unmatched,
    true_adjoint,
)


@dataclass(frozen=True)
class ProximalGradientState(State):
    """`point` is where the next gradient is taken, `momentum` FISTA's t (*batch,), `step_size` a 0-d tensor."""

    point: Tensor
    momentum: Tensor
    step_size: Tensor


@dataclass(frozen=True, kw_only=True)
class ProximalGradient(Solver[ProximalGradientState]):
    """x <- prox_{tau g}(v - tau grad f(v)), with v = x or extrapolated (Beck & Teboulle 2009).

    `step_size` tau defaults to 1 / Lip(grad f); one that cannot converge is refused. `restart` drops an item's
    momentum when it points uphill (O'Donoghue & Candes 2015). The residual is |x - v| / |x|.
    """

    step_size: float | None = None
    accelerate: bool = True
    restart: bool = True

    def init(self, f: Functional, g: Functional, x0: Tensor) -> ProximalGradientState:
        """Return the state at x0."""
        ndim = item_ndim(f, g, x0)
        refuse_unmatched(f, self)
        require(f, "grad", self)
        require(g, "prox", self)
        limit = 1.0 if self.accelerate else 2.0
        tau = legal_step(self, self.step_size, f.lipschitz(), f, limit).to(x0.device)
        one = torch.ones_like(never(x0, ndim))
        return ProximalGradientState(x0, 0, never(x0, ndim), x0, one, tau)

    def step(self, f: Functional, g: Functional, state: ProximalGradientState) -> ProximalGradientState:
        """Return the next state."""
        ndim, v, tau = f.ndim, state.point, state.step_size
        x = g.prox(v - tau.to(v.real.dtype) * f.grad(v), tau)
        residual = linalg.ratio(linalg.norm(x - v, ndim), linalg.norm(x, ndim))
        momentum = torch.ones_like(state.momentum)
        point = x
        if self.accelerate:
            momentum = (1 + (1 + 4 * state.momentum**2).sqrt()) / 2
            inertia = (state.momentum - 1) / momentum
            if self.restart:
                uphill = (linalg.inner(v - x, x - state.x, ndim) > 0).detach()
                momentum = torch.where(uphill, 1.0, momentum)
                inertia = torch.where(uphill, 0.0, inertia)
            point = x + per_item(inertia, x, ndim) * (x - state.x)
        return ProximalGradientState(x, state.iteration + 1, residual, point, momentum, tau)

    def assumptions(
        self, f: Functional, g: Functional, state: ProximalGradientState
    ) -> tuple[Assumption, ...]:
        """Return the conditions of Beck & Teboulle 2009, theorem 4.4 (3.1 when plain)."""
        return (*convexity(f, g), true_adjoint(f), step_assumption(state.step_size, f.lipschitz(), f, "1 / L"))


def legal_step(
    solver: object, given: float | None, lipschitz: object, f: Functional, limit: float
) -> Tensor:
    """Return the step size, 1 / L unless given; ValueError if there is no L or the step must diverge."""
    if lipschitz is None:
        if given is None:
            raise ValueError(
                f"{type(solver).__name__}: {type(f).__name__} has no Lipschitz gradient, so no step is safe; "
                "give step_size, or use a splitting solver"
            )
        return torch.tensor(float(given), dtype=torch.float64)
    L = torch.as_tensor(lipschitz, dtype=torch.float64).max()
    if given is None:
        return torch.where(L > 0, 1 / L, 1.0)
    surely = _certain_curvature(f, L)
    if not 0 < given or given * surely > limit:
        raise ValueError(
            f"{type(solver).__name__}: step_size={given:g} cannot converge; it must lie in (0, {limit / surely:g}], "
            f"as Lip(grad f) is at least {surely:g}"
        )
    return torch.tensor(float(given), dtype=torch.float64)


def _certain_curvature(f: Functional, L: Tensor) -> float:
    """Return a lower bound of Lip(grad f): with |A| estimated from below where f is a fidelity, else L itself."""
    if not isinstance(f, Fidelity):
        return float(L)
    of_phi = f.phi.lipschitz()
    return float(torch.as_tensor(1.0 if of_phi is None else of_phi).max() * f.A.norm().double() ** 2)


def step_assumption(step: Tensor, lipschitz: object, f: Functional, limit: str) -> Assumption:
    """Return whether the step is within 1 / L."""
    how = f.A.norm_bound_kind if isinstance(f, Fidelity) else "given by the functional"
    if lipschitz is None:
        return Assumption(f"step_size <= {limit}", None, "the gradient has no Lipschitz constant")
    L = float(torch.as_tensor(lipschitz, dtype=torch.float64).max())
    holds = float(step) * L <= 1 + 1e-6
    return Assumption(f"step_size <= {limit}", holds, f"step {float(step):.3g}, L <= {L:.3g} ({how})")
