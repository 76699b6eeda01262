"""Sparsity in an orthogonal wavelet basis."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import item_axes, per_item
from invprob.priors.base import Prior
from invprob.priors.simple import shrink
from invprob.transforms import Wavelet


class WaveletL1(Prior):
    """lam sum |(W x)_i| over the details of an orthogonal wavelet transform; the coarsest approximation is free.

    The prox is exact: W^H soft(W v) (Donoho & Johnstone 1994).

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        wavelet: the name of an orthogonal wavelet, as PyWavelets has it; by default "db4".
        levels: of the transform; by default as many as the filter fits into.
        spins: over how many shifts per axis the prox is averaged (cycle spinning, Coifman & Donoho 1995): more than 1
            leave no blocks, and still the prox of a convex function, the proximal average of the shifted ones
            (Bauschke, Goebel, Lucet & Wang 2008), which has no value in closed form. By default 1.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(
        self, lam: Scalar = 1.0, *, wavelet: str = "db4", levels: int | None = None, spins: int = 1, ndim: int = 2
    ) -> None:
        super().__init__(lam, ndim)
        if spins < 1:
            raise ValueError(f"WaveletL1: spins must be at least 1, got {spins}")
        self.wavelet, self.levels, self.spins = wavelet, levels, spins

    @property
    def supports(self) -> frozenset[str]:
        """The prox, and without spinning the value."""
        return frozenset({"prox"}) if self.spins > 1 else frozenset({"value", "prox"})

    def _value(self, x: Tensor) -> Tensor:
        if self.spins > 1:
            raise self._lacks("value")
        W = self._transform(x)
        return (W(x).abs() * W.details()).sum(item_axes(self.ndim))

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        W, axes = self._transform(v), item_axes(self.ndim)
        threshold = per_item(t, v.real, self.ndim) * W.details()
        total = torch.zeros_like(v)
        shifts = list(itertools.product(range(self.spins), repeat=self.ndim))
        for shift in shifts:
            y = W(v.roll(shift, axes))
            total = total + W.adjoint(shrink(y, y.abs(), threshold)).roll([-s for s in shift], axes)
        return total / len(shifts)

    def _transform(self, x: Tensor) -> Wavelet:
        shape = x.shape[x.ndim - self.ndim :]
        return Wavelet(shape, self.wavelet, levels=self.levels, dtype=x.real.dtype).to(x.device)

    def extra_repr(self) -> str:
        """Show weight and wavelet."""
        return f"{super().extra_repr()}, {self.wavelet}, spins={self.spins}"
