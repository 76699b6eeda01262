"""Parallel-beam projections by the Fourier slice theorem (Bracewell 1956): exact adjoint, A^H W A as one convolution.

With the image's transform X(xi) = sum_r x(r) exp(-i xi . r) the projection along u has at the frequency k

    p(k) = h^2 X(k u) sinc(k u_x h / 2) sinc(k u_y h / 2) sinc(k d / 2) c(k d / pi),    sinc t = sin t / t:

means over bins of width d of the integrals through squares of side h. X is taken at all (view, frequency) by a
non-uniform FFT. The cut-off c falls from 1 at half the Nyquist frequency to 0 at it as a raised cosine, lest edges
ring. Reconstructions, not projections, chose this form: with a sharp cut-off, and divided by the squares' factors as if
pixels were band-limited means, projections come closer to those of edges, and images of them by total variation are
worse, by 2 dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from invprob.operators.fourier.nufft import EPS, Transforms
from invprob.operators.fourier.toeplitz import toeplitz_kernel

Array = NDArray[np.float64]
Response = Literal["squares", "linear"]
ACCURACY = {
    torch.float32: 2e-6,
    torch.float64: EPS[torch.float64],
}  # lest A^T A part from the convolution
KEPT = 0.5  # share of the Nyquist frequency up to which nothing is cut off
MARGIN = 32  # bins beside the shadow of the image, for what rings there


@dataclass(frozen=True)
class Slices:
    """Which frequencies of which views make the readings of a detector.

    Arguments:
        angles: of the views, radians.
        first_bin: where the middle of the first bin lies, from the axis.
        bins: how many bins are read.
        bin_size: d.
        image_shape: (rows, columns).
        pixel_size: h.
        response: what stands between points of the object and points of the detector: "squares" are those above with
            means over bins, "linear" interpolates readings between bins as far as their frequencies go.
    """

    angles: Array
    first_bin: float
    bins: int
    bin_size: float
    image_shape: tuple[int, int]
    pixel_size: float
    response: Response = "squares"

    @cached_property
    def shadow(self) -> float:
        """Half the width of the image's longest shadow."""
        height, width = self.image_shape
        extent = height * np.abs(np.sin(self.angles)) + width * np.abs(np.cos(self.angles))
        return 0.5 * self.pixel_size * float(extent.max())

    @cached_property
    def covers(self) -> bool:
        """Whether the detector sees all of the image in all views: its readings are then a whole period."""
        first, last = self.first_bin - self.bin_size / 2, self.first_bin + (self.bins - 0.5) * self.bin_size
        return min(-first, last) >= self.shadow * (1 - 1e-9)

    @cached_property
    def period(self) -> int:
        """How many bins make a period of the projections, so that no shadow meets itself again."""
        if self.covers:
            return self.bins
        beside = max(0.0, self.shadow + self.first_bin, self.shadow - self.first_bin - (self.bins - 1) * self.bin_size)
        return int(fft.next_fast_len(self.bins + math.ceil(beside / self.bin_size) + MARGIN, real=True))

    @cached_property
    def frequencies(self) -> Array:
        """k >= 0, radians per length; that of Nyquist, which has no sign, is left out of even periods."""
        count = (self.period + 1) // 2
        return np.arange(count, dtype=np.float64) * (2 * np.pi / (self.period * self.bin_size))

    @cached_property
    def _along(self) -> tuple[Array, Array]:
        """(k u_y h, k u_x h), the frequencies along columns upwards and along rows, radians per pixel."""
        steps = self.pixel_size * self.frequencies
        return np.sin(self.angles)[:, None] * steps, np.cos(self.angles)[:, None] * steps

    def positions(self) -> Tensor:
        """Return where the image's transform is wanted, (1, views * frequencies, 2), radians per pixel in [-pi, pi]."""
        up, right = self._along
        points = np.stack([-up.ravel(), right.ravel()], axis=-1)
        return torch.from_numpy(np.where(self._inside.ravel()[:, None], points, 0.0))[None]

    @cached_property
    def _inside(self) -> NDArray[np.bool_]:
        """Which frequencies an image of these pixels has, (views, frequencies)."""
        up, right = self._along
        return (np.abs(up) <= np.pi) & (np.abs(right) <= np.pi)

    def factors(self) -> NDArray[np.complex128]:
        """Return what the transform of the image is multiplied by, (views, frequencies), before the inverse FFT."""
        up, right = self._along
        height, width = self.image_shape
        # pixel n of N lies at n - (N - 1) / 2, for the transform at n - floor(N / 2)
        phase = -up * (0.5 - height % 2 / 2) + right * (0.5 - width % 2 / 2)
        phase = self.frequencies * self.first_bin - phase
        size = self._inside * self.pixel_size**2 / self.bin_size
        bins = np.sinc(self.frequencies * self.bin_size / (2 * np.pi))
        if self.response == "linear":
            size = size * bins**2
        else:
            beyond = np.clip((self.frequencies * self.bin_size / np.pi - KEPT) / (1 - KEPT), 0, 1)
            size = size * bins * (0.5 + 0.5 * np.cos(np.pi * beyond))
            size = size * np.sinc(up / (2 * np.pi)) * np.sinc(right / (2 * np.pi))
        found: NDArray[np.complex128] = size * np.exp(1j * phase)
        return found

    def counts(self) -> Array:
        """Return how often each frequency stands in a real projection of length P, over P: 1, 2, ..., 2 over P."""
        return np.where(self.frequencies > 0, 2.0, 1.0) / self.period


