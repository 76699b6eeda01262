"""Proximal matching: a loss whose minimiser tends to the prox of -log p (Fang, Buchanan & Sulam 2024, theorem 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

__all__ = ["matching_loss", "matching_weights", "mean_square"]


def mean_square(error: Tensor, side: int = 0) -> Tensor:
    """Return the mean square over each item (B, *item), or over the patches of an image that are `side` wide.

    Patches do not overlap; what is left over at the border counts for nothing.
    """
    square = error.square()
    if side == 0:
        return square.flatten(1).mean(1)
    return avg_pool2d(square[:, None], side).flatten(1)


def matching_weights(square: Tensor, gamma: float | Tensor) -> Tensor:
    """Return exp(-r^2 / gamma^2), by which the loss weighs an item of mean square r^2: 0 where it has given up."""
    return torch.exp(-square / gamma**2)


def matching_loss(square: Tensor, gamma: float | Tensor) -> Tensor:
    """Return the mean of 1 - exp(-r^2 / gamma^2) over the mean squares r^2, 0-d.

    The constant in front of the exponential (equation 3.4) is left out. With r and gamma per entry, gamma =
    0.08 at last is what the paper halves its way down to.
    """
    return (1 - matching_weights(square, gamma)).mean()
