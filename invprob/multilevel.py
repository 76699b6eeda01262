"""The same problem on coarser grids: where slow modes are cheap to solve and strengths cheap to choose."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from invprob.linop import LinearOperator

SMALLEST = 96  # a level's image has at least this many pixels along its shorter side


@dataclass(frozen=True)
class Level:
    """An operator with data for it; `noise` is the standard deviation of their noise per item, if known."""

    A: LinearOperator
    y: Tensor
    noise: Tensor | None

    @property
    def batch(self) -> torch.Size:
        """The batch shape."""
        return self.y.shape[: self.y.ndim - len(self.A.range_shape)]

    @property
    def ndim(self) -> int:
        """Item axes of the image."""
        return len(self.A.domain_shape)

    @property
    def readings(self) -> int:
        """How many data make one item."""
        return prod(self.A.range_shape)


def pyramid(level: Level) -> list[Level]:
    """Return the problem from the coarsest grid worth solving to the given one."""
    levels = [level]
    while min(levels[0].A.domain_shape) >= 2 * SMALLEST:
        coarser = levels[0].A.coarser()
        if coarser is None:
            break
        A, restrict, averaged = coarser
        noise = None if levels[0].noise is None else levels[0].noise / averaged**0.5
        levels.insert(0, Level(A, restrict(levels[0].y), noise))
    return levels


def prolong(t: Tensor, shape: tuple[int, ...], *, smooth: bool) -> Tensor:
    """Return t, whose last two axes are a coarse image, on a finer grid; `smooth` interpolates linearly."""
    if tuple(t.shape[-2:]) == tuple(shape[-2:]):
        return t
    if t.is_complex():
        return torch.complex(prolong(t.real, shape, smooth=smooth), prolong(t.imag, shape, smooth=smooth))
    flat = t.reshape(1, -1, *t.shape[-2:])
    size = list(shape[-2:])
    fine = F.interpolate(flat, size, mode="bilinear", align_corners=False) if smooth else F.interpolate(flat, size)
    return fine.reshape(*t.shape[:-2], *size)
