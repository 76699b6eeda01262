"""What goes into a network: any batch as one axis of items, with a noise level each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["flattened"]


def flattened(
    x: Tensor, sigma: Tensor | float, weight: Tensor, *, name: str, axes: str, channels: int = 1
) -> tuple[Tensor, Tensor]:
    """Return images `(*batch, *item)` as (B, channels, *space), and noise levels as (B,), as `weight` is in precision.

    Arguments:
        x: real images.
        sigma: a number, or one per item, `(*batch,)`.
        weight: a parameter of the network.
        name: that of the network, for messages.
        axes: the axes of space, as in "H, W".
        channels: more than one are an axis of the item before those of space.

    ValueError for complex images, another number of axes or channels, and levels that do not belong to the items.
    """
    space = axes.count(",") + 1
    ndim = space + (channels > 1)
    if x.is_complex():
        raise ValueError(f"{name} denoises real images, got a complex one: denoise its two parts, or |x|")
    if x.ndim < ndim or (channels > 1 and x.shape[-ndim] != channels) or 0 in x.shape[-ndim:]:
        item = axes if channels == 1 else f"{channels}, {axes}"
        raise ValueError(f"{name}: expected an image (*batch, {item}), got shape {tuple(x.shape)}")
    batch = x.shape[: x.ndim - ndim]
    level = torch.as_tensor(sigma, dtype=weight.dtype, device=weight.device)
    if level.shape not in (torch.Size(), batch):
        raise ValueError(
            f"{name}: sigma has shape {tuple(level.shape)}; give one number, or one per item {tuple(batch)}"
        )
    items = x.to(weight).reshape(math.prod(batch), channels, *x.shape[x.ndim - space :])
    return items, level.expand(batch).reshape(-1)
