"""A^H W A of non-uniform samples as a convolution: its kernel, split by parities so that nothing is padded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import finufft
import numpy as np
import torch
from torch import Tensor

EPS = {torch.float32: 1e-9, torch.float64: 1e-13}


def toeplitz_kernel(omega: Tensor, weights: Tensor, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the spectrum of h[m] = prod(N)^-1 sum_j w_j exp(i omega_j . m), (frames, coils, *2 N), real.

    (A^H W A x)[n] = sum_k h[n - k] x[k] (Fessler et al. 2005). Any sizes, odd ones too. The spectrum is not positive.

    Arguments:
        omega: positions in radians per pixel, `(frames, samples, d)`, float64.
        weights: w, `(frames or 1, coils or 1, samples)`, real.
        sizes: N.
        dtype: the precision of the result, torch.float32 or torch.float64.
    """
    double = tuple(2 * n for n in sizes)
    axes = tuple(range(-len(double), 0))
    kernel = torch.empty(omega.shape[0], weights.shape[1], *double, dtype=dtype)
    for frame, points in enumerate(omega.detach()):
        plan = finufft.Plan(1, double, 1, EPS[dtype], 1, "complex128", nthreads=1, upsampfac=2.0, modeord=0, showwarn=0)
        plan.setpts(*(np.ascontiguousarray(points[:, axis].numpy()) for axis in range(points.shape[1])))
        for coil, w in enumerate(weights[min(frame, len(weights) - 1)]):
            source = w.detach().to(device="cpu", dtype=torch.complex128).contiguous().numpy()
            lags = torch.from_numpy(plan.execute(source)).reshape(double) / math.prod(sizes)
            for axis in axes:
                lags.select(axis, 0).zero_()  # the lag -N, which no pair of pixels has
            spectrum = torch.fft.fftn(torch.fft.ifftshift(lags, axes), dim=axes).real
            kernel[frame, coil] = spectrum.to(dtype)
    return kernel


def by_parity(kernel: Tensor, ndim: int) -> list[tuple[tuple[int, ...], Tensor]]:
    """Return (p, L[p::2] / 2^d) for every p in {0, 1}^d, contiguous.

    T x = sum_p conj(D_p) F^-1 L_p F D_p x with D_p = exp(-i pi p . n / N): the even and the odd frequencies of the
    doubled grid, one N-grid of work each (cf. Baron, Dwork, Pauly & Nishimura 2018).
    """
    parts = []
    for parity in itertools.product((0, 1), repeat=ndim):
        part = kernel / 2**ndim
        for axis, p in zip(range(-ndim, 0), parity, strict=True):
            part = part.movedim(axis, -1)[..., p::2].movedim(-1, axis)
        parts.append((parity, part.contiguous()))
    return parts


def half_turns(parity: Sequence[int], sizes: Sequence[int]) -> Tensor | None:
    """Return D_p, None for 1."""
    if not any(parity):
        return None
    angle = torch.zeros((), dtype=torch.float64)
    for axis, (p, n) in enumerate(zip(parity, sizes, strict=True)):
        if p:
            step = -math.pi * torch.arange(n, dtype=torch.float64) / n
            angle = angle + step.reshape(n, *(1,) * (len(sizes) - axis - 1))
    angle = angle.expand(tuple(sizes))
    return torch.polar(torch.ones_like(angle), angle)
