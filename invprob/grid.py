"""Where the pixels of an image lie: their spacing along every axis, and the units of lengths and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

__all__ = ["CHANNELS", "Channels", "Grid", "Units", "size_in_words", "space_axes"]

PIXEL = "pixel"
Channels = Literal["colour", "echoes", "frames", "slices"]  # what an axis that is none of space counts
CHANNELS: tuple[str, ...] = get_args(Channels)
_SAMPLES = {1: "samples", 2: "pixels", 3: "voxels"}


@dataclass(frozen=True)
class Grid:
    """The distance between neighbouring samples along each axis of space, the last ones of an image, and its unit.

    Arguments:
        spacing: one length per axis of space, in the order of the axes. Channels, echoes and the like are no axes of
            space and have no entry.
        unit: text such as "mm"; "pixel" where no size is known.

    ValueError for spacings that are not positive and finite.
    """

    spacing: tuple[float, ...]
    unit: str = PIXEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", tuple(float(h) for h in self.spacing))
        if not self.spacing or not all(h > 0 and math.isfinite(h) for h in self.spacing):
            raise ValueError(f"Grid: spacing must hold positive, finite lengths, got {self.spacing}")

    @classmethod
    def of_pixels(cls, ndim: int) -> Grid:
        """Return the grid of `ndim` axes of which no size is known."""
        return cls((1.0,) * ndim)

    @property
    def ndim(self) -> int:
        """How many axes of space there are."""
        return len(self.spacing)

    @property
    def isotropic(self) -> bool:
        """Whether all axes have one spacing."""
        return all(math.isclose(h, self.spacing[0], rel_tol=1e-9) for h in self.spacing)

    @property
    def relative(self) -> tuple[float, ...]:
        """The spacings relative to the smallest one: 1 along every axis of a grid of squares or cubes."""
        least = min(self.spacing)
        return (1.0,) * self.ndim if self.isotropic else tuple(h / least for h in self.spacing)

    @property
    def known(self) -> bool:
        """Whether the sizes of the pixels are known, in a unit of length."""
        return self.unit != PIXEL

    def with_unit(self, unit: str) -> Grid:
        """Return the same spacings in a named unit."""
        return replace(self, unit=unit)


@dataclass(frozen=True)
class Units:
    """The units of a scan, as text; nothing is converted.

    Arguments:
        length: of the geometry, such as "mm"; "pixel" where no size is known.
        image: of image values, such as "1/mm"; "1" means none.
        data: of data values; "1" means none.
    """

    length: str = PIXEL
    image: str = "1"
    data: str = "1"

    @classmethod
    def attenuation(cls, length: str) -> Units:
        """Return the units of CT: line integrals without unit, an image in 1/length."""
        return cls(length=length, image=f"1/{length}", data="1")


def printed_unit(unit: str) -> str:
    """Return a unit as it is printed behind a number: nothing for "1"."""
    return "" if unit == "1" else unit


def space_axes(ndim: int, grid: Grid | None = None, channels: str | None = None) -> int:
    """Return how many of an item's `ndim` axes are directions in space, the last ones.

    A grid has an entry for each; without one all axes are, but for the first where it counts `channels` (slices are
    places in space). ValueError for a grid of more axes than the item has.
    """
    if grid is None:
        return ndim if channels in (None, "slices") else max(1, ndim - 1)
    if grid.ndim > ndim:
        raise ValueError(f"a grid of {grid.ndim} axes does not fit items of {ndim}")
    return grid.ndim


def size_in_words(shape: Sequence[int], ndim: int, grid: Grid | None, channels: str | None) -> str:
    """Return the size of an image `(*batch, *item)` in words, such as "12 images of 64 x 64 pixels of 0.5 mm"."""
    space = space_axes(ndim, grid, channels)
    first = len(shape) - ndim
    count, extra, extent = math.prod(shape[:first]), shape[first : len(shape) - space], shape[len(shape) - space :]
    words = f"{' x '.join(map(str, extent))} {_SAMPLES.get(space, 'samples')}"
    if grid is not None and grid.known:
        lengths = grid.spacing[:1] if grid.isotropic else grid.spacing
        words += f" of {' x '.join(f'{h:.4g}' for h in lengths)} {grid.unit}"
    if channels == "colour":
        words += " in colour"
    elif extra:
        words = f"{' x '.join(map(str, extra))} {channels or 'channels'} of {words}"
    return f"{count} images of {words}" if count > 1 else words
