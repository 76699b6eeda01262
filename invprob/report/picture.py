"""The one road from an item to a picture: of a complex, three-dimensional or many-channelled one, too."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from invprob.grid import Channels, Grid, space_axes
from invprob.io.atomic import check_output, write_bytes
from invprob.linop.doors import as_tensor, takes_arrays
from invprob.result import Result

if TYPE_CHECKING:
    from invprob.scan import Scan

__all__ = ["Over", "Part", "Picture", "bulk", "middle_item", "picture_of_data", "png_uri", "show"]

Part = Literal["magnitude", "phase", "real", "dB"]
Over = Literal["slice", "max", "mean"]

_WINDOW = (0.5, 99.5)  # percentiles shown as black and white: outliers at either end do not set the window
_DYNAMIC_RANGE = 40.0  # decibels below the maximum that become black, as is usual for images of point scatterers
_LARGEST = 1024  # pixels along the longer side on a page; more would not be seen
_LIMIT = 8192  # pixels along the longer side that showing voxels in proportion may lead to
_GREY, _CYCLIC = "gray", "twilight"
_BLANK = 0.5  # the grey of what has no colour, which a phase has none of
_FAINT = 0.02  # of the magnitude shown as white: below it a phase is that of noise
_HUGE = 1e300  # sums of larger numbers overflow
_SAME = 1e-3  # relative difference of sides that is no difference to the eye
_ONE = {"colour": "colour", "echoes": "echo", "frames": "frame", "slices": "slice", None: "channel"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A part of an item that can be seen. Jupyter shows it by itself.

    Arguments:
        values: `(H, W)`, or `(H, W, 3)` in colour.
        low, high: the values shown as the darkest and the brightest.
        colours: a colour map of matplotlib; by default grey.
        caption: which part of the item it is ("slice 32 of 64, magnitude", counted from 0), nothing where it is all of
            it.
        sides: height and width of a pixel, relative to each other; by default it is a square.
        blank: where there is nothing to show, `(H, W)`: a neutral grey stands there.
    """

    values: NDArray[np.float64]
    low: float
    high: float
    colours: str = _GREY
    caption: str = ""
    sides: tuple[float, float] = (1.0, 1.0)
    blank: NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the file, in which pixels are squares: the longer one is repeated."""
        least = min(self.sides)
        height, width = (n * side / least for n, side in zip(self.values.shape[:2], self.sides, strict=True))
        shrink = min(1.0, max(_LIMIT, *self.values.shape[:2]) / max(height, width))
        return max(1, round(width * shrink)), max(1, round(height * shrink))

    def png(self, largest: int | None = None) -> bytes:
        """Return the PNG file, of at most `largest` pixels along the longer side; values not finite are black."""
        stream = io.BytesIO()
        self._image(largest).save(stream, format="PNG", optimize=True)
        return stream.getvalue()

    def uri(self, largest: int | None = _LARGEST) -> str:
        """Return the picture as the address of an `<img>`, with all of it inside."""
        return png_uri(self.png(largest))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the PNG file; OutputError or ResourceError if it cannot be written."""
        content = self.png()
        write_bytes(check_output(path, len(content), overwrite=overwrite), content, overwrite=overwrite)

    def _repr_png_(self) -> bytes:
        return self.png(_LARGEST)

    def _image(self, largest: int | None) -> Image.Image:
        finite = np.isfinite(self.values)
        scale = _scale(max(abs(self.low), abs(self.high)))
        low, high = self.low / scale, self.high / scale
        inside = np.where(finite, self.values, self.low).clip(self.low, self.high)
        share = np.where(finite, (inside / scale - low) / (high - low), 0.0).clip(0, 1)
        if self.colours != _GREY and self.values.ndim == 2:
            share = mpl.colormaps[self.colours](share)[..., :3]
        if self.blank is not None:
            share[self.blank] = _BLANK
        image = Image.fromarray((255 * share).round().astype(np.uint8))
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.NEAREST)  # a voxel stays a block, no value is made up
        if largest is not None:
            image.thumbnail((largest, largest))
        return image


