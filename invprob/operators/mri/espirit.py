"""ESPIRiT: coil maps as eigenvectors, from the middle of k-space (Uecker et al., Magn. Reson. Med. 71, 2014).

Patches of k-space lie in a space W of few dimensions, as each is a sum over pixels r of s_c exp(-2 pi i p.r/N) with the
coils' sensitivities s = S(r). So S(r) is the vector that G(r) keeps, which projects exp(-2 pi i p.r/N) s_c on W and
back. As a function of r, G is a trigonometric polynomial of 2k - 1 lags per axis for patches of k samples: it is found
on a grid of 2k points and is then known exactly at the pixels of an image of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from invprob.operators.mri.calibration_block import waves

KERNEL = {2: 6, 3: 5}  # samples of a patch per axis, by the axes of the image
SIGNAL = 0.02  # singular values of the calibration matrix above this share of the largest are signal
_TAIL, _VALUES = 4, 128  # the smallest quarter of the singular values is noise; so many of drawn noise tell its level
_ROUNDS, _SETTLED = 8, 0.02  # signal and noise are told apart in turns, until the noise level falls by less than 2 %
_BEYOND = 1.2  # times the largest singular value of noise: above is signal, though coils differ in noise
_NOTHING = 1e-7  # share of the largest singular value, to which the squares of the others are known
_SLAB = 2**26  # bytes of eigenvalue problems at a time


class EigenMaps(NamedTuple):
    """Eigenvectors of G, `(2, C, *image)` with norm 1, and their eigenvalues, `(2, *image)`, the larger ones first."""

    vectors: Tensor
    values: Tensor


class Patches(NamedTuple):
    """The space of the patches: orthonormal rows `(rank, C, *kernel)`, and the noise level of k-space beside it."""

    rows: Tensor
    noise: float


def kernel_of(region: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many samples a patch has along each axis."""
    return tuple(min(KERNEL.get(len(region), KERNEL[3]), n) for n in region)


def patches_of(block: Tensor) -> Patches:
    """Return the space that the patches of the middle of k-space, `(C, *region)`, lie in.

    Of its directions those count whose singular values neither noise nor a fiftieth of the largest reaches, and the
    strongest one always.
    """
    windows = _windows(block)
    squares, vectors = torch.linalg.eigh(windows.T @ windows.conj())  # conjugate of the usual Gram matrix: of patches
    singular, vectors = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    noise, highest = _noise(block, windows, singular, vectors)
    strongest = float(singular[0])
    signal = vectors[:, singular >= min(max(SIGNAL * strongest, highest), strongest)]
    return Patches(signal.T.reshape(-1, block.shape[0], *kernel_of(tuple(block.shape[1:]))), noise)


