"""The recipes of sparse wavelet coefficients: wavelet, and l1-wavelet of MRI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Bound, Constraint, Support, constraint_of
from invprob.methods.continuation import Reached, continued
from invprob.methods.reporting import Progress, of_own_readings, run
from invprob.methods.scales import admm, contrast, first_image, kept_nonnegative, penalty
from invprob.methods.sense import ALIKE, encoding_of
from invprob.methods.strength import Found, Strength, choose, fixed
from invprob.priors import Sum, WaveletL1
from invprob.problem import Problem
from invprob.solvers import ADMM
from invprob.tuning import Choice


def wavelet(
    problem: Problem,
    *,
    strength: Strength = "auto",
    wavelet: str = "db2",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    tol: float = 1e-3,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """f(x) + lam |details of W x|_1 with lam = strength max |A^H y|, x >= 0 where A >= 0, by ADMM.

    Averaged over two shifts per axis (cycle spinning, Coifman & Donoho 1995), for which there is a prox but no value.
    f is 1/2 |A x - y|^2, or what the scan's likelihood asks for.

    Arguments:
        strength: a number >= 0; "auto" (the default) makes the image that predicts data best (`choose`).
        wavelet: the name of an orthogonal wavelet, as PyWavelets has it; by default "db2".
        nonnegative: whether x >= 0; None (the default) where A >= 0 and no data contradict it.
        lower, upper, support: bounds and the place of the object, as for `tv`.
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.
    """
    kept = kept_nonnegative(problem, nonnegative)
    constraint = constraint_of(problem, lower, upper, support, nonnegative=kept)
    told = constraint.told
    yield from _sparse(problem, strength, wavelet, constraint, told, tol=tol, max_iter=max_iter)


def l1_wavelet(
    problem: Problem, *, strength: Strength = "auto", wavelet: str = "db4", tol: float = 2e-3, max_iter: int = 60
) -> Iterator[Progress]:
    """1/2 |A x - y|^2_W + lam |details of the wavelet transform of x|_1 for MRI (Lustig, Donoho & Pauly 2007).

    By ADMM, averaged over two shifts per axis. Samples off the grid are weighted by the area of k-space that is theirs,
    which speeds convergence and keeps the noise of dense samples from deciding.

    Arguments:
        strength: lam relative to max |A^H W y|, a number >= 0; "auto" (the default) is the largest that predicts
            held-out lines, shots or points about as well as any.
        wavelet: the name of an orthogonal wavelet, as PyWavelets has it; by default "db4".
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.

    ValueError for other data than those of MRI.
    """
    encoding_of(problem.linear, "l1-wavelet")
    told = {"nonnegative": False}
    events = _sparse(
        problem.balanced(), strength, wavelet, Constraint(), told, tol=tol, max_iter=max_iter, few_readings=True
    )
    yield from of_own_readings(problem, events)


def _sparse(
    problem: Problem,
    strength: Strength,
    name: str,
    constraint: Constraint,
    told: dict[str, Any],
    *,
    tol: float,
    max_iter: int,
    few_readings: bool = False,
) -> Iterator[Progress]:
    largest, first = problem.peak, first_image(problem)
    size = contrast(first, problem.ndim)

    def parts(on: Problem, chosen: Tensor, keep: Tensor | None) -> tuple[ADMM, Misfit, Functional]:
        lam = chosen * largest
        sparse = WaveletL1(lam, wavelet=name, spins=2, ndim=on.ndim)
        f = on.fidelity(keep)
        bounds = constraint.box(on.A)
        g = sparse if bounds is None else Sum(bounds, sparse)  # the image is what the first makes of it
        return admm(f, g, penalty(lam, size, on.linear), tol=tol, max_iter=max_iter), f, g

    given = fixed(strength)
    found = yield from choose([problem], parts, given)
    if few_readings and found.choice is not None:
        # the last trial was the weakest: what noise it has left in the image a loose tolerance would not take away
        found = replace(_strongest_of_equals(found, found.choice), at=None)
    chosen, at = found.strength, found.at
    solver, f, g = parts(problem, chosen, None)
    settings = {"strength": chosen.tolist(), "wavelet": name, "tol": tol, **told}
    begin, choice = continued(problem, solver, f, g, at or Reached(first), chosen), found.choice
    events = run("wavelet sparsity", problem, solver, f, g, state=begin, settings=settings, choice=choice)
    del found, first, at, begin  # images that a large picture has no room for
    yield from events


def _strongest_of_equals(found: Found, choice: Choice) -> Found:
    """Return the largest strength tried that predicts held-out readings about as well as the best; few tell little."""
    scores = torch.where(choice.scores.isnan(), torch.inf, choice.scores)
    alike = scores <= (1 + ALIKE) ** 2 * scores.amin(0)  # scores are squares of errors
    strength = torch.maximum(found.strength, torch.where(alike, choice.trials, 0.0).amax(0))
    return replace(found, strength=strength, choice=replace(choice, strength=strength))
