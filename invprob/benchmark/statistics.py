"""Means over few images, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

__all__ = ["CONFIDENCE", "Estimate", "estimate"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its confidence interval, which are None where one value alone tells nothing of it."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero, so that the sign of the mean is known."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def positive(self) -> int:
        """How many of the values are above zero."""
        return sum(value > 0 for value in self.values)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean and its two-sided 95 % interval by Student's t (1908); ValueError for no values.

    Of differences between two methods on the same images this is the paired t interval.
    """
    n = len(values)
    if n == 0:
        raise ValueError("the mean of no values is not known")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, tuple(values))
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * spread / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, tuple(values))
