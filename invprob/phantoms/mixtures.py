"""Training images from nothing: a mixture of textured scenes, bodies, letters and lines; no photograph is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from invprob.phantoms.body_images import as_mr
from invprob.phantoms.colour import tinted
from invprob.phantoms.leaves import dead_leaves
from invprob.phantoms.organs import organ
from invprob.phantoms.random import as_generator
from invprob.phantoms.random_textures import cloth, coloured_noise, textures, uniform32
from invprob.phantoms.strokes import lines, text

__all__ = ["KINDS", "WOVEN", "training_images"]

# how often each kind of image is drawn
KINDS: Mapping[str, float] = {
    "leaves": 0.71,
    "field": 0.03,
    "texture": 0.10,
    "ct": 0.06,
    "mr": 0.04,
    "text": 0.03,
    "lines": 0.03,
}
# for large networks, which have room to learn regular patterns, and go wrong where they never saw them
WOVEN: Mapping[str, float] = {**KINDS, "leaves": 0.51, "cloth": 0.20}
_REACH = 6  # taps of the blur on either side
_BLUR = 1.2  # its largest standard deviation, pixels
_DRAWN_OVER = 0.15  # share of the scenes with lines in front


def training_images(
    count: int, size: int, generator: int | torch.Generator, *, kinds: Mapping[str, float] = KINDS, colours: int = 1
) -> Tensor:
    """Return random images to train and validate on, (count, size, size) float32 in [0, 1].

    `kinds` are the weights of the mixture: dead leaves, fields with natural spectra, textures, CT-like and
    MR-like bodies, text, lines, cloth. With `colours` > 1 channels, (count, colours, size, size). The same generator
    state always gives the same images. Raises `ValueError` for an unknown kind, weights that are negative or all 0,
    a count < 0, a size < 16, and colours < 1.
    """
    if size < 16 or count < 0:
        raise ValueError(f"training_images: size must be at least 16 and count at least 0, got {size} and {count}")
    if colours < 1:
        raise ValueError(f"training_images: colours must be at least 1, got {colours}")
    unknown = sorted(set(kinds) - set(WOVEN))
    names = KINDS if set(kinds) <= set(KINDS) else WOVEN  # a kind more, and other numbers would be drawn
    weights = torch.tensor([float(kinds.get(name, 0)) for name in names], dtype=torch.float64)
    if unknown or not bool((weights >= 0).all()) or not bool(weights.sum() > 0):
        raise ValueError(
            f"training_images: kinds are weights >= 0, not all 0, of {', '.join(WOVEN)}; got {dict(kinds)}"
        )
    generator = as_generator(generator)
    images = torch.zeros(count, colours, size, size)
    result = images[:, 0] if colours == 1 else images
    if count == 0:
        return result
    drawn = torch.multinomial(weights, count, replacement=True, generator=generator)
    for k, name in enumerate(names):
        where = (drawn == k).nonzero()[:, 0]
        if len(where):
            images[where] = _finished(_made(name, len(where), size, generator, colours), name, generator)
    return result


def _made(name: str, count: int, size: int, generator: torch.Generator, colours: int) -> Tensor:
    """Return images of one kind, (count, colours, size, size), as they are before the light falls on them."""
    if name == "leaves":
        return _leaves(count, size, generator, colours)
    return tinted(_MAKERS[name](count, size, generator), colours, generator)


def _leaves(count: int, size: int, generator: torch.Generator, colours: int) -> Tensor:
    """Dead leaves, now and then with thin things in front, such as hairs, twigs and masts."""
    images = dead_leaves(count, size, generator, colours)
    for k in (uniform32(generator, 0, 1, count) < _DRAWN_OVER).nonzero()[:, 0].tolist():
        images[k].lerp_(uniform32(generator, 0, 1, colours, 1, 1), lines(size, generator))
    return images


def _fields(count: int, size: int, generator: torch.Generator) -> Tensor:
    noise = coloured_noise(count, size, generator, slope=uniform32(generator, 0.9, 2.2, count))
    return 0.5 + uniform32(generator, 0.05, 0.25, count, 1, 1) * noise


def _textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """One texture all over, its strength varying slowly."""
    strength = coloured_noise(count, size, generator, slope=torch.full((count,), 2.0))
    amount = uniform32(generator, 0.03, 0.25, count, 1, 1) * torch.sigmoid(2 * strength)
    return uniform32(generator, 0.3, 0.7, count, 1, 1) + amount * textures(count, size, generator)


def _cloth(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Cloth all over, in the light and shade of its folds."""
    folds = coloured_noise(count, size, generator, slope=torch.full((count,), 2.0))
    shade = uniform32(generator, 0, 0.2, count, 1, 1) * folds
    contrast = torch.exp(uniform32(generator, math.log(0.015), math.log(0.2), count, 1, 1))
    return uniform32(generator, 0.3, 0.7, count, 1, 1) + shade + contrast * cloth(count, size, generator)


