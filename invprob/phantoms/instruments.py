"""Instruments: an operator, and how a scene is measured without using that very operator; they stand in one table.

CT data are means over the bins of the detector, exact or of a finer grid; blurred pictures are blurred on the finer
grid. The others measure the pixels' means, which are the same on every grid. An instrument for images of a shape is a
function of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from invprob import registry
from invprob.linop import Channels, LinearOperator, Operator
from invprob.operators import (
    Blur,
    CartesianMRI,
    ConeBeam,
    Downsample,
    FanBeam,
    Identity,
    Mask,
    NearFieldMIMO,
    NonCartesianMRI,
    ParallelBeam,
    RandomProjection,
    x_array,
)
from invprob.phantoms.coil_maps import birdcage
from invprob.phantoms.detector import detected
from invprob.phantoms.random import seeded
from invprob.phantoms.sampling import radial, random_lines
from invprob.phantoms.scenes import FINE, Scene, Shape, block_means
from invprob.phantoms.spectra import cartesian_positions

__all__ = ["INSTRUMENTS", "Instrument", "InstrumentKind", "chirp", "gauss", "instrument", "motion"]

_DEPTH = 4.0  # side of the field of view in CT: a ray through a value of 1 all over has this line integral
_DISTANCE = 1.5  # of source and detector from the axis, in sides of the field of view


@dataclass(frozen=True, eq=False)
class Instrument:
    """The operator that methods are told of, and `measure`, from a scene to clean data of its range."""

    operator: Operator
    measure: Callable[[Scene], Tensor]


Build = Callable[..., Instrument]


@dataclass(frozen=True)
class InstrumentKind:
    """A row of `INSTRUMENTS`: `build(shape, **settings)` makes one for images of a shape; `about` says what it is."""

    build: Build
    about: str


def instrument(name: str, /, **settings: Any) -> Callable[[Shape], Instrument]:
    """Return the function from an image's shape to the instrument of a name in `INSTRUMENTS`, with its settings.

    ValueError for unknown names, with the nearest.
    """
    if name not in INSTRUMENTS:
        raise ValueError(f"no instrument is called {name!r}; {registry.nearest(name, INSTRUMENTS)}")
    return partial(INSTRUMENTS[name].build, **settings)


def _parallel(shape: Shape, *, views: int, arc: float = math.pi, counted: bool = False) -> Instrument:
    """Build a scanner with `views` over an arc in radians, by default half a turn; `counted` averages intensities."""
    pixel = _DEPTH / min(shape)
    A = ParallelBeam(shape, _turn(views, arc), _bins(shape), pixel_size=pixel, detector_size=pixel)
    return _scanner(A, counted=counted)


def _fan(shape: Shape, *, views: int) -> Instrument:
    """Build a scanner with `views` over a whole turn."""
    distance, bins = _distance(shape), _bins(shape)
    return _scanner(
        FanBeam(
            shape,
            _turn(views, 2 * math.pi),
            bins,
            source_distance=distance,
            detector_distance=distance,
            pixel_size=_DEPTH / min(shape),
            detector_size=_wide(shape, distance) / bins,
        )
    )


def _cone(shape: Shape, *, views: int) -> Instrument:
    """Build a scanner with a flat detector and `views` over a whole turn, for volumes (slices, rows, columns)."""
    slices, *plane = shape
    voxel, distance, bins = _DEPTH / min(plane), _distance(plane), _bins(plane)
    pitch = _wide(plane, distance) / bins
    # the rows see the ends of the axis' cylinder where it is nearest to the source, and so magnified most
    magnified = 2 * distance / (distance - _radius(plane))
    rows = math.ceil(1.05 * slices * voxel * magnified / pitch)
    return _scanner(
        ConeBeam(
            shape,
            _turn(views, 2 * math.pi),
            (rows, bins),
            source_distance=distance,
            detector_distance=distance,
            voxel_size=voxel,
            detector_size=pitch,
        )
    )


def _turn(views: int, arc: float) -> Tensor:
    return arc * torch.arange(views, dtype=torch.float64) / views


def _bins(plane: Sequence[int]) -> int:
    """Return how many bins of a pixel's width see the diagonal of an image."""
    return math.ceil(1.42 * max(plane))


