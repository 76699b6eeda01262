"""Pixels of a detector that measure nothing: found in the fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dead_pixels", "dead_words"]

MOST = 0.1  # share of a detector row beyond which the fields are wrong rather than pixels dead
_NAMED = 6  # columns that a sentence lists


def dead_pixels(white: NDArray[Any], dark: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels `(rows, columns)` no beam reaches, or of which no count `(views, rows, columns)` is finite.

    None of a row in which they are more than a tenth: then something else is wrong.
    """
    with np.errstate(invalid="ignore"):
        dead = ~(white - dark > 0) | ~np.isfinite(counts).any(axis=0)
    few: NDArray[np.bool_] = dead & (dead.mean(axis=1, keepdims=True) <= MOST)
    return few


def dead_words(dead: NDArray[np.bool_]) -> str:
    """Return a sentence on them."""
    columns = np.flatnonzero(dead.any(axis=0))
    more = f" and {columns.size - _NAMED} more" if columns.size > _NAMED else ""
    which = ", ".join(map(str, columns[:_NAMED])) + more
    many = "s" * (columns.size > 1)
    why = "no beam above the dark field, or no count"
    return f"the detector is dead in column{many} {which} ({why}): these readings count nowhere"
