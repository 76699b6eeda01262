"""The numbers that say whether a result can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.doubt import Doubt
from invprob.fidelities import Fidelity, Misfit, QuadraticFidelity
from invprob.functional import Functional, Scalar, Term
from invprob.linop import Linearised, LinearOperator
from invprob.linop.pairing import adjoint_mismatch as adjoint_mismatch
from invprob.solvers.base import Assumption, Solver, State
from invprob.solvers.learned import contraction, learned_facts

_PER_ITEM = {
    *("data_residual", "residual_to_noise", "fixed_point_residual", "objective", "stationarity", "duality_gap"),
    *("contraction", "residual_correlation", "half_change"),
}


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known of a result; None where it has no meaning or was not asked for. Tensors are per item, `(*batch,)`.

    Arguments:
        adjoint_mismatch: |<A x, y> - <x, A^H y>| relative to the size of <A x, y> for random x and y
            (`linop.pairing`), about 1 of unrelated maps; of the derivative J(x) for a nonlinear A.
        derivative_error: for a nonlinear A whether J(x) is its derivative, for a random u:
            |A(x + h u) - A(x - h u) - 2 h J(x) u| / |2 h J(x) u|.
        norm, norm_bound, norm_bound_kind: |A| estimated from below, an upper bound, and how that was found; not sought
            of a stack of direct images that a few of its views judge.
        data_residual: |A x - y|_w / |y|_w.
        residual_to_noise: |A x - y|_w / (sigma sqrt(number of data with w > 0)); 1 is perfect, infinity for sigma = 0.
        residual_correlation: that of the residuals of neighbouring readings, the largest along an axis of the data:
            0 for white noise, more where this operator does not explain the data.
        half_change: |x' - x| / |x| for the image x' from half of the readings (`Result.half_change`), and `half_of`
            what was halved: every other one of the "views", or a random half of the "samples" or "pixels".
        fixed_point_residual: the relative residual that the solver stopped at.
        objective: f(x) + g(x), where both have values.
        stationarity: |grad f(x) + sum C_i^H p_i| / |A^H W y| for subgradients p_i, the relative KKT residual; for a
            nonlinear A with J(x) in place of A.
        duality_gap: bounds (objective - minimum) / objective in the convex case, for minimisers no farther from x than
            |x| plus the length of the steepest-descent step from zero.
        lipschitz: of the learned part, around the result, from below.
        residual_lipschitz: of the identity minus the learned part, likewise.
        contraction: by which factor the residual fell per iteration in the end, with a learned part.
        assumptions: the conditions of the convergence theorem, each with whether it holds.
        doubts: what is doubtful about the data and their geometry, for which no number stands.
        notes: whatever else there is to say, a sentence each.
    """

    adjoint_mismatch: float | None = None
    derivative_error: float | None = None
    norm: float | None = None
    norm_bound: float | None = None
    norm_bound_kind: str | None = None
    data_residual: Tensor | None = None
    residual_to_noise: Tensor | None = None
    residual_correlation: Tensor | None = None
    half_change: Tensor | None = None
    half_of: str | None = None
    fixed_point_residual: Tensor | None = None
    objective: Tensor | None = None
    stationarity: Tensor | None = None
    duality_gap: Tensor | None = None
    lipschitz: float | None = None
    residual_lipschitz: float | None = None
    contraction: Tensor | None = None
    assumptions: tuple[Assumption, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Certificate:
        """Return the certificate of which `as_dict` is `plain`; what this version does not know is left out."""
        facts: dict[str, Any] = {}
        for entry in fields(cls):
            value = plain.get(entry.name)
            if value is None:
                continue
            if entry.name == "assumptions":
                value = tuple(Assumption(a["statement"], a["holds"], a["reason"]) for a in value)
            elif entry.name == "doubts":
                value = tuple(map(Doubt.from_dict, value))
            elif entry.name == "notes":
                value = tuple(map(str, value))
            elif entry.name in _PER_ITEM:
                value = torch.tensor(value, dtype=torch.float64)
            facts[entry.name] = value
        return cls(**facts)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON."""
        plain = asdict(self) | {"doubts": [doubt.as_dict() for doubt in self.doubts]}
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in plain.items()}


def derivative_error(derivative: Linearised) -> float:
    """Return |A(x + h u) - A(x - h u) - 2 h J(x) u| / |2 h J(x) u| for one random u of a fixed seed, largest item.

    h |u| is eps^(1/3) |x|, so that a true derivative leaves about eps^(2/3): 1e-10 in float64. NaN where a step leaves
    the domain of A.
    """
    x, d, k = derivative.point, len(derivative.domain_shape), len(derivative.range_shape)
    u = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)).to(x.device)
    size = linalg.norm(x, d)
    length = torch.where(size > 0, size, 1.0) * torch.finfo(x.dtype).eps ** (1 / 3)
    step = linalg.per_item(length / linalg.norm(u, d), u, d) * u
    expected = 2 * derivative(step)
    found = derivative.operator(x + step) - derivative.operator(x - step)
    return float(linalg.ratio(linalg.norm(found - expected, k), linalg.norm(expected, k)).max())


def certify(
    solver: Solver[Any],
    f: Functional,
    g: Functional,
    state: State,
    noise: Scalar | None = None,
    history: Mapping[str, list[Tensor]] | None = None,
) -> Certificate:
    """Return the certificate of a state; costs a few applications of A, and once per A a power iteration.

    A denoiser as prior costs its `power_steps` times six applications more.
    """
    x = state.x
    facts: dict[str, Any] = {
        "fixed_point_residual": state.residual,
        "assumptions": solver.assumptions(f, g, state),
    }
    learned = learned_facts(solver, f, g, state)
    if learned["assumptions"]:
        learned["assumptions"] = facts["assumptions"] + learned["assumptions"]
        facts |= learned | {"contraction": contraction(history or {})}
    if isinstance(f, Fidelity):
        facts |= _operator_facts(f.A)
    if isinstance(f, QuadraticFidelity) or (isinstance(f, Misfit) and f.hessian() is not None):
        facts |= _data_facts(f, x, noise)
    if isinstance(f, Misfit) and not isinstance(f, Fidelity):
        facts |= _nonlinear_facts(solver, f, g, state)
    if "value" in f.supports & g.supports:
        facts["objective"] = f.value(x) + g.value(x)
        facts |= _optimality(solver, f, g, state, facts["objective"])
    return Certificate(**facts)


def steepest_step(f: QuadraticFidelity) -> Tensor:
    """Return the length of the steepest-descent step from zero, which is about that of an image that fits the data."""
    b = f.back_projected()
    Ab = f.A(b)
    return linalg.ratio(linalg.norm(b, f.ndim) ** 3, linalg.inner(Ab, f.weigh(Ab), len(f.A.range_shape)))


def certify_image(
    f: QuadraticFidelity, x: Tensor, noise: Scalar | None = None, *, Ax: Tensor | None = None, norm: bool = True
) -> Certificate:
    """Return what can be said of an image that no iteration has led to: of its operator and its data residual.

    Arguments:
        f: the data term.
        x: the image.
        noise: the standard deviation of the data's noise.
        Ax: A x, where it is known already.
        norm: whether to find |A|, which takes a power iteration and tells how long steps may be: an image without
            steps can do without.
    """
    facts = _operator_facts(f.A) if norm else {"adjoint_mismatch": adjoint_mismatch(f.A)}
    return Certificate(**facts, **_data_facts(f, x, noise, Ax))


def _operator_facts(A: LinearOperator) -> dict[str, Any]:
    return {
        "adjoint_mismatch": adjoint_mismatch(A),
        "norm": float(A.norm().max()),
        "norm_bound": float(A.norm_bound().max()),
        "norm_bound_kind": A.norm_bound_kind,
    }


def _nonlinear_facts(solver: Solver[Any], f: Misfit, g: Functional, state: State) -> dict[str, Any]:
    """Return whether J(x) is the derivative of A, and how nearly the conditions of a minimum are met at x."""
    derivative, x = f.A.linearised(state.x), state.x
    facts = {"adjoint_mismatch": adjoint_mismatch(derivative), "derivative_error": derivative_error(derivative)}
    pairs, term, y = solver.multipliers(f, g, state), f.hessian(), f.y
    if pairs is None or term is None or y is None:
        return facts
    e = derivative.adjoint(f.phi.grad(derivative.value))
    for part, p in pairs:
        if "grad" in part.functional.supports:
            e = e + part.pull(part.functional.grad(part.apply(x)))
        elif "prox" in part.functional.supports:
            e = e + part.pull(_subgradient(part, part.apply(x), p)[0])
        else:
            return facts
    scale = derivative.adjoint(term.apply(y, len(f.A.range_shape)))
    return facts | {"stationarity": linalg.ratio(linalg.norm(e, f.ndim), linalg.norm(scale, f.ndim))}


def _data_facts(f: Misfit, x: Tensor, noise: Scalar | None, Ax: Tensor | None = None) -> dict[str, Any]:
    y = f.y
    if y is None:
        return {}
    k = len(f.A.range_shape)
    weights: Tensor | None = getattr(f.phi, "weights", None)
    measured = f.A.measured  # what is no reading counts nowhere
    if measured is not None:
        measured = measured.to(y.device)
        weights = measured.to(y.real.dtype) if weights is None else weights * measured
    root = 1.0 if weights is None else weights.sqrt()
    misfit = linalg.norm(root * ((f.A(x) if Ax is None else Ax) - y), k)
    facts: dict[str, Any] = {"data_residual": linalg.ratio(misfit, linalg.norm(root * y, k))}
    if noise is not None:
        counted = torch.ones(f.A.range_shape) if weights is None else (weights > 0).expand(y.shape)
        count = counted.sum(linalg.item_axes(k)).to(misfit)
        due = torch.as_tensor(noise).to(misfit) * count.sqrt()
        facts["residual_to_noise"] = torch.where(due > 0, misfit / due, torch.inf)  # of exact data it says nothing
    return facts


def _optimality(solver: Solver[Any], f: Functional, g: Functional, state: State, objective: Tensor) -> dict[str, Any]:
    """Return the KKT residual e = grad f(x) + sum C_i^H p_i and the gap that Fenchel's inequality gives.

    From z_i = prox_{t g_i}(C_i x + t p_i) the solver's p_i become p_i = (C_i x + t p_i - z_i) / t, which are
    subgradients at z_i, so that F(x) - F(w) <= sum_i (g_i(C_i x) - g_i(z_i) - <C_i x - z_i, p_i>) + <e, x - w>.
    """
    if not isinstance(f, QuadraticFidelity) or not (f.convex and g.convex):
        return {}
    pairs = solver.multipliers(f, g, state)
    if pairs is None or any("prox" not in term.functional.supports for term, _ in pairs):
        return {}
    x, e = state.x, f.grad(state.x)
    gap = torch.zeros_like(state.residual)
    for term, p in pairs:
        part, Cx = term.functional, term.apply(x)
        p, z = _subgradient(term, Cx, p)
        e = e + term.pull(p)
        gap = gap + part.value(Cx) - part.value(z) - linalg.inner(Cx - z, p, part.ndim)
    size, scale = linalg.norm(e, f.ndim), linalg.norm(f.back_projected(), f.ndim)
    radius = linalg.norm(x, f.ndim) + steepest_step(f)
    return {
        "stationarity": linalg.ratio(size, scale),
        "duality_gap": linalg.ratio(gap.clamp(min=0) + size * radius, objective.double()),
    }


def _subgradient(term: Term, Cx: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Return p = (C x + t p - z) / t and z = prox_{t g}(C x + t p), at which it is a subgradient, t = |C x| / |p|."""
    part = term.functional
    t = linalg.ratio(linalg.norm(Cx, part.ndim), linalg.norm(p, part.ndim))
    t = torch.where((t > 0) & t.isfinite(), t, 1.0)
    scale = linalg.per_item(t, Cx, part.ndim)
    z = part.prox(Cx + scale * p, t)
    return p + (Cx - z) / scale, z
