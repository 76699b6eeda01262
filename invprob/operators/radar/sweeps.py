"""A and A^H from the waves of both legs by compiled sweeps over chunks of voxels, shared out among threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.operators.radar.legs import ANCHOR, Planes, Waves
from invprob.operators.radar.wave_kernels import (
    LANES,
    RECEIVERS,
    TRANSMITTERS,
    array_adjoint,
    array_forward,
    list_adjoint,
    list_forward,
)
from invprob.threads import share

__all__ = ["FILL", "Chunk", "adjoint", "filled", "forward", "planar"]

FILL = 2 * LANES  # voxels of a chunk and of an image come in such numbers
GROUPS = 32  # of chunks, each with sums of its own: how many threads there are changes no bit
SUMS = 2**27  # bytes that the sums of all groups under way may take for an item; large data have fewer groups

Array = NDArray[Any]
Chunk = tuple[int, Planes | None, Planes]  # its first voxel; of a list of pairs the second leg holds the waves of both
Get = Callable[[int], Chunk]


def planar(first: int, left: Waves | None, right: Waves) -> Chunk:
    """Return the waves of a chunk in planes of real numbers, with rows and voxels of zeros to make up whole tiles."""
    if left is None:
        return first, None, right.planes(1, FILL)
    return first, left.planes(TRANSMITTERS, FILL), right.planes(RECEIVERS, FILL)


def forward(x: Tensor, shape: tuple[int, ...], get: Get, chunks: int, threads: int) -> Tensor:
    """Return sum_n a_k[t, n] x_n b_k[r, n] of x (items, voxels): (items, *shape), the shape (K, T, R) or (K, P).

    `get` gives one of the `chunks`, in a fixed order of sums, whatever the number of threads that ask for them.
    """
    image = np.zeros((len(x), 2, _up(x.shape[1], FILL)), _parts(x).dtype)
    image[:, :, : x.shape[1]] = _parts(x).transpose(0, 2, 1)
    parts = (*filled(shape), 2)
    groups = min(GROUPS, max(1, SUMS // (math.prod(parts) * LANES * image.itemsize)))
    size = -(-chunks // groups)
    sums = np.zeros((-(-chunks // size), len(x), *parts), image.dtype)

    def work(first: int, last: int) -> None:
        lanes = np.zeros((len(x), *parts, LANES), image.dtype)
        for start, a, b in map(get, range(first, last)):
            for item, out in zip(image, lanes, strict=True):
                if a is None:
                    list_forward(b.starts, b.step, ANCHOR, item, start, out)
                else:
                    array_forward(a.starts, a.step, b.starts, b.step, ANCHOR, item, start, out)
        sums[first // size] = np.einsum("...l->...", lanes)  # a fourth of the time of lanes.sum(-1)

    share(work, chunks, size, threads)
    found = sums.sum(0)[(slice(None), *map(slice, shape))]
    return torch.complex(*torch.from_numpy(found).unbind(-1))


def adjoint(y: Tensor, voxels: int, get: Get, chunks: int, threads: int) -> Tensor:
    """Return sum_k sum_t a_k[t, n] sum_r b_k[r, n] y[k, t, r] of y (items, K, T, R) or (items, K, P).

    The waves are those of `forward`; the image is (items, voxels).
    """
    readings = np.zeros((len(y), *filled(tuple(y.shape[1:])), 2), _parts(y).dtype)
    readings[(slice(None), *map(slice, y.shape[1:]))] = _parts(y)
    image = np.empty((len(y), 2, _up(voxels, FILL)), readings.dtype)

    def work(first: int, last: int) -> None:
        for start, a, b in map(get, range(first, last)):
            for item, out in zip(readings, image, strict=True):
                if a is None:
                    list_adjoint(b.starts, b.step, ANCHOR, item, out, start)
                else:
                    array_adjoint(a.starts, a.step, b.starts, b.step, ANCHOR, item, out, start)

    share(work, chunks, 1, threads)
    return torch.complex(*torch.from_numpy(image[..., :voxels]).unbind(1))


def _parts(z: Tensor) -> Array:
    """Return real and imaginary parts along a last axis."""
    found: Array = torch.view_as_real(z.detach().resolve_conj()).numpy()
    return found


def filled(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of data with the rows that make up whole tiles; a list of pairs has none."""
    if len(shape) == 2:
        return shape
    return shape[0], _up(shape[1], TRANSMITTERS), _up(shape[2], RECEIVERS)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
