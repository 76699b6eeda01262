"""Whole bodies in small images, as CT and as MR show them: one family, narrow enough for a prior to know well."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.phantoms.organs import organ
from invprob.phantoms.random import as_generator
from invprob.phantoms.random_textures import coloured_noise, uniform32

__all__ = ["as_mr", "bodies"]

_KNOTS = 9  # brightnesses that a curve of tissues runs through, from air to dense bone
_FINER = 2  # a pixel is the mean of so many by so many of the image that is painted


def bodies(count: int, size: int, generator: int | torch.Generator) -> Tensor:
    """Return CT-like slices of whole bodies (`organ`), (count, size, size) float32 in [0, 1]; pixels are means.

    A seed shows the same body at every `size`. ValueError for a size < 1.
    """
    fine = organ((_FINER * size,) * 2, generator, batch=(count,))
    return fine.reshape(count, size, _FINER, size, _FINER).mean((2, 4))


def as_mr(images: Tensor, generator: int | torch.Generator) -> Tensor:
    """Return CT-like images (count, H, H) with tissues in a random order of brightness, in the shading of a coil."""
    generator = as_generator(generator)
    count, size = images.shape[0], images.shape[-1]
    knots = uniform32(generator, 0, 1, count, _KNOTS)
    knots[:, 0] = 0  # air has no signal
    place = images.clamp(0, 1) * (_KNOTS - 1.001)
    low = place.long()
    flat = low.flatten(1)
    left, right = (knots.gather(1, flat + k).view_as(images) for k in (0, 1))
    coil = coloured_noise(count, size, generator, slope=torch.full((count,), 3.0))
    return (left + (place - low) * (right - left)) * torch.exp(0.25 * coil)
