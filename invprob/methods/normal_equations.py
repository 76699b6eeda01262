"""The recipes that solve linear systems: least-squares, tikhonov. Other likelihoods become weighted least squares."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.reporting import Progress, run
from invprob.methods.scales import first_image, plausible_noise
from invprob.methods.strength import Strength, choose, fixed, held_out_misfit
from invprob.operators.image.noise_level import estimate_noise
from invprob.priors import Tikhonov
from invprob.problem import Problem
from invprob.solvers import ConjugateGradient, Solver
from invprob.transforms import Gradient


def least_squares(problem: Problem, *, strength: Strength = "auto", max_iter: int = 200) -> Iterator[Progress]:
    """Conjugate gradients stopped early: where held-out data say, or at the noise level if that comes first.

    The noise level is the stated one, or that which views show: they are smooth but for it.

    Arguments:
        strength: the data residual to stop at, as a share of the data; "auto" (the default) as above.
        max_iter: the most iterations.
    """
    given, of = fixed(strength), problem.quadratic()
    size = of.size(of.y)
    if given is not None:
        target = given * size
    else:
        target = yield from held_out_misfit(of, max_iter)
        noise = _noise_of_views(of) if of.noise is None else of.noise
        target = torch.maximum(target, noise * torch.as_tensor(of.readings).double() ** 0.5)
    solver = ConjugateGradient(max_iter=max_iter, discrepancy=target)
    share = torch.where(size > 0, linalg.ratio(target, size), 0.0)
    settings = {"strength": share.tolist(), "max_iter": max_iter}
    yield from run("conjugate gradients", problem, solver, of.fidelity(), settings=settings)


def _noise_of_views(of: Problem) -> Tensor:
    """Return the noise level per item, `(*batch,)`, that views show; 0 for other data."""
    if of.A.data_kind != "views":
        return torch.zeros(of.batch, dtype=torch.float64, device=of.y.device)
    weights = of.counted()
    return estimate_noise(of.y if weights is None else weights.sqrt() * of.y, len(of.A.range_shape))


def tikhonov(problem: Problem, *, strength: Strength = "auto", max_iter: int = 300) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + lam/2 |D x|^2 with lam = strength |A|^2, by conjugate gradients.

    Arguments:
        strength: a number >= 0; "auto" (the default) makes the image that predicts data best (`choose`).
        max_iter: the most iterations.
    """
    A, given, of = problem.linear, fixed(strength), problem.quadratic()
    grid = A.grid
    D = Gradient(A.domain_shape, axes=grid.ndim, spacing=grid.relative, dtype=A.dtype).to(A.device)
    solver = ConjugateGradient(max_iter=max_iter, tol=1e-6)

    def parts(on: Problem, chosen: Tensor, keep: Tensor | None) -> tuple[Solver[Any], Misfit, Functional]:
        return solver, on.fidelity(keep), Tikhonov(chosen * A.norm().double() ** 2, D)

    found = yield from choose([of], parts, given, _expected(of, D))
    _, f, g = parts(of, found.strength, None)
    settings = {"strength": found.strength.tolist(), "max_iter": max_iter}
    yield from run("conjugate gradients", problem, solver, f, g, settings=settings, choice=found.choice)


def _expected(problem: Problem, D: Gradient) -> Tensor:
    """Return lam / |A|^2 for a prior as sure of slopes as the first image has them: noise^2 / (|A|^2 mean |D x|^2)."""
    slopes = linalg.norm(D(first_image(problem)), len(D.range_shape)).square() / prod(D.domain_shape)
    noise = plausible_noise(problem) / problem.linear.norm().double()
    return linalg.ratio(noise.square(), slopes).clamp(1e-6, 1.0)
