"""What recipes share: where iterations begin, the scales that strengths and penalties are relative to, ADMM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit, QuadraticFidelity
from invprob.functional import Functional
from invprob.linop import LinearOperator, Operator
from invprob.operators.image.noise_level import estimate_noise
from invprob.priors import TotalVariation
from invprob.problem import Problem, contradicts_nonnegative
from invprob.solvers import ADMM, Solver, State
from invprob.solvers.admm import ADMMState
from invprob.tuning.risk import probe

# lam / rho relative to the contrast of the image: with loose coarse grids (ROUGH of tv) two to three times as fast as
# 0.1 at the same objective, from sparse views to limited angles
THRESHOLD = 0.03
WEAKEST = 5e-4  # rho is at least this share of |A|^2, for strengths near 0; no measurement on record
FAINTEST = 1e-3  # noise is taken to be no less, relative to the root mean square of the data, where a scale is needed
# a change from frame to frame weighs as one over so many pixels: from 1 to 0.5 to 0.25, films of beating bodies gained
# 2.0 and 1.2 dB
FRAME = 0.25
# conjugate gradients per step of ADMM off the grid: smooth images where no coil sees take fifty and more, which
# ADMM need not wait for: a spiral on 360 x 288 pixels converged with 3.7 of them a step
X_STEPS = 5
OF_DATA = 0.3  # rho of the data's own term, whose curvature is about 1: from 0.1 to 3 it was found to matter little


def constant(problem: Problem, value: float) -> Tensor:
    """Return a number for every item."""
    return torch.full(problem.batch, value, dtype=torch.float64, device=problem.y.device)


def kept_nonnegative(problem: Problem, nonnegative: object) -> Tensor:
    """Return per item, `(*batch,)`, whether its image is kept >= 0: as asked, else if A >= 0 and its data agree.

    Ringing of A leaves it at that. Complex data, which have no sign, do not agree.
    """
    A, y = problem.linear, problem.y
    if nonnegative is None:
        if not (A.nonnegative or A.rings) or y.is_complex():
            return torch.zeros(problem.batch, dtype=torch.bool, device=y.device)
        return ~contradicts_nonnegative(problem)
    if not isinstance(nonnegative, bool | Tensor):
        raise ValueError(f"nonnegative is True, False or None, got {nonnegative!r}")
    return torch.as_tensor(nonnegative, device=y.device).expand(problem.batch)


def plausible_noise(problem: Problem) -> Tensor:
    """Return the noise level of Gaussian data as stated, or as they show it if they are smooth else, never quite 0."""
    k, n = len(problem.A.range_shape), torch.as_tensor(problem.readings).double()
    rms = (problem.size(problem.y).square() / n).sqrt()
    level = estimate_noise(problem.y, k) if problem.noise is None else problem.noise
    level = torch.maximum(level.to(rms), FAINTEST * rms)
    return torch.where(level > 0, level, 1.0)


def pull_of_noise(problem: Problem) -> Tensor:
    """Return the root mean square of A^H W n for noise n, as stated or as the data show it, over max |A^H W y|.

    A strength is of its order: a prior has to hold against the noise's pull. `(*batch,)`, never 0.
    """
    of = problem.quadratic()
    weights = of.counted()
    n = probe(of.A.range_shape, of.y, weights)
    pull = of.linear.adjoint((n if weights is None else weights * n).to(of.y.dtype))
    size = pull.abs().double().square().flatten(-of.ndim).mean(-1).sqrt()
    return torch.where(of.peak > 0, linalg.ratio(size * plausible_noise(of), of.peak), 1.0).clamp(1e-6, 1.0)


def variation_of(A: Operator, lam: Tensor) -> TotalVariation:
    """Return total variation on the grid of A's image; channels of one scene share their edges, and frames follow."""
    if A.channels == "frames":
        return _variation_in_time(A, lam)
    grid, shared = A.grid, A.channels in ("colour", "echoes")
    return TotalVariation(lam, ndim=len(A.domain_shape), axes=grid.ndim, spacing=grid.relative, shared_edges=shared)


def _variation_in_time(A: Operator, lam: Tensor) -> TotalVariation:
    """Return total variation over space and time, in which a frame is a step of FRAME along the axis before space."""
    before = len(A.domain_shape) - A.grid.ndim
    spacing = (*(1.0,) * (before - 1), FRAME, *A.grid.relative)
    return TotalVariation(lam, ndim=len(A.domain_shape), axes=A.grid.ndim + 1, spacing=spacing[before - 1 :])


def penalty(lam: Tensor, size: Tensor, A: LinearOperator) -> Tensor:
    """Return ADMM's rho for a threshold that is a fixed share of the contrast `size` of the image."""
    return torch.maximum(linalg.ratio(lam, THRESHOLD * size), WEAKEST * A.norm().double() ** 2)


def first_image(problem: Problem) -> Tensor:
    """Return the direct reconstruction, where iterations begin: from zero, holes and borders are slow to fill."""
    stand_in = problem.quadratic()
    return problem.linear.direct(stand_in.y, stand_in.weights)


def contrast(x: Tensor, ndim: int) -> Tensor:
    """Return the 99th percentile of |x| per item, float64 `(*batch,)`."""
    values = x.abs().flatten(-ndim)
    return values.kthvalue(max(1, int(0.99 * values.shape[-1])), dim=-1).values.double()


def unit(problem: Problem) -> Tensor:
    """Return what a learned prior takes for 1: the contrast of each item's image, and 1 where there is none."""
    size = contrast(first_image(problem), problem.ndim)
    return torch.where(size > 0, size, 1.0)


def admm(f: Misfit, g: Functional, rho: Tensor, *, tol: float, max_iter: int) -> ADMM:
    """Return ADMM with the penalty rho for what g is split into, and for data that are no least squares their own."""
    if isinstance(f, QuadraticFidelity):
        steps = ADMM.x_steps if f.A.density() is None else X_STEPS
        return ADMM(rho=rho, tol=tol, max_iter=max_iter, x_steps=steps)
    zero = torch.zeros(f.A.domain_shape, dtype=f.A.domain_dtype, device=f.A.device)
    split = sum(term.normal_term() is None for term in g.terms(zero))
    return ADMM(rho=(*[rho] * split, OF_DATA), tol=tol, max_iter=max_iter)


def started(problem: Problem, solver: Solver[Any], f: Misfit, g: Functional, x: Tensor) -> State:
    """Return the state at an image; where ADMM splits the data off, with the multipliers that the image asks for."""
    state: State = solver.init(f, g, x)
    if isinstance(f, QuadraticFidelity) or not isinstance(solver, ADMM) or not isinstance(state, ADMMState):
        return state
    if "grad" not in f.phi.supports:
        return state
    slope = f.phi.grad(f.A(x))
    most = problem.force().abs().flatten(-len(f.A.range_shape)).amax(-1)
    most = linalg.per_item(most, slope, len(f.A.range_shape))
    slope = torch.where(slope.isfinite(), torch.minimum(torch.maximum(slope, -most), most), 0.0)
    return solver.with_duals(f, g, state, (*state.u[:-1], slope / OF_DATA))
