"""The instruments of the benchmark: an operator, and how a scene is measured without using that very operator.

CT data are exact line integrals or come from a finer grid; blurred pictures are blurred on the finer grid. The others
measure the pixels' means, which are the same on every grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from invprob.benchmark.scenes import FINE, Scene, seeded
from invprob.linop import LinearOperator
from invprob.operators import Blur, Downsample, FanBeam, Identity, Mask, ParallelBeam, RandomProjection
from invprob.operators.ct.planar import PlanarCT

__all__ = [
    "Instrument",
    "blur",
    "box",
    "camera",
    "coarse",
    "compressed",
    "ct",
    "gauss",
    "holes",
    "motion",
]

_DEPTH = 4.0  # side of the field of view in CT: a ray through a value of 1 all over has this line integral
_DISTANCE = 1.5  # of source and detector from the axis, in sides of the field of view


@dataclass(frozen=True, eq=False)
class Instrument:
    """The operator that methods are told of, and `measure`, from a scene to clean data of its range."""

    operator: LinearOperator
    measure: Callable[[Scene], Tensor]


def ct(size: int, *, views: int, arc: float | None = None, fan: bool = False) -> Instrument:
    """Return a scanner with `views` over an arc in radians, by default half a turn, or a whole one for a fan beam."""
    arc = (2 * math.pi if fan else math.pi) if arc is None else arc
    angles = arc * torch.arange(views, dtype=torch.float64) / views
    pixel, bins = _DEPTH / size, math.ceil(1.42 * size)
    if not fan:
        return _scanner(ParallelBeam((size, size), angles, bins, pixel_size=pixel, detector_size=pixel))
    distance = _DISTANCE * _DEPTH
    # twice the half width at twice the distance: the outermost rays pass the corners of the image
    wide = 1.05 * 4 * distance * math.tan(math.asin(_DEPTH / math.sqrt(2) / distance)) / bins
    return _scanner(
        FanBeam(
            (size, size),
            angles,
            bins,
            source_distance=distance,
            detector_distance=distance,
            pixel_size=pixel,
            detector_size=wide,
        )
    )


def _scanner(A: PlanarCT) -> Instrument:
    height, width = A.domain_shape
    finer = {"image_shape": (FINE * height, FINE * width), "pixel_size": A.pixel_size / FINE}

    def measure(scene: Scene) -> Tensor:
        if scene.shapes is not None:
            exact: Tensor = scene.shapes.scaled(_DEPTH / 2).line_integrals(*A.rays()).to(A.dtype)
            return exact
        fine: LinearOperator = type(A)(**(A.config() | finer))
        return fine(scene.fine)

    return Instrument(A, measure)


def blur(size: int, *, kernel: Callable[[float], Tensor]) -> Instrument:
    """Return a camera out of focus or in motion, of which only what needs no scene beyond the image is kept."""
    fine = kernel(FINE * size / 96)
    taps = _coarser(fine)

    def measure(scene: Scene) -> Tensor:
        sharp = scene.fine[None, None].double()
        return avg_pool2d(conv2d(sharp, fine.flip(0, 1)[None, None]), FINE)[0, 0].float()

    return Instrument(Blur((size, size), taps, "valid"), measure)


def gauss(scale: float) -> Tensor:
    """Return a Gaussian of standard deviation 1.5 on images of 96 pixels, 4 r + 1 taps per axis, r whole."""
    sigma = 1.5 * scale
    reach = 2 * math.ceil(1.5 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma).square())
    return torch.outer(taps, taps) / taps.sum().square()


def motion(scale: float) -> Tensor:
    """Return a bent stroke 9 pixels long on images of 96, of the same form of size."""
    reach = 2 * math.ceil(2.5 * scale)
    taps = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    t = torch.linspace(-1, 1, 2000, dtype=torch.float64)
    column, row = (4.5 * scale * t).clamp(-reach, reach), 1.8 * scale * (t.square() + 0.5 * t - 0.5)
    taps.index_put_(((row + reach).round().long(), (column + reach).round().long()), torch.ones(()).double(), True)
    return taps / taps.sum()


def _coarser(fine: Tensor) -> Tensor:
    """Return the kernel between pixel means that comes nearest to a kernel on the grid finer by 2.

    A shift by an odd number of fine pixels is half of either neighbouring shift by whole pixels.
    """
    hat = torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64)
    taps = conv2d(fine[None, None], torch.outer(hat, hat)[None, None], stride=2, padding=1)[0, 0]
    return taps / taps.sum()


def camera(size: int) -> Instrument:
    """Return the instrument that measures every pixel."""
    return _exact(Identity((size, size)))


def holes(size: int, *, seen: float) -> Instrument:
    """Return one that measures a random share of the pixels."""
    drawn = torch.rand(size, size, generator=seeded("holes", size), dtype=torch.float64)
    return _exact(Mask(drawn < seen))


def box(size: int) -> Instrument:
    """Return one that misses a box in the middle, a quarter of the image wide."""
    mask = torch.ones(size, size, dtype=torch.bool)
    mask[3 * size // 8 : 5 * size // 8, 3 * size // 8 : 5 * size // 8] = False
    return _exact(Mask(mask))


def coarse(size: int, *, factor: int) -> Instrument:
    """Return one whose pixels are larger by a factor."""
    return _exact(Downsample((size, size), factor))


def compressed(size: int, *, pixels: int) -> Instrument:
    """Return one that takes a random number for so many pixels."""
    return _exact(RandomProjection((size, size), size * size // pixels))


def _exact(A: LinearOperator) -> Instrument:
    return Instrument(A, lambda scene: A(scene.truth))
