"""The identity: denoising as an inverse problem, and the neutral element of the algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import Bound, DataKind, LinearOperator
from invprob.linop.readings import interpolated


class Identity(LinearOperator):
    """y = x: denoising as an inverse problem.

    Arguments:
        shape: that of an item, of x as of y.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.
    """

    data_kind: DataKind = "picture"
    transparent = True
    nonnegative = True

    def __init__(self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(shape, shape, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return x.clone()  # so that noise added to y in place does not reach x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y.clone()

    def _gram(self, x: Tensor) -> Tensor:
        return x.clone()

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.domain_shape}

    def diagonal(self) -> Diagonal | None:
        """Return 1, in any basis."""
        return Diagonal(torch.ones((), dtype=self.dtype, device=self.device), "any")

    def _norm(self) -> Tensor:
        return torch.ones((), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        return Bound(self.norm(), "closed form")

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with readings of weight 0 interpolated along the last axis."""
        return interpolated(y, weights)

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y, with readings of weight 0 interpolated along the last axis."""
        return self.fill(self.adjoint(y), weights)
