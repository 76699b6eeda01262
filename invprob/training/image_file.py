"""Training images of one's own: an .npz file, of which every tenth image is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invprob.errors import InputError, printable

__all__ = ["held_out", "read_images", "trained_on"]

_HELD_OUT = 10  # every tenth image of a file is kept for validation


def read_images(path: Path) -> Tensor:
    """Return the square images (N, n, n) of an .npz file as float32 in [0, 1]; integers are divided by 255."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = next((file[name] for name in file.files if file[name].ndim == 3), None)
    except (OSError, ValueError) as error:
        raise InputError(f"the images {printable(path)} cannot be read ({printable(error)})") from error
    if found is None or found.shape[1] != found.shape[2] or len(found) < 2 * _HELD_OUT or found.shape[1] < 16:
        raise InputError(
            f"{printable(path)} must hold an array of at least {2 * _HELD_OUT} square images (N, n, n), n >= 16"
        )
    images = torch.from_numpy(found).float() / (255 if np.issubdtype(found.dtype, np.integer) else 1)
    if not bool(images.isfinite().all()):
        raise InputError(f"{printable(path)} holds values that are not finite")
    return images


def held_out(images: Tensor, most: int = 200) -> Tensor:
    """Return the images that no training draws."""
    return images[::_HELD_OUT][:most]


def trained_on(images: Tensor) -> Tensor:
    """Return all others."""
    return images[torch.arange(len(images)) % _HELD_OUT != 0]
