"""What came of the search for a strength, for the certificate and for drawing."""

from __future__ import annotations

from dataclasses import dataclass

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
