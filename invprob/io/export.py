"""Images for other programs: PNG to look at, TIFF with physical size, NPY with every digit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from invprob.io.atomic import check_output, write_whole
from invprob.scan import Units

__all__ = ["save_npy", "save_png", "save_tiff"]

# Outliers in half a percent of the pixels at either end do not set the window.
_WINDOW_PERCENTILES = (0.5, 99.5)
_CENTIMETRES = {"mm": 0.1, "cm": 1.0, "m": 100.0, "um": 1e-4}


def save_png(
    path: str | os.PathLike[str],
    image: Tensor,
    *,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> tuple[float, float]:
    """Write one image (H, W) as 8-bit grey and return the window, the values shown as black and as white.

    An image (3, H, W) is written as red, green and blue. The default window is the 0.5th to the 99.5th percentile of
    the finite values; of a complex image the magnitude is shown. Values that are not finite are black. ValueError if
    the image has other axes, or a window is empty.
    """
    if image.ndim != 2 and image.shape[:-2] != (3,):
        raise ValueError(
            f"a PNG shows one image, (H, W) or (3, H, W) in colour, got shape {tuple(image.shape)}: choose one, as in "
            "x[0]"
        )
    values = _array(image.abs() if image.is_complex() else image).astype(np.float64)
    finite = np.isfinite(values)
    if window is None:
        low, high = np.percentile(values[finite], _WINDOW_PERCENTILES) if finite.any() else (0.0, 1.0)
        window = (float(low), float(high) if high > low else float(low) + 1.0)
    if not window[0] < window[1]:
        raise ValueError(f"the window must run from black to white, low < high, got {window}")
    scaled = np.where(finite, (values - window[0]) / (window[1] - window[0]), 0.0)
    greys = np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    picture = Image.fromarray(greys if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(greys, 0, -1)))
    path = check_output(path, values.size, overwrite=overwrite)
    write_whole(path, lambda partial: picture.save(partial, format="PNG"))
    return window


def save_tiff(
    path: str | os.PathLike[str],
    images: Tensor,
    *,
    pixel_size: float = 1.0,
    units: Units | None = None,
    overwrite: bool = False,
) -> None:
    """Write images `(*batch, H, W)` as pages of real numbers, with the pixel size as TIFF resolution.

    `pixel_size` is in `units.length`; in pixels, no resolution is written. The unit of the values goes into
    the image description as JSON. ValueError for complex images, which TIFF readers do not know.
    """
    if images.is_complex():
        raise ValueError("TIFF holds real images: save the magnitude, x.abs(), or use save_npy")
    units = units or Units()
    pages = _array(images)
    options: dict[str, Any] = {"metadata": {"image_unit": units.image, "length_unit": units.length}}
    if units.length in _CENTIMETRES:
        per_centimetre = 1 / (pixel_size * _CENTIMETRES[units.length])
        options |= {"resolution": (per_centimetre, per_centimetre), "resolutionunit": "CENTIMETER"}
    path = check_output(path, pages.nbytes, overwrite=overwrite)
    write_whole(path, lambda partial: tifffile.imwrite(partial, pages, photometric="minisblack", **options))


def save_npy(path: str | os.PathLike[str], images: Tensor, *, overwrite: bool = False) -> None:
    """Write the tensor as it is, of any shape and dtype, for `numpy.load`."""
    array = _array(images)
    path = check_output(path, array.nbytes, overwrite=overwrite)
    write_whole(path, lambda partial: _write_npy(partial, array))


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:  # a path of another suffix would have .npy appended
        np.save(stream, array, allow_pickle=False)


def _array(images: Tensor) -> NDArray[Any]:
    return images.numpy(force=True)
