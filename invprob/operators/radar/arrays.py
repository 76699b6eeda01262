"""Where antennas stand: arrays of the literature, and an antenna that goes round a target."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["turntable", "x_array"]

Positions = NDArray[np.float64]


def x_array(transmitters: int = 12, receivers: int = 13, width: float = 0.3) -> tuple[Positions, Positions]:
    """Return transmitters and receivers, (count, 3) in metres, along the diagonals of a square in the plane z = 0.

    The simulated array of Oral & Oktem 2024: a cross turned by 45 degrees, arms of `width` times the root of 2.
    """
    rx, tx = (np.linspace(-width / 2, width / 2, count) for count in (receivers, transmitters))
    return np.stack([tx, -tx, 0 * tx], -1), np.stack([rx, rx, 0 * rx], -1)


def turntable(angles: ArrayLike, distance: float, height: float = 0.0) -> Positions:
    """Return where an antenna stands for a target that turns by `angles` in radians about the z axis, (count, 3).

    Seen from the target, the antenna goes round the other way: at angle 0 it stands at (distance, 0, height).
    """
    turn = -np.asarray(angles, dtype=np.float64)
    return np.stack([distance * np.cos(turn), distance * np.sin(turn), np.full_like(turn, height)], -1)
