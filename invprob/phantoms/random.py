"""Where random numbers come from: a seed or a generator that the caller owns, never the global state."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_generator", "uniform"]


def as_generator(seed: int | torch.Generator) -> torch.Generator:
    """Return the generator itself, or a new CPU generator started from an int seed.

    A generator is advanced by what is drawn from it; the same seed always gives the same numbers.
    Raises `TypeError` for anything else, such as None.
    """
    if isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, int):
        return torch.Generator().manual_seed(seed)
    raise TypeError(f"generator must be an int seed or a torch.Generator, got {seed!r}; pass for example 0")


def uniform(generator: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Draw float64 numbers in [low, high), shape `size` (none: 0-d), on the generator's device."""
    draws = torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * draws
