"""What every tomographic geometry must be: finite angles, positive lengths, finite offsets."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

LONGEST = 1e12  # of a length in the user's unit; of its inverse, too: single precision holds its square
MOST_STEPS = 2**28  # pixels along the rays' spread, or rays along the image: indices that every kernel can hold
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
    """Raise ValueError for a named length that is not positive and finite, or so far from 1 that its square is lost."""
    for what, value in lengths.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{owner}: {what} must be a positive length, got {value}")
        if not 1 / LONGEST <= value <= LONGEST:
            raise ValueError(
                f"{owner}: {what} must lie between {1 / LONGEST:g} and {LONGEST:g}, got {value:g}: choose another unit"
            )


def check_distances(owner: str, source: float, detector: float) -> None:
    """Raise ValueError for distances from the axis that are too long to compute with; the detector's may be 0."""
    check_lengths(owner, {"source_distance": source, **({"detector_distance": detector} if detector else {})})


def check_meeting(owner: str, reach: float, passing: NDArray[np.float64], size: float, what: str) -> None:
    """Raise ValueError unless a ray meets the image.

    Arguments:
        reach: how far the image goes from the axis.
        passing: how far from the axis the rays pass, signed.
        size: the side of a pixel.
        what: the arguments that say where the rays are.
    """
    low, high = float(passing.min()), float(passing.max())
    if low > reach or high < -reach:
        raise ValueError(
            f"{owner}: no ray meets the image, which reaches {reach:g} from the axis, while the rays pass it at "
            f"{low:g} to {high:g}: check {what}"
        )
    pitch = (high - low) / (passing.size - 1) if passing.size > 1 else size
    for wide, fine in ((2 * reach, pitch), (high - low, size)):
        if not fine or wide / fine > MOST_STEPS:
            raise ValueError(
                f"{owner}: pixels of {size:g} and rays {pitch:g} apart do not go together: check {what} and the sizes"
            )


def check_offsets(owner: str, offsets: Mapping[str, float]) -> None:
    """Raise ValueError for a named offset, in bins, that is not finite."""
    for what, value in offsets.items():
        if not math.isfinite(value):
            raise ValueError(f"{owner}: {what} must be finite (in bins), got {value}")
