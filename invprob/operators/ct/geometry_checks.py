"""What every tomographic geometry must be: finite angles, positive lengths, finite offsets."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

MOST = 4 * np.pi  # beyond it angles in radians are degrees by mistake, or can be folded


def checked_angles(owner: str, angles: ArrayLike | Tensor) -> NDArray[np.float64]:
    """Return the angles as an array of their own; ValueError unless they are finite numbers that can be radians."""
    given = angles.detach().cpu().numpy() if isinstance(angles, Tensor) else angles
    views = np.array(given, dtype=np.float64)
    if views.ndim != 1 or not views.size or not np.isfinite(views).all():
        raise ValueError(
            f"{owner}: angles must be a list of finite numbers in radians, got shape {views.shape} "
            f"with {np.count_nonzero(~np.isfinite(views))} not finite"
        )
    largest = float(np.abs(views).max())
    if largest > MOST:
        raise ValueError(
            f"{owner}: angles are in radians, and reach {largest:.6g}, more than two turns: give np.deg2rad(angles) if "
            "they are degrees, angles % (2 * np.pi) if the object turned on"
        )
    return views


def check_lengths(owner: str, lengths: Mapping[str, float]) -> None:
    """Raise ValueError for a named length that is not positive and finite."""
    for what, value in lengths.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{owner}: {what} must be a positive length, got {value}")


def check_offsets(owner: str, offsets: Mapping[str, float]) -> None:
    """Raise ValueError for a named offset, in bins, that is not finite."""
    for what, value in offsets.items():
        if not math.isfinite(value):
            raise ValueError(f"{owner}: {what} must be finite (in bins), got {value}")
