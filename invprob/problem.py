"""The same problem on coarser grids: where slow modes are cheap to solve and strengths cheap to choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator

SMALLEST = 96  # a level's image has at least this many pixels along its shorter side
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # torch's words for one thing


@dataclass(frozen=True)
class Problem:
    """An operator with data for it; `noise` is the standard deviation of their noise per item, if known.

    With `weights` w, `(*batch, *range_shape)`, noise^2 / w is the variance of each reading, and 0 marks what was not
    measured.
    """

    A: LinearOperator
    y: Tensor
    noise: Tensor | None
    weights: Tensor | None = None

    @property
    def batch(self) -> torch.Size:
        """The batch shape."""
        return self.y.shape[: self.y.ndim - len(self.A.range_shape)]

    @property
    def ndim(self) -> int:
        """Item axes of the image."""
        return len(self.A.domain_shape)

    @property
    def colours(self) -> int:
        """Channels of an image in colour, `A.lift((3,), channels="colour")`, else 1."""
        return self.A.domain_shape[0] if self.A.channels == "colour" else 1

    @property
    def readings(self) -> int | Tensor:
        """How many data make one item, those without weight left out."""
        k = len(self.A.range_shape)
        return prod(self.A.range_shape) if self.weights is None else (self.weights > 0).sum(linalg.item_axes(k))

    def counted(self, mask: Tensor | None = None) -> Tensor | None:
        """Return the weights of the readings under a mask: all without one, None where all count alike."""
        if mask is None or self.weights is None:
            return self.weights if mask is None else mask.to(self.A.dtype)
        return self.weights * mask

    def size(self, r: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return |r|_w per item for r in data space, under a mask if there is one."""
        weights = self.counted(mask)
        return linalg.norm(r if weights is None else weights.sqrt() * r, len(self.A.range_shape))


def pyramid(level: Problem) -> list[Problem]:
    """Return the problem from the coarsest grid worth solving to the given one."""
    levels = [level]
    while min(levels[0].A.domain_shape) >= 2 * SMALLEST:
        coarser = levels[0].A.coarser()
        if coarser is None:
            break
        A, restrict, averaged = coarser
        noise = None if levels[0].noise is None else levels[0].noise / averaged**0.5
        levels.insert(0, _restricted(levels[0], A, restrict, noise))
    return levels


def _restricted(
    level: Problem, A: LinearOperator, restrict: Callable[[Tensor], Tensor], noise: Tensor | None
) -> Problem:
    if level.weights is None:
        return Problem(A, restrict(level.y), noise)
    weights = restrict(level.weights)
    return Problem(A, restrict(level.weights * level.y) / torch.where(weights > 0, weights, 1.0), noise, weights)


def prolong(t: Tensor, shape: tuple[int, ...], *, smooth: bool) -> Tensor:
    """Return t, whose last axes are a coarse image, on a finer grid of `shape`, one to three axes.

    `smooth` interpolates linearly between the pixels' middles, else every pixel keeps its value. ValueError for more
    axes.
    """
    d = len(shape)
    if tuple(t.shape[-d:]) == tuple(shape):
        return t
    if d not in LINEAR:
        raise ValueError(f"prolong: shape must be that of an image of one to three axes, got {tuple(shape)}")
    if t.is_complex():
        return torch.complex(prolong(t.real, shape, smooth=smooth), prolong(t.imag, shape, smooth=smooth))
    flat, size = t.reshape(1, -1, *t.shape[-d:]), list(shape)
    fine = F.interpolate(flat, size, mode=LINEAR[d], align_corners=False) if smooth else F.interpolate(flat, size)
    return fine.reshape(*t.shape[:-d], *size)
