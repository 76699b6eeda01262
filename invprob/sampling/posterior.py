"""The door of the samplers: a prior, an operator and data in, draws with their mean and spread out."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from invprob import linalg, registry
from invprob.certificate import certify_image
from invprob.fidelities import L2
from invprob.linop import LinearOperator, Operator
from invprob.priors import DiffusionPrior, ScorePrior
from invprob.result import Result
from invprob.sampling.measurement import Measurement, per_chain
from invprob.sampling.presets import PRESETS, Preset
from invprob.sampling.sampler import Sampler, SamplerState, changed

__all__ = ["as_prior", "concluded", "sample", "sampler"]


def sample(
    prior: ScorePrior | Any,
    A: Operator,
    y: Tensor,
    noise: float | Tensor,
    preset: str | Preset = "flower",
    *,
    weights: Tensor | None = None,
    chains: int = 4,
    seed: int = 0,
    start: Tensor | None = None,
    **changes: Any,
) -> Result:
    """Return draws from p(x | y), y = A(x) + noise n, with their mean as the image and their standard deviation.

    Every item has random streams of its own: the same seed gives the same draws, bit for bit, and more items in the
    batch leave the others as they were.

    Arguments:
        prior: a `ScorePrior`, or what `DiffusionPrior` takes, such as the denoiser of `load_pretrained`.
        A: the operator; a nonlinear one with the presets whose data steps need no more than its derivative.
        y: data, `(*batch, *A.range_shape)`.
        noise: their standard deviation, a number or `(*batch,)`; for complex data noise^2 = E|n|^2. It may be 0.
        preset: a row of `PRESETS` by its name, "flower" by default, or a `Preset`.
        weights: w, with noise^2 / w the variance of each reading; by default all alike.
        chains: how many draws per item, 4 by default.
        seed: of all noise, 0 by default.
        start: an image `(*batch, *item)` around which the first noise lies; by default none, or the direct image.
        changes: other settings than those of the preset, such as `steps=50`; `Preset` says which.

    ValueError for unknown presets, with the nearest, and for a prior of other items than the operator's images.
    """
    run = sampler(prior, A, y, noise, preset, weights=weights, chains=chains, seed=seed, **changes)
    began = time.perf_counter()
    state = run.init(start)
    while not run.done(state):
        state = run.advance(state)
    return concluded(run, state, time.perf_counter() - began)


def sampler(
    prior: ScorePrior | Any,
    A: Operator,
    y: Tensor,
    noise: float | Tensor,
    preset: str | Preset = "flower",
    *,
    weights: Tensor | None = None,
    chains: int = 4,
    seed: int = 0,
    **changes: Any,
) -> Sampler:
    """Return the sampler behind `sample`, to be advanced step by step; the arguments are the same."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; {registry.nearest(preset, PRESETS)}")
        preset = PRESETS[preset]
    if chains < 1:
        raise ValueError(f"chains must be at least 1, got {chains}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    prior = as_prior(prior, len(A.domain_shape))
    if prior.ndim != len(A.domain_shape):
        raise ValueError(f"the prior has items of {prior.ndim} axes, the operator images of {len(A.domain_shape)}")
    m = per_chain(Measurement.of(A, y, noise, weights), chains)
    return Sampler(prior, m, changed(preset, changes), seed)


def as_prior(prior: ScorePrior | Any, ndim: int = 2) -> ScorePrior:
    """Return a prior as it is, and a denoiser as a `DiffusionPrior` of items with `ndim` axes."""
    return prior if isinstance(prior, ScorePrior) else DiffusionPrior(prior, ndim=ndim)


def concluded(run: Sampler, state: SamplerState, seconds: float = float("nan")) -> Result:
    """Return the result as of a state: its draws once all steps are done, before that the estimates of the chains.

    Of a chain that is no longer a number it is the last estimate that was, and the item has diverged.
    """
    m, ended, sound = run.m, state.step >= run.total, run.sound(state)
    draws = linalg.choose(sound, state.x, state.x0, m.ndim) if ended else state.x0
    x = draws.mean(0)
    spread = draws.std(0, correction=1) if len(draws) > 1 else None
    items = x.shape[: x.ndim - m.ndim]
    one = Measurement(m.A, m.y[0], m.noise[0], m.weights)
    facts = None
    if isinstance(m.A, LinearOperator):
        facts = certify_image(L2(m.A, one.y, weights=m.weights), x, one.noise)
    ratios = m.residual_to_noise(draws)
    otherwise = "converged" if ended else "stopped"
    item_status = tuple(otherwise if all_sound else "diverged" for all_sound in sound.all(0).flatten().tolist())
    return Result(
        x=x,
        status="diverged" if "diverged" in item_status else otherwise,
        item_status=item_status,
        n_iter=torch.full(items, state.step, dtype=torch.int64),
        seconds=seconds,
        history={"residual_to_noise": ratios},
        certificate=facts,
        settings={"seed": run.seed, "chains": len(draws), "steps": run.total},
        samples=draws,
        spread=spread,
        ndim=m.ndim,
    )
