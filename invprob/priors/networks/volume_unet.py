"""A small noise-conditional U-Net of volumes, for processors without a GPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from invprob.priors.networks.items import flattened

__all__ = ["VolumeUNet"]


class VolumeUNet(nn.Module):
    """D(x, sigma) = x + U(x, sigma) for volumes: a residual U-Net that is told the noise level as a second volume.

    A narrow relative of the 3-D U-Net of Oral & Oktem 2024 (IEEE TCI): residual blocks of two 3 x 3 x 3 convolutions,
    strided ones down and transposed ones up, skips that are added, on a volume whose `fold` blocks of voxels have
    become channels, so that voxels inside may be cubes where those of the image are not.

    x: `(*batch, X, Y, Z)` real, of any size; sigma: the standard deviation of the noise in units of x, a number or
    `(*batch,)`. Without `bias` D(c x, c sigma) = c D(x, sigma) for c > 0. `generator`, an int or a torch.Generator,
    draws the first weights. `ValueError` for shapes that do not fit and complex x.
    """

    ndim = 3

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        *,
        fold: Sequence[int] = (1, 1, 2),
        bias: bool = False,
        generator: int | torch.Generator = 0,
    ) -> None:
        super().__init__()
        if not channels or len(fold) != 3 or min(*channels, *fold, blocks) < 1:
            raise ValueError(
                "VolumeUNet: channels (one per scale), blocks and fold (one per axis) must be at least 1, "
                f"got {tuple(channels)}, {blocks} and {tuple(fold)}"
            )
        self.channels, self.blocks, self.bias = tuple(channels), blocks, bias
        self.fold = tuple(int(n) for n in fold)
        folded, widths = math.prod(fold), self.channels
        pairs = list(itertools.pairwise(widths))

        def runs(widths: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(*(_Block(w, bias) for _ in range(blocks))) for w in widths)

        with torch.device("meta"):  # the weights are drawn below, not from the global generator
            self.head = nn.Conv3d(2 * folded, widths[0], 3, padding=1, bias=bias)
            self.encoders = runs(widths)
            self.down = nn.ModuleList(nn.Conv3d(w, wider, 2, stride=2, bias=bias) for w, wider in pairs)
            self.up = nn.ModuleList(nn.ConvTranspose3d(wider, w, 2, stride=2, bias=bias) for w, wider in pairs)
            self.decoders = runs(widths[:-1])
            self.tail = nn.Conv3d(widths[0], folded, 3, padding=1, bias=bias)
        self.to_empty(device="cpu")
        self._draw(torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator)

    def _draw(self, generator: torch.Generator) -> None:
        """Draw first weights (He, Zhang, Ren & Sun 2015, eq. 10); the tail is 0, so that D starts as the identity."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 1 or name.startswith("tail"):
                    weight.zero_()
                    continue
                inputs = weight.shape[0] if name.startswith("up") else weight[0].numel()
                # a deep stack of sums must not explode at the start
                scale = math.sqrt(2 / inputs) * (0.3 if "second" in name else 1)
                weight.copy_(scale * torch.randn(weight.shape, generator=generator))

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor needs to build this network again."""
        return {"channels": list(self.channels), "blocks": self.blocks, "fold": list(self.fold), "bias": self.bias}

    @property
    def multiples(self) -> tuple[int, ...]:
        """What the sides of a volume are padded to multiples of, inside."""
        return tuple(n << (len(self.channels) - 1) for n in self.fold)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return the denoised volumes, of the shape and dtype of x."""
        items, levels = flattened(x, sigma, self.head.weight, name="VolumeUNet", axes="X, Y, Z")
        gaps = [-n % m for n, m in zip(items.shape[2:], self.multiples, strict=True)]
        whole = pad(items, [side for gap in reversed(gaps) for side in (0, gap)], mode="replicate")
        level_map = levels[:, None, None, None, None].expand(-1, 1, *whole.shape[2:])
        h = self.head(folded(torch.cat([whole, level_map], 1), self.fold))
        skips = []
        for encode, shrink in zip(self.encoders, self.down, strict=False):
            skips.append(encode(h))
            h = shrink(skips[-1])
        h = self.encoders[-1](h)
        for decode, grow in zip(reversed(self.decoders), reversed(self.up), strict=True):
            h = decode(grow(h) + skips.pop())
        change = unfolded(self.tail(h), self.fold)
        for axis, n in enumerate(items.shape[2:], 2):
            change = change.narrow(axis, 0, n)
        return (items + change).reshape(x.shape).to(x.dtype)


class _Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1, bias=bias)
        self.second = nn.Conv3d(width, width, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, changed."""
        change: Tensor = self.second(torch.relu(self.first(x)))
        return x + change


def folded(x: Tensor, blocks: Sequence[int]) -> Tensor:
    """Return (B, C, X, Y, Z) with blocks of voxels as channels, (B, C prod(blocks), X/a, Y/b, Z/c)."""
    a, b, c = blocks
    batch, channels, nx, ny, nz = x.shape
    parts = x.reshape(batch, channels, nx // a, a, ny // b, b, nz // c, c).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return parts.reshape(batch, channels * a * b * c, nx // a, ny // b, nz // c)


def unfolded(x: Tensor, blocks: Sequence[int]) -> Tensor:
    """Return what `folded` makes this of."""
    a, b, c = blocks
    batch, channels, nx, ny, nz = x.shape
    parts = x.reshape(batch, channels // (a * b * c), a, b, c, nx, ny, nz).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(batch, channels // (a * b * c), nx * a, ny * b, nz * c)
