"""The blur of a camera in a hand that is not still."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.phantoms.random import as_generator

STEPS = 4000  # points of the path: enough that it has no gaps


def shaken_kernel(size: int, generator: int | torch.Generator) -> Tensor:
    """Return a kernel of `size` x `size` taps >= 0 with sum 1, float32: the path of a random walk with momentum.

    The path fills one side of the kernel. The same generator state gives the same kernel. ValueError for a size < 1.
    """
    if size < 1:
        raise ValueError(f"shaken_kernel: size must be at least 1, got {size}")
    path = torch.randn(STEPS, 2, generator=as_generator(generator)).cumsum(0).cumsum(0)
    path = (path - path.amin(0)) / (path.amax(0) - path.amin(0)).amax() * (size - 1)
    row, column = path.round().long().unbind(-1)
    return torch.zeros(size, size).index_put_((row, column), torch.ones(STEPS), accumulate=True) / STEPS
