"""What the benchmark looks at: families of random scenes, held out from every training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invprob.phantoms import Ellipses, as_generator, organ, random_ellipses, training_images

__all__ = ["FAMILIES", "FINE", "Scene", "seeded"]

FINE = 2  # scenes are drawn on a grid finer by this factor than that of the images
_STREAM = 0xBE9C4  # of seeds: far from those that training and its validation draw from


@dataclass(frozen=True, eq=False)
class Scene:
    """A square of side 2, values in [0, 1]: `fine` (FINE n, FINE n), and its `shapes` where it is made of them."""

    fine: Tensor
    shapes: Ellipses | None = None

    @property
    def truth(self) -> Tensor:
        """The (n, n) image: the means over the pixels."""
        return avg_pool2d(self.fine[None, None], FINE)[0, 0]


def seeded(*words: str | int) -> torch.Generator:
    """Return the generator of a key, the same on every machine; another key is another stream."""
    number = crc32("/".join(map(str, words)).encode())
    return as_generator((_STREAM << 32) | number)


def _ellipses(size: int, generator: torch.Generator) -> Scene:
    shapes = random_ellipses(0.95, generator, count=14)
    return Scene(shapes.image((FINE * size, FINE * size), pixel_size=2 / (FINE * size)), shapes)


def _organs(size: int, generator: torch.Generator) -> Scene:
    return Scene(organ((FINE * size, FINE * size), generator))


def _pictures(size: int, generator: torch.Generator, *, kinds: Mapping[str, float]) -> Scene:
    return Scene(training_images(1, FINE * size, generator, kinds=kinds)[0])


FAMILIES: Mapping[str, Callable[[int, torch.Generator], Scene]] = {
    "ellipses": _ellipses,
    "organs": _organs,
    "leaves": partial(_pictures, kinds={"leaves": 1.0}),
    "text": partial(_pictures, kinds={"text": 0.5, "lines": 0.5}),
}
