"""Priors with a prox in one line: L1, its groups, the constraints x >= 0 and lower <= x <= upper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import item_axes, length, per_item
from invprob.priors.base import Prior


class L1(Prior):
    """lam |x|_1 = lam sum |x_i|, moduli for complex x; prox: soft threshold.

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def _value(self, x: Tensor) -> Tensor:
        return x.abs().sum(item_axes(self.ndim))

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        return shrink(v, v.abs(), per_item(t, v.real, self.ndim))


class GroupL1(Prior):
    """lam sum_i |x_{., i}|_2, Euclidean within a group; prox: the vectorial shrink.

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        ndim: how many axes, the last ones, make one item; by default 2.
        grouped: how many axes of an item, the first ones, make a group; the sum goes over the others. By default 1.
    """

    def __init__(self, lam: Scalar = 1.0, ndim: int = 2, *, grouped: int = 1) -> None:
        super().__init__(lam, ndim)
        if not 1 <= grouped <= ndim:
            raise ValueError(f"GroupL1: grouped must be between 1 and ndim={ndim} axes, got {grouped}")
        self.grouped = grouped

    def _value(self, x: Tensor) -> Tensor:
        return self._length(x).sum(item_axes(self.ndim))

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        return shrink(v, self._length(v), per_item(t, v.real, self.ndim))

    def _length(self, x: Tensor) -> Tensor:
        return length(x, item_axes(self.ndim)[: self.grouped])


class Box(Prior):
    """The constraint lower <= x <= upper for real x: value 0 inside and +inf outside; prox: clamp.

    Arguments:
        lower, upper: the bounds, in the unit of x; by default there are none.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(self, lower: float = -math.inf, upper: float = math.inf, ndim: int = 2) -> None:
        super().__init__(1.0, ndim)
        if not lower <= upper:
            raise ValueError(f"{type(self).__name__}: lower {lower} must not exceed upper {upper}")
        self.lower, self.upper = float(lower), float(upper)

    def _value(self, x: Tensor) -> Tensor:
        _must_be_real(self, x)
        outside = ((x < self.lower) | (x > self.upper)).any(dim=-1)
        for _ in range(self.ndim - 1):
            outside = outside.any(dim=-1)
        return torch.where(outside, math.inf, 0.0).to(x.dtype)

    def value(self, x: Tensor) -> Tensor:
        """Return 0 per item inside the box and +inf outside."""
        return self._value(x)

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        del t
        _must_be_real(self, v)
        return v.clamp(self.lower, self.upper)

    def extra_repr(self) -> str:
        """Show the bounds."""
        return f"{self.lower} <= x <= {self.upper}"


class NonNegative(Box):
    """The constraint x >= 0; prox: max(x, 0).

    Arguments:
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(self, ndim: int = 2) -> None:
        super().__init__(0.0, math.inf, ndim)


def shrink(v: Tensor, size: Tensor, t: Tensor) -> Tensor:
    """Return v (1 - t / size)_+ without dividing by zero."""
    return v * ((size - t).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))


def _must_be_real(owner: Prior, x: Tensor) -> None:
    if x.is_complex():
        raise TypeError(f"{type(owner).__name__} orders real numbers and got {x.dtype}; wrap it in Magnitude for |x|")
