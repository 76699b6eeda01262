"""The recipes that put a denoiser in the place of a prior: pnp, red, gs-pnp."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Bound, Constraint, Support, constraint_of
from invprob.methods.pretrained import given_function, pretrained_denoiser
from invprob.methods.reporting import Progress
from invprob.methods.scales import kept_nonnegative
from invprob.methods.strength import Strength
from invprob.methods.warm_start import Start, refined
from invprob.priors import RED, Denoiser, GradientStepDenoiser
from invprob.priors.denoiser_functions import Clipped, DenoiserFunction, Either, Equivariant, KeepsZero, Signed, Within
from invprob.problem import Problem, contradicts_nonnegative
from invprob.solvers import HQS, ProximalGradient

DenoiserChoice = str | DenoiserFunction
# lam over the variance of the noise: with less, data steps leave some frequencies more noise than the denoiser expects,
# sigma_k / (2 sqrt(WEIGHT)) instead of sigma_k, and it grows, by 1 to 20 dB at 0.125 (docs/plug-and-play.md); Zhang,
# Li, Zuo et al. 2021 take 0.19 to 0.55
WEIGHT = 0.25
LAST = 0.7  # noise level that the schedule ends with, relative to noise / |A|: chosen on generated images
# what it starts with, and the least it ends with, relative to the image's contrast: chosen on generated images
COARSEST, FINEST = 0.1, 1 / 255
RED_WEIGHT, GS_WEIGHT = 0.4, 4.0  # lam over (noise / sigma)^2: chosen on generated images


def pnp(
    problem: Problem,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "auto",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    steps: int = 8,
    tol: float = 3e-3,
    max_iter: int = 12,
) -> Iterator[Progress]:
    """Plug-and-play: a denoiser refines what total variation found, at a noise level that falls and then stays.

    Half-quadratic splitting (Zhang, Li, Zuo, Zhang, Van Gool & Timofte 2021). Images in colour, under
    `A.lift((3,), channels="colour")`, are denoised in colour. Pretrained weights see the image and its transpose.
    Linear systems need least squares: what stands for other likelihoods around that first image.

    Arguments:
        strength: the noise level assumed, relative to the largest reading; "auto" (the default) is what the
            misfit of total variation speaks for, or the scan's own from there up to 1.5 times that.
        denoiser: the name of pretrained weights, or a function D(x, sigma); "auto" (the default) is "denoiser", and
            "denoiser-colour" for images in colour.
        nonnegative: whether x >= 0; None (the default) where A >= 0 and no data contradict it.
        lower, upper, support: bounds and the place of the object, as for `tv`: of the first image, and of what the
            denoiser answers, which the last image nears.
        steps: in how many steps the noise level falls.
        tol: the relative residual that counts as converged.
        max_iter: the most iterations, `steps` included.

    ValueError for weights that are no denoiser of such images, and for bounds of complex ones.
    """
    D, bounds = _denoiser(problem, denoiser, nonnegative, paired=True), _bounds(problem, lower, upper, support)

    def parts(start: Start, f: Misfit) -> tuple[HQS, Functional]:
        del f
        within = _within(D, problem, bounds, start)
        low = torch.maximum(LAST * start.noise / problem.linear.norm().double(), FINEST * start.size)
        high = torch.maximum(COARSEST * start.size, low)
        g = Denoiser(within, lam=WEIGHT * start.noise**2, ndim=problem.ndim, scale=start.size, complex_as="parts")
        return HQS(steps=steps, max_iter=max_iter, tol=tol, sigma_max=high, sigma_min=low), g

    told = {"steps": steps}
    yield from refined("plug-and-play", problem, parts, strength, nonnegative, told, quadratic=True, bounds=bounds)


def red(
    problem: Problem,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "auto",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    tol: float = 2e-3,
    max_iter: int = 60,
) -> Iterator[Progress]:
    """Regularisation by denoising: A^H (A x - y) + lam (x - D(x, sigma)) = 0, from what total variation found.

    Romano, Elad & Milanfar 2017, by accelerated steps on the denoiser and proximal ones on the data. lam goes with
    (noise / sigma)^2, as (x - D(x, sigma)) / sigma^2 is Tweedie's slope of -log p.

    Arguments:
        strength, denoiser, nonnegative, lower, upper, support, tol, max_iter: as for `pnp`.
    """
    D, bounds = _denoiser(problem, denoiser, nonnegative), _bounds(problem, lower, upper, support)

    def parts(start: Start, f: Misfit) -> tuple[ProximalGradient, Functional]:
        del f
        within = _within(D, problem, bounds, start)
        lam, size = start.weight(RED_WEIGHT), start.size
        prior = RED(within, lam, start.sigma, ndim=problem.ndim, scale=size, complex_as="parts")
        return ProximalGradient(tol=tol, max_iter=max_iter), prior

    phase = "regularisation by denoising"
    yield from refined(phase, problem, parts, strength, nonnegative, {}, quadratic=True, bounds=bounds)


def gs_pnp(
    problem: Problem,
    *,
    strength: Strength = "auto",
    denoiser: DenoiserChoice = "auto",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    tol: float = 1e-3,
    max_iter: int = 20,
) -> Iterator[Progress]:
    """Gradient-step plug-and-play: 1/2 |A x - y|^2 + lam/2 |x - N(x, sigma)|^2, which never rises.

    Hurault, Leclaire & Papadakis 2022, from what total variation found, by gradient steps on the potential, halved
    until the objective falls, and proximal ones on the data. lam goes with (noise / sigma)^2.

    Arguments:
        denoiser: N, as for `pnp`, which has to be a network.
        nonnegative, lower, upper, support: of the first image, that of total variation, as for `tv`.
        strength, tol, max_iter: as for `pnp`.
    """
    D, bounds = _denoiser(problem, denoiser, nonnegative=False), _bounds(problem, lower, upper, support)

    def parts(start: Start, f: Misfit) -> tuple[ProximalGradient, Functional]:
        del f
        lam, size = start.weight(GS_WEIGHT), start.size
        prior = GradientStepDenoiser(D, lam, start.sigma, ndim=problem.ndim, scale=size, complex_as="parts")
        return ProximalGradient(tol=tol, max_iter=max_iter, backtracking=True), prior

    phase = "gradient-step denoising"
    yield from refined(phase, problem, parts, strength, nonnegative, {}, quadratic=True, bounds=bounds)


def _denoiser(
    problem: Problem, chosen: DenoiserChoice, nonnegative: bool | None, *, paired: bool = False
) -> DenoiserFunction:
    if problem.ndim < 2:
        raise ValueError(f"denoisers are for images of two or more axes, not for {problem.A.domain_shape}: use wavelet")
    D = _pretrained(chosen, problem, paired=paired) if isinstance(chosen, str) else given_function("denoiser", chosen)
    return _of_some(kept_nonnegative(problem, nonnegative), Clipped(D), D, problem)


def _of_some(which: torch.Tensor, D: DenoiserFunction, other: DenoiserFunction, problem: Problem) -> DenoiserFunction:
    """Return the denoiser of the items that are named, another of the rest."""
    if bool(which.all()):
        return D
    return Either(which.reshape(*which.shape, *[1] * problem.ndim), D, other) if bool(which.any()) else other


def _bounds(problem: Problem, lower: Bound, upper: Bound, support: Support) -> Constraint:
    """Return the bounds that were asked for; ValueError for those of complex images."""
    asked = any(setting is not None for setting in (lower, upper, support))
    if asked and (problem.y.is_complex() or problem.linear.is_complex):
        raise ValueError("lower, upper and support are for real images: leave them out")
    return constraint_of(problem, lower, upper, support)


def _within(D: DenoiserFunction, problem: Problem, bounds: Constraint, start: Start) -> DenoiserFunction:
    """Return the denoiser whose answers keep the bounds, in the units in which it sees images."""
    box = bounds.box(problem.A)
    if box is None:
        return D
    size = start.size.reshape(*start.size.shape, *(1,) * problem.ndim)
    return Within(D, box.lower / size, box.upper / size)


def _pretrained(name: str, problem: Problem, *, paired: bool) -> DenoiserFunction:
    D: DenoiserFunction = pretrained_denoiser(name, problem).to(problem.A.device)
    D = _of_some(_is_signed(problem), Signed(D), D, problem)
    return KeepsZero(Equivariant(D, "pair") if paired else D)


def _is_signed(problem: Problem) -> torch.Tensor:
    """Return per item whether its image lies on both sides of zero, as pictures in [-1, 1] do, so far as data tell."""
    if problem.y.is_complex() or problem.linear.is_complex:
        return torch.ones(problem.batch, dtype=torch.bool)
    return contradicts_nonnegative(problem) & problem.linear.nonnegative
