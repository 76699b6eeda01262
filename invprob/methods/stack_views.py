"""A few views of many: enough to tell whether the images of a stack fit their data, at a small part of the cost."""

from __future__ import annotations

from functools import reduce

from torch import Tensor

from invprob.linop import Coarser, LinearOperator, Operator

__all__ = ["few_views"]

SHARE, FEWEST = 64, 8  # of all views about one in so many, and no fewer than these: 8 of 363 bins tell noise to 1.3 %


def few_views(A: Operator) -> Coarser | None:
    """Return a scanner of the plane that takes a few of its views, evenly spread; None for others, and of few views.

    Remembered, so that what it prepares serves all parts of a stack.
    """
    if not isinstance(A, LinearOperator) or A.data_kind != "views" or len(A.range_shape) != 2:
        return None
    found: Coarser | None = A._cached("few views", lambda: _thinned(A))
    return found


def _thinned(A: LinearOperator) -> Coarser | None:
    wanted, steps = max(FEWEST, A.range_shape[0] // SHARE), []
    while A.range_shape[0] >= 2 * wanted:
        step = A.thinned()
        if step is None:
            break
        steps.append(step)
        A = step.operator
    if not steps:
        return None

    def restrict(y: Tensor) -> Tensor:
        return reduce(lambda t, step: step.restrict(t), steps, y)

    return Coarser(A, restrict, 1)
