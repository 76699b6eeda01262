"""Unitary bases in which convolutions and difference operators are diagonal: Fourier and cosine."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Basis = Literal["any", "pixel", "fourier", "cosine"]


def to_basis(x: Tensor, basis: Basis, ndim: int) -> Tensor:
    """Return the coefficients of x along its `ndim` trailing axes (orthonormal FFT or DCT-II)."""
    if basis == "fourier":
        x = torch.fft.fftn(x, dim=tuple(range(-ndim, 0)), norm="ortho")
    if basis == "cosine":
        for axis in range(-ndim, 0):
            x = torch.movedim(dct(torch.movedim(x, axis, -1)), -1, axis)
    return x


def from_basis(c: Tensor, basis: Basis, ndim: int) -> Tensor:
    """Return the image with the coefficients c: the inverse and adjoint of `to_basis`."""
    if basis == "fourier":
        c = torch.fft.ifftn(c, dim=tuple(range(-ndim, 0)), norm="ortho")
    if basis == "cosine":
        for axis in range(-ndim, 0):
            c = torch.movedim(idct(torch.movedim(c, axis, -1)), -1, axis)
    return c


def dct(x: Tensor) -> Tensor:
    """Return the orthonormal DCT-II along the last axis; a matrix product, faster than FFTs at the sizes of images."""
    return x @ _cosines(x.shape[-1], x.dtype, x.device).mT


def idct(c: Tensor) -> Tensor:
    """Return the inverse of `dct`, the orthonormal DCT-III."""
    return c @ _cosines(c.shape[-1], c.dtype, c.device)


@lru_cache(maxsize=16)
def _cosines(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix C_kj = sqrt(2/n) cos(pi k (2 j + 1) / 2n), its first row divided by sqrt(2)."""
    with torch.inference_mode(False), torch.no_grad():  # what is kept has to serve training, too
        k = torch.arange(n, dtype=torch.float64)
        matrix = math.sqrt(2 / n) * torch.cos(math.pi / (2 * n) * torch.outer(k, 2 * k + 1))
        matrix[0] *= math.sqrt(0.5)
        return matrix.to(device, dtype)