def _ct(count: int, size: int, generator: torch.Generator) -> Tensor:
    """A window into a body, magnified by up to two, with a random width of the display window."""
    images = torch.stack([_window(organ((2 * size, 2 * size), generator), size, generator) for _ in range(count)])
    low, high = uniform32(generator, 0, 0.3, count, 1, 1), uniform32(generator, 0.7, 1, count, 1, 1)
    return (images - low) / (high - low)


def _mr(count: int, size: int, generator: torch.Generator) -> Tensor:
    """The same bodies with tissues in a random order of brightness, and the shading of a receive coil."""
    images = torch.stack([_window(organ((2 * size, 2 * size), generator), size, generator) for _ in range(count)])
    return as_mr(images, generator)


def _window(image: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut a (size, size) window out of a larger image, or shrink the whole of it by two."""
    if float(uniform32(generator, 0, 1)) < 0.4:
        return image.reshape(size, 2, size, 2).mean((1, 3))
    row, column = torch.randint(size // 4, 3 * size // 4, (2,), generator=generator).tolist()
    return image[row : row + size, column : column + size]


def _inked(strokes: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Ink of one grey on paper of another, both a little uneven."""
    paper, ink = uniform32(generator, 0, 1, 2, count, 1, 1)
    ink = torch.where((ink - paper).abs() < 0.25, 1 - paper.round(), ink)
    uneven = coloured_noise(count, size, generator, slope=uniform32(generator, 0.8, 2, count))
    uneven = uneven * uniform32(generator, 0, 0.06, count, 1, 1)
    page: Tensor = paper + strokes * (ink - paper) + uneven
    return page


def _text(count: int, size: int, generator: torch.Generator) -> Tensor:
    return _inked(torch.stack([text(size, generator) for _ in range(count)]), count, size, generator)


def _lines(count: int, size: int, generator: torch.Generator) -> Tensor:
    return _inked(torch.stack([lines(size, generator) for _ in range(count)]), count, size, generator)


_MAKERS = {
    "field": _fields,
    "texture": _textures,
    "ct": _ct,
    "mr": _mr,
    "text": _text,
    "lines": _lines,
    "cloth": _cloth,
}


def _finished(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Give images light and shade, the blur of a lens, a gradation curve; some of them as negatives."""
    count, size = len(images), images.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return uniform32(generator, low, high, count, 1, 1, 1)

    shade = coloured_noise(count, size, generator, slope=torch.full((count,), 2.5))[:, None]
    images = images * torch.exp(0.25 * draw(0, 1).square() * shade)
    width = _BLUR * draw(-1, 1).clamp(min=0) * (0.5 if name in ("text", "lines") else 1.0)
    images = _blurred(images, width)
    images = torch.where(draw(0, 1) < 0.2, 1 - images, images).clamp(0, 1)
    return images.pow(torch.exp(draw(-0.5, 0.5)))


def _blurred(images: Tensor, width: Tensor) -> Tensor:
    """Gaussian blur of the standard deviation `width` (count, 1, 1, 1) pixels; 0 changes nothing."""
    count = images.shape[0] * images.shape[1]
    width = width.expand(-1, images.shape[1], 1, 1).reshape(-1)
    taps = torch.arange(-_REACH, _REACH + 1).float()
    kernel = torch.exp(-0.5 * (taps / width[:, None].clamp(min=0.05)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]
    wide = pad(images.flatten(0, 1)[None], (_REACH,) * 4, mode="reflect")
    wide = conv2d(wide, kernel[:, :, :, None], groups=count)
    return conv2d(wide, kernel[:, :, None, :], groups=count)[0].view_as(images)
