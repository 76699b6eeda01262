"""Where random numbers come from: a seed or a generator that the caller owns, never the global state."""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

__all__ = ["as_generator", "seeded", "uniform"]

_STREAM = 0xBE9C4  # of keys: far from the seeds that training and its validation draw from


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


def seeded(*words: str | int) -> torch.Generator:
    """Return the generator of a key, the same on every machine; another key is another stream."""
    return as_generator((_STREAM << 32) | crc32("/".join(map(str, words)).encode()))


def uniform(generator: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Draw float64 numbers in [low, high), shape `size` (none: 0-d), on the generator's device."""
    draws = torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * draws
