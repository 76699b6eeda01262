"""The one-dimensional problem whose answers are known: x ~ Laplace(0, 1), y = x + sigma n."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from invprob.training.batches import Batch

__all__ = ["laplace_batch", "laplace_matched", "laplace_mean", "laplace_median"]

_REACH_Y, _REACH_X = 7.0, 9.0
_NOISY, _CLEAN = 281, 721  # points of the quadrature


def laplace_batch(sigma: float) -> Batch:
    """Return the expectation over x and y as a sum: noisy values (B, 1), clean ones and their weights (B, K).

    The same for every step: the risk has no sampling noise.
    """
    y = torch.linspace(-_REACH_Y, _REACH_Y, _NOISY, dtype=torch.float64)[:, None]
    x = torch.linspace(-_REACH_X, _REACH_X, _CLEAN, dtype=torch.float64)[None]
    joint = torch.exp(-x.abs() - 0.5 * ((y - x) / sigma).square())
    clean = x.expand(_NOISY, _CLEAN)
    # half of the weight is spread evenly, or nobody would look at the rare large values
    marginal = joint.sum(1, keepdim=True)
    share = 0.5 * marginal / marginal.sum() + 0.5 / _NOISY
    return Batch(clean.float(), y.float(), torch.full((_NOISY,), sigma), (joint / marginal * share).float())


def laplace_mean(y: Tensor, sigma: float = 1.0) -> Tensor:
    """Return E[x | y], the minimiser of the mean square, for y (B,) in float64."""
    return _integral(y, sigma, lambda x, p: (x * p).sum(1) / p.sum(1))


def laplace_median(y: Tensor, sigma: float = 1.0) -> Tensor:
    """Return the median of x given y, the minimiser of the mean absolute error."""

    def median(x: Tensor, p: Tensor) -> Tensor:
        share = p.cumsum(1) / p.sum(1, keepdim=True)
        return x[0][(share < 0.5).sum(1).clamp(max=x.shape[1] - 1)]

    return _integral(y, sigma, median)


def laplace_matched(y: Tensor, gamma: float, sigma: float = 1.0) -> Tensor:
    """Return argmax_z of p(x | y) smoothed by a Gaussian of variance gamma^2 / 2: the minimiser of matching.

    It is (1 + c) prox(y) - c y with c = gamma^2 / (2 sigma^2) and the prox of -lam log p_v, p_v the prior smoothed by
    v = sigma^2 gamma^2 / (2 sigma^2 + gamma^2) and lam = 2 sigma^4 / (2 sigma^2 + gamma^2). For y (B,) in float64.
    """
    c = gamma**2 / (2 * sigma**2)
    total = 2 * sigma**2 + gamma**2
    v, lam = sigma**2 * gamma**2 / total, 2 * sigma**4 / total
    low, high = y - lam - 1, y + lam + 1
    for _ in range(80):  # z + lam d(-log p_v)(z) = y, which rises in z
        middle = (low + high) / 2
        above = middle + lam * _score(middle, v) > y
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (1 + c) * (low + high) / 2 - c * y


def _score(z: Tensor, v: float) -> Tensor:
    """Return -d/dz log of exp(-|x|) smoothed by a Gaussian of variance v."""
    root = math.sqrt(v)
    right = z + torch.special.log_ndtr(-(z + v) / root)  # of exp(-|x|) for x < 0
    left = -z + torch.special.log_ndtr((z - v) / root)
    return torch.tanh((left - right) / 2)


def _integral(y: Tensor, sigma: float, reduce: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    x = torch.linspace(-25, 25, 20001, dtype=torch.float64)[None]
    p = torch.exp(-x.abs() - 0.5 * ((y.double()[:, None] - x) / sigma).square())
    return reduce(x, p)
