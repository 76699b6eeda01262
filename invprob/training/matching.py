"""Proximal matching: a loss whose minimiser tends to the prox of -log p (Fang, Buchanan & Sulam 2024, theorem 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d

__all__ = ["matching_loss", "matching_weights", "mean_square"]

_POOLS = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def mean_square(error: Tensor, side: int = 0) -> Tensor:
    """Return the mean of |error|^2 over each item (B, *item), or over the patches of an image that are `side` wide.

    The item of patches is a signal, an image or a volume, without channels. Patches do not overlap; what is left over
    at the border counts for nothing.
    """
    square = error.real.square() + error.imag.square() if error.is_complex() else error.square()
    if side == 0:
        return square.flatten(1).mean(1)
    pooled: Tensor = _POOLS[square.ndim - 1](square[:, None], side)
    return pooled.flatten(1)


def matching_weights(square: Tensor, gamma: float | Tensor) -> Tensor:
    """Return exp(-r^2 / gamma^2), by which the loss weighs an item of mean square r^2: 0 where it has given up."""
    return torch.exp(-square / gamma**2)


def matching_loss(square: Tensor, gamma: float | Tensor) -> Tensor:
    """Return the mean of 1 - exp(-r^2 / gamma^2) over the mean squares r^2, 0-d.

    The constant in front of the exponential (equation 3.4) is left out. With r and gamma per entry, gamma =
    0.08 at last is what the paper halves its way down to.
    """
    return (1 - matching_weights(square, gamma)).mean()
