"""Twisted sequential Monte Carlo: samples that become exact with their number, for small problems."""

from __future__ import annotations

import itertools
import math
import time

import torch
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.priors import ScorePrior
from invprob.priors.gaussian import dense
from invprob.result import Result
from invprob.sampling.data_steps import left_of_white
from invprob.sampling.schedules import karras

__all__ = ["twisted"]


def twisted(
    prior: ScorePrior,
    A: LinearOperator,
    y: Tensor,
    noise: float,
    *,
    particles: int = 1000,
    steps: int = 100,
    seed: int = 0,
) -> Result:
    """Return draws from p(x | y) of one item by particles that are guided, weighed and drawn anew (Wu et al. 2023).

    The twist of a noisy image is N(y; A D(x, sigma), r^2 A A^H + noise^2), r^2 = v sigma^2 / (v + sigma^2), whose slope
    guides the proposal; weights make up for what the guide and the twist get wrong. Consistent in the number of
    particles, which has to grow exponentially with the dimension: a reference for some fifty numbers and fewer.
    `Result.history["ess"]` is the effective number of particles at every step.

    Arguments:
        prior: the prior, differentiable in x.
        A: the operator, of which the dense matrix is made.
        y: the data of one real item, `A.range_shape`.
        noise: their standard deviation, positive.
        particles, steps, seed: how many particles and noise levels, and what the random numbers follow from.

    ValueError for a batch, complex data and no noise.
    """
    if tuple(y.shape) != tuple(A.range_shape) or y.is_complex() or not noise > 0:
        raise ValueError("twisted: one real item of data is needed, with noise")
    began, draw = time.perf_counter(), torch.Generator().manual_seed(seed)
    twist = _Twist(prior, A, y, noise)
    s = prior.spread
    levels = karras(steps, 0.02 * s, 100 * s).tolist()[:-1]
    white = torch.randn(particles, *A.domain_shape, dtype=A.domain_dtype, generator=draw)
    x = levels[0] * white
    log = torch.zeros(particles, dtype=torch.float64)
    x0, guided, evidence = twist(x, levels[0])
    log = log + evidence
    history = []
    for sigma, after in itertools.pairwise(levels):
        x, x0, guided, evidence, log, size = _resampled(x, x0, guided, evidence, log, draw)
        history.append(size)
        fresh = after * (1 - (after / sigma) ** 2) ** 0.5
        kept = (after / sigma) ** 2  # x' = (1 - kept) x0 + kept x + fresh z
        mean, prior_mean = (1 - kept) * guided + kept * x, (1 - kept) * x0 + kept * x
        moved = mean + fresh * torch.randn(x.shape, dtype=x.dtype, generator=draw)
        log = log + ((moved - mean).flatten(1).square().sum(1) - (moved - prior_mean).flatten(1).square().sum(1)) / (
            2 * fresh**2
        )
        x = moved
        x0, guided, now = twist(x, after)
        log, evidence = log + now - evidence, now
    x, x0, guided, evidence, log, size = _resampled(x, x0, guided, evidence, log, draw, always=True)
    return Result(
        x=x.mean(0),
        status="converged",
        item_status=("converged",),
        n_iter=torch.tensor(steps),
        seconds=time.perf_counter() - began,
        history={"ess": torch.tensor([*history, size])},
        certificate=None,
        samples=x,
        spread=x.std(0),
        settings={"particles": particles, "steps": steps, "seed": seed},
        ndim=prior.ndim,
    )


class _Twist:
    """p(y | x at level sigma) as the Gaussian around A D(x, sigma), and the estimate that its slope gives."""

    def __init__(self, prior: ScorePrior, A: LinearOperator, y: Tensor, noise: float) -> None:
        self.prior, self.A, self.noise = prior, A, noise
        self.matrix = dense(A)
        square, self.basis = torch.linalg.eigh(self.matrix @ self.matrix.mT)
        self.square, self.y = square.clamp(min=0), y.flatten().double()

    def __call__(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return D, D moved by the data, and the logarithm of the twist, up to a constant."""
        r2 = left_of_white(self.prior.spread, sigma)
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            x0 = self.prior.denoise(at, sigma)
            r = (self.y - x0.flatten(1).double() @ self.matrix.mT) @ self.basis
            variance = r2 * self.square + self.noise**2
            log = -0.5 * (r.square() / variance + variance.log()).sum(1) - 0.5 * len(variance) * math.log(2 * math.pi)
            slope = torch.autograd.grad(log.sum(), at)[0]
        x0 = x0.detach()
        return x0, x0 + sigma**2 * slope, log.detach()


def _resampled(
    x: Tensor, x0: Tensor, guided: Tensor, evidence: Tensor, log: Tensor, draw: torch.Generator, always: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """Draw particles anew by their weights where fewer than half of them count; return the effective number, too."""
    weights = log.softmax(0)
    size = float(1 / weights.square().sum())
    if not always and size >= len(x) / 2:
        return x, x0, guided, evidence, log, size
    start = float(torch.rand((), dtype=torch.float64, generator=draw))
    places = (torch.arange(len(x), dtype=torch.float64) + start) / len(x)
    chosen = torch.searchsorted(weights.cumsum(0), places).clamp(max=len(x) - 1)
    return x[chosen], x0[chosen], guided[chosen], evidence[chosen], torch.zeros_like(log), size
