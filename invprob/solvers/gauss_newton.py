"""Gauss-Newton's method with Levenberg-Marquardt damping, for nonlinear operators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional, Term, require
from invprob.linalg import per_item
from invprob.solvers.admm import ADMM
from invprob.solvers.base import Assumption, Solver, State, never, start_image
from invprob.solvers.local_model import LocalModel

SHORTER, TRIES = 0.25, 4  # what a step that does not fall far enough is multiplied by, and how often
ARMIJO = 1e-4  # share of what the slope promises that a step must fall by (Nocedal & Wright 2006, section 3.1)
ROUNDING = 4  # how many units in the last place an objective may seem to rise
PENALTY = 0.1  # of the inner ADMM, relative to the curvature, as its own default


@dataclass(frozen=True, eq=False)
class GaussNewtonState(State):
    """What is known at x, per item, `(*batch,)` each but the `duals`.

    Arguments:
        objective: f(x) + g(x).
        slope: the relative gradient, 1 before the first step.
        first: |gradient| at the start.
        damping: the damping of the next step.
        growth: by which the damping grows if the next step fails.
        duals: one per term of g if one of them has no gradient: near its subgradient.
    """

    objective: Tensor
    slope: Tensor
    first: Tensor
    damping: Tensor
    growth: Tensor
    duals: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class GaussNewton(Solver[GaussNewtonState]):
    """x <- x + t d with (J^H W J + M + mu) d = -(J^H grad phi(A(x)) + grad g(x)), J the derivative of A at x.

    Levenberg 1944, Marquardt 1963. f is a `Misfit(A, phi)`, or any fidelity; W is the Hessian of phi, M that of g:
    exact for quadratic priors, a bound of it for other smooth ones. mu is the damping times the relative gradient,
    which makes convergence quadratic where data can be met (Fan & Yuan 2005); the damping follows the ratio of actual
    to predicted decrease (Nielsen 1999). t is 1, or as much smaller as it takes for f + g to fall; an item for which
    none will do stays where it is and is damped more. The linear system is solved by conjugate gradients in the smaller
    of image and data space.

    A prior of which only the prox is known makes d a convex problem, 1/2 |J d + A(x) - y|_W^2 + mu/2 |d|^2 + g(x + d),
    which goes to `ADMM`. The residual is |J^H grad phi + grad g| / |J^H W y| per item, relative to its start where phi
    is not quadratic or the data are zero; for priors with a prox that of the conditions of a minimum, or |d| / |x| if
    that is larger.

    Arguments:
        damping: >= 0, what the damping begins with, as a share of the curvature along the gradient; by default all of
            it.
        inner_tol: in (0, 1): linear systems are solved to the relative accuracy min(inner_tol, relative gradient).
        inner_steps: the most steps of `ADMM` for one direction.
    """

    max_iter: int = 100
    tol: float = 1e-6
    damping: float = 1.0
    inner_tol: float = 0.1
    inner_steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"GaussNewton: damping must be a number >= 0, got {self.damping}")
        if not 0 < self.inner_tol < 1:
            raise ValueError(f"GaussNewton: inner_tol must lie in (0, 1), got {self.inner_tol}")
        if self.inner_steps < 1:
            raise ValueError(f"GaussNewton: inner_steps must be at least 1, got {self.inner_steps}")

    def init(self, f: Functional, g: Functional, x0: Tensor) -> GaussNewtonState:
        """Return the state at x0; ValueError where the gradient vanishes at x0 though the data are not met."""
        x0 = start_image(self, f, g, x0)
        model = LocalModel.at(self._checked(f, g), g, x0)
        size, objective = linalg.norm(model.gradient, f.ndim), _objective(f, g, x0)
        if not f.convex and bool(((size == 0) & (objective > 0)).any()):
            raise ValueError(
                f"GaussNewton: the derivative of {type(model.f.A).__name__} tells no direction at the start image, "
                "which does not meet the data: give another x0"
            )
        smooth, ones = model.curvature is not None, torch.ones_like(size)
        return GaussNewtonState(
            x=x0,
            iteration=0,
            residual=never(x0, f.ndim),
            objective=objective,
            slope=ones,
            first=size,
            damping=self.damping * model.steepness(),
            growth=2 * ones,
            duals=() if smooth else tuple(torch.zeros_like(term.apply(x0)) for term in _proximal(g, x0)),
        )

    def step(self, f: Functional, g: Functional, state: GaussNewtonState) -> GaussNewtonState:
        """Return the next state."""
        misfit, ndim, x, duals = self._checked(f, g), f.ndim, state.x, state.duals
        model = LocalModel.at(misfit, g, x)
        mu = state.damping * state.slope.clamp(max=1)
        tol = state.slope.clamp(min=10 * torch.finfo(x.dtype).eps, max=self.inner_tol)
        tol = torch.where(state.residual <= self.tol, 1.0, tol)  # an item that has arrived does not keep others waiting
        if model.curvature is not None:
            d, rise = model.direction(mu, tol), torch.zeros_like(mu)
        else:
            d, duals = self._proximal_direction(model, mu, tol, duals)
            rise = g.value(x + d).double() - g.value(x).double()
        slope, curvature = model.along(d)
        share, gain = _searched(f, g, state, d, slope + rise, slope + rise + 0.5 * curvature)
        x = x + per_item(share, x, ndim) * d
        following = LocalModel.at(misfit, g, x)
        relative = self._relative(following, duals, state.first)
        if following.curvature is None:
            relative = torch.maximum(relative, linalg.ratio(linalg.norm(d, ndim), linalg.norm(x, ndim)))
        # Nielsen 1999
        better = gain > 0
        damping = state.damping * torch.where(better, (1 - (2 * gain - 1) ** 3).clamp(min=1 / 3), state.growth)
        return GaussNewtonState(
            x=x,
            iteration=state.iteration + 1,
            residual=relative,
            objective=_objective(f, g, x),
            slope=relative,
            first=state.first,
            damping=damping,
            growth=torch.where(better, 2.0, 2 * state.growth),
            duals=duals,
        )

    def multipliers(
        self, f: Functional, g: Functional, state: GaussNewtonState
    ) -> tuple[tuple[Term, Tensor], ...] | None:
        """Return the gradients of the terms of g, and the dual variables of those that have none."""
        return _forces(g, state.x, state.duals)

    def assumptions(self, f: Functional, g: Functional, state: GaussNewtonState) -> tuple[Assumption, ...]:
        """Return the conditions of convergence to a stationary point (Nocedal & Wright 2006, theorem 10.1)."""
        return (
            *(a for a in super().assumptions(f, g, state) if a.statement != "f is convex"),
            Assumption("the objective never rises", True, "every step was tested"),
            Assumption("J is bounded and Lipschitz where the objective is lower", None, "it depends on the operator"),
        )

    def _checked(self, f: Functional, g: Functional) -> Misfit:
        """Return f; TypeError, naming what is missing, for an f or g that will not do."""
        if not isinstance(f, Misfit):
            raise TypeError(f"GaussNewton needs a misfit phi(A(x)), got {type(f).__name__}")
        for part, abilities in ((f, ("value", "grad")), (g, ("value",))):
            for ability in abilities:
                require(part, ability, self)
        if f.hessian() is None and not f.phi.convex:
            raise TypeError(f"GaussNewton needs a convex phi, {type(f.phi).__name__} is not known to be")
        return f

    def _proximal_direction(
        self, model: LocalModel, mu: Tensor, tol: Tensor, duals: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the minimiser d of the model plus g(x + d), by ADMM from the duals of the last step."""
        x, g = model.J.point, model.g
        f, terms = model.fidelity(mu), _proximal(g, x)
        steepest = torch.stack([term.norm_bound().to(mu) ** 2 for term in terms]).amax(0)
        rho = PENALTY * (model.steepness() + mu) / steepest
        rho = torch.where(rho > 0, rho, 1.0)
        solver = ADMM(rho=rho, balance=True)
        u = tuple(p / per_item(rho, p, term.functional.ndim) for term, p in zip(terms, duals, strict=True))
        state = solver.with_duals(f, g, solver.init(f, g, x), u)
        advance = solver.prepared(f, g, state)
        for _ in range(self.inner_steps):
            done = state.residual <= tol * self.inner_tol
            if bool(done.all()):
                break
            state = advance(state).keep(state, done)
        p = (per_item(r, v, term.functional.ndim) * v for term, r, v in zip(terms, state.rho, state.u, strict=True))
        return state.x - x, tuple(p)

    def _relative(self, model: LocalModel, duals: tuple[Tensor, ...], first: Tensor) -> Tensor:
        """Return |grad f + what g pulls with| relative to |J^H W y|, or to the start."""
        rest = model.gradient
        if model.curvature is None:
            for term, p in _forces(model.g, model.J.point, duals):
                rest = rest + term.pull(p)
        scale = model.scale()
        return linalg.ratio(linalg.norm(rest, model.f.ndim), torch.where(scale > 0, scale, first))


