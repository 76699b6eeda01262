"""Unitary bases in which convolutions and difference operators are diagonal: Fourier and cosine."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Basis = Literal["any", "pixel", "fourier", "cosine"]


def to_basis(x: Tensor, basis: Basis, ndim: int) -> Tensor:
    """Return the coefficients of x along its `ndim` trailing axes (orthonormal FFT or DCT-II)."""
    if basis == "fourier":
        return torch.fft.fftn(x, dim=tuple(range(-ndim, 0)), norm="ortho")
    if basis == "cosine":
        for axis in range(-ndim, 0):
            x = dct(x.movedim(axis, -1)).movedim(-1, axis)
    return x


def from_basis(c: Tensor, basis: Basis, ndim: int) -> Tensor:
    """Return the image with the coefficients c: the inverse and adjoint of `to_basis`."""
    if basis == "fourier":
        return torch.fft.ifftn(c, dim=tuple(range(-ndim, 0)), norm="ortho")
    if basis == "cosine":
        for axis in range(-ndim, 0):
            c = idct(c.movedim(axis, -1)).movedim(-1, axis)
    return c


def dct(x: Tensor) -> Tensor:
    """Return the orthonormal DCT-II along the last axis, by one FFT of the same length (Makhoul 1980)."""
    if x.is_complex():
        return torch.complex(dct(x.real), dct(x.imag))
    n = x.shape[-1]
    v = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    c = (torch.fft.fft(v) * _half_shift(n, x)).real * math.sqrt(2 / n)
    return torch.cat([c[..., :1] * math.sqrt(0.5), c[..., 1:]], dim=-1)


def idct(c: Tensor) -> Tensor:
    """Return the inverse of `dct`, the orthonormal DCT-III."""
    if c.is_complex():
        return torch.complex(idct(c.real), idct(c.imag))
    n = c.shape[-1]
    c = torch.cat([c[..., :1] * math.sqrt(2), c[..., 1:]], dim=-1) * math.sqrt(n / 2)
    mirrored = torch.cat([torch.zeros_like(c[..., :1]), c[..., 1:].flip(-1)], dim=-1)
    v = torch.fft.ifft(torch.complex(c, -mirrored) * _half_shift(n, c).conj()).real
    x = torch.empty_like(c)
    half = (n + 1) // 2
    x[..., ::2] = v[..., :half]
    x[..., 1::2] = v[..., half:].flip(-1)
    return x


def _half_shift(n: int, like: Tensor) -> Tensor:
    """Return exp(-i pi k / 2n): the half-sample shift between a DFT and a DCT."""
    angle = torch.arange(n, dtype=torch.float64, device=like.device) * (-math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)
