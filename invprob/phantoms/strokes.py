"""Pages of invented letters, ruled lines and curves: thin things of high contrast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.phantoms.random_textures import uniform32

__all__ = ["lines", "text"]

_STROKES = 4  # of a letter
_LETTERS = 24  # of an alphabet
_CURVES = 24  # of a drawing


def text(size: int, generator: torch.Generator) -> Tensor:
    """Return ink in [0, 1] on a page, (size, size): rows of letters of an alphabet made up for this page."""
    height = int(torch.randint(7, max(8, min(41, size)), (), generator=generator))
    width = max(4, round(float(uniform32(generator, 0.55, 0.8)) * height))
    letters = _alphabet(height, width, generator)
    rows, columns = -(-size // round(1.3 * height)), -(-size // width)
    chosen = torch.randint(_LETTERS, (rows, columns), generator=generator)
    blank = uniform32(generator, 0, 1, rows, columns) < 0.18
    page = letters[chosen] * ~blank[:, :, None, None]
    gap = round(1.3 * height) - height
    page = torch.nn.functional.pad(page, (0, 0, 0, gap))
    return page.permute(0, 2, 1, 3).reshape(rows * (height + gap), columns * width)[:size, :size]


def lines(size: int, generator: torch.Generator) -> Tensor:
    """Return ink in [0, 1], (size, size): straight lines and arcs of random widths and darkness."""
    draw = uniform32(generator, 0, 1, 7, _CURVES)
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    ink = torch.zeros(size, size)
    for k in range(int(torch.randint(4, _CURVES, (), generator=generator))):
        cx, cy, turn, bow, width, dark, every = draw[:, k].tolist()
        cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
        u, v = (x - cx * size) * cos + (y - cy * size) * sin, (y - cy * size) * cos - (x - cx * size) * sin
        distance = v + (bow - 0.5) * (u / size).square() * size * 2
        if every < 0.15:  # ruled: the line again and again
            period = 4 + 100 * every
            distance = (distance + period / 2) % period - period / 2
        stroke = (0.5 + 0.3 + 3 * width**2 - distance.abs()).clamp(0, 1)
        ink = torch.maximum(ink, (0.3 + 0.7 * dark) * stroke)
    return ink


def _alphabet(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return letters as strokes between the knots of a 3 x 4 lattice, (letters, height, width) in [0, 1]."""
    knots = torch.randint(12, (2, _LETTERS, _STROKES), generator=generator)
    column, row = knots % 3, knots // 3
    margin = 0.16
    px = (margin + (1 - 2 * margin) * column / 2) * width
    py = (0.1 + 0.8 * row / 3) * height
    slant = float(uniform32(generator, -0.2, 0.25))
    pen = float(uniform32(generator, 0.045, 0.12)) * height
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x = x + slant * (y - height / 2)
    (ax, bx), (ay, by) = (p[..., None, None].unbind() for p in (px, py))
    ex, ey = bx - ax, by - ay
    along = (((x - ax) * ex + (y - ay) * ey) / (ex.square() + ey.square()).clamp(min=1e-6)).clamp(0, 1)
    distance = torch.hypot(x - ax - along * ex, y - ay - along * ey)
    return (pen + 0.5 - distance).clamp(0, 1).amax(1)
