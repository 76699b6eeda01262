"""Does the detector see the whole object? What readers ask of a geometry and its data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.linop import Operator

__all__ = ["coverage_doubts"]


def coverage_doubts(A: Operator, data: NDArray[np.floating] | None = None) -> list[str]:
    """Return `A.doubts(data)` for an array `range_shape` of one item, or of the geometry alone."""
    return A.doubts(None if data is None else torch.from_numpy(np.asarray(data)))
