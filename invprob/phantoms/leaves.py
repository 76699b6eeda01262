"""Dead leaves: images as opaque, textured things of all sizes that hide each other.

The model with radius law r^-3 is scale invariant and has the statistics of natural images (Lee, Mumford &
Huang 2001, Int. J. Comput. Vis. 41); that it suffices to train denoisers: Achddou, Gousseau & Ladjal (2021).
Smaller exponents, which images draw too, are views of few large things with texture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invprob.phantoms.colour import chroma, saturation
from invprob.phantoms.random_textures import coloured_noise, textures, uniform32

__all__ = ["dead_leaves"]

_FINE = 2  # leaves are painted on a grid finer by this factor, then averaged: soft edges
_LAWS = (1.2, 3.0)  # exponents of the law of the radii
_QUANTILES = 512  # of that law, which its moments are taken from
_SIDES = 6  # half planes that cut out a polygon
_BANK = 6  # textures per image, which its leaves share
_AT_ONCE = 2**21  # pixels of leaf windows painted at a time: bounds the memory
_VIVID = 0.35  # grey values by which the strongest colours part from grey
_CAST = 0.4  # share of the colour that all leaves of an image have in common
_FLECK = 0.4  # contrast of coloured flecks, relative to the texture's
_SMALLEST = 4  # half width of the smallest window, pixels of the fine grid


def dead_leaves(count: int, size: int, generator: torch.Generator, colours: int = 1) -> Tensor:
    """Return (count, colours, size, size) float32 images, not yet cut to [0, 1]; every image has laws of its own."""
    side = _FINE * size
    leaves = _Leaves.draw(count, side, generator)
    front = _bent(_front(leaves, count, side), count, side, generator)
    planes = _painted(leaves, front, side, generator, colours)
    return torch.stack([avg_pool2d(plane[:, None], _FINE)[:, 0] for plane in planes], 1)


@dataclass(frozen=True, eq=False)
class _Leaves:
    """All leaves of all images, the first `count` of them being the backgrounds; later ones lie on top."""

    image: Tensor  # which image it lies in
    x: Tensor
    y: Tensor
    radius: Tensor
    narrow: Tensor  # ratio of the axes
    tilt: Tensor
    round: Tensor  # an ellipse, else a polygon
    grey: Tensor
    contrast: Tensor  # of the texture
    slope: Tensor  # of the shading, (n, 2), grey per radius

    @classmethod
    def draw(cls, count: int, side: int, generator: torch.Generator) -> _Leaves:
        smallest = _FINE * torch.exp(uniform32(generator, 0, math.log(16.0), count))
        largest = torch.exp(uniform32(generator, math.log(0.15), math.log(0.9), count)) * side
        largest = torch.maximum(largest, 2 * smallest)
        covered = uniform32(generator, 1.0, 3.0, count)
        exponent = 1 - uniform32(generator, *_LAWS, count)  # of the distribution function of r^-law
        low, high = smallest**exponent, largest**exponent
        quantiles = (torch.arange(_QUANTILES) + 0.5)[:, None] / _QUANTILES
        mean_square = (low + quantiles * (high - low)).pow(2 / exponent).mean(0)  # and half of the disc is leaf
        number = (covered * side**2 / (0.5 * math.pi * mean_square)).ceil().long()
        image = torch.repeat_interleave(torch.arange(count), number)
        image = torch.cat([torch.arange(count), image[torch.randperm(len(image), generator=generator)]])
        n = len(image)

        def unit(*more: int) -> Tensor:
            return uniform32(generator, 0, 1, n, *more)

        radius = (low[image] + unit() * (high - low)[image]).pow(1 / exponent[image])
        middle = uniform32(generator, 0.2, 0.8, count)[image]
        spread = uniform32(generator, 0.1, 1, count)[image]
        busy = uniform32(generator, 0.3, 1, count)[image]
        plain = unit() < uniform32(generator, 0, 0.4, count)[image]
        return cls(
            image=image,
            x=unit() * side,
            y=unit() * side,
            radius=radius,
            narrow=0.25 + 0.75 * unit(),
            tilt=unit() * math.pi,
            round=unit() < uniform32(generator, 0, 1, count)[image],
            grey=(1 - spread) * middle + spread * unit(),
            contrast=torch.exp(math.log(0.012) + unit() * math.log(20.0)) * busy * ~plain,
            slope=0.3 * (unit(2) - 0.5) * unit(1).square(),
        )


def _front(leaves: _Leaves, count: int, side: int) -> Tensor:
    """Return which leaf is seen in each pixel, (count, side, side)."""
    front = torch.arange(count).repeat_interleave(side * side)  # a pixel without a leaf shows the background
    half = _SMALLEST
    done = torch.zeros(len(leaves.image), dtype=torch.bool)
    done[:count] = True
    while not bool(done.all()):
        now = ~done & (leaves.radius <= half - 1) if half < side else ~done
        for kind in (True, False):
            these = (now & (leaves.round == kind)).nonzero()[:, 0]
            for part in torch.split(these, max(1, _AT_ONCE // (4 * half * half))):
                _lay(front, leaves, part, half, side, polygon=not kind)
        done |= now
        half *= 2
    return front.view(count, side, side)


def _lay(front: Tensor, leaves: _Leaves, part: Tensor, half: int, side: int, *, polygon: bool) -> None:
    """Let the leaves `part`, all within `half` pixels of their centres, hide what lies under them."""
    window = torch.arange(-half, half)
    rows = leaves.y[part].long()[:, None] + window
    columns = leaves.x[part].long()[:, None] + window
    dy, dx = rows - leaves.y[part, None], columns - leaves.x[part, None]
    cos, sin = leaves.tilt[part, None].cos(), leaves.tilt[part, None].sin()
    r, b = leaves.radius[part, None], (leaves.radius * leaves.narrow)[part, None]
    u = (dx * cos / r)[:, None, :] + (dy * sin / r)[:, :, None]
    v = (dy * cos / b)[:, :, None] - (dx * sin / b)[:, None, :]
    inside = u.square() + v.square() < 1
    if polygon:
        inside &= _cut(leaves, part, u, v)
    seen = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    leaf, row, column = (inside & seen[0][:, :, None] & seen[1][:, None, :]).nonzero(as_tuple=True)
    pixel = (leaves.image[part[leaf]] * side + rows[leaf, row]) * side + columns[leaf, column]
    front.scatter_reduce_(0, pixel, part[leaf], "amax")


def _cut(leaves: _Leaves, part: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return where random half planes leave something of the unit disc: rectangles, and other convex polygons."""
    # of numbers the leaf has anyway: as good as new random ones
    phase = (leaves.x[part] * 7.13) % 1.0
    box = (leaves.y[part] * 5.71) % 1.0 < 0.5
    inside = torch.ones_like(u, dtype=torch.bool)
    for k in range(_SIDES):
        loose = (k + 0.7 * torch.sin(17 * phase * (k + 1))) / _SIDES
        angle = 2 * math.pi * torch.where(box, torch.full_like(loose, k / 4), loose)
        reach = torch.where(box, torch.full_like(loose, 0.7), 0.45 + 0.4 * ((phase * (k + 3) * 3.7) % 1.0))
        inside &= u * angle.cos()[:, None, None] + v * angle.sin()[:, None, None] < reach[:, None, None]
    return inside


