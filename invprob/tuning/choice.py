"""What came of the search for a strength, for the certificate and for drawing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Choice:
    """The strength of a prior that was chosen, and why.

    Arguments:
        strength: per item, `(*batch,)`.
        rule: by which rule, in words.
        trials, scores: the strengths tried, from strong to weak, and what the rule thinks of them, lower being better,
            each `(trials, *batch)`; NaN where an item was settled before its neighbours.
        flat: where the scores around the strength are too much alike to decide, `(*batch,)`.
        noise: the noise level that the data speak for beside the image at this strength, `(*batch,)`; None where the
            rule does not tell.
    """

    strength: Tensor
    rule: str
    trials: Tensor
    scores: Tensor
    flat: Tensor
    noise: Tensor | None = None

    def unless(self, which: Tensor, other: Choice | None) -> Choice:
        """Return this, but for the items `which`, `(*batch,)`, that of another rule; None is no other."""
        if other is None or not bool(which.any()):
            return self
        rows = max(len(self.trials), len(other.trials))
        return Choice(
            torch.where(which, other.strength, self.strength),
            f"{other.rule}, and in {int((~which).sum())} of {which.numel()} items by {self.rule}",
            torch.where(which, _padded(other.trials, rows), _padded(self.trials, rows)),
            torch.where(which, _padded(other.scores, rows), _padded(self.scores, rows)),
            torch.where(which, other.flat, self.flat),
            self.noise if self.noise is None or other.noise is None else torch.where(which, other.noise, self.noise),
        )

    @property
    def history(self) -> dict[str, Tensor]:
        """The columns of `Result.history` that tell of the search."""
        return {"trial_strength": self.trials, "trial_score": self.scores}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a certificate says of the choice, a sentence each."""
        tried = int(self.trials.isfinite().sum(0).amax()) if self.trials.numel() else 0
        found = [f"the strength was chosen by {self.rule} among {tried} trials"]
        if bool(self.flat.any()):
            share = f"in {int(self.flat.sum())} of {self.flat.numel()} items " if self.flat.numel() > 1 else ""
            found.append(
                f"{share}the data hardly decide the strength: three times more or less predicts them about as well"
            )
        return tuple(found)


def _padded(column: Tensor, rows: int) -> Tensor:
    """Return a column of trials with NaN where there were fewer."""
    return torch.cat([column, column.new_full((rows - len(column), *column.shape[1:]), torch.nan)])
