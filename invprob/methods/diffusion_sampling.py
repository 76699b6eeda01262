"""The recipes that draw from the posterior under a diffusion prior: mcg, dps, diffpir, dds, daps, flower.

One recipe with a data step each (`invprob.sampling`): total variation gives the first image, the noise level where none
is known and the contrast; the chains begin around it where the prior does not know larger noise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.methods.pretrained import given_function, pretrained_denoiser
from invprob.methods.reporting import Progress, Recipe
from invprob.methods.scales import contrast
from invprob.methods.setting_kinds import as_real
from invprob.methods.total_variation import tv
from invprob.methods.warm_start import ENOUGH, FAINTEST, ROUGHLY
from invprob.priors import DiffusionPrior, ScorePrior
from invprob.priors.denoiser_functions import DenoiserFunction
from invprob.problem import Problem
from invprob.result import Result
from invprob.sampling import Sampler, SamplerState, concluded, sampler
from invprob.sampling.presets import PRESETS

PriorChoice = str | ScorePrior | DenoiserFunction
CREDIBLE = 1.5  # a noise level of the scan beyond so many times what total variation leaves is taken for wrong


def mcg(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 2,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Manifold constrained gradients: steps along the prior's manifold, then projections onto the data.

    Chung, Sim, Ryu & Ye 2022. The projection believes the data as far as noise lets it.

    Arguments:
        prior: what images are like: the name of pretrained weights, a `ScorePrior` or a function D(x, sigma); "auto"
            (the default) is "denoiser", and "denoiser-colour" for images in colour.
        n_chains: draws per item; the image is their mean, the spread their standard deviation.
        steps: noise levels; None (the default) for as many as the table of presets has.
        scale: the value that the prior knows as 1; "auto" (the default) is the contrast of the first image.
        seed: of all noise.
    """
    yield from _drawn("mcg", problem, prior, n_chains, steps, scale, seed)


