"""Joseph's projector as a sparse matrix in torch: for accelerators, where the walking kernels cannot go."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from invprob.operators.ct.ray_table import RayFamily, RayTable
from invprob.threads import jit

Array = NDArray[Any]


@dataclass(frozen=True)
class FamilyMatrix:
    """The rays of a family: (rays, pixels) and its transpose, the pixels of each copy, the place of each reading."""

    matrix: Tensor
    transpose: Tensor
    pixels: Tensor
    members: Tensor


@dataclass(frozen=True)
class RayMatrix:
    """All rays of a geometry; the copies of all images stand side by side as columns."""

    families: tuple[FamilyMatrix, ...]
    image_shape: tuple[int, int]
    count: int

    @classmethod
    def build(cls, table: RayTable, device: torch.device) -> RayMatrix:
        """Return the matrices of a table on a device."""
        return cls(tuple(_family_matrix(f, device) for f in table.families), table.image_shape, table.count)

    def project(self, x: Tensor) -> Tensor:
        """Return the line integrals, (items, rays), of images (*batch, H, W)."""
        images = x.reshape(x.shape[:-2].numel(), math.prod(self.image_shape))
        # one place more, for the rays of a copy that are nobody's
        readings = images.new_zeros(len(images), self.count + 1)
        for family in self.families:
            copies = images[:, family.pixels]  # (items, copies, pixels)
            values = family.matrix @ copies.flatten(0, 1).T
            readings[:, family.members.flatten()] = values.T.reshape(len(images), family.members.numel())
        return readings[:, :-1]

    def backproject(self, y: Tensor) -> Tensor:
        """Return the transpose of `project` applied to readings (*batch, angles, bins): images (items, pixels)."""
        readings = torch.nn.functional.pad(y.reshape(y.shape[:-2].numel(), self.count), (0, 1))
        images = readings.new_zeros(len(readings), math.prod(self.image_shape))
        for family in self.families:
            values = readings[:, family.members]  # (items, copies, rays)
            copies = (family.transpose @ values.flatten(0, 1).T).T.reshape(len(readings), *family.pixels.shape)
            for copy, pixels in enumerate(family.pixels):  # every copy holds every pixel once: no collisions
                images[:, pixels] += copies[:, copy]
        return images


def _family_matrix(family: RayFamily, device: torch.device) -> FamilyMatrix:
    rows, columns, values = _entries(family)
    size = (len(family.start), family.steps * family.across)
    matrix = sparse.csr_array((values, (rows, columns)), shape=size)
    copies = [
        offset + row * np.arange(family.steps)[:, None] + column * np.arange(family.across)
        for offset, row, column in family.maps
    ]
    return FamilyMatrix(
        _to_torch(matrix).to(device),
        _to_torch(matrix.T.tocsr()).to(device),
        torch.from_numpy(np.stack(copies).reshape(len(copies), -1)).to(device),
        torch.from_numpy(family.members.T.astype(np.int64)).to(device),
    )


def _to_torch(matrix: sparse.csr_array) -> Tensor:
    size = np.int32 if matrix.nnz < 2**31 else np.int64
    starts, columns, values = (
        torch.from_numpy(part) for part in (matrix.indptr.astype(size), matrix.indices.astype(size), matrix.data)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts, columns, values, size=matrix.shape, check_invariants=True)


def _entries(family: RayFamily) -> tuple[Array, Array, Array]:
    """Return rays, pixels and weights of all the steps inside the image."""
    sizes = 2 * (family.leave - family.enter).astype(np.int64)
    ends = np.cumsum(sizes)
    rays = np.repeat(np.arange(len(sizes)), sizes)
    pixels, weights = np.empty(int(ends[-1]), np.int64), np.empty(int(ends[-1]), family.length.dtype)
    paths = (family.start, family.slope, family.length, family.enter, family.leave)
    _fill(pixels, weights, ends - sizes, *paths, family.across)
    inside = pixels >= 0
    return rays[inside], pixels[inside], weights[inside]


@jit
def _fill(
    pixels: Array,
    weights: Array,
    first: Array,
    start: Array,
    slope: Array,
    length: Array,
    enter: Array,
    leave: Array,
    across: int,
) -> None:
    """Write two entries per step, pixel -1 for one outside the image."""
    for k in range(len(start)):
        at = first[k]
        for i in range(enter[k], leave[k]):
            p = start[k] + slope[k] * i
            j = int(np.floor(p))
            f = p - j
            pixels[at] = i * across + j if 0 <= j < across else -1
            pixels[at + 1] = i * across + j + 1 if 0 <= j + 1 < across else -1
            weights[at] = (1 - f) * length[k]
            weights[at + 1] = f * length[k]
            at += 2
