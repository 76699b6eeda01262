"""The search for the strength of a prior, per item, in the form ask (for a strength to try) and tell (what came of it).

The caller solves in between, so progress, warm starts and interruption stay in its hands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# of log strength: between neighbours of the search for a minimum, which parabolas refine, and how near to a trial a
# minimum has to be found for another one not to be worth it
STRIDE, NEAR = math.log(2.5), 0.35
ALIKE = (
    1e-3  # scores that differ by less, relative to the lowest, are as good: of two such strengths the larger is taken
)


class MinimumSearch:
    """Finds the strongest of the minima of one or more scores: by strides from a start, then by parabolas.

    Of several scores that each should be low, such as two estimates of one prediction error, the one that asks for
    the stronger prior decides.

    Arguments:
        start: the first strengths tried, `(*batch,)`.
        criteria: how many scores `tell` takes, as `(criteria, *batch)`.
        rounds: the most trials.
    """

    def __init__(self, start: Tensor, *, criteria: int = 1, rounds: int = 10) -> None:
        self.rounds, self.criteria = rounds, criteria
        self.next = start.double().clamp(min=1e-12).log()
        self.settled = torch.zeros_like(start, dtype=torch.bool)
        self.logs: list[Tensor] = []
        self.scores: list[Tensor] = []

    def ask(self) -> Tensor | None:
        """Return the strengths to try next, that of a settled item once more."""
        if len(self.logs) >= self.rounds or bool(self.settled.all()):
            return None
        return self.next.exp()

    def revise(self, scores: Tensor) -> None:
        """Take other scores of all trials so far, `(trials, criteria, *batch)`, as later ones tell more of them."""
        known = zip(self.scores, scores, strict=True)
        self.scores = [torch.where(old.isinf(), old, new.double().reshape(old.shape)) for old, new in known]

    def tell(self, score: Tensor) -> None:
        """Take the scores, `(criteria, *batch)` or of a single one `(*batch,)`; those of settled items do not count."""
        score = score.double().reshape(self.criteria, *self.next.shape)
        self.logs.append(torch.where(self.settled, -torch.inf, self.next))
        self.scores.append(torch.where(self.settled | score.isnan(), torch.inf, score))
        lead = self._leading()
        last = lead.scores.isfinite().sum(0) - 1
        weaker, stronger = lead.k >= last, (lead.k == 0) & (last > 0)
        near = torch.where(lead.scores.isfinite(), (lead.logs - lead.vertex).abs(), torch.inf).amin(0) < NEAR
        proposed = torch.where(weaker, _at(lead.logs, last.clamp(min=0)) - STRIDE, lead.vertex)
        proposed = torch.where(stronger & ~weaker, lead.logs[0] + STRIDE, proposed)
        settled = self.settled | (~weaker & ~stronger & near)
        self.next = torch.where(settled, self.next, proposed)
        self.settled = settled

    @property
    def best(self) -> Tensor:
        """The strengths at the lowest score, refined where it lies between two others."""
        return self._leading().vertex.exp() if self.logs else self.next.exp()

    def curve(self) -> tuple[Tensor, Tensor]:
        """Return the strengths tried and the score that decides, each `(trials, *batch)`, from strong to weak.

        NaN stands where an item was settled before its neighbours.
        """
        lead = self._leading()
        known = lead.scores.isfinite()
        return torch.where(known, lead.logs.exp(), torch.nan), torch.where(known, lead.scores, torch.nan)

    def flat(self, noise: Tensor | float) -> Tensor:
        """Return where a stride to either side changes the score by less than the share `noise` of it."""
        lead = self._leading()
        near = (lead.logs - lead.vertex).abs() < 1.5 * STRIDE
        return torch.where(near, lead.scores, -torch.inf).amax(0) < (1 + noise) * _at(lead.scores, lead.k)

    def _leading(self) -> _Curve:
        """Return what has been tried, from strong to weak, with the score whose minimum is strongest."""
        # trials of a settled item stand last, at log strength -inf with a score of inf
        order = torch.stack(self.logs).argsort(dim=0, descending=True, stable=True)
        logs = torch.stack(self.logs).gather(0, order)
        curves = []
        for scores in torch.stack(self.scores, 1):
            scores = scores.gather(0, order)
            # the strongest of those that are as good as the best
            k = (scores <= (1 + ALIKE) * scores.amin(0)).to(torch.uint8).argmax(0)
            curves.append(_Curve(logs, scores, k, _vertex(logs, scores, k)))
        lead = curves[0]
        for other in curves[1:]:
            stronger = other.vertex > lead.vertex
            parts = ((getattr(c, name) for c in (other, lead)) for name in ("logs", "scores", "k", "vertex"))
            lead = _Curve(*(torch.where(stronger, a, b) for a, b in parts))
        return lead


@dataclass(frozen=True)
class _Curve:
    """Log strengths and scores `(trials, *batch)` from strong to weak, the row of the minimum, a parabola's vertex."""

    logs: Tensor
    scores: Tensor
    k: Tensor
    vertex: Tensor


def _at(table: Tensor, k: Tensor) -> Tensor:
    return table.gather(0, k.unsqueeze(0)).squeeze(0)


def _vertex(logs: Tensor, scores: Tensor, k: Tensor) -> Tensor:
    """Return where a parabola through row k and its neighbours is lowest, row k itself where there are none."""
    here = _at(logs, k)
    if len(logs) < 3:
        return here
    inner = k.clamp(1, len(logs) - 2)
    (a, b, c), (fa, fb, fc) = ([_at(table, inner + d) for d in (-1, 0, 1)] for table in (logs, scores))
    left, right = (b - a) * (fb - fc), (b - c) * (fb - fa)
    bend = left - right
    vertex = b - 0.5 * ((b - a) * left - (b - c) * right) / torch.where(bend != 0, bend, 1.0)
    usable = (inner == k) & (fa >= fb) & (fc >= fb) & (bend != 0) & vertex.isfinite()
    return torch.where(usable, torch.minimum(torch.maximum(vertex, c), a), here)
