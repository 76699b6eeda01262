"""The prior of images of few known grey values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import item_axes, per_item
from invprob.priors.base import Prior
from invprob.priors.simple import must_be_real

__all__ = ["GreyLevels"]


class GreyLevels(Prior):
    """lam/2 sum (x_i - a)(b - x_i), a <= x_i <= b the levels around x_i, and +inf beyond the lowest and the highest.

    0 on the levels and concave between them, lam-weakly convex there: an image is drawn to its levels the more the
    larger lam is, so that lam grows in a continuation from 0, where it is the `Box` of the extreme levels (Weber,
    Schnoerr & Hornegger 2003; Schuele, Schnoerr, Weber & Hornegger 2005, of two levels). Its prox is exact: per pair of
    neighbouring levels v - lam tau (a + b) / 2 over 1 - lam tau, kept between a and b (an end of it for lam tau >= 1),
    and the best of the pairs.

    Arguments:
        levels: the grey values, two or more in rising order, in the unit of x.
        lam: the weight, a number >= 0 or one per item, `(*batch,)`; by default 1.
        support: bool, broadcasting to an item: elsewhere x is the lowest level. By default everywhere is inside.
        ndim: how many axes, the last ones, make one item; by default 2.

    ValueError for levels that are fewer than two or do not rise.
    """

    convex = False
    levels: Tensor
    support: Tensor | None

    def __init__(
        self, levels: Sequence[float], lam: Scalar = 1.0, *, support: Tensor | None = None, ndim: int = 2
    ) -> None:
        super().__init__(lam, ndim)
        values = torch.as_tensor(levels, dtype=torch.float64)
        if values.ndim != 1 or values.numel() < 2 or not bool((values.diff() > 0).all()):
            raise ValueError(f"GreyLevels: levels must be two or more numbers in rising order, got {list(levels)}")
        self.register_buffer("levels", values, persistent=False)
        self.register_buffer("support", None if support is None else support.bool(), persistent=False)

    def _value(self, x: Tensor) -> Tensor:
        must_be_real(self, x)
        levels, axes = self.levels.to(x), item_axes(self.ndim)
        index = torch.bucketize(x, levels[1:-1])
        between = 0.5 * ((x - levels[index]) * (levels[index + 1] - x)).clamp(min=0).sum(axes)
        outside = (x < levels[0]) | (x > levels[-1])
        if self.support is not None:
            outside = outside | (~self.support & (x != levels[0]))
        return torch.where(outside.sum(axes) > 0, torch.inf, between)

    def value(self, x: Tensor) -> Tensor:
        """Return lam g(x) per item, +inf where x leaves the levels or the support, however small lam is."""
        value = self._value(x)
        return torch.where(value.isinf(), value, self.lam.to(value) * value.nan_to_num(posinf=0.0))

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        must_be_real(self, v)
        levels, step = self.levels.to(v), per_item(t, v, self.ndim).to(v)
        best, least = torch.zeros_like(v), torch.full_like(v, torch.inf)
        # beyond a step of 1 the objective is concave between two levels: its least value lies at the nearer one
        bent = 1 - step
        for low, high in pairwise(levels):
            middle = 0.5 * (low + high)
            nearer = torch.where(v < middle, low, high)
            curved = (v - step * middle) / torch.where(bent > 0, bent, 1.0)
            x = torch.where(bent > 0, torch.minimum(torch.maximum(curved, low), high), nearer)
            cost = 0.5 * step * (x - low) * (high - x) + 0.5 * (x - v) ** 2
            best, least = torch.where(cost < least, x, best), torch.minimum(cost, least)
        return best if self.support is None else torch.where(self.support, best, levels[0])

    def extra_repr(self) -> str:
        """Show the levels and the weight."""
        return f"levels={self.levels.tolist()}, lam={self.lam.tolist()}"
