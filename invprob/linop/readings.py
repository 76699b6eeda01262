"""Readings: which of them are set aside together, and what stands in for those that do not count."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.linop.items import broadcast_batch, ratio

MANY_GROUPS = 20  # groups of readings from which on some are set aside whole


def drawn_readings(shape: tuple[int, ...], share: float, generator: torch.Generator, groups: int = 0) -> Tensor:
    """Return a mask of one item's readings, True for a random share of them.

    Whole entries of the leading `groups` axes where there are many: what no model explains is common to them.
    """
    count = math.prod(shape[:groups])
    if groups == 0 or count < MANY_GROUPS:
        return torch.rand(shape, generator=generator) < share
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=generator)[: round(share * count)]] = True
    return mask.reshape(shape[:groups] + (1,) * (len(shape) - groups)).expand(shape)


def zero_filled(y: Tensor, weights: Tensor | None) -> Tensor:
    """Return the data with 0 where nothing was measured."""
    return y if weights is None else torch.where(weights > 0, y, torch.zeros_like(y))


def interpolated(y: Tensor, weights: Tensor | None) -> Tensor:
    """Return the data with what was not measured interpolated along the last axis, the detector of a sinogram.

    Linearly between the nearest readings that count, constant beyond the last one; 0 where a line has none.
    """
    if weights is None:
        return y
    shape = broadcast_batch(y.shape, weights.shape)
    y, seen = y.expand(shape), (weights > 0).expand(shape)
    place = torch.arange(y.shape[-1], device=y.device).expand(y.shape)
    last = y.shape[-1] - 1
    before = torch.where(seen, place, -1).cummax(-1).values
    after = last - torch.where(seen, last - place, -1).flip(-1).cummax(-1).values.flip(-1)
    left, right = torch.where(before < 0, after, before), torch.where(after > last, before, after)
    known = (left >= 0) & (left <= last)
    left, right = (torch.where(known, t, 0) for t in (left, right))
    share = ratio((place - left).to(y.real.dtype), (right - left).clamp(min=1).to(y.real.dtype))
    low, high = y.gather(-1, left), y.gather(-1, right)
    return torch.where(known, low + share.clamp(0, 1) * (high - low), torch.zeros_like(y))
