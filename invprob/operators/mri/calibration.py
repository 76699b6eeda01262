"""Coil maps for the data of a scan: from the middle of k-space where it is measured, with the image where it is not."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from invprob import linalg
from invprob.operators.mri.calibration_block import LARGEST, NEEDED, block_of, calibration_region
from invprob.operators.mri.cartesian import CartesianMRI
from invprob.operators.mri.coil_maps import FEWEST, Maps, maps_of_block
from invprob.operators.mri.encoding import Encoding
from invprob.operators.mri.non_cartesian import NonCartesianMRI

MARGIN = 4  # samples around a block that are fitted with it, so that its border is no border of the data
STEPS = 10  # of conjugate gradients for the images of low resolution
DAMPING = 1e-3  # relative to 1, which A^H W A is about: below what the middle of k-space holds
ROUNDS, STEPS_PER_ROUND = 3, 4  # of refining maps with the image, and of conjugate gradients in each
_USUAL = 256  # pixels along an axis for which the largest block of a plane is meant


def calibrate(y: Tensor, A: Encoding, *, sets: int | None = None) -> Maps:
    """Return the coil maps that the data of one item speak for; frames share them.

    The fully measured middle of k-space is taken as it is on a Cartesian grid, and comes from coil images of low
    resolution off the grid. Where a trajectory leaves gaps already there, maps and image are found in turns: the image
    by a few steps of conjugate gradients, coil images from it and from what the data say beyond, maps from these.

    Arguments:
        y: the data, `A.range_shape`.
        A: the encoding; its maps, if it has any, do not count.
        sets: see `maps_of_block`.

    ValueError for one coil without an axis, and where less than 4 samples along an axis are measured in the middle of
    a Cartesian k-space.
    """
    if A.coils is None:
        raise ValueError("calibrate: the data have no axis of coils, and a single coil needs no maps")
    if tuple(y.shape) != A.range_shape:
        raise ValueError(f"calibrate: data of one item have the shape {A.range_shape}, got {tuple(y.shape)}")
    if isinstance(A, CartesianMRI):
        return maps_of_block(_block_of_grid(y, A), A.image_shape, sets=sets)
    if not isinstance(A, NonCartesianMRI):
        raise ValueError(f"calibrate: coil maps come from data of MRI, not from {A!r}: give maps with coils=")
    if A.frames > 1:  # of what does not change all frames together know most
        y, A = y.movedim(0, 1), NonCartesianMRI(A.image_shape, A.trajectory.detach(), A.coils, dtype=A.dtype)
    seen = calibration_region(_cells(A), _largest(A.image_shape))
    if all(n >= min(FEWEST, whole) for n, whole in zip(seen, A.image_shape, strict=True)):
        return maps_of_block(_block_of_samples(y, A, seen), A.image_shape, sets=sets).without_noise()
    return _refined(y, A, sets)


def _block_of_grid(y: Tensor, A: CartesianMRI) -> Tensor:
    """Return the measured middle of k-space, `(C, *region)`, averaged over frames."""
    d = len(A.image_shape)
    measured = A.measured.expand(y.shape)
    if A.frames > 1:
        count = measured.sum(0)
        y, measured = (measured * y).sum(0) / count.clamp(min=1), count > 0
    everywhere = measured.all(-d - 1)
    region = calibration_region(everywhere)
    if not all(n >= min(NEEDED, whole) for n, whole in zip(region, everywhere.shape, strict=True)):
        raise ValueError(
            f"the middle of k-space is measured in a block of {' x '.join(map(str, region))} samples only, too few for "
            "coil maps: give maps with coils="
        )
    return block_of(y, region)


def _cycles(A: NonCartesianMRI) -> Tensor:
    """Return the positions in cycles per field of view, `(samples, d)`."""
    omega = A.trajectory.detach().to("cpu", torch.float64)
    return omega.reshape(-1, omega.shape[-1]) * torch.tensor(A.image_shape, dtype=torch.float64) / (2 * torch.pi)


def _cells(A: NonCartesianMRI) -> Tensor:
    """Return which cells of the grid of k-space hold a sample, `image_shape`.

    A trajectory whose neighbouring turns are less than a cell apart, as the field of view needs, misses none.
    """
    sizes = torch.tensor(A.image_shape)
    index = (_cycles(A).round().long() + sizes // 2) % sizes
    cells = torch.zeros(A.image_shape, dtype=torch.bool)
    cells[tuple(index.T)] = True
    return cells


def _largest(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how large a block may be: it grows with the field of view, so that it is the same part of k-space."""
    most = LARGEST.get(len(image_shape), LARGEST[3])
    return tuple(min(n, max(most, round(most * n / _USUAL))) for n in image_shape)


def _block_of_samples(y: Tensor, A: NonCartesianMRI, region: tuple[int, ...]) -> Tensor:
    """Return k-space on the grid in a block, `(C, *region)`: that of images of low resolution fitted to the data."""
    small = tuple(min(n + 2 * MARGIN, whole) for n, whole in zip(region, A.image_shape, strict=True))
    k, half = _cycles(A), torch.tensor(small, dtype=torch.float64) / 2
    near = (k.abs() <= half).all(-1)
    inner = NonCartesianMRI(small, k[near] * torch.pi / half, dtype=A.dtype)
    samples = y.reshape(y.shape[0], -1)[:, near.to(y.device)].cpu()
    w = inner.density().to(A.dtype).reshape(-1)
    found = linalg.conjugate_gradient(
        lambda x: inner.gram(x, w) + DAMPING * x, inner.adjoint(w * samples), ndim=len(small), max_iter=STEPS
    )
    return block_of(_spectrum(found.x, len(small)), region)


def _refined(y: Tensor, A: NonCartesianMRI, sets: int | None) -> Maps:
    """Return maps found in turns with the image, from maps of the data as they are; one set unless more are asked for.

    What folds over in coil images of few shots looks like an object that wraps around.
    """
    d, region, sets = len(A.image_shape), _largest(A.image_shape), sets or 1
    blind, w = A.with_coils(A.coils), A.density().to(A.dtype)
    maps = maps_of_block(_block_of_samples(y, A, region), A.image_shape, sets=sets)
    for _ in range(ROUNDS):
        known = A.with_coils(maps.coils, sets=maps.sets)
        image = linalg.conjugate_gradient(
            partial(known.gram, weights=w), known.adjoint(w * y), ndim=len(known.domain_shape), max_iter=STEPS_PER_ROUND
        ).x
        seen = (maps.coils * image.unsqueeze(-d - 1)).reshape(-1, *blind.domain_shape).sum(0)
        images = seen + blind.adjoint(w * (y - known(image)))
        block = block_of(_spectrum(images, d), region)
        maps = maps_of_block(block, A.image_shape, sets=sets)
    return maps.without_noise(f", refined {ROUNDS} times with the image")


def _spectrum(images: Tensor, d: int) -> Tensor:
    """Return the centred orthonormal Fourier transform along the last d axes."""
    axes = tuple(range(-d, 0))
    spectrum: Tensor = torch.fft.fftshift(
        torch.fft.fftn(torch.fft.ifftshift(images, axes), dim=axes, norm="ortho"), axes
    )
    return spectrum
