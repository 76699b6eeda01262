"""Do the readings look hardened by the beam? What the sums over views tell, and the edge of the object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invprob.doubt import Doubt
from invprob.operators.ct.moments import noise_of, parallel_views
from invprob.operators.ct.outline import fit_outline, shadow_edges

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["hardening_doubts", "lost_by_edge", "lost_by_sums"]

Array = NDArray[np.float64]

NOTICED = 0.05  # of the attenuation, lost over the longest path; rules of thumb, set on phantoms that do not harden
_SURE = 6.0  # standard errors of the slope of the sums
_EXPLAINS = 0.8  # of the variance of the sums over views, which has to come from their squares
_FROM = 0.3  # of the longest chord: an outline that is off by a tenth of a bin changes shorter ones by percents
_UPTO = (1.0, 0.65)  # of the longest chord: all chords, or those that need not cross the middle
_FEWEST = 20  # rays of a group
_GROUPS, _QUANTILE, _BIAS = 12, 0.98, 2.05  # of chords, what lies below their top, and its standard deviations
_STRAIGHT = 0.012  # root mean square off a line, of the logarithm of the tops over chords
_NEAR, _MANY = 0.02, 0.1  # how near the top a ray passes no hole, and the share of such rays in each third of chords


def hardening_doubts(A: PlanarCT, sinogram: NDArray[np.floating]) -> list[str]:
    """Return, as a sentence, that line integrals of one item fall behind the thickness that they speak for."""
    y = np.asarray(sinogram, dtype=np.float64)
    if not np.quantile(y, 0.99) > 0:
        return []
    sums, edge = lost_by_sums(A, y), 0.0
    if sums <= NOTICED:
        edge = lost_by_edge(A, y)
    if max(sums, edge) <= NOTICED:
        return []
    seen = (
        f"the sums over views fall with those of squares, as if the longest paths read {sums:.0%} too little"
        if sums > NOTICED
        else f"paths through all of the object read {edge:.0%} less per length than those near its edge"
    )
    return [
        Doubt(
            f"the readings look hardened by the beam: {seen}, so that images bulge and streak",
            "fair",
            "reconstruct by limited-angle, which corrects it for one material, or correct the readings",
            cured_by="beam_hardening",
        )
    ]


def lost_by_sums(A: PlanarCT, sinogram: Array) -> float:
    """Return which share of the largest readings the sums over views miss, if their squares explain it; 0 else.

    Without hardening the sum over a parallel view is the mass of the object, whatever the view. Of readings
    y = p - c p^2 it falls with the sum of squares, which differs between the views of what is not round; c is the
    slope of the one over the other.
    """
    found = parallel_views(A, sinogram)
    if found is None or len(found[0]) < 8:
        return 0.0
    values, peak = found[0], float(np.quantile(sinogram, 0.99))
    sums, squares = values.sum(axis=1), (values**2).sum(axis=1)
    at, off = squares - squares.mean(), sums - sums.mean()
    spread, variance = float(at @ at), float(off @ off)
    if not spread > 0 or not variance > 0 or not peak > 0:
        return 0.0
    c = -float(at @ off) / spread
    rest = off + c * at
    left = float(rest @ rest)
    unsure = math.sqrt(left / (len(sums) - 2) / spread)
    if c <= _SURE * unsure or left > (1 - _EXPLAINS) * variance:
        return 0.0
    return c * peak / (1 + c * peak)


def lost_by_edge(A: PlanarCT, sinogram: Array) -> float:
    """Return how much less per length the longest chords of a disc or an ellipse read than chords of 0.3 of that.

    Of rays that pass no hole, which are those at the top of their chords; 0 where they are few, where their readings
    do not fall evenly with the chord, as behind a shell of another material, and where no outline fits.
    """
    try:
        edges = shadow_edges(A, sinogram)
    except ValueError:
        return 0.0
    for shape in ("disc", "ellipse"):
        try:
            outline = fit_outline(A, edges, shape)
        except ValueError:
            continue
        return _falling(outline.chords(A), sinogram, noise_of(sinogram))
    return 0.0


def _falling(chords: Array, readings: Array, noise: float) -> float:
    """Return by which share readings over chords fall from 0.3 of the longest on, if they do evenly.

    Where the longest chords all meet holes, up to 0.65 of it.
    """
    longest = float(chords.max(initial=0.0))
    for end in _UPTO if longest > 0 else ():
        behind = (chords > _FROM * longest) & (chords <= end * longest)
        found = _slope(chords[behind] / longest, readings[behind], noise, end)
        if found is not None:
            return 1 - math.exp(found * (end - _FROM))
    return 0.0


def _slope(t: Array, y: Array, noise: float, end: float) -> float | None:
    """Return the slope of log(y / t) over t at the top of each group of chords, where that is a line of many rays."""
    index = ((t - _FROM) / (end - _FROM) * _GROUPS).astype(int).clip(0, _GROUPS - 1)
    groups = [index == i for i in range(_GROUPS)]
    if min(map(np.count_nonzero, groups)) < _FEWEST:
        return None
    middle = np.array([t[group].mean() for group in groups])
    top = np.array([np.quantile(y[group] / t[group], _QUANTILE) for group in groups]) - _BIAS * noise / middle
    if not top.min() > 0:
        return None
    slope, offset = np.polyfit(middle, np.log(top), 1)
    if np.sqrt(((slope * middle + offset - np.log(top)) ** 2).mean()) > _STRAIGHT:
        return None
    near = y / t > np.exp(slope * t + offset) * (1 - _NEAR) - _BIAS * noise / t
    parts = [near[(index * 3) // _GROUPS == third] for third in range(3)]
    return float(slope) if min(float(part.mean()) for part in parts) >= _MANY else None
