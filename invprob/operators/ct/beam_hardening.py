"""Beams that harden in one material: what a reading is of a length of it, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

__all__ = ["HardeningCurve", "NoCurveError", "envelope"]

Array = NDArray[np.floating[Any]]

_SHORTEST = 0.02  # of the longest chord: shorter ones are edges, which pixels know badly
_BINS = 60  # of lengths, which count about alike however many rays have them
_GROUPS, _QUANTILE = 24, 0.98  # of lengths, and what share of readings lies below their envelope
_ENTRIES = 4096  # of the table in which a curve is inverted
_BEYOND = 1.6  # times the longest chord, up to where it reaches


class NoCurveError(ValueError):
    """There are not the readings to fit a hardening curve to."""


@dataclass(frozen=True)
class HardeningCurve:
    """p(t) = low t + log((1 + share) / (1 + share exp(-extra t))), the reading behind a length t of one material.

    Of a beam of two energies, of which a material takes low and low + extra per length: rising and concave whatever the
    numbers, as beams harden (Van de Casteele, Van Dyck, Sijbers & Raman 2002).

    Arguments:
        low: the attenuation of what is left of the beam in the end, > 0, per length.
        extra: how much more the soft part is attenuated, >= 0.
        share: of the soft part over the hard one, >= 0; 0 for a beam that does not harden.
        longest: the longest path that it was fitted to, a length.
        misfit, straight: the root mean square of what the curve leaves of the readings, and what a line leaves.
    """

    low: float
    extra: float
    share: float
    longest: float
    misfit: float = 0.0
    straight: float = 0.0

    def __call__(self, lengths: Array) -> NDArray[np.float64]:
        """Return the readings of lengths."""
        return _reading(np.array([self.low, self.extra, self.share]), np.asarray(lengths, dtype=np.float64))

    def lengths(self, readings: Array) -> NDArray[np.float64]:
        """Return the lengths that readings speak for; below zero, where there is noise, the curve goes on straight."""
        y = np.asarray(readings, dtype=np.float64)
        t = np.linspace(0.0, _BEYOND * self.longest, _ENTRIES)
        p = self(t)
        end = (p[-1] - p[-2]) / (t[1] - t[0])
        beyond = t[-1] + (y - p[-1]) / end
        return np.where(y < 0, y / self.slope, np.where(y > p[-1], beyond, np.interp(y, p, t)))

    @property
    def slope(self) -> float:
        """The attenuation of the beam before it hardens."""
        return self.low + self.extra * self.share / (1 + self.share)

    @property
    def mean(self) -> float:
        """The slope of the line through zero that comes nearest to the curve: the attenuation that images show."""
        t = np.linspace(0.0, self.longest, _BINS)
        return float(self(t) @ t) / float(t @ t)

    @property
    def size(self) -> float:
        """Which share of the attenuation per length is lost over the longest path."""
        return 1 - float(self(np.array([self.longest]))[0]) / (self.longest * self.slope)

    @classmethod
    def fit(cls, lengths: Array, readings: Array) -> Self:
        """Return the curve through readings of known lengths, with little weight on what is far off.

        NoCurveError where there is nothing to fit: fewer than four readings behind the material.
        """
        t, y = (np.asarray(values, dtype=np.float64).ravel() for values in (lengths, readings))
        longest = float(t.max(initial=0.0))
        behind = t > _SHORTEST * longest
        if np.count_nonzero(behind) < 4 or not longest > 0:
            raise NoCurveError("a hardening curve needs readings behind at least four lengths of the material")
        t, y = t[behind], y[behind]
        counts, ends = np.histogram(t, _BINS)
        index = (np.digitize(t, ends) - 1).clip(0, _BINS - 1)
        weights = 1 / np.sqrt(np.maximum(counts[index], t.size / (10 * _BINS)))
        found = _fitted(t, y, weights / weights.max(), 0.01 * float(y.max()))
        rest, line = _reading(found, t) - y, t * float(y @ t) / float(t @ t) - y
        low, extra, share = map(float, found)
        return cls(low, extra, share, longest, float(np.sqrt((rest**2).mean())), float(np.sqrt((line**2).mean())))


def envelope(chords: Array, readings: Array, upto: float = 1.0) -> HardeningCurve:
    """Return the curve above nearly all readings by the chords of the outline: that of rays which meet no hole.

    A first guess, right where in all groups of chords some ray meets no hole; `upto` is the share of the longest chord
    beyond which none has to, as the curve is continued there.
    """
    t, y = (np.asarray(values, dtype=np.float64).ravel() for values in (chords, readings))
    longest = float(t.max(initial=0.0))
    behind = (t > 0.05 * longest) & (t <= upto * longest)
    if np.count_nonzero(behind) < 4 * _GROUPS:
        raise NoCurveError("the outline of the object is crossed by too few rays")
    t, y = t[behind], y[behind]
    ends = np.quantile(t, np.linspace(0, 1, _GROUPS + 1))
    groups = [(t >= a) & (t <= b) for a, b in pairwise(ends)]
    middle = np.array([t[group].mean() for group in groups])
    top = np.array([np.quantile(y[group] / t[group], _QUANTILE) * t[group].mean() for group in groups])
    low, extra, share = map(float, _fitted(middle, top, 1 / top.clip(min=1e-12), 0.01, above=True))
    return HardeningCurve(low, extra, share, longest)


def _fitted(t: Array, y: Array, weights: Array, scale: float, *, above: bool = False) -> NDArray[np.float64]:
    """Return low, extra and share of least squares, robust from `scale` on; `above` forgives what lies below."""
    usual = float(np.median(y / t))

    def off(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        rest = weights * (_reading(np.exp(logs), t) - y)
        return np.where(rest > 0, 0.3 * rest, rest) if above else rest

    first = np.log([0.7 * usual, usual, 0.5])
    bounds = np.log([0.05 * usual, 0.01 * usual, 1e-4]), np.log([2 * usual, 20 * usual, 20.0])
    found = least_squares(off, first, bounds=bounds, loss="soft_l1", f_scale=scale)
    return np.asarray(np.exp(found.x), dtype=np.float64)


def _reading(parameters: NDArray[np.float64], t: Array) -> NDArray[np.float64]:
    low, extra, share = parameters
    p: NDArray[np.float64] = low * t + np.log1p(share) - np.log1p(share * np.exp(-extra * np.asarray(t)))
    return p
