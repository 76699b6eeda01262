"""The recipe for nonlinear operators: gauss-newton."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional, Zero
from invprob.linop import LinearOperator, Operator
from invprob.linop.doors import as_tensor
from invprob.methods.reporting import Progress, run
from invprob.methods.scales import variation_of
from invprob.priors import Tikhonov
from invprob.problem import Problem
from invprob.solvers import GaussNewton
from invprob.transforms import Gradient


def gauss_newton(
    problem: Problem,
    *,
    x0: Tensor | None = None,
    strength: float = 0.0,
    prior: Literal["slopes", "tv"] = "slopes",
    damping: float = 1.0,
    tol: float = 1e-5,
    max_iter: int = 50,
) -> Iterator[Progress]:
    """1/2 |A(x) - y|^2 + lam g(x) for a nonlinear A by Gauss-Newton's method from x0, or where the operator says.

    Arguments:
        x0: where to begin, `domain_shape` or one per item, up to a factor where A has a degree: the one that fits the
            data best is taken. By default what the operator says.
        strength: >= 0, the weight lam of the prior relative to what the data say at x0, by default 0: the data alone
            decide.
        prior: "slopes" (the default), g = 1/2 |D x|^2 with lam = strength |J(x0)|^2, or "tv", total variation with
            lam = strength max |J(x0)^H y|, J the derivative of A.
        damping: what the damping begins with, as a share of the curvature along the gradient (`GaussNewton`).
        tol: the relative gradient that counts as converged.
        max_iter: the most iterations.

    ValueError for a linear operator, and for settings out of range.
    """
    A: Operator = problem.A
    if isinstance(A, LinearOperator):
        raise ValueError(f"gauss-newton is for nonlinear operators, {type(A).__name__} is linear: use tikhonov or tv")
    if prior not in ("slopes", "tv") or not 0 <= strength < float("inf"):
        raise ValueError(f'gauss-newton: prior is "slopes" or "tv", strength a number >= 0, got {prior!r}, {strength}')
    f = problem.fidelity()
    x = f.start() if x0 is None else _sized(f, f.admit(as_tensor("gauss-newton: x0", x0).to(A.device)), problem.weights)
    solver = GaussNewton(damping=damping, tol=tol, max_iter=max_iter)
    g = _prior(problem, f, x, strength, prior) if strength else Zero(f.ndim)
    settings = {"strength": strength, "prior": prior, "damping": damping, "tol": tol, "max_iter": max_iter}
    yield from run("Gauss-Newton", problem, solver, f, g, state=solver.init(f, g, x), settings=settings)


def _sized(f: Misfit, x: Tensor, weights: Tensor | None) -> Tensor:
    """Return c x with the c > 0 for which A(c x) = c^d A(x) fits the data best, per item, where a degree d is known."""
    A, y = f.A, f.y
    if not A.degree or y is None:
        return x
    data, k = A(x), len(A.range_shape)
    weighted = data if weights is None else weights * data
    factor = linalg.ratio(linalg.inner(weighted, y, k), linalg.inner(weighted, data, k))
    c = torch.where((factor > 0) & factor.isfinite(), factor, 1.0) ** (1 / A.degree)
    return linalg.per_item(c, x, f.ndim) * x


def _prior(problem: Problem, f: Misfit, x: Tensor, strength: float, kind: str) -> Functional:
    """Return the prior, its weight relative to what the data say at the start."""
    A, derivative = f.A, f.A.linearised(x)
    if kind == "tv":
        pulled = derivative.adjoint(problem.force())
        largest = pulled.abs().flatten(-f.ndim).amax(-1).double()
        return variation_of(A, strength * largest)
    grid = A.grid
    slopes = Gradient(A.domain_shape, axes=grid.ndim, spacing=grid.relative, dtype=A.dtype).to(A.device)
    return Tikhonov(strength * derivative.norm().double() ** 2, slopes)
