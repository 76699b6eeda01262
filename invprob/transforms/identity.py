"""The identity: denoising as an inverse problem, and the neutral element of the algebra."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import LinearOperator


class Identity(LinearOperator):
    """y = x."""

    nonnegative = True

    def __init__(self, shape: Sequence[int], *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(shape, shape, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y

    def gram(self, x: Tensor) -> Tensor:
        """Return x."""
        return self._admit(x)

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the identity, or W itself, as a diagonal."""
        if weights is None:
            return Diagonal(torch.ones((), dtype=self.dtype, device=self.device), "any")
        return Diagonal(weights, "pixel")

    def norm(self) -> Tensor:
        """Return 1."""
        return torch.ones((), dtype=self.dtype, device=self.device)

    def norm_bound(self) -> Tensor:
        """Return 1."""
        return self.norm()

    @property
    def norm_bound_kind(self) -> str:
        """How the norm is known."""
        return "closed form"

    def direct(self, y: Tensor) -> Tensor:
        """Return y."""
        return self.adjoint(y)
