"""The Fourier transform along some axes of an item: what repeats itself is sparse there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import Bound, LinearOperator


class Frequencies(LinearOperator):
    """y = F x, the orthonormal Fourier transform along some axes of an item, such as that of the frames of a film.

    Unitary; the zero frequency comes first.

    Arguments:
        shape: that of an item, of x as of y.
        axes: along which of its axes; by default (0,), the first.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for axes that an item does not have.
    """

    def __init__(self, shape: Sequence[int], axes: Sequence[int] = (0,), *, dtype: torch.dtype = torch.float32) -> None:
        d = len(tuple(shape))
        self.axes = tuple(int(axis) for axis in axes)
        if not self.axes or any(not 0 <= axis < d for axis in self.axes) or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"Frequencies: axes are different ones of 0 to {d - 1}, got {axes}")
        super().__init__(shape, shape, dtype=dtype, is_complex=True)

    def _along(self) -> tuple[int, ...]:
        return tuple(axis - len(self.domain_shape) for axis in self.axes)

    def _forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.fft.fftn(x, dim=self._along(), norm="ortho") if x.numel() else x.clone()
        return y

    def _adjoint(self, y: Tensor) -> Tensor:
        x: Tensor = torch.fft.ifftn(y, dim=self._along(), norm="ortho") if y.numel() else y.clone()
        return x

    def _gram(self, x: Tensor) -> Tensor:
        return x.clone()

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return 1, in any basis."""
        return None if weights is not None else Diagonal(torch.ones((), dtype=self.dtype, device=self.device), "any")

    def _norm(self) -> Tensor:
        return torch.ones((), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        return Bound(self.norm(), "closed form")

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.domain_shape, "axes": self.axes}
