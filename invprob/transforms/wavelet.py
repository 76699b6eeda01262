"""The orthogonal discrete wavelet transform (Mallat, IEEE PAMI 11, 1989) for items of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pywt
import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import Bound, LinearOperator
from invprob.registry import nearest

# How far a filter's autocorrelation at even lags may be from a unit impulse: PyWavelets' tables are within 2e-11, but
# for dmey, a truncated filter 2e-3 off, which is refused.
ORTHOGONAL = 1e-6


class Wavelet(LinearOperator):
    """y = W x with W^H W = W W^H = I, in Mallat's layout: approximation first along every axis, y shaped like x.

    Signals are periodic; of an odd length the last sample is handed to the approximation as it is, which keeps W
    orthogonal.

    Arguments:
        shape: that of an item, any number of axes, all of which are transformed.
        wavelet: an orthogonal one, by PyWavelets' name (Lee et al., JOSS 4, 2019): "haar", "db4", "sym8", ...
        levels: how often the approximation is split again; by default until the filter fits no more into the
            longest axis.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for a wavelet that is unknown or not orthogonal, or for more levels than there are samples.
    """

    def __init__(
        self,
        shape: Sequence[int],
        wavelet: str = "db4",
        *,
        levels: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(shape, shape, dtype=dtype)
        self.wavelet = wavelet
        self._low, self._high = _filters(wavelet)
        longest = max(self.domain_shape)
        most = math.ceil(math.log2(longest)) if longest > 1 else 0
        usual = max(min(1, most), pywt.dwt_max_level(longest, len(self._low)))
        self.levels = usual if levels is None else levels
        if not 0 <= self.levels <= most:
            raise ValueError(
                f"Wavelet: levels must lie in 0..{most} for items of shape {self.domain_shape}, got {levels}"
            )

    def _forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        for sizes in self._pyramid():
            block = _corner(y, sizes)
            for axis in _split_axes(sizes):
                block = self._analyse(block, axis)
            y = _with_corner(y, block)
        return y

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.clone()
        for sizes in reversed(list(self._pyramid())):
            block = _corner(x, sizes)
            for axis in _split_axes(sizes):
                block = self._synthesise(block, axis)
            x = _with_corner(x, block)
        return x

    def _pyramid(self) -> Iterator[tuple[int, ...]]:
        """Yield the size of the block that each level splits."""
        sizes = self.domain_shape
        for _ in range(self.levels):
            yield sizes
            sizes = tuple(-(-n // 2) for n in sizes)

    def _analyse(self, x: Tensor, axis: int) -> Tensor:
        """Split one axis into approximation and detail, a_k = sum_m h_m x_{2k + m - L/2 + 1}, d_k likewise with g."""
        x = x.movedim(axis, -1)
        even = x.shape[-1] // 2 * 2
        half, windows = even // 2, x[..., self._seen(even)]  # (..., even + L - 2)
        approximation = detail = x.new_zeros(*x.shape[:-1], half)
        for m, (h, g) in enumerate(zip(self._low, self._high, strict=True)):
            seen = windows[..., m : m + even - 1 : 2]
            approximation, detail = approximation + h * seen, detail + g * seen
        return torch.cat([approximation, x[..., even:], detail], dim=-1).movedim(-1, axis)

    def _synthesise(self, y: Tensor, axis: int) -> Tensor:
        """Undo `_analyse`, whose transpose it is."""
        y = y.movedim(axis, -1)
        n = y.shape[-1]
        half = n // 2
        index = self._seen(2 * half)
        approximation, carried, detail = y[..., :half], y[..., half : n - half], y[..., n - half :]
        windows = y.new_zeros((*y.shape[:-1], len(index)))
        for m, (h, g) in enumerate(zip(self._low, self._high, strict=True)):
            windows[..., m : m + 2 * half - 1 : 2] += h * approximation + g * detail
        x = y.new_zeros((*y.shape[:-1], 2 * half)).index_add(-1, index, windows)
        return torch.cat([x, carried], dim=-1).movedim(-1, axis)

    def _seen(self, even: int) -> Tensor:
        """Return the index of the samples that the windows see of `even` periodic ones."""
        length = len(self._low)
        return torch.arange(even + length - 2, device=self.device).sub(length // 2 - 1).remainder(even)

    def details(self) -> Tensor:
        """Return which coefficients are details (True) and which the coarsest approximation, shaped like an item."""
        mask = torch.ones(self.domain_shape, dtype=torch.bool, device=self.device)
        corner = tuple(-(-n // 2**self.levels) for n in self.domain_shape)
        mask[tuple(slice(n) for n in corner)] = False
        return mask

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return 1, in any basis, where there are no weights."""
        return Diagonal(torch.ones((), dtype=self.dtype, device=self.device), "any") if weights is None else None

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.domain_shape, "wavelet": self.wavelet, "levels": self.levels}

    def _norm(self) -> Tensor:
        return torch.ones((), dtype=self.dtype, device=self.device)

    def _norm_bound(self) -> Bound:
        return Bound(self.norm(), "closed form")

    def extra_repr(self) -> str:
        """Name the wavelet and the levels."""
        return f"{self.wavelet}, {self.levels} levels, {super().extra_repr()}"


def _filters(name: str) -> tuple[list[float], list[float]]:
    """Return the synthesis filters, low-pass and high-pass, of an orthogonal wavelet."""
    known = pywt.wavelist(kind="discrete")
    if name not in known:
        raise ValueError(f"Wavelet: unknown wavelet {name!r}; {nearest(name, known)}")
    found = pywt.Wavelet(name)
    low = np.array(found.rec_lo)
    lags = np.correlate(low, low, "full")[len(low) - 1 :: 2]
    lags[0] -= 1
    if np.abs(lags).max() > ORTHOGONAL:
        raise ValueError(
            f"Wavelet: {name!r} is not orthogonal; haar, db2 .. db20, sym2 .. sym20 and coif1 .. coif5 are"
        )
    return [float(h) for h in found.rec_lo], [float(g) for g in found.rec_hi]


def _corner(t: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the first corner of these sizes along the last axes."""
    for axis, n in enumerate(sizes):
        t = t.narrow(axis - len(sizes), 0, n)
    return t


def _split_axes(sizes: tuple[int, ...]) -> list[int]:
    """Return the axes, counted from the end, that have something to split."""
    return [axis - len(sizes) for axis, n in enumerate(sizes) if n > 1]


def _with_corner(t: Tensor, block: Tensor) -> Tensor:
    """Return t with its first corner along the last axes replaced by `block`."""
    if block.shape == t.shape:
        return block
    out = t.clone()
    out[tuple(slice(n) for n in block.shape)] = block
    return out
