"""Spreads that keep what they promise: split-conformal calibration of any method that returns one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from invprob.methods.entry import find_recipe, reconstruct
from invprob.methods.reporting import Progress, Recipe
from invprob.problem import Problem
from invprob.result import Result
from invprob.scan import Scan

__all__ = ["Calibrated", "calibrate", "conformal_factor"]


@dataclass(frozen=True)
class Calibrated:
    """A recipe whose spread is another one's times a factor: give it to `reconstruct` in place of a name.

    Arguments:
        recipe: the recipe.
        factor: what its spread is multiplied by.
        level: the share of values that x +- z spread covers, z the quantile of the normal distribution.
        count: how many scans the factor comes from.
        settings: of the recipe.
    """

    recipe: Recipe
    factor: float
    level: float
    count: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def __name__(self) -> str:
        """The name of the recipe, and that it is calibrated."""
        return f"calibrated {self.recipe.__name__}"

    def __call__(self, problem: Problem) -> Iterator[Progress]:
        """Yield the events of the recipe with the spread of its results scaled."""
        for event in self.recipe(problem, **self.settings):
            yield event.changed(self._scaled)

    def _scaled(self, result: Result) -> Result:
        facts = result.certificate
        if facts is not None:
            note = (
                f"the spread is that of the draws times {self.factor:.3g}, so that intervals of {self.level:.0%} cover "
                f"as much on average over scans like the {self.count} it was calibrated on"
            )
            facts = replace(facts, notes=(*facts.notes, note))
        settings = {**result.settings, "calibration": self.factor, "level": self.level}
        return replace(result, spread=self.factor * spread_of(result), certificate=facts, settings=settings)


def calibrate(method: str | Recipe, scans: Sequence[Scan], *, level: float = 0.9, **settings: Any) -> Calibrated:
    """Return the method with its spread scaled so that x +- z spread covers a share `level` of the values.

    Conformal risk control (Angelopoulos, Bates, Fisch, Lei & Schuster 2024): the factor is the smallest with n misses +
    1 <= (n + 1) (1 - level), where misses is the mean share of the values of a scan that lie outside. If a new scan is
    exchangeable with these n, the expected share that is covered is at least `level`.

    Arguments:
        method: a registered name or a recipe that returns a spread, as "flower" does.
        scans: with their truths, none of which the prior was trained on; at least level / (1 - level), 9 for 0.9.
        level: the share of values to be covered, by default 0.9.
        settings: of the method.

    ValueError for too few scans, those without a truth, and methods without a spread.
    """
    if not 0 < level < 1:
        raise ValueError(f"calibrate: level must lie between 0 and 1, got {level}")
    scores: list[Tensor] = []
    for scan in scans:
        if scan.truth is None:
            raise ValueError("calibrate: every scan needs its truth, to compare with")
        found = reconstruct(scan, method, **settings)
        spread, error = spread_of(found).double(), (found.x - scan.truth).abs().double()
        ndim = found.ndim
        per = torch.where(error == 0, 0.0, error / spread).reshape(-1, math.prod(error.shape[error.ndim - ndim :]))
        scores += list(per)
    factor = conformal_factor(scores, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    return Calibrated(find_recipe(method), factor / z, level, len(scores), settings)


def conformal_factor(scores: Sequence[Tensor] | Tensor, level: float = 0.9) -> float:
    """Return the factor f for which x +- f spread is expected to cover a share `level` of the values of a new image.

    Arguments:
        scores: |truth - x| / spread of the values of every image, one tensor each.
        level: the share to be covered.

    ValueError for too few images.
    """
    count = len(scores)
    allowed = ((count + 1) * (1 - level) - 1) / max(1, count)
    if allowed < -1e-9:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise ValueError(f"calibrate: intervals of {level:.0%} need at least {least} scans, got {count}")
    weights = [torch.full_like(one, 1 / (one.numel() * count)).flatten() for one in scores]
    return _smallest(torch.cat([one.flatten() for one in scores]), torch.cat(weights), allowed)


def spread_of(result: Result) -> Tensor:
    """Return the spread of a result; ValueError where the method has none."""
    if result.spread is None:
        raise ValueError("calibrate: this method returns no spread: use one that samples, such as flower, with chains")
    return result.spread


def _smallest(scores: Tensor, weights: Tensor, allowed: float) -> float:
    """Return the smallest score such that larger ones weigh no more than what is allowed."""
    ordered, order = scores.sort()
    beyond = 1 - weights[order].cumsum(0)
    first = int((beyond <= allowed + 1e-9).nonzero()[0])
    return float(ordered[first])
