"""Scenes to be measured: phantoms of one table, drawn on a grid finer than that of the images.

An item of any shape and kind: pictures, volumes, channels, complex fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from invprob import registry
from invprob.phantoms.coil_maps import TrigonometricMaps, smooth_phase
from invprob.phantoms.ellipses import Ellipses, random_ellipses
from invprob.phantoms.ellipsoids import random_ellipsoids
from invprob.phantoms.mixtures import training_images
from invprob.phantoms.organs import organ
from invprob.phantoms.plane import Plane, random_field
from invprob.phantoms.random import uniform
from invprob.phantoms.targets import target_magnitude

__all__ = ["FINE", "PHANTOMS", "Phantom", "Scene", "Shape", "block_means", "phantom"]

Shape = tuple[int, ...]
FINE = 2  # scenes are drawn on a grid finer by this factor than that of the images
_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@dataclass(frozen=True, eq=False)
class Scene:
    """What an instrument looks at: `fine`, an item on a grid finer by `FINE` along each of its last `axes` axes.

    All axes are of space unless `axes` says that those before are channels. Its shorter edge in the plane has the
    length 2. Values are in [0, 1]; those of complex scenes have magnitudes in [0, 1]. `shapes` are the ellipses of a
    scene that is made of them, `frames` those of every frame of one that moves, `phase` a factor of either.
    """

    fine: Tensor
    shapes: Ellipses | None = None
    axes: int | None = None
    frames: tuple[Ellipses, ...] = ()
    phase: TrigonometricMaps | None = None

    @property
    def truth(self) -> Tensor:
        """The image: the means over the pixels, of the kind of `fine`."""
        return block_means(self.fine, self.fine.ndim if self.axes is None else self.axes)


Draw = Callable[[Shape, torch.Generator], Scene]


@dataclass(frozen=True)
class Phantom:
    """A row of `PHANTOMS`: `draw(shape, generator)` makes a scene for images of a shape; `about` says what it is."""

    draw: Draw
    about: str


def phantom(name: str) -> Draw:
    """Return what draws the scenes of a name in `PHANTOMS`, or of a `"module:function"` of your own.

    ValueError for unknown names, with the nearest.
    """
    if ":" in name:
        own: Draw = registry.resolve(name)
        return own
    if name not in PHANTOMS:
        raise ValueError(f"no phantom is called {name!r}; {registry.nearest(name, PHANTOMS)}")
    return PHANTOMS[name].draw


def block_means(x: Tensor, axes: int, factor: int = FINE) -> Tensor:
    """Return the means over blocks of `factor` samples along each of the last `axes` axes, one to three."""
    if x.is_complex():
        return torch.complex(block_means(x.real, axes, factor), block_means(x.imag, axes, factor))
    pooled: Tensor = _POOL[axes](x.reshape(1, -1, *x.shape[-axes:]), factor)
    return pooled.reshape(*x.shape[:-axes], *pooled.shape[-axes:])


def _ellipses(shape: Shape, generator: torch.Generator) -> Scene:
    height, width = _finer(shape, 2)
    shapes = random_ellipses(0.95, generator, count=14)
    return Scene(shapes.image((height, width), pixel_size=2 / min(height, width)), shapes)


def _ellipsoids(shape: Shape, generator: torch.Generator) -> Scene:
    depth, height, width = _finer(shape, 3)
    return Scene(random_ellipsoids((depth, height, width), generator, count=14))


def _organs(shape: Shape, generator: torch.Generator) -> Scene:
    height, width = _finer(shape, 2)
    return Scene(organ((height, width), generator))


def _pictures(shape: Shape, generator: torch.Generator, *, kinds: Mapping[str, float]) -> Scene:
    """Draw pictures, (H, W), or in colour, (C, H, W), cut from the middle of a square."""
    *channels, height, width = _finer(shape, 2, channels=len(shape) == 3)
    side = max(height, width)
    square = training_images(1, side, generator, kinds=kinds, colours=channels[0] if channels else 1)[0]
    top, left = (side - height) // 2, (side - width) // 2
    return Scene(square[..., top : top + height, left : left + width], axes=2)


def _waves(shape: Shape, generator: torch.Generator, *, magnitude: Draw) -> Scene:
    """Draw a complex picture: another scene's values as magnitudes, and a smooth phase of about one radian."""
    seen = magnitude(shape, generator).fine
    height, width = seen.shape
    phase = random_field(Plane.of((height, width)), generator, corner=1, slope=4, modes=4)
    return Scene(torch.polar(seen.double(), phase).to(torch.complex64))


