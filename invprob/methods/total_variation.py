"""The recipe of total variation: tv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Bound, Constraint, Support, constraint_of
from invprob.methods.continuation import Reached, continued, reached
from invprob.methods.reporting import Progress, of_own_readings, run
from invprob.methods.scales import admm, contrast, first_image, kept_nonnegative, penalty, variation_of
from invprob.methods.strength import Strength, choose, fixed
from invprob.priors import Sum
from invprob.problem import Problem, pyramid
from invprob.solvers import ADMM

ROUGH = 10  # tolerance of a coarse grid, which only has to be as good as its grid, over that of the final one: with
# THRESHOLD two to three times as fast at the same objective
SOLVED = 0.5  # of `tol`: the residual of `ADMM` that leaves no larger gap; one of `tol` left up to 1.6 times as much


def tv(
    problem: Problem,
    *,
    strength: Strength = "auto",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    tol: float = 6e-4,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """f(x) + lam TV(x) with lam = strength max |A^H y|, x >= 0 where A >= 0, by ADMM from coarse to fine.

    Rudin, Osher & Fatemi 1992; Sidky & Pan 2008. f is 1/2 |A x - y|^2, or what the scan's likelihood asks for. Samples
    of k-space off the grid are weighted by the area that is theirs, which keeps the noise of dense ones from deciding.

    Arguments:
        strength: a number >= 0; "auto" (the default) makes the image that predicts data best (`choose`).
        nonnegative: whether x >= 0; None (the default) where A >= 0 and no data contradict it, False allows negative
            images under such operators.
        lower, upper: bounds of the image, numbers in its unit; None (the default) for none but that of `nonnegative`;
            "auto" for 0, and for the highest mean along a ray through the support, which is for one material.
        support: where the object is: a mask, or "disc", "ellipse" or "convex", fitted to the edges of a sinogram.
        tol: how far the objective may lie above its minimum, relative to it. `ADMM` goes on until its relative residual
            is half of that: what its two copies of the image differ by, or have moved by, whichever is more. A sparse
            scan (256 x 256 pixels, 60 views) then keeps `tol` from 1e-3 to 1e-4; `duality_gap`, which bounds the gap
            whatever the scan, is far larger.
        max_iter: the most iterations on each grid.
    """
    balanced = problem.balanced()
    kept = kept_nonnegative(balanced, nonnegative)
    constraint = constraint_of(balanced, lower, upper, support, nonnegative=kept)
    told = {"tol": tol, "max_iter": max_iter, **constraint.told}
    events = _tv(balanced, strength, constraint, told, tol=SOLVED * tol, max_iter=max_iter)
    yield from events if balanced is problem else of_own_readings(problem, events)


def _tv(
    problem: Problem, strength: Strength, constraint: Constraint, told: dict[str, Any], *, tol: float, max_iter: int
) -> Iterator[Progress]:
    given = fixed(strength)
    largest, levels = problem.peak, pyramid(problem)
    first = first_image(levels[0])
    size = contrast(first, problem.ndim)

    def parts(level: Problem, chosen: Tensor, keep: Tensor | None) -> tuple[ADMM, Misfit, Functional]:
        lam = chosen * largest
        total_variation = variation_of(level.A, lam)
        f = level.fidelity(keep)
        bounds = constraint.box(level.A)
        g = total_variation if bounds is None else Sum(total_variation, bounds)
        return admm(f, g, penalty(lam, size, level.linear), tol=tol, max_iter=max_iter), f, g

    found = yield from choose(levels, parts, given)
    chosen, choice, at = found.strength, found.choice, found.at
    levels, settings = levels[found.level :], {"strength": chosen.tolist(), **told}
    del found  # a large picture has no room for images that are not needed any more
    for level in levels:
        solver, f, g = parts(level, chosen, None)
        solver = solver if level is levels[-1] else replace(solver, tol=ROUGH * tol)
        begin = continued(level, solver, f, g, at or Reached(first), chosen)
        phase = f"total variation, {' x '.join(map(str, level.A.domain_shape))}"
        events = run(phase, level, solver, f, g, state=begin, settings=settings, choice=choice)
        at = None
        del begin
        state = yield from events
        at = reached(state, chosen)
