"""Finite differences, the analysis operator of total variation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.grid import Grid
from invprob.linalg import Diagonal
from invprob.linop import Bound, LinearOperator
from invprob.linop.bases import Basis


class Gradient(LinearOperator):
    """(D x)_i = (x[n + e_i] - x[n]) / h_i along each of the last `axes` item axes i, zero at the far border (Neumann).

    Arguments:
        shape: that of an item x; the range is `(axes, *shape)`.
        axes: along how many of the item's axes, the last ones; by default all.
        spacing: h, the distance of neighbours along each of these axes, such as `grid.relative`; by default 1.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for axes or spacings that do not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        axes: int | None = None,
        spacing: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        d = len(tuple(shape))
        self.axes = d if axes is None else axes
        if not 1 <= self.axes <= d:
            raise ValueError(f"Gradient: axes must be between 1 and {d} for the shape {tuple(shape)}, got {axes}")
        self.spacing = (1.0,) * self.axes if spacing is None else Grid(tuple(spacing)).spacing
        if len(self.spacing) != self.axes:
            raise ValueError(f"Gradient: {len(self.spacing)} spacings for {self.axes} axes")
        super().__init__(shape, (self.axes, *shape), dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        d = len(self.domain_shape)
        field = x.new_zeros((*x.shape[: x.ndim - d], self.axes, *self.domain_shape))
        for i, (axis, n, h) in enumerate(self._sides()):
            step = x.narrow(axis, 1, n - 1) - x.narrow(axis, 0, n - 1)
            step = step if h == 1 else step / h
            field.select(-d - 1, i).narrow(axis, 0, n - 1).copy_(step)
        return field

    def _sides(self) -> list[tuple[int, int, float]]:
        """Return the axes with differences, counted from the end, with their lengths and spacings."""
        return [(axis, self.domain_shape[axis], self.spacing[axis]) for axis in range(-self.axes, 0)]

    def _adjoint(self, y: Tensor) -> Tensor:
        d = len(self.domain_shape)
        x = y.new_zeros((*y.shape[: y.ndim - d - 1], *self.domain_shape))
        for i, (axis, n, h) in enumerate(self._sides()):
            inside = y.select(-d - 1, i).narrow(axis, 0, n - 1)
            inside = inside if h == 1 else inside / h
            x.narrow(axis, 1, n - 1).add_(inside)
            x.narrow(axis, 0, n - 1).sub_(inside)
        return x

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return D^T D in the cosine basis: sum_i 4 sin^2(pi k_i / 2 n_i) / h_i^2 (Strang 1999)."""
        if weights is not None:
            return None
        return Diagonal(self._cached("squares", lambda: self._squares(1.0)), "cosine")

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return `gram_diagonal`, or in the Fourier basis that of periodic differences, sum_i 4 sin^2(pi k_i / n_i)."""
        if basis != "fourier":
            return self.gram_diagonal()
        return Diagonal(self._cached("periodic squares", lambda: self._squares(2.0)), "fourier")

    def _squares(self, turns: float) -> Tensor:
        """Return sum_i 4 sin^2(turns pi k_i / 2 n_i) / h_i^2, k_i = 0 .. n_i - 1."""
        total = torch.zeros(self.domain_shape, dtype=torch.float64, device=self.device)
        for axis, n, h in self._sides():
            k = torch.arange(n, dtype=torch.float64, device=self.device)
            square = (2 / h * torch.sin(turns * math.pi * k / (2 * n))).square()
            total = total + square.reshape(n, *(1,) * (-1 - axis))
        return total.to(self.dtype)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.domain_shape, "axes": self.axes, "spacing": self.spacing}

    def _norm(self) -> Tensor:
        square = sum((2 / h * math.sin(math.pi * (n - 1) / (2 * n))) ** 2 for _, n, h in self._sides())
        return torch.tensor(math.sqrt(square), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        bound = torch.tensor(math.sqrt(sum(4 / h**2 for h in self.spacing)), dtype=self.dtype, device=self.device)
        return Bound(bound, "closed form")
