"""Pixels of a detector that measure nothing: found in the fields, and left out by weights of 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.linop.readings import interpolated

__all__ = ["dead_pixels", "dead_words", "filled", "weights_of"]

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


def filled(integrals: NDArray[np.float32], dead: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return line integrals `(rows, views, columns)`, those of dead pixels interpolated along the detector."""
    if not dead.any():
        return integrals
    alive = torch.from_numpy(~dead).to(torch.float32)[:, None]
    return interpolated(torch.from_numpy(integrals), alive).numpy()


def weights_of(dead: NDArray[np.bool_], views: int) -> Tensor | None:
    """Return the weights of a scan, `(rows, views, columns)`, 0 where a pixel is dead; None where none is."""
    if not dead.any():
        return None
    alive = torch.from_numpy(~dead).to(torch.float32)
    return alive[:, None].expand(-1, views, -1).contiguous()


def dead_words(dead: NDArray[np.bool_]) -> str:
    """Return a sentence on them."""
    columns = np.flatnonzero(dead.any(axis=0))
    more = f" and {columns.size - _NAMED} more" if columns.size > _NAMED else ""
    which = ", ".join(map(str, columns[:_NAMED])) + more
    many = "s" * (columns.size > 1)
    why = "no beam above the dark field, or no count"
    return f"the detector is dead in column{many} {which} ({why}): these readings count nowhere"
