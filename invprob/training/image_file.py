"""Training images of one's own: an .npz file, of which every tenth image is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.errors import InputError, printable

__all__ = ["held_out", "read_images", "trained_on"]

_HELD_OUT = 10  # every tenth image of a file is kept for validation


def read_images(path: Path) -> Tensor:
    """Return the square images (N, n, n) of an .npz file as float32 in [0, 1]; integers are divided by 255."""
    try:
        found = _first_stack(path)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"the images {printable(path)} cannot be read ({printable(error)})") from error
    if found is None or found.shape[1] != found.shape[2] or len(found) < 2 * _HELD_OUT or found.shape[1] < 16:
        raise InputError(
            f"{printable(path)} must hold an array of at least {2 * _HELD_OUT} square images (N, n, n), n >= 16"
        )
    if found.dtype.kind not in "uifb":
        raise InputError(f"{printable(path)} must hold images of real numbers, got {found.dtype}")
    images = torch.from_numpy(found).float() / (255 if np.issubdtype(found.dtype, np.integer) else 1)
    if not bool(images.isfinite().all()):
        raise InputError(f"{printable(path)} holds values that are not finite")
    return images


def _first_stack(path: Path) -> NDArray[Any] | None:
    """Return the first array of three axes in an .npz file, None if there is none."""
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an archive: write it by numpy.savez")
        return next((array for array in (file[name] for name in file.files) if array.ndim == 3), None)


def held_out(images: Tensor, most: int = 200) -> Tensor:
    """Return the images that no training draws."""
    return images[::_HELD_OUT][:most]


def trained_on(images: Tensor) -> Tensor:
    """Return all others."""
    return images[torch.arange(len(images)) % _HELD_OUT != 0]