def _noise(block: Tensor, windows: Tensor, singular: Tensor, vectors: Tensor) -> tuple[float, float]:
    """Return the noise level sigma of k-space, sigma^2 = E|n|^2, and the singular value that no such noise reaches.

    What is left of the matrix of patches without its signal is compared with white noise in the same place: outside the
    spaces that the signal fills on both sides of it. What is signal, the noise level tells, so both are found in turns:
    first the smallest quarter of the singular values is noise, and nothing is signal, which is too much noise; later
    there is too little signal, and never less.
    """
    squares, signal, before = singular.square(), 0, math.inf
    rank = min(*windows.shape, int((singular > _NOTHING * singular[0]).sum()))
    for _ in range(_ROUNDS):
        white, beside = _white_noise(block, windows, vectors[:, :signal].T), rank - signal
        tail = min(max(1, rank // _TAIL), beside)
        sigma = math.sqrt(float(squares[rank - tail : rank].sum() / white[beside - tail : beside].sum()))
        highest = _BEYOND * sigma * math.sqrt(float(white[0]))
        standing_out = min(int((singular > highest).sum()), rank - 1)
        if standing_out <= signal or sigma > (1 - _SETTLED) * before:
            break
        signal, before = standing_out, sigma
    return math.sqrt(float(squares[rank - beside : rank].sum() / white[:beside].sum())), highest


def _white_noise(block: Tensor, windows: Tensor, signal: Tensor) -> Tensor:
    """Return the squares of the singular values of noise of sigma 1, the largest first.

    It is noise that leaves out the directions of the signal, `(count, C * prod(kernel))`, and what they are in the
    patches.
    """
    left = torch.linalg.qr(windows @ signal.mH).Q
    draws = math.ceil(_VALUES / min(windows.shape))
    generator, squares = torch.Generator().manual_seed(0), torch.zeros(windows.shape[1], dtype=torch.float64)
    for _ in range(draws):
        noise = _windows(torch.randn(block.shape, dtype=torch.complex128, generator=generator))
        noise = noise - (noise @ signal.mH) @ signal
        noise = noise - left @ (left.mH @ noise)
        squares += torch.linalg.eigvalsh(noise.mH @ noise).flip(0) / draws
    return squares


def eigen_maps(patches: Patches, image_shape: tuple[int, ...]) -> EigenMaps:
    """Return the two largest eigenvalues of G at every pixel with their vectors; one coil has the second value 0."""
    coils = patches.rows.shape[1]
    parts = [_largest_two(G) for G in _projections(patches.rows, image_shape)]
    vectors = torch.cat([part.vectors for part in parts]).reshape(*image_shape, coils, -1)
    values = torch.cat([part.values for part in parts]).reshape(*image_shape, -1)
    return EigenMaps(vectors.movedim((-1, -2), (0, 1)).contiguous(), values.movedim(-1, 0).contiguous())


def _largest_two(projections: Tensor) -> EigenMaps:
    values, vectors = torch.linalg.eigh(projections)
    return EigenMaps(vectors[..., -2:].flip(-1), values[..., -2:].flip(-1))


def _projections(rows: Tensor, image_shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Yield G at the pixels of slabs along the first axis, `(pixels, C, C)` in complex64."""
    coils, kernel = rows.shape[1], tuple(rows.shape[2:])
    lags = _lags(rows)  # (*lags, C, C)
    tables = [waves(2 * k - 1, n) for k, n in zip(kernel, image_shape, strict=True)]
    step = max(1, _SLAB // (8 * coils**2 * prod(image_shape[1:])))
    for first in range(0, image_shape[0], step):
        here = [tables[0][first : first + step], *tables[1:]]
        values = lags.flatten(-2)
        for axis, table in enumerate(here):
            values = torch.tensordot(table.to(torch.complex64), values, dims=([1], [axis])).movedim(0, axis)
        yield values.reshape(-1, coils, coils)


def _lags(rows: Tensor) -> Tensor:
    """Return the Fourier coefficients of G for the lags from -(k-1) to k-1 along each axis, `(*lags, C, C)`."""
    kernel = tuple(rows.shape[2:])
    axes = tuple(range(2, rows.ndim))
    fine = tuple(2 * k for k in kernel)
    seen = torch.fft.ifftn(rows, s=fine, dim=axes, norm="forward")  # sum_p v_c[p] exp(+2 pi i p.r/2k)
    points = seen.flatten(2).permute(2, 1, 0)  # (points, C, rank)
    values = (points @ points.mH / prod(kernel)).reshape(*fine, *points.shape[1:2] * 2)
    space = tuple(range(len(kernel)))
    lags: Tensor = torch.fft.fftshift(torch.fft.fftn(values, dim=space, norm="forward"), space)
    for axis, k in enumerate(kernel):
        lags = lags.narrow(axis, 1, 2 * k - 1)  # the lag -k is no difference of two places of a patch
    return lags.to(torch.complex64)


def _windows(block: Tensor) -> Tensor:
    """Return every patch of a block, `(patches, C * prod(kernel))`, in complex128."""
    kernel = kernel_of(tuple(block.shape[1:]))
    patches = block.to(torch.complex128)
    for axis, k in enumerate(kernel, start=1):
        patches = patches.unfold(axis, k, 1)
    d = len(kernel)
    return patches.movedim(0, d).reshape(prod(patches.shape[1 : d + 1]), -1)
