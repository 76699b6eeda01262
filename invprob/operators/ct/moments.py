"""Do the views contradict one another? The conditions of Helgason and Ludwig, of higher orders and for fan beams, too.

The moment of order k of a parallel projection is a polynomial of degree k in cos(theta) and sin(theta) of the parity of
k (Helgason 1965, Ludwig 1966), whatever the object. A wrong axis, another order or unit of the angles, an object that
moves, beams that harden and bins that add something of their own break it; truncation does, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invprob.doubt import Doubt

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["contradiction", "moment_doubts", "noise_of", "parallel_views"]

ORDERS = 4  # highest order looked at: higher ones see noise, and little else
_SURE = 4.0  # standard deviations of what noise leaves of a condition
_EVERY = 1.1  # largest gap between views of a full turn, in usual gaps
# of the mass: sound scans leave up to 0.002, four real ones 0.003 to 0.005; thin lines past edges less than 1 over
# the number of bins, which is what an axis off by about a bin does
_FAIR, _COARSE, _BAD = 0.008, 1.1, 2.5


def moment_doubts(A: PlanarCT, sinogram: NDArray[np.floating]) -> list[str]:
    """Return, as a sentence, that the views of one object contradict one another, if they do."""
    found = contradiction(A, sinogram)
    usual = max(_FAIR, _COARSE / A.detectors)
    if found <= usual:
        return []
    return [
        Doubt(
            f"the views contradict one another by {found:.1%} of their mass: the rotation axis, the order or unit of "
            "the angles, a distance, motion, beam hardening or the calibration of the bins",
            "bad" if found > _BAD * usual else "fair",
            "check the rotation axis and the angles",
        )
    ]


def contradiction(A: PlanarCT, sinogram: NDArray[np.floating]) -> float:
    """Return by how much the views contradict one another, as a share of their mass, beyond what noise explains.

    The largest over the orders; 0 where too few views, or a fan beam without a full turn, decide nothing.
    """
    found = parallel_views(A, np.asarray(sinogram, dtype=np.float64))
    if found is None:
        return 0.0
    values, angles, places = found
    reach = float(np.abs(places).max())
    mass = float(values.sum(axis=1).mean())
    if not mass > 0 or not reach > 0:
        return 0.0
    sigma = noise_of(values)
    broken = 0.0
    for k in range(ORDERS + 1):
        weights = np.polynomial.legendre.Legendre.basis(k)(places / reach)
        waves = _waves(angles, k)
        if len(angles) < 2 * waves.shape[1] + 2:
            break
        moments = values @ weights
        rest = moments - waves @ np.linalg.lstsq(waves, moments, rcond=None)[0]
        freedom = len(angles) - waves.shape[1]
        left = math.sqrt(float(rest @ rest) / freedom)
        expected = sigma * float(np.linalg.norm(weights))
        if left > expected * (1 + _SURE / math.sqrt(2 * freedom)):
            broken = max(broken, math.sqrt(left**2 - expected**2) / mass)
    return broken


def parallel_views(
    A: PlanarCT, sinogram: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return a sinogram as one of parallel rays, its angles and the distances of its bins from the axis.

    That of a fan is interpolated where its views go all around: the ray of fan angle gamma in view beta is the parallel
    ray of angle beta - gamma at the distance D sin(gamma). None where they do not.
    """
    distance = A.view_map().source_distance
    if distance is None:
        return sinogram, A.angles, A.bins
    turned, first = np.unique(np.mod(A.angles, 2 * np.pi), return_index=True)
    gaps = np.diff(turned, append=turned[0] + 2 * np.pi)
    if turned.size < 8 or gaps.max() > _EVERY * np.median(gaps):
        return None
    seen = A.distance_from_axis(A.bins)
    low, high = max(seen.min(), -seen.max()), min(seen.max(), -seen.min())
    if not high > low:
        return None
    places = np.linspace(low, high, A.detectors)
    fan_angles = np.arcsin(places / distance)
    rows = sinogram[first]
    on_places = np.stack([np.interp(places, seen, row) for row in rows])
    period = np.concatenate([turned[-1:] - 2 * np.pi, turned, turned[:1] + 2 * np.pi])
    wide = np.concatenate([on_places[-1:], on_places, on_places[:1]])
    columns: list[NDArray[Any]] = [
        np.interp(np.mod(turned + gamma, 2 * np.pi), period, wide[:, i]) for i, gamma in enumerate(fan_angles)
    ]
    return np.stack(columns, axis=1), turned, places


def _waves(angles: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the waves that a moment of an order may be made of, `(views, order + 1)`."""
    columns = []
    for m in range(order % 2, order + 1, 2):
        columns += [np.cos(m * angles)] if m == 0 else [np.cos(m * angles), np.sin(m * angles)]
    return np.stack(columns, axis=1)


def noise_of(values: NDArray[np.float64]) -> float:
    """Return the noise of a reading: the median of third differences along the bins, in which the object has little."""
    if values.shape[1] < 4:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 3, axis=1)))) / (0.6745 * math.sqrt(20))
