"""The recipes: direct, fbp, least-squares, tikhonov, tv. Keyword arguments are the settings people see."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.linop import LinearOperator
from invprob.methods.progress import Progress, direct_result, run
from invprob.methods.strength import Strength, choose, fixed, held_out_misfit
from invprob.priors import NonNegative, Sum, Tikhonov, TotalVariation
from invprob.problem import Problem, prolong, pyramid
from invprob.solvers import ADMM, ConjugateGradient, Solver, State
from invprob.solvers.admm import ADMMState
from invprob.transforms import Gradient

THRESHOLD = 0.03  # lam / rho relative to the contrast of the image: good from sparse views to limited angles
ROUGH = 10  # tolerance of a coarse grid, which only has to be as good as its grid, over that of the final one
WEAKEST = 5e-4  # rho is at least this share of |A|^2


def direct(problem: Problem) -> Iterator[Progress]:
    """The direct reconstruction of the field: filtered back-projection, Wiener's filter, interpolation, A^H y."""
    x = problem.A.direct(problem.y, problem.weights)
    yield Progress("direct reconstruction", 1, 1, 0.0, lambda: direct_result(problem, x, {}))


def fbp(problem: Problem, *, window: str = "ramp") -> Iterator[Progress]:
    """Filtered back-projection; `window` tapers the ramp: ramp, shepp-logan, cosine, hamming or hann.

    Of cone beams that of Feldkamp, Davis & Kress 1984.
    """
    A = problem.A
    if A.data_kind != "views" or "window" not in inspect.signature(A.direct).parameters:
        name = type(A).__name__
        raise ValueError(f"fbp is for parallel, fan and cone beams, not for {name}: use least-squares or tv")
    x = A.direct(problem.y, problem.weights, window=window)  # type: ignore[call-arg]
    settings = {"window": window}
    yield Progress("filtering and back-projecting", 1, 1, 0.0, lambda: direct_result(problem, x, settings))


def least_squares(problem: Problem, *, strength: Strength = "auto", max_iter: int = 200) -> Iterator[Progress]:
    """Conjugate gradients stopped early: where held-out data say, or at the noise level if that comes first.

    A number as `strength` stops at a data residual of that share of the data instead.
    """
    given = fixed(strength)
    size = problem.size(problem.y)
    if given is not None:
        target = given * size
    else:
        target = yield from held_out_misfit(problem, max_iter)
        if problem.noise is not None:
            target = torch.maximum(target, problem.noise * problem.readings**0.5)
    solver = ConjugateGradient(max_iter=max_iter, discrepancy=target)
    share = torch.where(size > 0, linalg.ratio(target, size), 0.0)
    settings = {"strength": share.tolist(), "max_iter": max_iter}
    yield from run("conjugate gradients", problem, solver, L2(problem.A, problem.y, problem.weights), settings=settings)


