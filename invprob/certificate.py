"""The numbers that say whether a result can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Fidelity, QuadraticFidelity
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator
from invprob.solvers.base import Assumption, Solver, State, apply, pull


@dataclass(frozen=True)
class Certificate:
    """What is known of a result; None where it has no meaning or was not asked for. Tensors are per item.

    `stationarity` is |grad f(x) + sum C_i^H p_i| / |A^H W y| for the dual variables p_i, the relative KKT residual;
    `duality_gap` bounds (objective - minimum) / objective in the convex case, for minimisers within |x| of x.
    """

    adjoint_mismatch: float | None = None
    norm: float | None = None
    norm_bound: float | None = None
    norm_bound_kind: str | None = None
    data_residual: Tensor | None = None  # |A x - y| / |y|
    residual_to_noise: Tensor | None = None  # |A x - y| / (sigma sqrt(number of data)); 1 is perfect
    fixed_point_residual: Tensor | None = None
    objective: Tensor | None = None
    stationarity: Tensor | None = None
    duality_gap: Tensor | None = None
    lipschitz: float | None = None  # of the learned part
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON."""
        plain = asdict(self)
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in plain.items()}


def adjoint_mismatch(A: LinearOperator) -> float:
    """Return |<A x, y> - <x, A^H y>| / (|A x| |y|) for one random pair of a fixed seed; rounding if A^H is true."""

    def compute() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(A.domain_shape, dtype=A.domain_dtype, generator=generator).to(A.device)
        y = torch.randn(A.range_shape, dtype=A.range_dtype, generator=generator).to(A.device)
        Ax, Ay = A(x), A.adjoint(y)
        difference = linalg.inner(Ax, y, y.ndim) - linalg.inner(x, Ay, x.ndim)
        return linalg.ratio(difference.abs(), linalg.norm(Ax, y.ndim) * linalg.norm(y, y.ndim))

    return float(A._cached("adjoint_mismatch", compute))


def certify(solver: Solver[Any], f: Functional, g: Functional, state: State, noise: Scalar | None = None) -> Certificate:
    """Return the certificate of a state; costs two or three applications of A."""
    x = state.x
    facts: dict[str, Any] = {
        "fixed_point_residual": state.residual,
        "assumptions": solver.assumptions(f, g, state),
    }
    if isinstance(f, Fidelity):
        facts |= _operator_facts(f.A)
    if isinstance(f, QuadraticFidelity):
        facts |= _data_facts(f, x, noise)
    if "value" in f.supports & g.supports:
        facts["objective"] = f.value(x) + g.value(x)
        facts |= _optimality(solver, f, g, state, facts["objective"])
    return Certificate(**facts)


def _operator_facts(A: LinearOperator) -> dict[str, Any]:
    return {
        "adjoint_mismatch": adjoint_mismatch(A),
        "norm": float(A.norm()),
        "norm_bound": float(A.norm_bound()),
        "norm_bound_kind": A.norm_bound_kind,
    }


def _data_facts(f: QuadraticFidelity, x: Tensor, noise: Scalar | None) -> dict[str, Any]:
    k = len(f.A.range_shape)
    misfit = linalg.norm(f.A(x) - f.y, k)
    facts: dict[str, Any] = {"data_residual": linalg.ratio(misfit, linalg.norm(f.y, k))}
    if noise is not None:
        count = torch.Size(f.A.range_shape).numel()
        facts["residual_to_noise"] = misfit / (torch.as_tensor(noise, dtype=misfit.dtype) * count**0.5)
    return facts


def _optimality(solver: Solver[Any], f: Functional, g: Functional, state: State, objective: Tensor) -> dict[str, Any]:
    """Return the KKT residual e and the gap sum_i (g_i(C_i x) - <C_i x, p_i>) + |e| |x|, by Fenchel and Young."""
    pairs = solver.multipliers(f, g, state)
    if pairs is None or not isinstance(f, QuadraticFidelity) or not (f.convex and g.convex):
        return {}
    x, ndim = state.x, f.ndim
    e = f.grad(x)
    gap = torch.zeros_like(state.residual)
    for term, p in pairs:
        Cx, k = apply(term, x), term.functional.ndim
        e = e + pull(term, p)
        gap = gap + term.functional.value(Cx) - linalg.inner(Cx, p, k)
    size = linalg.norm(e, ndim)
    gap = gap.clamp(min=0) + size * linalg.norm(x, ndim)
    return {
        "stationarity": linalg.ratio(size, linalg.norm(f.back_projected(), ndim)),
        "duality_gap": linalg.ratio(gap, objective.double()),
    }
