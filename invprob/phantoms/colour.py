"""Random colours for generated images: what the channels share, and where they part."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.phantoms.random_textures import uniform32

__all__ = ["chroma", "saturation", "tinted"]

_PALE = 0.2  # share of the images that are grey in all channels


def chroma(count: int, colours: int, generator: torch.Generator) -> Tensor:
    """Return random offsets of `count` colours from grey, (colours, count), of mean 0; zeros for a single channel."""
    if colours == 1:  # nothing is drawn: grey images are what they are without colour
        return torch.zeros(1, count)
    offsets = uniform32(generator, -1, 1, colours, count)
    return offsets - offsets.mean(0)


def saturation(count: int, colours: int, generator: torch.Generator) -> Tensor:
    """Return how much colour each of `count` images has, (count,) in [0, 1]."""
    if colours == 1:
        return torch.zeros(count)
    return uniform32(generator, -_PALE, 1 - _PALE, count).clamp(min=0) / (1 - _PALE)


def tinted(images: Tensor, colours: int, generator: torch.Generator) -> Tensor:
    """Return grey images (N, H, W) as (N, colours, H, W): the greys of each on a line of colours."""
    if colours == 1:
        return images[:, None]
    count = len(images)
    amount = saturation(count, colours, generator)
    gain, offset = (amount * chroma(count, colours, generator) for _ in range(2))
    gain, offset = (t.T[:, :, None, None] for t in (1 + 0.5 * gain, 0.25 * offset))
    return images[:, None] * gain + offset