@takes_arrays
def show(
    item: Tensor | Result,
    ndim: int = 2,
    *,
    part: Part | None = None,
    over: Over = "slice",
    grid: Grid | None = None,
    channels: Channels | None = None,
    window: tuple[float, float] | None = None,
    colours: str | None = None,
) -> Picture:
    """Return a picture of an item `(*batch, *item)` whose last `ndim` axes are one item, or of a `Result`, which knows.

    Of everything that does not fit into a plane the middle one (index n // 2) is shown: of a batch, of channels, of the
    slices of a volume; so an image and its truth always show the same place. Of a volume of one layer, whichever axis
    that is of, it is the layer. `over` takes the maximum or the mean over the slices instead. Three channels said to be
    "colour" become red, green and blue.

    Arguments:
        part: "real" (of a real item the default), "magnitude" (of a complex one), "phase" in radians, blank where the
            magnitude is below 2 % of what would be white, or "dB", 20 log10 of the magnitude relative to the largest
            one of the item.
        over: "slice", "max" or "mean", along the axes of space before the last two; taken of the `part`.
        grid: the spacing of the axes of space, the last ones: pixels that are no squares are shown in proportion.
        channels: what the first axis of the item counts where it is no direction in space (`Operator.channels`).
        window: the values shown as darkest and brightest; by default the percentiles 0.5 and 99.5, of a magnitude
            from 0, of a phase -pi and pi, of decibels -40 and 0, and of a result made from a photograph 0 and 1.
        colours: a colour map of matplotlib; by default grey, and a cyclic one for a phase.

    ValueError for what does not fit together: axes, names, an empty window, colour of other than three channels.
    TypeError for what is neither a tensor nor an array.
    """
    if isinstance(item, Result):
        grid, channels = item.grid if grid is None else grid, item.channels if channels is None else channels
        if window is None and part in (None, "real") and item.provenance.get("white") == "1":
            window = (0.0, 1.0)  # of a photograph, whose greys mean something
        item, ndim = item.x, item.ndim
    item = as_tensor("show", item)
    part = _checked(item, ndim, part, over, channels)
    space = space_axes(ndim, grid, channels)
    one, words = _one_item(item, ndim, space, channels)
    order = axes_in_order(one.shape[one.ndim - space :])
    one = one.permute(*range(one.ndim - space), *(one.ndim - space + axis for axis in order))
    values, natural = _values(one, part)
    for _ in range(space - 2):
        values, seen = _without_slices(values, over)
        words += seen
    if part != "real":
        words.append("dB below the maximum" if part == "dB" else part)
    if space == 1:
        values = values.unsqueeze(-2)
    array = _array(values.movedim(0, -1) if channels == "colour" else values)
    low, high = window or natural or _window(array, part)
    if not low < high:
        raise ValueError(f"show: the window must run from black to white, low < high, got {(low, high)}")
    sides = (1.0, 1.0) if grid is None or grid.ndim < 2 else (grid.spacing[order[-2]], grid.spacing[order[-1]])
    if math.isclose(*sides, rel_tol=_SAME):
        sides = (1.0, 1.0)
    blank = _faint(one, space) if part == "phase" else None
    colours = colours or (_CYCLIC if part == "phase" else _GREY)
    return Picture(array, low, high, colours, ", ".join(words), sides, blank)


