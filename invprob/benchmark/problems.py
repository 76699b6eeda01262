"""The problems: a small table. A row is an instrument, phantoms, noise, and the shape of the images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from invprob.benchmark.noise import Noise, coloured, decibels, gaussian, photons
from invprob.phantoms.instruments import Instrument, chirp, gauss, instrument, motion
from invprob.phantoms.random import seeded
from invprob.phantoms.scenes import Scene, Shape, phantom
from invprob.scan import Scan

__all__ = ["PROBLEMS", "QUICK", "Cases", "Problem", "case_names", "cases", "colour", "cube", "slab", "square"]

BODIES, PICTURES, WAVES = ("organs", "ellipses"), ("leaves", "organs", "text"), ("leaf-waves", "organ-waves")
_THINNEST, _NARROWEST = 12, 16  # slices, and voxels along an edge: similarity is seen through a window of 11


def square(size: int) -> Shape:
    """Return the shape of a picture, `size` pixels along both axes."""
    return size, size


def colour(size: int) -> Shape:
    """Return that of a picture of three channels."""
    return 3, size, size


def slab(size: int) -> Shape:
    """Return that of a volume, a third as many voxels along an edge as a picture has, and a sixth as many slices."""
    edge = max(_NARROWEST, size // 3)
    return max(_THINNEST, size // 6), edge, edge


def cube(size: int) -> Shape:
    """Return that of a radar's image, in voxels twice as long across as in depth; those of the paper from 96 on."""
    across = min(25, max(12, size // 4 + 1))
    return across, across, 2 * across - 1


@dataclass(frozen=True)
class Problem:
    """`name` and `title` for people, `family` for the verdicts; `instrument` measures, `noise` spoils.

    `scenes` are names of `PHANTOMS` or "module:function", which take turns. `shape` is that of the images in a suite of
    a size, which `instrument` and scenes are made for. All parts pickle, as they go to other processes.
    """

    name: str
    family: str
    title: str
    instrument: Callable[[Shape], Instrument]
    scenes: tuple[str, ...]
    noise: Noise
    shape: Callable[[int], Shape] = square


@dataclass(frozen=True, eq=False)
class Cases:
    """Several scans of one operator as a batch, with the truths; `names` say which scene each is."""

    scan: Scan
    names: tuple[str, ...]

    @property
    def truth(self) -> Tensor:
        """The true images, (count, *shape)."""
        if self.scan.truth is None:
            raise ValueError("the cases of a benchmark know their truth")
        return self.scan.truth

    @property
    def about(self) -> str:
        """The shape and the kind of the images in words, such as "40 x 80 x 80 voxels, complex"."""
        A, shape = self.scan.operator, self.scan.operator.domain_shape
        space = shape[len(shape) - A.grid.ndim :]
        words = f"{' x '.join(map(str, space))} {'voxels' if len(space) == 3 else 'pixels'}"
        if len(space) < len(shape):
            words += f", {math.prod(shape[: len(shape) - len(space)])} channels"
        return words + (", complex" if self.truth.is_complex() else "")


@lru_cache(maxsize=8)
def cases(problem: Problem, size: int, purpose: str, count: int) -> Cases:
    """Return the first `count` cases for a purpose, "test" or "validation", whose scenes and noise never meet.

    A scene depends on family, purpose and number alone, so that problems share scenes and can be compared. The last
    few are remembered, with what their operators have computed of themselves.
    """
    shape = problem.shape(size)
    tool = problem.instrument(shape)
    names = case_names(problem, purpose, count)
    scenes: list[Scene] = [phantom(name.split()[0])(shape, seeded(name)) for name in names]
    clean = torch.stack([tool.measure(scene) for scene in scenes])
    spoilt = [problem.noise(y, seeded("noise", problem.name, name)) for y, name in zip(clean, names, strict=True)]
    data, noise, weights = zip(*spoilt, strict=True)
    weighted = weights[0] is not None
    scan = Scan(
        operator=tool.operator,
        data=torch.stack(data),
        noise=torch.stack(noise),
        truth=torch.stack([scene.truth for scene in scenes]),
        weights=torch.stack(weights) if weighted else None,
    )
    return Cases(scan, names)


def case_names(problem: Problem, purpose: str, count: int) -> tuple[str, ...]:
    """Return "FAMILY PURPOSE NUMBER" for each case, which is also the key of its random numbers."""
    return tuple(f"{problem.scenes[k % len(problem.scenes)]} {purpose} {k}" for k in range(count))


_ONE_PERCENT = partial(gaussian, level=0.01)
_DEGREE = math.pi / 180
_SPARSE, _LIMITED, _DOSE, _BLUR = "sparse-view CT", "limited-angle CT", "low-dose CT", "deblurring"
_MRI = "MRI"
_HOLES, _FINER, _FEW, _COMPLEX = "inpainting", "super-resolution", "compressed sensing", "complex images"


def _ct(views: int, degrees: float = 180, *, counted: bool = False) -> Callable[[Shape], Instrument]:
    return instrument("parallel-beam", views=views, arc=degrees * _DEGREE, counted=counted)


def _fewer(factor: int) -> Callable[[Shape], Instrument]:
    return instrument("large-pixels", factor=factor)


def _one_for(pixels: int) -> Callable[[Shape], Instrument]:
    return instrument("random-projection", pixels=pixels)


_DEFOCUSED, _MOVED = instrument("blur", kernel=gauss), instrument("blur", kernel=motion)
_WAVE, _CAMERA, _BOX = instrument("blur", kernel=chirp), instrument("camera"), instrument("box")
_FIFTH, _HALF = instrument("holes", seen=0.2), instrument("holes", seen=0.5)
_FIFTH_OF_COLOUR = instrument("each-channel", of="holes", seen=0.2)
_FAN, _CONE = instrument("fan-beam", views=45), instrument("cone-beam", views=16)
_SPOKES = instrument("mri-spokes", spokes=24)
_X_ARRAY, _THIRTY_DB = instrument("x-array", frequencies=10), partial(decibels, ratio=30)
_COLOURED = partial(coloured, level=0.1, slope=0.5)

_RECEIVER = partial(gaussian, level=0.002)


def _lines(acceleration: float) -> Callable[[Shape], Instrument]:
    return instrument("mri-lines", acceleration=acceleration)


def film(size: int) -> Shape:
    """Return the shape of eight frames of a picture, half as many pixels along an edge."""
    return 8, max(32, size // 2), max(32, size // 2)


PROBLEMS: tuple[Problem, ...] = (
    Problem("ct-60", _SPARSE, "60 views", _ct(60), BODIES, _ONE_PERCENT),
    Problem("ct-30", _SPARSE, "30 views", _ct(30), BODIES, _ONE_PERCENT),
    Problem("ct-18", _SPARSE, "18 views", _ct(18), BODIES, _ONE_PERCENT),
    Problem("arc-90", _LIMITED, "90 degrees", _ct(60, 90), BODIES, _ONE_PERCENT),
    Problem("arc-60", _LIMITED, "60 degrees", _ct(40, 60), BODIES, _ONE_PERCENT),
    Problem("dose-1e4", _DOSE, "10 000 photons per ray", _ct(90, counted=True), BODIES, partial(photons, count=1e4)),
    Problem("dose-1e3", _DOSE, "1 000 photons per ray", _ct(90, counted=True), BODIES, partial(photons, count=1e3)),
    Problem("fan-45", "fan-beam CT", "45 views", _FAN, BODIES, _ONE_PERCENT),
    Problem("cone-16", "cone-beam CT", "a volume from 16 views", _CONE, ("ellipsoids",), _ONE_PERCENT, slab),
    Problem("blur-gaussian", _BLUR, "Gaussian blur", _DEFOCUSED, PICTURES, _ONE_PERCENT),
    Problem("blur-motion", _BLUR, "motion blur", _MOVED, PICTURES, _ONE_PERCENT),
    Problem("noise-coloured", "denoising", "coloured noise", _CAMERA, PICTURES, _COLOURED),
    Problem("holes-random", _HOLES, "80 % of the pixels missing", _FIFTH, PICTURES, _ONE_PERCENT),
    Problem("holes-box", _HOLES, "a box missing", _BOX, PICTURES, _ONE_PERCENT),
    Problem("holes-colour", _HOLES, "80 % missing, in colour", _FIFTH_OF_COLOUR, ("leaves",), _ONE_PERCENT, colour),
    Problem("finer-2", _FINER, "pixels twice as fine", _fewer(2), PICTURES, _ONE_PERCENT),
    Problem("finer-4", _FINER, "pixels four times as fine", _fewer(4), PICTURES, _ONE_PERCENT),
    Problem("few-4", _FEW, "one number for 4 pixels", _one_for(4), PICTURES, _ONE_PERCENT),
    Problem("few-16", _FEW, "one number for 16 pixels", _one_for(16), PICTURES, _ONE_PERCENT),
    Problem("wave-blur", _COMPLEX, "a wave out of focus", _WAVE, WAVES, _ONE_PERCENT),
    Problem("wave-holes", _COMPLEX, "half of the pixels missing", _HALF, WAVES, _ONE_PERCENT),
    Problem("mri-4", _MRI, "a quarter of the lines, 8 coils", _lines(4), ("ellipse-waves",), _RECEIVER),
    Problem("mri-8", _MRI, "an eighth of the lines, 8 coils", _lines(8), ("ellipse-waves",), _RECEIVER),
    Problem("radial-24", _MRI, "24 spokes, 8 coils", _SPOKES, ("ellipse-waves",), _RECEIVER),
    Problem("dynamic-8", _MRI, "8 frames of an eighth of the lines each", _lines(8), ("heartbeat",), _RECEIVER, film),
    Problem("radar-10", "radar", "10 frequencies, 30 dB", _X_ARRAY, ("radar-targets",), _THIRTY_DB, cube),
)
STANDARD = (
    "ct-30",
    "arc-90",
    "dose-1e3",
    "fan-45",
    "blur-gaussian",
    "noise-coloured",
    "holes-random",
    "finer-2",
    "mri-4",
)
QUICK = ("ct-30", "dose-1e3", "blur-gaussian", "noise-coloured", "holes-random", "finer-2")
