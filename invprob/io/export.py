"""Images for other programs: TIFF with physical size, NPY with every digit (`invprob.show` makes PNG)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from torch import Tensor

from invprob.grid import Grid, Units
from invprob.io.atomic import check_output, write_whole
from invprob.linop.doors import takes_arrays

__all__ = ["save_npy", "save_tiff"]

_CENTIMETRES = {"mm": 0.1, "cm": 1.0, "m": 100.0, "um": 1e-4}
_IMAGEJ_LIMIT = 2**32  # bytes of a file whose pages ImageJ finds


@takes_arrays
def save_tiff(
    path: str | os.PathLike[str],
    images: Tensor,
    *,
    grid: Grid | None = None,
    units: Units | None = None,
    overwrite: bool = False,
) -> None:
    """Write images `(*batch, H, W)` as pages of 32-bit real numbers, with the spacing where it is known.

    A single line `(W,)` is a page of one row.

    Of complex images the pages are the magnitudes of all, then the phases of all, in radians. `grid` is that of the
    last axes: the size of pixels becomes TIFF resolution, and the distance of a volume's slices what ImageJ calls
    spacing. The unit of the values, the spacing and what the pages are stand in the image description as JSON (under
    ImageJ's "Info" for a volume).
    """
    units = units or Units()
    images = images[None] if images.ndim == 1 else images
    facts: dict[str, Any] = {"image_unit": units.image, "length_unit": units.length}
    if images.is_complex():
        pages = np.stack([_array(images.abs()), _array(images.angle())])
        facts["pages"] = "magnitude of all, then phase of all in radians"
    else:
        pages = _array(images)
    pages = pages.astype(np.float32, copy=False)
    options: dict[str, Any] = {"metadata": facts}
    if grid is not None and grid.known:
        facts["spacing"] = list(grid.spacing)
        options |= _resolution(grid, facts, imagej=pages.nbytes < _IMAGEJ_LIMIT and pages.ndim == grid.ndim == 3)
    path = check_output(path, pages.nbytes, overwrite=overwrite)
    write_whole(
        path, lambda partial: tifffile.imwrite(partial, pages, photometric="minisblack", **options), overwrite=overwrite
    )


@takes_arrays
def save_npy(path: str | os.PathLike[str], images: Tensor, *, overwrite: bool = False) -> None:
    """Write the tensor as it is, of any shape and dtype, for `numpy.load`."""
    array = _array(images)
    path = check_output(path, array.nbytes, overwrite=overwrite)
    write_whole(path, lambda partial: _write_npy(partial, array), overwrite=overwrite)


def _resolution(grid: Grid, facts: dict[str, Any], *, imagej: bool) -> dict[str, Any]:
    """Return how TIFF says the spacing; ImageJ, which takes lengths in any unit, gets that of the slices, too."""
    down, across = (grid.spacing[-1],) * 2 if grid.ndim < 2 else grid.spacing[-2:]
    if imagej:
        metadata = {"axes": "ZYX", "spacing": grid.spacing[0], "unit": grid.unit, "Info": json.dumps(facts)}
        return {"imagej": True, "metadata": metadata, "resolution": (1 / across, 1 / down)}
    if grid.unit not in _CENTIMETRES:
        return {}
    scale = _CENTIMETRES[grid.unit]
    return {"resolution": (1 / (across * scale), 1 / (down * scale)), "resolutionunit": "CENTIMETER"}


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:  # a path of another suffix would have .npy appended
        np.save(stream, array, allow_pickle=False)


def _array(images: Tensor) -> NDArray[Any]:
    return images.numpy(force=True)
