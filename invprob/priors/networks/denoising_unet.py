"""A small noise-conditional U-Net for processors without a GPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from invprob.priors.networks.items import flattened

__all__ = ["DenoisingUNet"]


class DenoisingUNet(nn.Module):
    """D(x, sigma) = x + U(x, sigma): a residual U-Net that is told the noise level as a second image.

    The layout is DRUNet's (Zhang, Li, Zuo, Zhang, Van Gool & Timofte 2021, IEEE TPAMI 44, fig. 1): residual
    blocks of two 3 x 3 convolutions, strided 2 x 2 convolutions down and transposed ones up, skips that are added;
    but far narrower, and on an image whose `unshuffle` x `unshuffle` blocks of pixels have become channels.

    x: `(*batch, H, W)` real of any size, with `colours` = 1; `(*batch, C, H, W)` with C = `colours` > 1. sigma: the
    standard deviation of the noise in units of x, a number or `(*batch,)`. Without `bias` D is positively
    homogeneous, D(c x, c sigma) = c D(x, sigma) for c > 0 (Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020),
    so that it serves images of every scale. `generator`, an int or a torch.Generator, draws the first weights.
    Raises `ValueError` for shapes that do not fit and complex x.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        *,
        colours: int = 1,
        unshuffle: int = 2,
        bias: bool = False,
        generator: int | torch.Generator = 0,
    ) -> None:
        super().__init__()
        if not channels or min(*channels, blocks, colours, unshuffle) < 1:
            raise ValueError(
                "DenoisingUNet: channels (one per scale), blocks, colours and unshuffle must be at least 1, "
                f"got {tuple(channels)}, {blocks}, {colours}, {unshuffle}"
            )
        self.channels, self.blocks, self.colours = tuple(channels), blocks, colours
        self.unshuffle, self.bias = unshuffle, bias
        folded, widths = unshuffle**2, self.channels
        pairs = list(itertools.pairwise(widths))

        def runs(count: int, widths: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(*(_Block(width, bias) for _ in range(count))) for width in widths)

        with torch.device("meta"):  # the weights are drawn below, not from the global generator
            self.head = nn.Conv2d((colours + 1) * folded, widths[0], 3, padding=1, bias=bias)
            self.encoders = runs(blocks, widths)
            self.down = nn.ModuleList(nn.Conv2d(w, wider, 2, stride=2, bias=bias) for w, wider in pairs)
            self.up = nn.ModuleList(nn.ConvTranspose2d(wider, w, 2, stride=2, bias=bias) for w, wider in pairs)
            self.decoders = runs(blocks, widths[:-1])
            self.tail = nn.Conv2d(widths[0], colours * folded, 3, padding=1, bias=bias)
        self.to_empty(device="cpu")
        self._draw(torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

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

    def grow_from(self, network: nn.Module) -> None:
        """Take the weights of a network with the same layout and no more blocks; more blocks change nothing yet."""
        missing, _ = self.load_state_dict(network.state_dict(), strict=False)
        with torch.no_grad():
            for name in missing:
                if "second" in name:
                    self.get_parameter(name).zero_()

    @property
    def multiple(self) -> int:
        """What the sides of an image are padded to a multiple of, inside."""
        return self.unshuffle << (len(self.channels) - 1)

    @property
    def reach(self) -> int:
        """Half width, in pixels, of what an output pixel can depend on."""
        coarsest = 1 << (len(self.channels) - 1)
        convolutions = (
            2 + 4 * self.blocks * (coarsest - 1) + 2 * self.blocks * coarsest
        )  # 1 + 2 + 4 + ... on both sides
        return self.unshuffle * convolutions + self.multiple

    @property
    def ndim(self) -> int:
        """Axes of an item: 2 of grey images, 3 of those in colour."""
        return 2 if self.colours == 1 else 3

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor needs to build this network again."""
        return {
            "channels": list(self.channels),
            "blocks": self.blocks,
            "colours": self.colours,
            "unshuffle": self.unshuffle,
            "bias": self.bias,
        }

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return the denoised images, of the shape and dtype of x."""
        items, levels = flattened(x, sigma, self.head.weight, name="DenoisingUNet", axes="H, W", channels=self.colours)
        height, width = x.shape[-2:]
        low, right = -height % self.multiple, -width % self.multiple
        whole = pad(items, (0, right, 0, low), mode="replicate") if low or right else items
        level_map = levels[:, None, None, None].expand(-1, 1, *whole.shape[-2:])
        h = pixel_unshuffle(torch.cat([whole, level_map], 1), self.unshuffle)
        h = self.head(h.contiguous(memory_format=torch.channels_last))
        skips = []
        for encode, shrink in zip(self.encoders, self.down, strict=False):
            skips.append(encode(h))
            h = shrink(skips[-1])
        h = self.encoders[-1](h)
        for decode, grow in zip(reversed(self.decoders), reversed(self.up), strict=True):
            h = decode(grow(h) + skips.pop())
        change = pixel_shuffle(self.tail(h), self.unshuffle)[..., :height, :width]
        return (items + change).reshape(x.shape).to(x.dtype)


class _Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, changed."""
        change: Tensor = self.second(torch.relu(self.first(x)))
        return x + change
