"""Images of any size in bounded memory: tiles that overlap and fade into each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from invprob.priors.networks.precision import autocast

__all__ = ["denoise_tiled"]


def denoise_tiled(
    network: nn.Module,
    x: Tensor,
    sigma: Tensor | float,
    *,
    tile: int = 1024,
    overlap: int = 128,
    multiple: int = 16,
    bf16: bool | None = None,
) -> Tensor:
    """Return network(x, sigma), computed in tiles of `tile` x `tile` pixels, one at a time.

    x `(*batch, H, W)` or with channels before H; sigma a number or one per item, as the network takes it. Neighbours
    share `overlap` pixels, over whose middle quarter they fade into each other along a cosine: seams are invisible if
    three eighths of it cover what a pixel's value really depends on. Tiles start at multiples of `multiple`, so that a
    network that shrinks its image divides it at the same places. `bf16` None chooses by the processor.
    Runs under no_grad. Raises `ValueError` where 2 overlap > tile or
    2 multiple > tile.
    """
    if multiple < 1 or overlap < 0 or 2 * max(overlap, multiple) > tile:
        raise ValueError(
            "denoise_tiled: overlap (at least 0) and multiple (at least 1) must be at most half of tile, "
            f"got {overlap}, {multiple} and {tile}"
        )
    weight = next(network.parameters(), x)
    with torch.no_grad(), autocast(x.device, weight.dtype, bf16=bf16):
        if max(x.shape[-2:]) <= tile:
            return network(x, sigma).to(x.dtype)  # type: ignore[no-any-return]
        rows, columns = (_tiles(length, tile, overlap, multiple) for length in x.shape[-2:])
        result = torch.zeros_like(x)
        for (top, bottom), across in rows:
            for (left, right), along in columns:
                part = network(x[..., top:bottom, left:right], sigma).to(x.dtype)
                result[..., top:bottom, left:right] += part * (across[:, None] * along).to(x)
    return result


def _tiles(length: int, tile: int, overlap: int, multiple: int) -> list[tuple[tuple[int, int], Tensor]]:
    """Return the ranges that cover 0 .. length and their weights, which add up to 1 in every pixel."""
    if length <= tile:
        return [((0, length), torch.ones(length, dtype=torch.float64))]
    stride = max(multiple, (tile - overlap) // multiple * multiple)
    starts = [k * stride for k in range(math.ceil((length - overlap) / stride))]
    ranges = [(start, min(start + tile, length)) for start in starts]
    place = torch.arange(length) + 0.5
    result = []
    for k, (start, stop) in enumerate(ranges):
        weight = torch.ones(length, dtype=torch.float64)
        if k > 0:
            weight = weight * _rise(place, start, ranges[k - 1][1])
        if k + 1 < len(ranges):
            weight = weight * (1 - _rise(place, ranges[k + 1][0], stop))
        result.append(((start, stop), weight[start:stop]))
    return result


def _rise(place: Tensor, start: int, stop: int) -> Tensor:
    """From 0 to 1 over the middle quarter of start .. stop: next to its border a tile lacks the neighbourhood."""
    middle, half = (start + stop) / 2, max((stop - start) / 8, 1e-6)
    return 0.5 + 0.5 * torch.sin(0.5 * math.pi * ((place - middle) / half).clamp(-1, 1)).double()
