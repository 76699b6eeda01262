"""Derivatives along a direction, by torch's forward mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


def derivative_along(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """Return the derivative of a function at x along u, of the shape, precision and kind of x."""
    return value_and_derivative(function, x, u)[1]


def value_and_derivative(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value of a function at x, and its derivative along u, of the shape, precision and kind of x."""
    load_rules()
    value, tangent = torch.func.jvp(function, (x,), (u,))[:2]
    return value, tangent


@cache
def load_rules() -> bool:
    """Let torch load its rules, which it does at first use, with a warning about how it writes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))
    return True
