"""Projections half a turn apart, which mirror each other about the rotation axis: p(theta + pi, s) = p(theta, 2c - s).

Nothing is interpolated across holes between views. What is compared are the deviations of each pair from its own mean,
so that brightness that merely changes from view to view does not look like a mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from invprob.operators.ct.arcs import ARC, GAP

__all__ = ["MirrorPairs", "axis_of_pairs", "lowest", "register"]

_FEW, _MANY = 8, 64  # pairs that registration looks at, and that the axis is found from
_MIN_CORRELATION = 0.5  # between mirrored projections; noise alone stays near 0
_FAINT = 1e-3  # of the variance of all: structure in the overlap below which a likeness says little
_OVERLAP = 1 / 16  # of the detector that mirrored views must share
_COARSE = 512  # bins from which on registration begins with fewer, wider ones
_SMOOTHING, _MARGIN = 0.8, 2  # bins: without it the interpolation of noise would favour axes between the bins
_REACH, _STEP, _FINE_STEP = 1.5, 0.25, 0.05  # bins either side of the registered axis, and between trial axes
_GROUPS = 8  # of pairs, each left out once for the uncertainty


@dataclass(frozen=True)
class MirrorPairs:
    """Views `(rows, pairs, bins)` and those half a turn on, exactly so where `exact`.

    `around` says that they come from all directions.
    """

    direct: NDArray[np.float64]
    opposite: NDArray[np.float64]
    exact: NDArray[np.bool_]
    around: bool

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int(self.direct.shape[1])

    @classmethod
    def of(cls, rows: NDArray[np.float64], theta: NDArray[np.float64]) -> MirrorPairs:
        """Return at most 64 pairs of views `(rows, views, bins)` at rising angles within one turn.

        The opposite view is interpolated between its neighbours unless a hole separates them; at the ends of half a
        turn the nearest one within a step and a half stands in for it.
        """
        gaps = np.diff(theta, append=theta[0] + 2 * np.pi)
        usual = float(np.median(gaps))
        target = theta[0] + np.mod(theta - theta[0] + np.pi, 2 * np.pi)
        before = np.searchsorted(theta, target, side="right") - 1
        after = (before + 1) % len(theta)
        into = target - theta[before]
        bridged = gaps[before] < max(GAP * usual, ARC)
        share = np.where(bridged, into / gaps[before], into > gaps[before] / 2)
        near = np.minimum(into, gaps[before] - into) < 1.5 * max(usual, (theta[-1] - theta[0]) / (len(theta) - 1))
        around = 2 * int(bridged.sum()) > len(theta) > _FEW
        chosen = np.flatnonzero(bridged if around else bridged | near)
        chosen = chosen[:: max(1, -(-chosen.size // _MANY))]
        weight = share[chosen][:, None]
        opposite = rows[:, before[chosen]] * (1 - weight) + rows[:, after[chosen]] * weight
        exact = bridged[chosen] | (into[chosen] < 1e-6)
        return cls(rows[:, chosen], opposite, exact, around)

    def some(self, count: int) -> MirrorPairs:
        """Return about `count` of them."""
        step = max(1, -(-self.count // count))
        return MirrorPairs(self.direct[:, ::step], self.opposite[:, ::step], self.exact[::step], self.around)

    def binned(self, width: int) -> MirrorPairs:
        """Return them with `width` bins as one."""
        whole = self.direct.shape[-1] // width * width

        def mean(t: NDArray[np.float64]) -> NDArray[np.float64]:
            found: NDArray[np.float64] = t[..., :whole].reshape(*t.shape[:-1], -1, width).mean(-1)
            return found

        return MirrorPairs(mean(self.direct), mean(self.opposite), self.exact, self.around)


def register(pairs: MirrorPairs) -> tuple[float | None, float]:
    """Return the column, to half a bin, about which pairs mirror each other best, and their correlation.

    Sought in the middle half of the detector, of pairs from all around on all of it; None where they do not match.
    """
    few = pairs.some(2 * _FEW if pairs.around else _FEW)
    bins, width = few.direct.shape[-1], max(1, few.direct.shape[-1] // _COARSE)
    sums = _sums(few.binned(width))
    if width > 1:
        rough = width * (sums[int(np.argmax(_likeness(few.binned(width), sums)))] + 1) - 1
        sums = np.clip(np.arange(rough - 2 * width, rough + 2 * width + 1), 0, 2 * (bins - 1))
    likeness = _likeness(few, sums)
    best = int(np.argmax(likeness))
    found = float(likeness[best])
    if not found > _MIN_CORRELATION or best in (0, len(sums) - 1):
        return None, max(found, 0.0)
    return float(sums[best] / 2), found


def axis_of_pairs(pairs: MirrorPairs, column: float) -> tuple[float, float] | None:
    """Return the axis near a column, where the exact pairs differ least, and its standard error.

    A jackknife over groups of pairs. None where they do not differ least near the column, or are fewer than two.
    """
    count = int(pairs.exact.sum())
    if count < 2:
        return None
    smooth = [
        ndimage.gaussian_filter1d(t[:, pairs.exact], _SMOOTHING, axis=-1, radius=_MARGIN)
        for t in (pairs.direct, pairs.opposite)
    ]
    for reach, step in ((_REACH, _STEP), (_STEP, _FINE_STEP)):
        trial = column + np.arange(-reach, reach + step / 2, step)
        errors = _differences(smooth[0], smooth[1], trial)
        if int(errors.sum(axis=1).argmin()) in (0, len(trial) - 1):
            return None
        column = lowest(trial, errors.sum(axis=1))
    group = np.arange(count) % _GROUPS
    groups = group.max() + 1
    left_out = [lowest(trial, errors[:, group != g].sum(axis=1)) for g in range(groups)]
    return column, float(np.sqrt((groups - 1) * np.var(left_out)))


def _differences(
    direct: NDArray[np.float64], opposite: NDArray[np.float64], trial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean square of p(s) - p'(2c - s) for each trial axis and each pair, (trial, pairs).

    Over the bins s that overlap whatever the trial axis, so that it alone makes the difference; 0 without any.
    """
    last = direct.shape[-1] - 1 - _MARGIN  # what smoothing made of the edges is left out
    low, high = max(_MARGIN, 2 * trial[-1] - last), min(last, 2 * trial[0] - _MARGIN)
    bins = np.arange(int(np.ceil(low)), int(np.floor(high)) + 1)
    if bins.size < 2:
        return np.zeros((len(trial), direct.shape[1]))
    mirrored = CubicSpline(np.arange(direct.shape[-1]), opposite, axis=-1)
    return np.stack([((direct[..., bins] - mirrored(2 * c - bins)) ** 2).mean(axis=(0, 2)) for c in trial])