def _ellipse_waves(shape: Shape, generator: torch.Generator) -> Scene:
    body, phase = _ellipses(shape, generator), smooth_phase(generator)
    return Scene((body.fine * phase.sampled(body.fine.shape)[0]).to(torch.complex64), body.shapes, phase=phase)


def _heartbeat(shape: Shape, generator: torch.Generator) -> Scene:
    """Draw frames, (T, H, W), of a body in which some ellipses grow and shrink and others get lighter, once around."""
    count, height, width = _finer(shape, 2, channels=True)
    still, phase = random_ellipses(0.95, generator, count=14), smooth_phase(generator)
    beats = torch.rand(14, generator=generator, dtype=torch.float64) < 0.4
    beats[0] = False  # the body
    frames = []
    for t in range(count):
        swing = math.sin(2 * math.pi * t / count)
        grown = torch.where(beats, 1 + 0.25 * swing, 1.0)
        frames.append(replace(still, semi_axes=still.semi_axes * grown[:, None]))
    pixel = 2 / min(height, width)
    fine = torch.stack([frame.image((height, width), pixel_size=pixel) for frame in frames])
    fine = (fine.clamp(0, 1) * phase.sampled((height, width))[0]).to(torch.complex64)
    return Scene(fine, axes=2, frames=tuple(frames), phase=phase)


def _targets(shape: Shape, generator: torch.Generator) -> Scene:
    """Draw a radar target, whose voxels scatter with phases of their own."""
    finer = _finer(shape, 3)
    magnitude = target_magnitude(generator, finer, [1 / n for n in finer])
    phase = uniform(generator, 0, 2 * math.pi, *shape)
    for axis in range(3):
        phase = phase.repeat_interleave(FINE, axis)
    return Scene(torch.polar(magnitude.double(), phase).to(torch.complex64))


def _finer(shape: Shape, axes: int, *, channels: bool = False) -> Shape:
    """Return the shape on the finer grid; ValueError where an image has other axes than the phantom."""
    if len(shape) != axes + channels:
        raise ValueError(f"the phantom has {axes} axes of space, and images are to have the shape {tuple(shape)}")
    return (*shape[: len(shape) - axes], *(FINE * n for n in shape[len(shape) - axes :]))


_leaves = partial(_pictures, kinds={"leaves": 1.0})

# name: what draws it, and what it is; a new phantom is a new row
PHANTOMS: Mapping[str, Phantom] = {
    "ellipses": Phantom(_ellipses, "a body of ellipses, whose line integrals are known exactly"),
    "organs": Phantom(_organs, "slices of a chest or an abdomen"),
    "leaves": Phantom(_leaves, "dead leaves: textured shapes that hide one another, in grey or in colour"),
    "text": Phantom(partial(_pictures, kinds={"text": 0.5, "lines": 0.5}), "letters and lines"),
    "ellipsoids": Phantom(_ellipsoids, "a volume: a body of ellipsoids"),
    "ellipse-waves": Phantom(_ellipse_waves, "complex: ellipses with a smooth phase, whose k-space is known exactly"),
    "heartbeat": Phantom(_heartbeat, "complex frames of a body whose parts beat, whose k-space is known exactly"),
    "radar-targets": Phantom(_targets, "a volume: bodies that scatter radar waves with independent phases"),
    "organ-waves": Phantom(partial(_waves, magnitude=_organs), "complex: organs with a smooth phase"),
    "leaf-waves": Phantom(partial(_waves, magnitude=_leaves), "complex: dead leaves with a smooth phase"),
}