class SliceTransforms:
    """The projections of a set of slices in one precision, on real items as tensors of the CPU."""

    def __init__(self, slices: Slices, dtype: torch.dtype) -> None:
        self.slices, self.dtype = slices, dtype
        self._transforms = Transforms(slices.positions(), slices.image_shape, ACCURACY[dtype], dtype)
        factors = torch.from_numpy(slices.factors())
        kind = torch.complex64 if dtype == torch.float32 else torch.complex128
        self._factors = factors.to(kind)
        self._back = (factors.conj() * torch.from_numpy(slices.counts())).to(kind)

    def project(self, x: Tensor) -> Tensor:
        """Return the readings, (items, views, bins), of images (items, H, W)."""
        s = self.slices
        if not x.numel():
            return x.new_zeros(len(x), len(s.angles), s.bins)
        spectrum = self._transforms.forward(x[None]).reshape(len(x), *self._factors.shape)
        y: Tensor = torch.fft.irfft(spectrum.mul_(self._factors), n=s.period, dim=-1)
        return y[..., : s.bins].contiguous()

    def backproject(self, y: Tensor) -> Tensor:
        """Return the transpose of `project` applied to readings (items, views, bins): images (items, H, W)."""
        if not y.numel():
            return y.new_zeros(len(y), *self.slices.image_shape)
        spectrum = torch.fft.rfft(y, n=self.slices.period, dim=-1)[..., : self._back.shape[-1]] * self._back
        x: Tensor = self._transforms.adjoint(spectrum.reshape(1, len(y), -1))[0].real
        return x.contiguous()

    def kernel(self, weights: Tensor) -> Tensor:
        """Return the spectrum of A^T W A on twice as many pixels, (*batch, 2 H, W + 1), for weights (*batch, views)."""
        s = self.slices
        power = torch.from_numpy(np.abs(s.factors()) ** 2 * s.counts()) * math.prod(s.image_shape)
        w = weights.double().cpu().reshape(-1, len(s.angles), 1) * power
        found = toeplitz_kernel(s.positions(), w.flatten(-2)[None], s.image_shape, self.dtype)[0]
        mirrored = found.flip((-2, -1)).roll((1, 1), (-2, -1))  # the other half of the frequencies
        both = 0.5 * (found + mirrored)[..., : s.image_shape[1] + 1]
        return both.reshape(*weights.shape[:-1], *both.shape[-2:]).contiguous()


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Return A^T W A x by a kernel from `SliceTransforms`, for real x (*batch, H, W)."""
    if not x.numel():
        batch = np.broadcast_shapes(x.shape[:-2], kernel.shape[:-2])
        return x.new_zeros(*batch, *x.shape[-2:])
    sizes = x.shape[-2], x.shape[-1]
    double = [2 * n for n in sizes]
    spectrum = torch.fft.rfft2(x, s=double)
    product: Tensor = torch.fft.irfft2(spectrum * kernel, s=double)
    return product[..., : sizes[0], : sizes[1]].contiguous()


def by_view(weights: Tensor, views: int) -> Tensor | None:
    """Return weights of data (*batch, views, bins) as (*batch, views) where all bins of a view weigh the same."""
    w: Any = weights.real if weights.is_complex() else weights
    w = w.reshape(*(1,) * (2 - w.ndim), *w.shape)
    first = w[..., :1]
    if w.shape[-1] > 1 and w.stride(-1) != 0 and not bool((w == first).all()):
        return None
    per_view: Tensor = first[..., 0].expand(*first.shape[:-2], views)
    return per_view