def _sums(pairs: MirrorPairs) -> NDArray[np.intp]:
    """Return the sums s + s' = 2c of a bin and its mirror image for the columns c to try."""
    bins = pairs.direct.shape[-1]
    least = max(8, int(_OVERLAP * bins)) if pairs.around else bins // 2
    return np.arange(min(least, bins) - 1, 2 * (bins - 1) - min(least, bins) + 2)


def _likeness(pairs: MirrorPairs, sums: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the correlation of p(s) and p'(2c - s) in their overlap for each 2c, around the mean of each pair.

    Overlaps with hardly any structure count little.
    """
    bins = pairs.direct.shape[-1]
    both = np.concatenate([pairs.direct, pairs.opposite], axis=-1)
    faint = _FAINT * float(np.var(both - both.mean(axis=-1, keepdims=True)))
    found = np.zeros(len(sums))
    for i, total in enumerate(sums):
        overlap = slice(max(0, total - (bins - 1)), min(bins - 1, total) + 1)
        p, q = pairs.direct[..., overlap], pairs.opposite[..., overlap][..., ::-1]
        middle = (p.mean(axis=-1, keepdims=True) + q.mean(axis=-1, keepdims=True)) / 2
        variance = float(np.mean((p - middle) ** 2 + (q - middle) ** 2)) / 2
        if variance > 0:
            found[i] = (variance - float(np.mean((p - q) ** 2)) / 2) / (variance + faint)
    return found


def lowest(trial: NDArray[np.float64], energy: NDArray[np.float64]) -> float:
    """Return where a sampled function is least, by the parabola through the three lowest neighbours."""
    i = int(np.clip(energy.argmin(), 1, trial.size - 2))
    before, here, after = energy[i - 1 : i + 2]
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature > 0 else 0.0
    return float(trial[i] + np.clip(shift, -1, 1) * (trial[1] - trial[0]))
