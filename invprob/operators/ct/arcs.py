"""How a set of views goes round the circle: steps between neighbours, and arcs without views."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arcs", "find_arcs"]

# Rules of thumb, not measured: even steps around the circle depend on none of them.
GAP, ARC = 3.0, math.radians(10)  # a gap this many times the others' size and this wide is an arc without views
FEW = 2  # arcs without views: one, and the one opposite; more gaps than that are how the views were taken (bursts)


@dataclass(frozen=True)
class Arcs:
    """Views sorted around the circle of `period` radians.

    `order` sorts the views, `angles` are theirs modulo the period, `gaps` the way to the next one; `missing` marks the
    gaps that are arcs without views, and `usual` is the mean size of the others as a point of the circle meets them.
    """

    period: float
    order: NDArray[np.intp]
    angles: NDArray[np.float64]
    gaps: NDArray[np.float64]
    missing: NDArray[np.bool_]
    usual: float

    @property
    def covered(self) -> float:
        """How much of the period has views no farther apart than is usual; none where all look the same way."""
        if self.gaps.max() >= self.period * (1 - 1e-9):
            return 0.0
        return self.period - float((self.gaps[self.missing] - self.usual).sum())

    def widths(self) -> NDArray[np.float64]:
        """Return the angle that each view stands for, in the order given: half the way to either neighbour.

        An arc without views belongs to nobody.
        """
        steps = np.where(self.missing, self.usual, self.gaps)
        width = np.empty_like(steps)
        width[self.order] = (steps + np.roll(steps, 1)) / 2
        return width


def find_arcs(angles: NDArray[np.floating[Any]], period: float = 2 * math.pi) -> Arcs:
    """Return how views at `angles` (radians, in any order) go round the circle.

    One or two gaps are arcs without views if they are 10 degrees wide and three times the others: a limited angle, a
    short scan. Where more of them are wide, the views came in bursts, and none is.
    """
    turned = np.mod(np.asarray(angles, dtype=np.float64), period)
    order = np.argsort(turned, kind="stable")
    turned = turned[order]
    gaps = np.diff(turned, append=turned[0] + period)
    widest = np.argsort(-gaps, kind="stable")
    missing, usual = np.zeros(gaps.size, dtype=bool), _mean_size(gaps)
    for few in range(1, min(FEW, gaps.size - 1) + 1):
        others = _mean_size(gaps[widest[few:]])
        if gaps[widest[few - 1]] >= max(GAP * others * (1 - 1e-9), ARC):
            missing[widest[:few]], usual = True, others
    if usual <= 0:  # all views are one
        usual = min(period / 2, float(gaps.max()))
    return Arcs(period, order, turned, gaps, missing, usual)


def _mean_size(gaps: NDArray[np.float64]) -> float:
    """Return the mean over the points of the circle of the size of the gap that they are in."""
    total = float(gaps.sum())
    return float((gaps**2).sum()) / total if total > 0 else 0.0
