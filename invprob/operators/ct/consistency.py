"""Does a parallel-beam sinogram look like one?

Two conditions that every complete sinogram meets (Helgason 1965, Ludwig 1966, orders zero and one): all its
projections have the same mass, and their centre of mass moves as a cos(theta) + b sin(theta) + c. Truncated
projections break both, and noise blurs them, so these are hints and not errors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from invprob.doubt import Doubt

__all__ = ["sinogram_doubts"]

# Rules of thumb, not measured: they lead to hints, never to errors.
_MASS_VARIATION = 0.05  # standard deviation of the views' masses relative to their mean
_WILD = 0.3  # of which no part of an object is left that all views see
_VISIBLE_MOTION = 0.3  # bins; less cannot be told from noise
_UNEXPLAINED = 0.5  # share of the motion that is no sine of the angle
_SURE = 3.0  # times what the noise of the bins moves a centre of mass by


def sinogram_doubts(sinogram: NDArray[np.floating], angles: NDArray[np.float64]) -> list[str]:
    """Return, as sentences, what is unlike line integrals `(views, bins)` at `angles` (radians)."""
    values = np.asarray(sinogram, dtype=np.float64)
    mass = values.sum(axis=1)
    if len(angles) < 4 or not mass.mean() > 0:
        return []
    doubts: list[str] = []
    variation = float(mass.std() / mass.mean())
    if variation > _MASS_VARIATION:
        text = (
            f"the total attenuation varies by {variation:.0%} between views: "
            "a truncated field of view, dead views, or axes in another order"
        )
        doubts.append(Doubt(text, "bad" if variation > _WILD else "fair", "look at the sinogram, and leave views out"))
    if not (mass > 0).all():
        return doubts
    centre = values @ np.arange(values.shape[1]) / mass
    waves = np.stack([np.cos(angles), np.sin(angles), np.ones_like(angles)], axis=1)
    residual = float(np.std(centre - waves @ np.linalg.lstsq(waves, centre, rcond=None)[0]))
    motion = float(np.std(centre))
    if motion > _VISIBLE_MOTION and residual > max(_UNEXPLAINED * motion, _SURE * _noise_of_centre(values)):
        text = (
            f"the centre of mass moves by {motion:.2g} bins, {residual:.2g} not as a sine of the angle: "
            "another unit or order of the angles, a truncated field of view, or much noise"
        )
        doubts.append(Doubt(text, "fair", "check unit and order of the angles"))
    return doubts


def _noise_of_centre(values: NDArray[np.float64]) -> float:
    """Return how far noise moves the centre of mass of a view: sigma |bins - their middle| / mass.

    sigma is the median of second differences along the bins, in which the object has little part.
    """
    if values.shape[1] < 3:
        return 0.0
    sigma = float(np.median(np.abs(np.diff(values, 2, axis=1)))) / (0.6745 * math.sqrt(6))
    bins = np.arange(values.shape[1])
    return sigma * float(np.linalg.norm(bins - bins.mean())) / float(values.sum(axis=1).mean())