def _proximal(g: Functional, x: Tensor) -> tuple[Term, ...]:
    """Return the terms of g that ADMM splits off."""
    return tuple(term for term in g.terms(x) if term.normal_term() is None)


def _forces(g: Functional, x: Tensor, duals: tuple[Tensor, ...]) -> tuple[tuple[Term, Tensor], ...]:
    """Return the terms of g with their gradients, or with their dual variables where there are any."""
    left = list(duals)
    return tuple(
        (term, left.pop(0) if duals and term.normal_term() is None else term.functional.grad(term.apply(x)))
        for term in g.terms(x)
    )


def _objective(f: Functional, g: Functional, x: Tensor) -> Tensor:
    return f.value(x).double() + g.value(x).double()


def _searched(
    f: Functional, g: Functional, state: GaussNewtonState, d: Tensor, slope: Tensor, change: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the share t of d to take, 0 where none makes f + g fall, and the actual over the predicted fall of t = 1.

    `slope` < 0 is what f + g promises to change by along d, and `change` what the model does.
    """
    now, ndim, x = state.objective, f.ndim, state.x
    slack = ROUNDING * torch.finfo(x.dtype).eps * torch.where(now.isfinite(), now.abs(), 0.0)
    share, taken, gain = torch.ones_like(now), torch.zeros_like(now), torch.full_like(now, -1.0)
    searching = torch.ones_like(now, dtype=torch.bool)
    for attempt in range(TRIES):
        found = _objective(f, g, x + per_item(share, x, ndim) * d)
        promised = torch.where(slope.isfinite(), ARMIJO * share * slope, 0.0)
        falls = searching & ((found <= now + promised + slack) | (now.isinf() & found.isfinite()))
        if attempt == 0:
            ratio = (now - found + slack) / (slack - change)
            gain = torch.where(ratio.isfinite() & (change < slack), ratio, torch.where(falls, 1.0, -1.0))
        taken = torch.where(falls, share, taken)
        searching = searching & ~falls
        if not bool(searching.any()):
            break
        share = share * SHORTER
    return taken, gain
