"""A small U-Net that denoises at every noise level, from almost nothing to far more noise than image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle, silu

from invprob.priors.networks.items import flattened

__all__ = ["DiffusionUNet", "Target"]

Target = Literal["edm", "image", "noise"]
_GROUPS = 8  # channels are normalised in so many groups, if they divide
_FREQUENCIES = 16  # of the noise level's logarithm, from 1 / 16 to 16 radians per unit


class DiffusionUNet(nn.Module):
    """D(x, sigma) = m + c_skip (x - m) + c_out F(c_in (x - m), ln sigma), an estimate of E[x0 | x = x0 + sigma n].

    With c_in = (sigma^2 + s^2)^-1/2 the network F sees unit variance at every sigma, and with c_skip = s^2 c_in^2,
    c_out = sigma s c_in it answers with unit variance, too (Karras, Aittala, Aila & Laine 2022, table 1); s and m are
    the standard deviation and the mean of the images. F is a U-Net of residual blocks with group normalisation, scaled
    and shifted by what a small network makes of ln sigma, on blocks of `unshuffle` x `unshuffle` pixels.

    x: `(*batch, H, W)` real of any size, with `colours` = 1; `(*batch, C, H, W)` with C = `colours` > 1. sigma > 0: a
    number or `(*batch,)`, in units of x. `generator`, an int or a torch.Generator, draws the first weights. Raises
    `ValueError` for shapes that do not fit and complex x.

    Arguments:
        channels: features per scale, the finest first.
        blocks: residual blocks per scale and direction.
        colours: channels of an image, 1 for grey.
        unshuffle: side of the blocks of pixels that become channels at the input.
        spread, mean: s and m, the standard deviation and the mean of the images.
        target: what F answers: "edm" (as above), the "image" (c_skip = 0, c_out = s), or the "noise" (c_skip = 1,
            c_out = sigma).
        generator: of the first weights.
    """

    def __init__(
        self,
        channels: Sequence[int] = (48, 64, 96),
        blocks: int = 2,
        *,
        colours: int = 1,
        unshuffle: int = 2,
        spread: float = 0.25,
        mean: float = 0.2,
        target: Target = "edm",
        generator: int | torch.Generator = 0,
    ) -> None:
        super().__init__()
        if not channels or min(*channels, blocks, colours, unshuffle) < 1 or not spread > 0:
            raise ValueError(
                "DiffusionUNet: channels (one per scale), blocks, colours and unshuffle must be at least 1, spread "
                f"positive; got {tuple(channels)}, {blocks}, {colours}, {unshuffle}, {spread}"
            )
        if target not in get_args(Target):
            raise ValueError(f"DiffusionUNet: target must be one of {', '.join(get_args(Target))}, got {target!r}")
        self.channels, self.blocks, self.colours = tuple(channels), blocks, colours
        self.unshuffle, self.spread, self.mean, self.target = unshuffle, spread, mean, target
        widths, wide = self.channels, 4 * channels[0]
        folded = colours * unshuffle**2

        def runs(into: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(nn.ModuleList(_Block(width, wide) for _ in range(blocks)) for width in into)

        with torch.device("meta"):  # the weights are drawn below, from our own generator
            self.embed = nn.Sequential(nn.Linear(2 * _FREQUENCIES, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
            self.head = nn.Conv2d(folded, widths[0], 3, padding=1)
            pairs = list(itertools.pairwise(widths))
            self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
            self.encoders, self.decoders = runs(widths), runs(widths[:-1])
            self.last = nn.GroupNorm(math.gcd(_GROUPS, widths[0]), widths[0])
            self.tail = nn.Conv2d(widths[0], folded, 3, padding=1)
        self.to_empty(device="cpu")
        self._draw(torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _draw(self, generator: torch.Generator) -> None:
        """Draw first weights (He, Zhang, Ren & Sun 2015, eq. 10); blocks and F start as nothing."""
        with torch.no_grad():
            for name, module in self.named_modules():
                if isinstance(module, nn.GroupNorm):
                    module.weight.fill_(1)
                    module.bias.zero_()
                elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    if module.bias is not None:
                        module.bias.zero_()
                    if name == "tail" or name.endswith(("second", "film")):
                        module.weight.zero_()
                        continue
                    inputs = module.weight.shape[0] if name.startswith("up") else module.weight[0].numel()
                    module.weight.copy_(torch.randn(module.weight.shape, generator=generator) / math.sqrt(inputs))

    @property
    def multiple(self) -> int:
        """What the sides of an image are padded to a multiple of, inside."""
        return self.unshuffle << (len(self.channels) - 1)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor needs to build this network again."""
        return {
            "channels": list(self.channels),
            "blocks": self.blocks,
            "colours": self.colours,
            "unshuffle": self.unshuffle,
            "spread": self.spread,
            "mean": self.mean,
            "target": self.target,
        }

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return c_skip, c_out and c_in for noise levels."""
        square = sigma.square() + self.spread**2
        c_in = square.rsqrt()
        if self.target == "image":
            return torch.zeros_like(sigma), torch.full_like(sigma, self.spread), c_in
        if self.target == "noise":
            return torch.ones_like(sigma), sigma, c_in
        return self.spread**2 / square, sigma * self.spread * c_in, c_in

    @property
    def ndim(self) -> int:
        """Axes of an image: two, or three of one with channels."""
        return 2 if self.colours == 1 else 3

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return D(x, sigma), of the shape and dtype of x."""
        items, levels = flattened(x, sigma, self.head.weight, name="DiffusionUNet", axes="H, W", channels=self.colours)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in self.scales(levels))
        height, width = x.shape[-2:]
        centred = items - self.mean
        low, right = -height % self.multiple, -width % self.multiple
        whole = pad(centred, (0, right, 0, low), mode="replicate") if low or right else centred
        answer = self._answer(c_in * whole, levels)[..., :height, :width]
        return (self.mean + c_skip * centred + c_out * answer).reshape(x.shape).to(x.dtype)

    def _answer(self, whole: Tensor, levels: Tensor) -> Tensor:
        """Return F, for an image of unit variance."""
        e = self.embed(_waves(levels))
        h = self.head(pixel_unshuffle(whole, self.unshuffle).contiguous(memory_format=torch.channels_last))
        skips = []
        for k, encode in enumerate(self.encoders):
            for block in encode:  # type: ignore[attr-defined]
                h = block(h, e)
            if k < len(self.down):
                skips.append(h)
                h = self.down[k](h)
        for decode, grow in zip(reversed(self.decoders), reversed(self.up), strict=True):
            h = grow(h) + skips.pop()
            for block in decode:  # type: ignore[attr-defined]
                h = block(h, e)
        return pixel_shuffle(self.tail(silu(self.last(h))), self.unshuffle)


def _waves(levels: Tensor) -> Tensor:
    """Return sines and cosines of the logarithms of noise levels, (B, 2 frequencies)."""
    octaves = torch.linspace(-4, 4, _FREQUENCIES, dtype=levels.dtype, device=levels.device)
    phase = levels.clamp(min=1e-8).log()[:, None] * torch.exp2(octaves)
    return torch.cat([phase.sin(), phase.cos()], 1)


class _Block(nn.Module):
    """x + conv(silu((1 + a) conv(silu(norm(x))) + b)) with a, b from the embedded noise level."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(_GROUPS, width), width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(wide, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Return the features, changed."""
        a, b = self.film(e)[:, :, None, None].chunk(2, 1)
        change: Tensor = self.second(silu(torch.addcmul(b, 1 + a, self.first(silu(self.norm(x))))))
        return x + change