def dps(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 2,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Diffusion posterior sampling: every step goes down the slope of |y - A D(x)|.

    Chung, Kim, McCann, Klasky & Ye 2023.

    Arguments:
        prior, n_chains, steps, scale, seed: as for `mcg`.
    """
    yield from _drawn("dps", problem, prior, n_chains, steps, scale, seed)


def diffpir(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 4,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Plug-and-play along a diffusion: denoise, solve for the data, add a little noise.

    Zhu, Zhang, Liang, Cao, Wen, Timofte & Van Gool 2023.

    Arguments:
        prior, n_chains, steps, scale, seed: as for `mcg`.
    """
    yield from _drawn("diffpir", problem, prior, n_chains, steps, scale, seed)


def dds(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 4,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Decomposed diffusion sampling: a few conjugate-gradient steps on the data after every denoising.

    Chung, Lee & Ye 2024.

    Arguments:
        prior, n_chains, steps, scale, seed: as for `mcg`.
    """
    yield from _drawn("dds", problem, prior, n_chains, steps, scale, seed)


def daps(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 4,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Decoupled annealing: a clean image along the probability flow, a draw given the data, noise anew.

    Zhang, Chu, Berner, Meng, Anandkumar & Song 2025.

    Arguments:
        prior, n_chains, steps, scale, seed: as for `mcg`.
    """
    yield from _drawn("daps", problem, prior, n_chains, steps, scale, seed)


def flower(
    problem: Problem,
    *,
    prior: PriorChoice = "auto",
    n_chains: int = 4,
    steps: int | None = None,
    scale: float | str = "auto",
    seed: int = 0,
) -> Iterator[Progress]:
    """Draws from the Gaussian posterior around every denoised image, noise anew: nearly exact for Gaussian priors.

    Arguments:
        prior, n_chains, steps, scale, seed: as for `mcg`.
    """
    yield from _drawn("flower", problem, prior, n_chains, steps, scale, seed)


def recipe_of(preset: str) -> Recipe:
    """Return the recipe of a row of `PRESETS`, with the settings of `mcg`; one of the above where there is one."""

    def recipe(
        problem: Problem,
        *,
        prior: PriorChoice = "auto",
        n_chains: int = 4,
        steps: int | None = None,
        scale: float | str = "auto",
        seed: int = 0,
    ) -> Iterator[Progress]:
        yield from _drawn(preset, problem, prior, n_chains, steps, scale, seed)

    recipe.__doc__, recipe.__name__, recipe.__qualname__ = PRESETS[preset].about, preset, preset
    found: Recipe = globals().get(preset, recipe)
    return found


def _drawn(
    name: str,
    problem: Problem,
    chosen: PriorChoice,
    n_chains: int,
    steps: int | None,
    scale: float | str,
    seed: int,
) -> Iterator[Progress]:
    A, known = problem.linear, _prior(chosen, problem)  # which refuse before anything is computed
    for setting, value, least in (("n_chains", n_chains, 1), ("steps", steps, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise ValueError(f"{setting} of {name} must be a whole number >= {least}, got {value}")
    scale = as_real(scale)
    if scale != "auto" and (isinstance(scale, str) or not 0 < scale < float("inf")):
        raise ValueError(f"scale must be 'auto' or a positive number, got {scale!r}")
    for found in tv(problem, tol=ROUGHLY, max_iter=ENOUGH):
        yield found
    x = found.image()
    unit, of = _unit(problem, x, scale), problem.quadratic(x)
    noise = _noise(problem, of, x)
    k = len(A.range_shape)
    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    run = sampler(
        known,
        A,
        of.y / linalg.per_item(unit, of.y, k),
        noise / unit,
        PRESETS[name],
        weights=of.counted(),
        chains=n_chains,
        seed=seed,
        **changes,
    )
    began = time.perf_counter()
    state = run.init(x / linalg.per_item(unit, x, problem.ndim) if run.informed else None)
    while not run.done(state):
        state = run.advance(state)
        yield _report(name, problem, run, state, unit, noise, began)


def _report(
    name: str, problem: Problem, run: Sampler, state: SamplerState, unit: Tensor, noise: Tensor, began: float
) -> Progress:
    seconds = time.perf_counter() - began

    def result() -> Result:
        done = concluded(run, state, seconds)
        draws = _in_units(done.samples, unit, problem.ndim)
        x, facts = draws.mean(0), done.certificate
        if facts is not None:
            Ax = problem.A(x)
            facts = replace(
                facts,
                data_residual=problem.data_residual(x, Ax),
                residual_to_noise=problem.residual_to_noise(x, Ax),
                notes=(*facts.notes, _sentence(done)),
            )
        return replace(
            done,
            x=x,
            samples=draws,
            spread=None if done.spread is None else _in_units(done.spread, unit, problem.ndim),
            certificate=facts,
            settings={**done.settings, "noise": noise.tolist(), "scale": unit.tolist()},
        )

    return Progress(
        f"{name}, {len(state.x)} chains",
        state.step,
        run.total,
        None,
        result,
        lambda: _in_units(state.x0.mean(0), unit, problem.ndim),
    )


def _sentence(done: Result) -> str:
    ratios = done.history["residual_to_noise"]
    low, high = float(ratios.min()), float(ratios.max())
    return f"single draws leave {low:.2f} to {high:.2f} of the noise, their mean less: 1 is what the true image leaves"


def _in_units(x: Tensor | None, unit: Tensor, ndim: int) -> Tensor:
    if x is None:
        raise ValueError("a sampler left no draws")
    return x * linalg.per_item(unit, x, ndim)


def _noise(problem: Problem, of: Problem, x: Tensor) -> Tensor:
    """Return the noise level of the readings: the scan's, as far as total variation's misfit agrees, else that."""
    least = FAINTEST * of.y.abs().flatten(-len(of.A.range_shape)).amax(-1).double()
    misfit = torch.maximum(problem.noise_seen(x).double(), torch.where(least > 0, least, 1.0))
    if problem.noise is None:
        return misfit
    return torch.minimum(problem.noise.to(misfit), CREDIBLE * misfit)


def _unit(problem: Problem, x: Tensor, scale: float | str) -> Tensor:
    """Return what the prior takes for 1, per item."""
    if isinstance(scale, str):
        size = contrast(x, problem.ndim)
        return torch.where(size > 0, size, 1.0)
    return torch.full(problem.batch, float(scale), dtype=torch.float64, device=problem.y.device)


def _prior(chosen: PriorChoice, problem: Problem) -> ScorePrior:
    """Return the prior of a name, a function or itself; ValueError where it is none of such images."""
    if isinstance(chosen, ScorePrior):
        return chosen
    if problem.ndim < 2:
        raise ValueError(f"diffusion priors are for images of two or more axes, not for {problem.A.domain_shape}")
    if not isinstance(chosen, str):
        return DiffusionPrior(given_function("prior", chosen), ndim=problem.ndim, complex_as="parts")
    D = pretrained_denoiser(chosen, problem).to(problem.A.device, problem.A.dtype)
    return DiffusionPrior(D, ndim=problem.ndim, complex_as="parts")
