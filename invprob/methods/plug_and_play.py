"""The recipes that put a denoiser in the place of a prior: pnp, red, gs-pnp."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.methods.progress import Progress, run
from invprob.methods.recipes import constant, is_constrained, tv, unit
from invprob.methods.strength import Strength, fixed
from invprob.multilevel import Level
from invprob.priors import RED, Denoiser, GradientStepDenoiser, load_pretrained
from invprob.priors.callables import Clipped, DenoiserFunction, KeepsZero
from invprob.priors.networks import PretrainedDenoiser
from invprob.solvers import HQS, ProximalGradient, Solver

DenoiserChoice = str | DenoiserFunction
WEIGHT = 0.2  # lam over the variance of the noise; Zhang et al. 2021 take 0.19 to 0.55
LAST = 0.7  # noise level that the schedule ends with, relative to noise / |A|
COARSEST, FINEST = 0.1, 1 / 255  # what it starts with, and the least it ends with, relative to the image's contrast
SMOOTHED = 0.05  # noise level of a denoiser whose slope is followed, relative to the contrast of the image
RED_WEIGHT, GS_WEIGHT = 0.4, 2.0  # lam over (noise / sigma)^2; this and the above chosen on generated images
FAINTEST = 1e-4  # noise level below which none is assumed, relative to the largest reading
CREDIBLE = 1.5  # a noise level more than this many times the misfit of total variation is taken for wrong


@dataclass(frozen=True)
class Start:
    """Where the denoiser takes over: an image, its contrast and the noise level of the data, per item."""

    x: Tensor
    size: Tensor
    noise: Tensor


def pnp(
    problem: Level,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "denoiser",
    nonnegative: bool | None = None,
    steps: int = 8,
    tol: float = 3e-3,
    max_iter: int = 12,
) -> Iterator[Progress]:
    """Plug-and-play: a denoiser refines what total variation found, at a noise level that falls and then stays.

    Half-quadratic splitting (Zhang, Li, Zuo, Zhang, Van Gool & Timofte 2021). `strength` is the noise level assumed,
    relative to the largest reading; `denoiser` names pretrained weights or is a function D(x, sigma).
    """
    D = _denoiser(problem, denoiser, nonnegative)

    def parts(start: Start) -> tuple[HQS, Functional]:
        low = torch.maximum(LAST * start.noise / problem.A.norm().double(), FINEST * start.size)
        high = torch.maximum(COARSEST * start.size, low)
        g = Denoiser(D, lam=WEIGHT * start.noise**2, ndim=problem.ndim, scale=start.size, complex_as="parts")
        return HQS(steps=steps, max_iter=max_iter, tol=tol, sigma_max=high, sigma_min=low), g

    yield from _refined("plug-and-play", problem, parts, strength, nonnegative, {"steps": steps})


def red(
    problem: Level,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "denoiser",
    nonnegative: bool | None = None,
    tol: float = 2e-3,
    max_iter: int = 60,
) -> Iterator[Progress]:
    """Regularisation by denoising: A^H (A x - y) + lam (x - D(x, sigma)) = 0, from what total variation found.

    Romano, Elad & Milanfar 2017, by accelerated steps on the denoiser and proximal ones on the data. lam goes with
    (noise / sigma)^2, as (x - D(x, sigma)) / sigma^2 is Tweedie's slope of -log p. Settings as for pnp.
    """
    D = _denoiser(problem, denoiser, nonnegative)

    def parts(start: Start) -> tuple[ProximalGradient, Functional]:
        sigma = SMOOTHED * start.size
        lam = RED_WEIGHT * (start.noise / sigma) ** 2
        prior = RED(D, lam, sigma, ndim=problem.ndim, scale=start.size, complex_as="parts")
        return ProximalGradient(tol=tol, max_iter=max_iter), prior

    yield from _refined("regularisation by denoising", problem, parts, strength, nonnegative, {})


def gs_pnp(
    problem: Level,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "denoiser",
    nonnegative: bool | None = None,
    tol: float = 1e-3,
    max_iter: int = 60,
) -> Iterator[Progress]:
    """Gradient-step plug-and-play: 1/2 |A x - y|^2 + lam/2 |x - N(x, sigma)|^2, which never rises.

    Hurault, Leclaire & Papadakis 2022, with the denoiser as N, which has to be a network; from what total variation
    found, by gradient steps on the potential, halved until the objective falls, and proximal ones on the data. lam goes
    with (noise / sigma)^2. Settings as for pnp.
    """
    D = _denoiser(problem, denoiser, nonnegative=False)

    def parts(start: Start) -> tuple[ProximalGradient, Functional]:
        sigma = SMOOTHED * start.size
        lam = GS_WEIGHT * (start.noise / sigma) ** 2
        prior = GradientStepDenoiser(D, lam, sigma, ndim=problem.ndim, scale=start.size, complex_as="parts")
        return ProximalGradient(tol=tol, max_iter=max_iter, backtracking=True), prior

    yield from _refined("gradient-step denoising", problem, parts, strength, nonnegative, {})


def _refined(
    phase: str,
    problem: Level,
    parts: Callable[[Start], tuple[Solver[Any], Functional]],
    strength: Strength,
    nonnegative: bool | None,
    settings: dict[str, Any],
) -> Generator[Progress, None, None]:
    """Run total variation, then a solver with a denoiser from there."""
    given, largest = fixed(strength), _largest(problem)
    for found in tv(problem, nonnegative=nonnegative):
        yield found
    x = found.result().x
    noise = constant(problem, given) * largest if given is not None else _noise(problem, x, FAINTEST * largest)
    start = Start(x, unit(problem), noise)
    solver, g = parts(start)
    f = L2(problem.A, problem.y, problem.weights)
    settings = {"strength": (noise / largest).tolist(), **settings}
    yield from run(phase, problem, solver, f, g, state=solver.init(f, g, x), settings=settings)


def _noise(problem: Level, x: Tensor, least: Tensor) -> Tensor:
    """Return the noise level that the misfit of x speaks for; the scan's own, if it has one, as far as that agrees."""
    misfit = problem.size(problem.A(x) - problem.y) / torch.as_tensor(problem.readings).double().sqrt()
    misfit = torch.maximum(misfit.double(), least)
    return misfit if problem.noise is None else torch.minimum(torch.maximum(problem.noise, misfit), CREDIBLE * misfit)


def _denoiser(problem: Level, chosen: DenoiserChoice, nonnegative: bool | None) -> DenoiserFunction:
    if problem.ndim < 2:
        raise ValueError(f"denoisers are for images of two or more axes, not for {problem.A.domain_shape}: use wavelet")
    D: DenoiserFunction = chosen if not isinstance(chosen, str) else KeepsZero(_loaded(chosen).to(problem.A.device))
    return Clipped(D) if is_constrained(problem, nonnegative) else D


def _loaded(name: str) -> PretrainedDenoiser:
    """Return pretrained weights; ValueError for those that are no denoiser."""
    found = load_pretrained(name)
    if not isinstance(found, PretrainedDenoiser):
        raise ValueError(
            f"{name!r} is no denoiser of images: use the method lpn, or denoiser, or a function D(x, sigma)"
        )
    return found


def _largest(problem: Level) -> Tensor:
    """Return the largest reading that counts per item, and 1 where there is none."""
    sizes = problem.y.abs() if problem.weights is None else torch.where(problem.weights > 0, problem.y.abs(), 0.0)
    largest = sizes.flatten(-len(problem.A.range_shape)).amax(-1).double()
    return torch.where(largest > 0, largest, 1.0)
