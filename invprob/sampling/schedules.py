"""Noise levels from the largest to none, as tensors `(steps + 1,)` in float64 that end with 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

__all__ = ["SCHEDULES", "Schedule", "flow", "geometric", "karras", "variance_preserving"]

Schedule = Literal["karras", "geometric", "vp", "flow"]
_RHO = 7.0


def karras(steps: int, low: float, high: float) -> Tensor:
    """Return (high^(1/7) + i/(n-1) (low^(1/7) - high^(1/7)))^7 (Karras, Aittala, Aila & Laine 2022, eq. 5)."""
    share = _shares(steps)
    return _ended((high ** (1 / _RHO) + share * (low ** (1 / _RHO) - high ** (1 / _RHO))) ** _RHO)


def geometric(steps: int, low: float, high: float) -> Tensor:
    """Return levels in equal ratios (Song, Sohl-Dickstein, Kingma et al. 2021)."""
    return _ended(high * (low / high) ** _shares(steps))


def variance_preserving(steps: int, low: float, high: float) -> Tensor:
    """Return the levels of a process with linear betas, evenly spaced in its time (Ho, Jain & Abbeel 2020).

    sigma^2 = exp(beta_0 t + (beta_1 - beta_0) t^2 / 2) - 1, with beta_0 : beta_1 = 1 : 200, cut to low .. high.
    """
    first, last = 0.1, 20.0

    def time(level: float) -> Tensor:
        c = torch.tensor(level, dtype=torch.float64).square().log1p()
        return ((first**2 + 2 * (last - first) * c).sqrt() - first) / (last - first)

    t = time(high) + _shares(steps) * (time(low) - time(high))
    return _ended(torch.expm1(first * t + (last - first) * t.square() / 2).sqrt())


def flow(steps: int, low: float, high: float) -> Tensor:
    """Return t / (1 - t) for evenly spaced times t of a linear flow (Lipman, Chen, Ben-Hamu, Nickel & Le 2023)."""
    first, last = high / (1 + high), low / (1 + low)
    t = first + _shares(steps) * (last - first)
    return _ended(t / (1 - t))


SCHEDULES: Mapping[str, Callable[[int, float, float], Tensor]] = {
    "karras": karras,
    "geometric": geometric,
    "vp": variance_preserving,
    "flow": flow,
}


def _shares(steps: int) -> Tensor:
    if steps < 1:
        raise ValueError(f"a schedule needs at least one step, got {steps}")
    return torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1, dtype=torch.float64)


def _ended(levels: Tensor) -> Tensor:
    return torch.cat([levels, levels.new_zeros(1)])