def _bent(front: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    """Displace pixels smoothly, so that edges are not all straight or round."""
    fields = coloured_noise(2 * count, side, generator, slope=uniform32(generator, 1.5, 2.5, 2 * count))
    amount = (uniform32(generator, 0, 1, count, 1, 1).square() * 0.03 * side).repeat(2, 1, 1)
    dy, dx = (amount * fields).round().long().chunk(2)
    place = torch.arange(side)
    rows, columns = (place[:, None] + dy).clamp(0, side - 1), (place + dx).clamp(0, side - 1)
    return front.flatten(1).gather(1, (rows * side + columns).flatten(1)).view_as(front)


def _painted(leaves: _Leaves, front: Tensor, side: int, generator: torch.Generator, colours: int) -> list[Tensor]:
    """Give every leaf its colour, its shading and its piece of a texture; one (count, side, side) per channel."""
    count, n = len(front), len(leaves.image)
    period = side // _FINE
    bank = textures(count * _BANK, period, generator).flatten()
    place = torch.arange(side)
    owner = front.flatten()
    y, x = (t.expand(count, side, side).reshape(-1) for t in (place[:, None], place))

    def grain() -> Tensor:
        choice = torch.randint(_BANK, (n,), generator=generator) + _BANK * leaves.image
        start = torch.randint(period, (2, n), generator=generator)
        row, column = (y + start[0][owner]) % period, (x + start[1][owner]) % period
        return bank[(choice[owner] * period + row) * period + column]

    texture = grain()
    slope = leaves.slope / leaves.radius[:, None]
    # the greys of a texture lie on a line of colours (Omer & Werman 2004), flecks of another colour beside it
    flecks = grain() if colours > 1 else torch.zeros(())
    planes = []
    for hue, stray in zip(*_hues(leaves, count, colours, generator), strict=True):
        level = leaves.grey + _VIVID * hue - slope[:, 0] * leaves.y - slope[:, 1] * leaves.x
        contrast = leaves.contrast * (1 + hue)
        plane = level[owner] + slope[:, 0][owner] * y + slope[:, 1][owner] * x + contrast[owner] * texture
        plane = plane + (_FLECK * leaves.contrast * stray)[owner] * flecks if colours > 1 else plane
        planes.append(plane.view(count, side, side))
    return planes


def _hues(leaves: _Leaves, count: int, colours: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return how far each channel of a leaf, and of its flecks, is from grey, (colours, n) in [-1, 1]."""
    amount = saturation(count, colours, generator)[leaves.image]
    own, stray = (chroma(len(leaves.image), colours, generator) for _ in range(2))
    cast = chroma(count, colours, generator)[:, leaves.image]
    return amount * torch.lerp(own, cast, _CAST), amount * stray
