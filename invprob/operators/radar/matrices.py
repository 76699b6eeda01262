"""A and A^H from the waves of both legs by matrix products, one per frequency and chunk of voxels: on any device."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from invprob.operators.radar.legs import Waves

__all__ = ["adjoint", "forward"]

Chunks = Iterable[tuple[slice, Waves, Waves]]


def forward(x: Tensor, shape: tuple[int, int, int], waves: Chunks) -> Tensor:
    """Return sum_n a_k[t, n] x_n b_k[r, n] of x (items, voxels): (items, K, T, R), which `shape` says."""
    frequencies, left, right = shape
    out = x.new_zeros(frequencies, len(x) * left, right)
    for chunk, to, back in waves:
        part = x[:, None, chunk]
        for k, (a, b) in enumerate(zip(to, back, strict=True)):
            out[k].addmm_((a * part).flatten(0, 1), b.mT)
    return out.reshape(frequencies, len(x), left, right).movedim(1, 0)


def adjoint(y: Tensor, voxels: int, waves: Chunks) -> Tensor:
    """Return sum_k sum_t a_k[t, n] sum_r b_k[r, n] y[k, t, r] of y (items, K, T, R): (items, voxels)."""
    items, _, left, right = y.shape
    readings = y.movedim(1, 0).contiguous()
    image = y.new_empty(items, voxels)
    for chunk, to, back in waves:
        total = torch.zeros((), dtype=y.dtype, device=y.device)
        for k, (a, b) in enumerate(zip(to, back, strict=True)):
            part = (readings[k].reshape(items * left, right) @ b).reshape(items, *a.shape)
            total = part.mul_(a) if k == 0 else total.addcmul_(part, a)
        image[:, chunk] = total.sum(1)
    return image
