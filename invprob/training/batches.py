"""What a step of training sees: a function of (seed, step) alone, so that a resumed run sees the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from invprob.linalg import per_item
from invprob.phantoms.mixtures import training_images
from invprob.training.settings import NoisyImages

__all__ = [
    *("IMAGES", "STEP", "VALIDATION", "WEIGHTS"),
    *("Batch", "Batches", "ImageSource", "generator_of", "like", "validation_images", "white_noise"),
]

# count, side -> (count, side, side), or with channels before and more sides behind, real or complex
ImageSource = Callable[[int, int, torch.Generator], Tensor]

_GROUP = 8  # images made together: a process makes only the groups that it cuts from
_EARLY = 1.5  # noise levels are sigma_max u^this, u uniform: half of them lie below 0.35 of the largest
_LEAST = 0.02  # of sigma_max: smaller noise counts as this much, or it would count too much
IMAGES, STEP, VALIDATION, WEIGHTS = range(4)  # streams of random numbers that never meet


def generator_of(stream: int, *key: int) -> torch.Generator:
    """Return the generator that belongs to a stream and a key, whatever was drawn before."""
    words = np.random.SeedSequence([stream, *key]).generate_state(2, np.uint32).astype(np.int64)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def validation_images(count: int = 24, size: int = 192, colours: int = 1) -> Tensor:
    """Return the held-out images, (count, size, size): the same for all runs, and no seed trains on them.

    With `colours` > 1 channels, (count, colours, size, size).
    """
    return training_images(count, size, generator_of(VALIDATION, count, size), colours=colours)


def white_noise(shape: Sequence[int], generator: torch.Generator, *, of_complex: bool = False) -> Tensor:
    """Return normal numbers with E|n|^2 = 1, in float32 or complex64: either part of a complex one has half of it."""
    return torch.randn(*shape, generator=generator, dtype=torch.complex64 if of_complex else torch.float32)


def like(values: Tensor, weight: Tensor) -> Tensor:
    """Return values in the precision and on the device of a weight; complex ones stay complex."""
    return values.to(weight.device, weight.dtype.to_complex() if values.is_complex() else weight.dtype)


@dataclass(frozen=True, eq=False)
class Batch:
    """Clean patches (B, *item), their noisy versions, and the noise levels (B,).

    An item has the sides of an image or a volume, channels before them if there are any; it may be complex, and then
    sigma^2 = E|n|^2.

    With `weight` the batch is an integral rather than a sample: all clean values that noisy ones (B, 1) may come from,
    (B, K), and how likely each pair is, (B, K).
    """

    clean: Tensor
    noisy: Tensor
    sigma: Tensor
    weight: Tensor | None = None

    def error(self, answer: Tensor, sigma_max: float) -> Tensor:
        """Return (answer - clean) / sqrt(sigma / sigma_max), as weak noise leaves small errors, which matter too."""
        return (answer - self.clean) / per_item((self.level(sigma_max) / sigma_max).sqrt(), answer, answer.ndim - 1)

    def level(self, sigma_max: float) -> Tensor:
        """Return the noise levels that errors are compared with, (B,): sigma, but never next to nothing."""
        return self.sigma.clamp(min=_LEAST * sigma_max)

    def to(self, weight: Tensor) -> Batch:
        """Return the batch in the precision and on the device of a network's weights; complex images stay complex."""
        likely = None if self.weight is None else like(self.weight, weight)
        return Batch(like(self.clean, weight), like(self.noisy, weight), like(self.sigma, weight), likely)


@dataclass
class Batches:
    """Makes the slots `first` .. `last` of every batch: patches of what `source` makes, with noise.

    `ndim` is the number of sides: 2 for images, 3 for volumes. `fixed` gives all items the noise level sigma_max
    instead of random ones up to it; `turned` turns and mirrors them, in all ways that a square or a cube has.
    """

    settings: NoisyImages
    first: int
    last: int
    source: ImageSource = training_images
    fixed: bool = False
    turned: bool = True
    ndim: int = 2
    _groups: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, float32 on the CPU."""
        s = self.settings
        generator = generator_of(STEP, s.seed, step)
        corner = torch.randint(s.image - s.patch + 1, (s.batch, self.ndim), generator=generator).tolist()
        turn = torch.randint(_symmetries(self.ndim), (s.batch,), generator=generator).tolist()
        sigma = s.sigma_max * torch.rand(s.batch, generator=generator).pow(_EARLY)
        sigma = torch.full_like(sigma, s.sigma_max) if self.fixed else sigma
        own = slice(self.first, self.last)
        clean = torch.stack([self._patch(step, slot, corner[slot], turn[slot]) for slot in range(s.batch)[own]])
        shape = (s.batch, *clean.shape[1:])  # of the whole batch, so that noise is the same for any share of it
        noise = white_noise(shape, generator, of_complex=clean.is_complex())[own]
        sigma = sigma[own]
        return Batch(clean, clean + per_item(sigma, clean, clean.ndim - 1) * noise, sigma)

    def _patch(self, step: int, slot: int, corner: list[int], turn: int) -> Tensor:
        """Cut a patch out of the image of its slot, turned and mirrored."""
        group, side = self._group(step // self.settings.reuse, slot // _GROUP), self.settings.patch
        patch = group[slot % _GROUP]
        for axis, start in enumerate(corner, -self.ndim):
            patch = patch.narrow(axis, start, side)
        return _turned(patch, turn, self.ndim) if self.turned else patch

    def _group(self, pool: int, number: int) -> Tensor:
        if (pool, number) not in self._groups:
            self._groups = {key: images for key, images in self._groups.items() if key[0] == pool}
            generator = generator_of(IMAGES, self.settings.seed, pool, number)
            count = min(_GROUP, self.settings.batch - _GROUP * number)
            self._groups[pool, number] = self.source(count, self.settings.image, generator)
        return self._groups[pool, number]


def _symmetries(ndim: int) -> int:
    """Return in how many ways a cube of `ndim` sides can be turned and mirrored."""
    return math.factorial(ndim) << ndim


def _turned(patch: Tensor, number: int, ndim: int) -> Tensor:
    """Turn and mirror the last `ndim` axes in the way of a number below `_symmetries(ndim)`, each in one of its own."""
    if ndim == 1:
        return patch.flip(-1) if number else patch
    number, turn = divmod(number, 8)
    patch = patch.rot90(turn % 4, (-2, -1))
    patch = patch.mT if turn >= 4 else patch
    for axis in range(3, ndim + 1):  # the next axis to the left: mirrored or not, and then to any place behind it
        number, way = divmod(number, 2 * axis)
        patch = patch.flip(-axis) if way % 2 else patch
        patch = patch.movedim(-axis, way // 2 - axis)
    return patch
