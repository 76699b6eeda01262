"""The words for how an item ended, and the sentence behind each."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["INCOMPLETE", "MISSING", "OF_ITEMS", "SENTENCES", "STATUS", "worst"]

STATUS = {
    "converged": "The fixed-point residual fell below the tolerance.",
    "stopped": "The run was stopped before it converged; this is the best image so far.",
    "max_iter": "The largest number of iterations was reached before the tolerance; raise max_iter or tol.",
    "diverged": "The iteration grew or became non-finite; the best image before that is kept.",
}
MISSING = "missing"  # the status of an item without an image
OF_ITEMS = (*STATUS, MISSING)  # from the best to the worst
INCOMPLETE = "incomplete"  # the status of a file that is not finished
SENTENCES = STATUS | {
    MISSING: "There is no image, as the data could not be read.",
    INCOMPLETE: "The run did not end: what is finished is there, the rest is NaN.",
}


def worst(statuses: Iterable[str]) -> str:
    """Return the worst of the words for how items ended."""
    return max(statuses, key=OF_ITEMS.index)