def tikhonov(problem: Problem, *, strength: Strength = "auto", max_iter: int = 300) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + lam/2 |D x|^2 with lam = strength |A|^2, by conjugate gradients."""
    A, given = problem.A, fixed(strength)
    grid = A.grid
    D = Gradient(A.domain_shape, axes=grid.ndim, spacing=grid.relative, dtype=A.dtype).to(A.device)
    solver = ConjugateGradient(max_iter=max_iter, tol=1e-6)

    def parts(level: Problem, chosen: Tensor, weights: Tensor | None) -> tuple[Solver[Any], L2, Functional]:
        return solver, L2(level.A, level.y, weights), Tikhonov(chosen * A.norm().double() ** 2, D)

    chosen = constant(problem, given) if given is not None else (yield from choose([problem], parts, start=1.0))
    _, f, g = parts(problem, chosen, problem.weights)
    settings = {"strength": chosen.tolist(), "max_iter": max_iter}
    yield from run("conjugate gradients", problem, solver, f, g, settings=settings)


def tv(
    problem: Problem,
    *,
    strength: Strength = "auto",
    nonnegative: bool | None = None,
    tol: float = 3e-4,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + lam TV(x) with lam = strength max |A^H y|, x >= 0 where A >= 0, by ADMM from coarse to fine.

    Rudin, Osher & Fatemi 1992; Sidky & Pan 2008. `nonnegative=False` allows negative images under such operators.
    """
    given, constrained = fixed(strength), is_constrained(problem, nonnegative)
    largest, levels = peak(problem), pyramid(problem)
    first = first_image(levels[0])
    size = contrast(first, problem.ndim)

    def parts(level: Problem, chosen: Tensor, weights: Tensor | None) -> tuple[ADMM, L2, Functional]:
        lam = chosen * largest
        total_variation = _total_variation(level.A, lam)
        g = Sum(total_variation, NonNegative(level.ndim)) if constrained else total_variation
        rho = penalty(lam, size, level.A)
        return ADMM(rho=rho, tol=tol, max_iter=max_iter), L2(level.A, level.y, weights), g

    chosen = constant(problem, given) if given is not None else (yield from choose(levels, parts))
    settings = {"strength": chosen.tolist(), "nonnegative": constrained, "tol": tol, "max_iter": max_iter}
    state: State | None = None
    for level in levels:
        solver, f, g = parts(level, chosen, level.weights)
        solver = solver if level is levels[-1] else replace(solver, tol=ROUGH * tol)
        start = _finer(state, solver, f, g) if isinstance(state, ADMMState) else solver.init(f, g, first)
        phase = f"total variation, {' x '.join(map(str, level.A.domain_shape))}"
        state = yield from run(phase, level, solver, f, g, state=start, settings=settings)


def _total_variation(A: LinearOperator, lam: Tensor) -> TotalVariation:
    """Return total variation on the grid of A's image; channels of one scene share their edges."""
    grid, shared = A.grid, A.channels in ("colour", "echoes")
    return TotalVariation(lam, ndim=len(A.domain_shape), axes=grid.ndim, spacing=grid.relative, shared_edges=shared)


def constant(problem: Problem, value: float) -> Tensor:
    """Return a number for every item."""
    return torch.full(problem.batch, value, dtype=torch.float64, device=problem.y.device)


def _finer(coarse: ADMMState, solver: ADMM, f: L2, g: Functional) -> ADMMState:
    """Return the start on a finer grid: the coarse image, interpolated, with the coarse multipliers."""
    fine: ADMMState = solver.init(f, g, prolong(coarse.x, f.A.domain_shape, smooth=True))
    u = tuple(
        prolong(c, tuple(t.shape[-f.ndim :]), smooth=False) * linalg.per_item(linalg.ratio(rc, rf), t, t.ndim - rc.ndim)
        for c, t, rc, rf in zip(coarse.u, fine.u, coarse.rho, fine.rho, strict=True)
    )
    return solver.with_duals(f, g, fine, u)


def is_constrained(problem: Problem, nonnegative: bool | None) -> bool:
    """Say whether images are kept >= 0: as asked, by default where A >= 0 and the data are real."""
    return (problem.A.nonnegative and not problem.y.is_complex()) if nonnegative is None else nonnegative


def peak(problem: Problem) -> Tensor:
    """Return max |A^H W y| per item, what strengths are relative to."""
    weighted = problem.y if problem.weights is None else problem.weights * problem.y
    return problem.A.adjoint(weighted).abs().flatten(-problem.ndim).amax(-1).double()


def penalty(lam: Tensor, size: Tensor, A: LinearOperator) -> Tensor:
    """Return ADMM's rho for a threshold that is a fixed share of the contrast `size` of the image."""
    return torch.maximum(linalg.ratio(lam, THRESHOLD * size), WEAKEST * A.norm().double() ** 2)


def first_image(level: Problem) -> Tensor:
    """Return the direct reconstruction, where iterations begin: from zero, holes and borders are slow to fill."""
    return level.A.direct(level.y, level.weights)


def contrast(x: Tensor, ndim: int) -> Tensor:
    """Return the 99th percentile of |x| per item, float64 `(*batch,)`."""
    values = x.abs().flatten(-ndim)
    return values.kthvalue(max(1, int(0.99 * values.shape[-1])), dim=-1).values.double()


def unit(level: Problem) -> Tensor:
    """Return what a learned prior takes for 1: the contrast of each item's image, and 1 where there is none."""
    size = contrast(first_image(level), level.ndim)
    return torch.where(size > 0, size, 1.0)
