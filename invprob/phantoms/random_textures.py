"""Random textures with natural spectra: coloured noise, gratings, wood-like and cloth-like warps.

All fields are periodic, (count, size, size) float32, of mean 0 and standard deviation 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.phantoms.random import uniform

__all__ = ["cloth", "coloured_noise", "patterns", "textures", "uniform32"]

_SMOOTH = 2.0  # exponent of the slow noise that bends patterns


def uniform32(generator: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Draw float32 numbers in [low, high)."""
    return uniform(generator, low, high, *size).float()


def coloured_noise(
    count: int, size: int, generator: torch.Generator, *, slope: Tensor, stretch: Tensor | None = None
) -> Tensor:
    """Gaussian fields of amplitude spectrum |f|^-slope; natural images have a slope near 1 (Field 1987).

    `slope` (count,); `stretch` (count,) >= 1 makes structures longer by that factor along a random direction.
    """
    row, column = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
    angle = uniform32(generator, 0, math.pi, count, 1, 1)
    along = row * angle.sin() + column * angle.cos()
    across = row * angle.cos() - column * angle.sin()
    long = torch.ones(count) if stretch is None else stretch
    radius = torch.hypot(along * long[:, None, None], across).clamp(min=0.5 / size)
    amplitude = torch.exp(-slope[:, None, None] * radius.log())
    amplitude[:, 0, 0] = 0
    draws = torch.randn(count, size, size, generator=generator)
    return _standard(torch.fft.irfft2(torch.fft.rfft2(draws) * amplitude, s=(size, size)))


def patterns(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Gratings, wood grain and cloth: a wave of a phase that slow noise bends, once or along two directions."""

    def draw(low: float, high: float) -> Tensor:
        return uniform32(generator, low, high, count, 1, 1)

    rows, columns = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    bend = coloured_noise(count, size, generator, slope=torch.full((count,), _SMOOTH))
    period = torch.exp(draw(math.log(2.5), math.log(24.0)))
    angle, strength = draw(0, math.pi), draw(0, 1).square() * 1.5
    phase = 2 * math.pi * (rows * angle.sin() + columns * angle.cos()) / period
    second = 2 * math.pi * (rows * angle.cos() - columns * angle.sin()) / (period * draw(0.7, 1.4))
    hardness, crossed = draw(0.2, 4.0), draw(0, 1) < 0.4
    thread = torch.tanh(hardness * torch.sin(phase + strength * 2 * math.pi * bend))
    weft = torch.tanh(hardness * torch.sin(second + strength * 2 * math.pi * bend.flip(1)))
    return _standard(torch.where(crossed, thread * weft + 0.3 * thread, thread))


def textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Coloured noise of random slope and anisotropy; a third of it with edges of its own, a third with a pattern."""
    slope = uniform32(generator, 0.5, 1.8, count)
    stretch = torch.exp(uniform32(generator, 0, 1, count).square() * math.log(12.0))
    noise = coloured_noise(count, size, generator, slope=slope, stretch=stretch)
    third = count // 3
    if third:
        share = uniform32(generator, 0.3, 1.3, third, 1, 1).clamp(max=1)
        woven = share * patterns(third, size, generator) + (1 - share) * noise[:third]
        noise = torch.cat([_standard(woven), _rough(noise[third : 2 * third], generator), noise[2 * third :]])
    return noise[torch.randperm(count, generator=generator)]


def cloth(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Patterns that meet along edges, some with threads of other widths, strong here and faint there."""
    slow = torch.full((count,), _SMOOTH)
    border, strength = (coloured_noise(count, size, generator, slope=slow) for _ in range(2))
    first, second = (patterns(count, size, generator) for _ in range(2))
    first = torch.where(uniform32(generator, 0, 1, count, 1, 1) < 0.5, first, _rough(first, generator))
    woven = torch.where(border > uniform32(generator, -1.5, 1.5, count, 1, 1), first, second)
    return _standard(torch.sigmoid(2 * strength) * woven)


def _rough(noise: Tensor, generator: torch.Generator) -> Tensor:
    """Bend the greys of noise, so that it becomes blots, or veins where it was 0; stronger here and weaker there."""
    count, size = len(noise), noise.shape[-1]
    hardness = torch.exp(uniform32(generator, 0, math.log(6.0), count, 1, 1))
    blots = torch.tanh(hardness * (noise - uniform32(generator, -0.7, 0.7, count, 1, 1)))
    veins = torch.exp(-hardness * noise.abs())
    slow = coloured_noise(count, size, generator, slope=torch.full((count,), _SMOOTH))
    strength = torch.exp(uniform32(generator, 0, 1, count, 1, 1) * slow)
    return _standard(strength * torch.where(uniform32(generator, 0, 1, count, 1, 1) < 0.5, blots, veins))


def _standard(fields: Tensor) -> Tensor:
    centred = fields - fields.mean((1, 2), keepdim=True)
    return centred / centred.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-12)
