"""Searches for the strength of a prior, per item, in the form ask (for a strength to try) and tell (what came of it).

The caller solves in between, so progress, warm starts and interruption stay in its hands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

CLEARLY = 1.05  # a prediction error this many times the best ends the held-out search; no measurement on record
STEP = 10**0.5  # ratio between neighbouring strengths of the held-out search, which a parabola refines
FIRST_SLOPE = 0.25  # of log misfit against log strength, before two points tell; no measurement on record
FLATTEST = 0.02  # a slope below it is rounding, or a misfit that does not go with the strength
FARTHEST = 2.3  # of one step: a decade


class Search(ABC):
    """A search over strengths > 0, one per item, `(*batch,)`."""

    name: str
    rounds: int

    @abstractmethod
    def ask(self) -> Tensor | None:
        """Return the strengths to try next, None when the search is over."""

    @abstractmethod
    def tell(self, score: Tensor) -> None:
        """Take what the strengths just asked for have led to."""

    @property
    @abstractmethod
    def best(self) -> Tensor:
        """The strengths found so far."""


class DiscrepancySearch(Search):
    """Finds where the misfit |A x - y|, which grows with the strength, equals a target (Morozov 1966).

    Secant steps on log misfit against log strength, kept inside the bracket known so far.

    Arguments:
        target: the misfit sought, `(*batch,)`; 0 for an item without one, whose strength stays.
        start: the first strengths, `(*batch,)`.
        only_raise: whether an item is settled, too, if its misfit was above the target at the start; by default not.
        tolerance: an item is settled when its misfit is within this share of the target.
        rounds: the most trials.
    """

    name = "noise level"

    def __init__(
        self, target: Tensor, start: Tensor, *, only_raise: bool = False, tolerance: float = 0.01, rounds: int = 8
    ) -> None:
        self.rounds = rounds
        self.target = target.double()
        self.tolerance = tolerance
        self.only_raise = only_raise
        self.log = start.double().clamp(min=1e-12).log()
        self.low = torch.full_like(self.log, -torch.inf)
        self.high = torch.full_like(self.log, torch.inf)
        self.previous: tuple[Tensor, Tensor] | None = None
        self.settled = ~(target > 0)  # without a noise level, or readings to tell it by, there is nothing to search
        self.asked = 0

    def ask(self) -> Tensor | None:
        """Return the strengths to try next."""
        if self.asked >= self.rounds or bool(self.settled.all()):
            return None
        self.asked += 1
        return self.log.exp()

    def tell(self, score: Tensor) -> None:
        """Take the misfit."""
        error = (score.double().clamp(min=1e-300) / self.target.clamp(min=1e-300)).log()
        self.settled = self.settled | (error.abs() <= self.tolerance)
        if self.only_raise and self.previous is None:
            self.settled = self.settled | (error > 0)
        self.low = torch.where(error < 0, torch.maximum(self.low, self.log), self.low)
        self.high = torch.where(error > 0, torch.minimum(self.high, self.log), self.high)
        slope = torch.full_like(error, FIRST_SLOPE)
        if self.previous is not None:
            run = self.log - self.previous[0]
            rise = error - self.previous[1]
            slope = torch.where((run != 0) & (rise / run > FLATTEST), rise / torch.where(run != 0, run, 1.0), slope)
        step = (-error / slope).clamp(-FARTHEST, FARTHEST)
        trial = self.log + step
        inside = (trial > self.low) & (trial < self.high)
        middle = (self.low + self.high) / 2
        trial = torch.where(inside | ~middle.isfinite(), trial, middle)
        self.previous = (self.log, error)
        self.log = torch.where(self.settled, self.log, trial)

    @property
    def best(self) -> Tensor:
        """The strengths whose misfit met the target, else the latest guess."""
        return self.log.exp()


class HeldOutSearch(Search):
    """Finds the strength that best predicts readings set aside: from strong to weak in half decades.

    An item is settled when two weaker strengths in a row predict worse than the one before, or one predicts clearly
    worse than the best; a parabola through the best and its neighbours refines it.

    Arguments:
        start: the strongest strengths tried, `(*batch,)`.
        rounds: the most trials.
    """

    name = "held-out data"

    def __init__(self, start: Tensor, *, rounds: int = 8) -> None:
        self.rounds = rounds
        self.log = start.double().log()
        self.scores: list[Tensor] = []
        self.settled = torch.zeros_like(start, dtype=torch.bool)

    def ask(self) -> Tensor | None:
        """Return the next weaker strengths."""
        if len(self.scores) >= self.rounds or bool(self.settled.all()):
            return None
        return (self.log - len(self.scores) * torch.tensor(STEP).double().log()).exp()

    def tell(self, score: Tensor) -> None:
        """Take the prediction error; a settled item's later scores do not count."""
        score = torch.where(self.settled, torch.inf, score.double())
        self.scores.append(score)
        if len(self.scores) >= 3:
            a, b, c = self.scores[-3:]
            self.settled = self.settled | ((b >= a) & (c >= a))
        self.settled = self.settled | (score > CLEARLY * torch.stack(self.scores).amin(0))

    @property
    def score(self) -> Tensor:
        """The lowest prediction error so far."""
        return torch.stack(self.scores).amin(0)

    @property
    def best(self) -> Tensor:
        """The strengths at the lowest prediction error, refined where it lies between two others."""
        if not self.scores:
            return self.log.exp()
        table = torch.stack(self.scores)
        k = table.argmin(0)
        inner = k.clamp(1, max(1, len(self.scores) - 2))
        offset = torch.zeros_like(self.log)
        if len(self.scores) >= 3:
            left, mid, right = (table.gather(0, (inner + d).unsqueeze(0)).squeeze(0) for d in (-1, 0, 1))
            bend = left - 2 * mid + right
            vertex = 0.5 * (left - right) / torch.where(bend > 0, bend, 1.0)
            usable = (inner == k) & (bend > 0) & vertex.isfinite()
            offset = torch.where(usable, vertex.clamp(-0.5, 0.5), 0.0)
        return (self.log - (k + offset) * torch.tensor(STEP).double().log()).exp()