def _radius(plane: Sequence[int]) -> float:
    """Return how far the corners of an image, whose shorter edge is the field of view's, lie from its middle."""
    return _DEPTH / 2 * math.hypot(*plane) / min(plane)


def _distance(plane: Sequence[int]) -> float:
    return _DISTANCE * _DEPTH * max(plane) / min(plane)


def _wide(plane: Sequence[int], distance: float) -> float:
    """Return the width of a detector at twice the distance, of which the outermost rays pass the image's corners."""
    return 1.05 * 4 * distance * math.tan(math.asin(_radius(plane) / distance))


def _scanner(A: ParallelBeam | FanBeam | ConeBeam, *, counted: bool = False) -> Instrument:
    """Return the scanner whose readings are means over the bins, of ellipses or of the finer image."""

    def measure(scene: Scene) -> Tensor:
        shapes = None if isinstance(A, ConeBeam) else scene.shapes
        return detected(scene.fine if shapes is None else shapes.scaled(_DEPTH / 2), A, counted=counted)

    return Instrument(A, measure)


def _blur(shape: Shape, *, kernel: Callable[[float], Tensor]) -> Instrument:
    """Build a camera out of focus or in motion, of which only what needs no scene beyond the image is kept."""
    fine = kernel(FINE * min(shape) / 96)
    taps = _coarser(fine)
    A = Blur(shape, taps, "valid")

    def measure(scene: Scene) -> Tensor:
        wide = torch.promote_types(scene.fine.dtype, fine.dtype)  # float64 or complex128
        blurred = conv2d(scene.fine.to(wide)[None, None], fine.to(wide).flip(0, 1)[None, None])[0, 0]
        return block_means(blurred, 2).to(torch.complex64 if wide.is_complex else torch.float32)

    return Instrument(A, measure)


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


def chirp(scale: float) -> Tensor:
    """Return what defocus makes of a coherent wave, complex: that Gaussian with a quadratic phase of the same width."""
    taps = gauss(scale).to(torch.complex128)
    reach = len(taps) // 2
    t = torch.arange(-reach, reach + 1, dtype=torch.float64) / (1.5 * scale)
    taps = taps * torch.exp(0.5j * (t.square()[:, None] + t.square()))
    return taps / taps.sum()


def _coarser(fine: Tensor) -> Tensor:
    """Return the kernel between pixel means that comes nearest to a kernel on the grid finer by 2.

    A shift by an odd number of fine pixels is half of either neighbouring shift by whole pixels.
    """
    hat = torch.tensor([0.5, 1.0, 0.5], dtype=fine.dtype)
    taps = conv2d(fine[None, None], torch.outer(hat, hat)[None, None], stride=2, padding=1)[0, 0]
    return taps / taps.sum()


def _camera(shape: Shape) -> Instrument:
    """Build the instrument that measures every pixel."""
    return _exact(Identity(shape))


def _holes(shape: Shape, *, seen: float) -> Instrument:
    """Build one that measures a random share of the pixels, which follow from the shape."""
    key = seeded("holes", *dict.fromkeys(shape))  # a square's is its side
    return _exact(Mask(torch.rand(shape, generator=key, dtype=torch.float64) < seen))