def picture_of_data(scan: Scan) -> Picture | None:
    """Return what can be seen of the middle item's data: views, a picture, or a plane of samples; None of others."""
    A = scan.operator
    y = middle_item(scan.data, len(A.range_shape))
    if A.data_kind == "picture":
        return show(y, y.ndim, channels=A.channels)
    if A.data_kind == "views" and y.ndim > 2:
        views = y.reshape(-1, *y.shape[-2:])
        picture, words = show(views[len(views) // 2]), f"view {len(views) // 2} of {len(views)}"
        return replace(picture, caption=", ".join(filter(None, (picture.caption, words))))
    if y.ndim != 2:
        return None
    return show(y, part="dB" if y.is_complex() and A.data_kind == "samples" else None)


def png_uri(png: bytes) -> str:
    """Return a PNG file as the address of an `<img>`, with all of it inside."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def bulk(values: Tensor, share: float) -> float:
    """Return the magnitude that a share of the finite values does not exceed, of any number of them; 1 where it is 0.

    `torch.quantile` takes 2^24 values at most.
    """
    sizes = _array(values.abs())
    sizes = sizes[np.isfinite(sizes)]
    return float(np.quantile(sizes, share) if sizes.size else 0.0) or 1.0


def axes_in_order(shape: Sequence[int]) -> list[int]:
    """Return the axes of space as pictures take them: those of a volume's plane last, whichever it has one layer of."""
    axes = list(range(len(shape)))
    return axes if len(shape) < 3 else sorted(axes, key=lambda axis: shape[axis] > 1)


def middle_item(items: Tensor, ndim: int) -> Tensor:
    """Return the middle one, index n // 2, of a batch `(*batch, *item)`; that is the one which pictures show."""
    flat = items.reshape(-1, *items.shape[items.ndim - ndim :])
    return flat[len(flat) // 2]


def _checked(item: Tensor, ndim: int, part: Part | None, over: Over, channels: Channels | None) -> Part:
    """Return which part to show; ValueError for what cannot be shown."""
    if not 1 <= ndim <= item.ndim or 0 in item.shape:
        raise ValueError(f"show: ndim={ndim} axes of an item do not fit a tensor of shape {tuple(item.shape)}")
    if part is None:
        part = "magnitude" if item.is_complex() else "real"
    if part not in get_args(Part):
        raise ValueError(f"show: part must be one of {', '.join(get_args(Part))}, got {part!r}")
    if over not in get_args(Over):
        raise ValueError(f"show: over must be one of {', '.join(get_args(Over))}, got {over!r}")
    if part == "phase" and over != "slice":
        raise ValueError(f"show: phases have neither a maximum nor a mean: use over='slice', got {over!r}")
    if part in ("phase", "dB") and channels == "colour":
        raise ValueError(f"show: red, green and blue are amounts of light, which have no {part}")
    return part


def _one_item(items: Tensor, ndim: int, space: int, channels: Channels | None) -> tuple[Tensor, list[str]]:
    """Return the middle item of a batch, of its channels the middle one but for colour, and which they are."""
    count = math.prod(items.shape[: items.ndim - ndim])
    words = [f"image {count // 2} of {count}"] if count > 1 else []
    item = middle_item(items, ndim)
    if channels == "colour":
        if item.ndim != space + 1 or item.shape[0] != 3:
            raise ValueError(f"show: an image in colour is (3, H, W), got an item of shape {tuple(item.shape)}")
        return item, words
    while item.ndim > space:
        if len(item) > 1:
            words.append(f"{_ONE[channels]} {len(item) // 2} of {len(item)}")
        item = item[len(item) // 2]
    return item, words


def _values(plane: Tensor, part: Part) -> tuple[Tensor, tuple[float, float] | None]:
    """Return the real numbers to show, and their window where they have a natural one."""
    if part == "real":
        return plane.real if plane.is_complex() else plane, None
    if part == "phase":
        return plane.angle(), (-math.pi, math.pi)
    size = plane.abs()
    if part == "magnitude":
        return size, None
    finite = size[size.isfinite()]
    largest = finite.amax() if finite.numel() else torch.ones_like(size.flatten()[0])
    return 20 * torch.log10(size / largest), (-_DYNAMIC_RANGE, 0.0)


def _without_slices(values: Tensor, over: Over) -> tuple[Tensor, list[str]]:
    """Return what is shown of the slices along the third last axis, and in words what it is."""
    count = values.shape[-3]
    if over == "slice" or count == 1:
        return values.select(-3, count // 2), [f"slice {count // 2} of {count}"] if count > 1 else []
    if over == "max":
        return values.amax(-3), [f"maximum over {count} slices"]
    return values.double().mean(-3), [f"mean over {count} slices"]


def _window(values: NDArray[np.float64], part: Part) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    scale = _scale(float(np.abs(finite).max()) if finite.size else 0.0)
    low, high = (float(p) * scale for p in np.percentile(finite / scale, _WINDOW)) if finite.size else (0.0, 1.0)
    low = 0.0 if part == "magnitude" else low  # which nothing falls below
    if high > low:
        return low, high
    high = low + max(1.0, abs(low))
    return (low, high) if math.isfinite(high) else (low / 2, low)


def _scale(largest: float) -> float:
    """Return what to divide by so that no sum or difference overflows: 1 but for the largest of numbers."""
    return largest if largest > _HUGE else 1.0


def _faint(plane: Tensor, space: int) -> NDArray[np.bool_]:
    """Return where the slice that is shown has next to no magnitude, and so no phase to speak of."""
    size = plane.abs()
    for _ in range(space - 2):
        size = _without_slices(size, "slice")[0]
    array = _array(size.unsqueeze(-2) if space == 1 else size)
    faint: NDArray[np.bool_] = ~(array >= _FAINT * _window(array, "magnitude")[1])
    return faint


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.double().numpy(force=True)
    return array
