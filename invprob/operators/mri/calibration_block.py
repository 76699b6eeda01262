"""The fully measured middle of k-space, from which coil maps can be estimated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST = {2: 24, 3: 20}  # samples per axis, by the axes of the image: more smooth the maps no further
NEEDED = 4  # samples per axis, below which not even a smooth guess of the maps is possible


def calibration_region(measured: Tensor, largest: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return how many samples per axis the largest centred block of readings has, 0 along all where there is none.

    A block of n samples along an axis of N begins at floor(N/2) - floor(n/2), so that k = 0 is its sample floor(n/2).
    It grows by one sample at a time along each axis in turn, and is no larger than `largest`.

    Arguments:
        measured: whether a place of k-space was measured, a boolean of the shape of k-space.
        largest: the most samples along each axis, by default 24, and 20 in volumes.
    """
    shape = tuple(measured.shape)
    most = largest or (LARGEST.get(len(shape), LARGEST[3]),) * len(shape)
    limits = [min(n, m) for n, m in zip(shape, most, strict=True)]
    size = [1] * len(shape)
    if not bool(block_of(measured, size).all()):
        return (0,) * len(shape)
    growing = True
    while growing:
        growing = False
        for axis, limit in enumerate(limits):
            larger = [n + (i == axis) for i, n in enumerate(size)]
            if larger[axis] <= limit and bool(block_of(measured, larger).all()):
                size, growing = larger, True
    return tuple(size)


def block_of(kspace: Tensor, size: Sequence[int]) -> Tensor:
    """Return the middle of k-space, `size` samples along the last axes, k = 0 being the sample floor(size/2)."""
    for axis, n in enumerate(size, start=-len(size)):
        kspace = kspace.narrow(axis, kspace.shape[axis] // 2 - n // 2, n)
    return kspace


def waves(size: int, n: int) -> Tensor:
    """Return exp(2 pi i k (r - floor(n/2)) / n) for pixels r and k from -floor(size/2) up, `(n, size)`, complex128."""
    k = torch.arange(size, dtype=torch.float64) - size // 2
    r = torch.arange(n, dtype=torch.float64) - n // 2
    return torch.polar(torch.ones(n, size, dtype=torch.float64), 2 * torch.pi / n * r[:, None] * k)