def _box(shape: Shape) -> Instrument:
    """Build one that misses a box in the middle, a quarter of the image along each axis."""
    mask = torch.ones(shape, dtype=torch.bool)
    mask[tuple(slice(3 * n // 8, 5 * n // 8) for n in shape)] = False
    return _exact(Mask(mask))


def _coarse(shape: Shape, *, factor: int) -> Instrument:
    """Build one whose pixels are larger by a factor."""
    return _exact(Downsample(shape, factor))


def _compressed(shape: Shape, *, pixels: int) -> Instrument:
    """Build one that takes a random number for so many pixels."""
    return _exact(RandomProjection(shape, math.prod(shape) // pixels))


def _x_array(shape: Shape, *, frequencies: int) -> Instrument:
    """Build the X-shaped radar of Oral & Oktem 2024 at 4 to 16 GHz, half a metre before a cube of 0.3 m."""
    across = [torch.linspace(-0.15, 0.15, n, dtype=torch.float64) for n in shape[:2]]
    depths = torch.linspace(0.35, 0.65, shape[2], dtype=torch.float64)
    return _exact(NearFieldMIMO((*across, depths), *x_array(), np.linspace(4e9, 16e9, frequencies)))


def _exact(A: LinearOperator) -> Instrument:
    return Instrument(A, lambda scene: A(scene.truth))


def _each(shape: Shape, *, of: str, channels: Channels = "colour", **settings: Any) -> Instrument:
    """Build one that measures every channel of an image, its first axis, with the instrument `of`."""
    single = instrument(of, **settings)(shape[1:])
    if not isinstance(single.operator, LinearOperator):
        raise ValueError(f"each-channel: {of} is not linear, and only linear operators are applied channel by channel")

    def measure(scene: Scene) -> Tensor:
        return torch.stack([single.measure(Scene(channel)) for channel in scene.fine])

    return Instrument(single.operator.lift(shape[:1], channels=channels), measure)


def _mri_lines(shape: Shape, *, acceleration: float, coils: int = 8) -> Instrument:
    """Build an MRI scanner that measures random lines, denser in the middle, with a block of a third of them there."""
    *many, _, width = shape
    lines = round(width / acceleration)
    key = seeded("lines", *shape)
    masks = [random_lines(width, acceleration, key, calibration=max(2, lines // 3)) for _ in range(math.prod(many))]
    plane, maps = shape[-2:], birdcage(coils)
    mask = torch.stack(masks).unsqueeze(-2) if many else masks[0]
    A = CartesianMRI(mask, maps.sampled(plane).to(torch.complex64), frames=math.prod(many))
    return _magnet(A, cartesian_positions(plane), coils)


def _mri_spokes(shape: Shape, *, spokes: int, coils: int = 8) -> Instrument:
    """Build an MRI scanner that measures spokes by the golden angle, each with two samples per pixel."""
    omega = radial(spokes, 2 * max(shape))
    return _magnet(NonCartesianMRI(shape, omega, birdcage(coils).sampled(shape).to(torch.complex64)), omega, coils)


def _magnet(A: CartesianMRI | NonCartesianMRI, omega: Tensor, coils: int) -> Instrument:
    """Return the scanner that reads the exact k-space of ellipses, frame by frame where there are frames."""
    plane = A.image_shape[0], A.image_shape[1]

    def measure(scene: Scene) -> Tensor:
        maps = birdcage(coils) if scene.phase is None else birdcage(coils).times(scene.phase)
        bodies = scene.frames or (() if scene.shapes is None else (scene.shapes,))
        if not bodies:
            raise ValueError("MRI scenes are made of ellipses, whose k-space is known: ellipse-waves or heartbeat")
        pixel = 2 / min(plane)
        y = torch.stack([body.kspace(omega, plane, pixel_size=pixel, coils=maps) for body in bodies])
        y = (y if scene.frames else y[0]).to(torch.complex64)
        return y if A.measured is None else y * A.measured

    return Instrument(A, measure)


# name: what builds it, and what it is; a new instrument is a new row
INSTRUMENTS: Mapping[str, InstrumentKind] = {
    "parallel-beam": InstrumentKind(_parallel, "a CT scanner with parallel rays: views, arc in radians"),
    "fan-beam": InstrumentKind(_fan, "a CT scanner with a fan of rays: views over a whole turn"),
    "cone-beam": InstrumentKind(_cone, "a CT scanner of volumes with a flat detector: views over a whole turn"),
    "blur": InstrumentKind(_blur, "a camera whose points are spread: kernel, a function of the image's scale"),
    "camera": InstrumentKind(_camera, "every pixel is measured"),
    "holes": InstrumentKind(_holes, "a random share of the pixels is measured: seen"),
    "box": InstrumentKind(_box, "a box in the middle is not measured"),
    "large-pixels": InstrumentKind(_coarse, "pixels are larger: factor"),
    "random-projection": InstrumentKind(_compressed, "random sums of all pixels: pixels per number"),
    "mri-lines": InstrumentKind(_mri_lines, "an MRI scanner that measures random lines: acceleration, coils"),
    "mri-spokes": InstrumentKind(_mri_spokes, "an MRI scanner that measures golden spokes: spokes, coils"),
    "x-array": InstrumentKind(_x_array, "a radar of 12 transmitters and 13 receivers on a cross: frequencies"),
    "each-channel": InstrumentKind(_each, "every channel of the image by the same instrument: of, its settings"),
}
