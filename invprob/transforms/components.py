"""Images that are sums: the components side by side along a first axis, their sum, and one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.linop import Bound, LinearOperator


class Total(LinearOperator):
    """y = sum_i x_i of components x, `(count, *shape)`: in front of A, what explains the data is their sum.

    Arguments:
        shape: that of a component.
        count: how many there are, by default 2.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.
    """

    def __init__(self, shape: Sequence[int], count: int = 2, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__((count, *shape), shape, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return x.sum(-len(self.domain_shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        k = len(self.range_shape)
        return y.unsqueeze(-k - 1).expand(*y.shape[: y.ndim - k], *self.domain_shape).clone()

    def _norm(self) -> Tensor:
        return torch.tensor(math.sqrt(self.domain_shape[0]), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        return Bound(self.norm(), "closed form")

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.range_shape, "count": self.domain_shape[0]}


class Component(LinearOperator):
    """y = x_i, one of the components x, `(count, *shape)`.

    Arguments:
        shape: that of a component.
        index: i, from 0 to count - 1; ValueError else.
        count: how many there are, by default 2.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.
    """

    def __init__(self, shape: Sequence[int], index: int, count: int = 2, *, dtype: torch.dtype = torch.float32) -> None:
        if not 0 <= index < count:
            raise ValueError(f"Component: index must be one of 0 to {count - 1}, got {index}")
        super().__init__((count, *shape), shape, dtype=dtype)
        self.index = index

    def _forward(self, x: Tensor) -> Tensor:
        return x.select(-len(self.domain_shape), self.index).clone()

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[: y.ndim - len(self.range_shape)], *self.domain_shape)
        x.select(-len(self.domain_shape), self.index).copy_(y)
        return x

    def _norm(self) -> Tensor:
        return torch.ones((), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        return Bound(self.norm(), "closed form")

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.range_shape, "index": self.index, "count": self.domain_shape[0]}
