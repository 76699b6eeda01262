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
        lower, upper: the bounds, in the unit of x: numbers, or tensors that broadcast to x, such as one per pixel (both
            0 where there is no object) or one per item, `(*batch, 1, 1)`; by default there are none.
        ndim: how many axes, the last ones, make one item; by default 2.

    ValueError where a lower bound exceeds its upper one.
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Scalar = -math.inf, upper: Scalar = math.inf, ndim: int = 2) -> None:
        super().__init__(1.0, ndim)
        least, most = (torch.as_tensor(bound, dtype=torch.float64) for bound in (lower, upper))
        if not bool((least <= most).all()):
            raise ValueError(f"{type(self).__name__}: lower {_told(least)} must not exceed upper {_told(most)}")
        self.register_buffer("lower", least, persistent=False)
        self.register_buffer("upper", most, persistent=False)

    def _value(self, x: Tensor) -> Tensor:
        must_be_real(self, x)
        lower, upper = self._bounds(x)
        outside = ((x < lower) | (x > upper)).any(dim=-1)
        for _ in range(self.ndim - 1):
            outside = outside.any(dim=-1)
        return torch.where(outside, math.inf, 0.0).to(x.dtype)

    def value(self, x: Tensor) -> Tensor:
        """Return 0 per item inside the box and +inf outside."""
        return self._value(x)

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        del t
        must_be_real(self, v)
        lower, upper = self._bounds(v)
        return torch.clamp(v, lower, upper)

    def _bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.lower.to(x), self.upper.to(x)

    def extra_repr(self) -> str:
        """Show the bounds."""
        return f"{_told(self.lower)} <= x <= {_told(self.upper)}"


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


def _told(bound: Tensor) -> str:
    """Return a bound as text: a number, or of one per pixel the range."""
    low, high = float(bound.min()), float(bound.max())
    return str(low) if low == high else f"{low} to {high}"


def must_be_real(owner: Prior, x: Tensor) -> None:
    """Raise TypeError for complex images, which have no order."""
    if x.is_complex():
        raise TypeError(f"{type(owner).__name__} orders real numbers and got {x.dtype}; wrap it in Magnitude for |x|")
