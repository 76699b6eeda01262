"""Smooth convex minimisation, every item of the batch by itself: L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Minimum", "minimise"]

# of points (b, n) and the numbers (b,) of the items they belong to: values (b,) in float64 and gradients (b, n)
ValueAndGrad = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_PAIRS = 8  # differences that make up the approximate Hessian
_TRIALS = 12  # steps tried along one direction
_FLATTER = 0.5  # a step may overshoot the minimum along its line as long as the slope there is this much flatter


@dataclass(frozen=True)
class Minimum:
    """What was found: points (B, n), values (B,) in float64, gradients (B, n), their norms (B,), and iterations."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    residual: Tensor
    n_iter: int


def minimise(function: ValueAndGrad, x0: Tensor, *, tol: Tensor, max_iter: int = 200) -> Minimum:
    """Minimise a smooth convex function per item from x0 (B, n) until |gradient| <= tol (B,).

    L-BFGS (Nocedal & Wright 2006, algorithm 7.5) with steps that are shortened until the slope along the line has
    fallen to half of its size. An item that has arrived costs nothing more; one whose steps no longer
    change it, for rounding, stays where it is.
    """
    every = torch.arange(len(x0), device=x0.device)
    x = x0.clone()
    value, gradient = function(x, every)
    size = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64)
    index = every[(size > tol) & size.isfinite()]
    history = _History()
    iteration = 0
    while len(index) and iteration < max_iter:
        iteration += 1
        here, slope = x[index], gradient[index]
        ahead, height, new_slope = _searched(function, index, here, slope, history.direction(slope))
        step = ahead - here
        history.add(step, new_slope - slope)
        x[index], gradient[index], value[index] = ahead, new_slope, height
        left = torch.linalg.vector_norm(new_slope, dim=1, dtype=torch.float64)
        size[index] = left
        moved = step.abs().amax(1) > 4 * torch.finfo(x.dtype).eps * ahead.abs().amax(1)
        going = (left > tol[index]) & left.isfinite() & moved
        if not bool(going.all()):
            index = index[going]
            history.keep(going)
    return Minimum(x, value, gradient, size, iteration)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).sum(1)


def _searched(
    function: ValueAndGrad, index: Tensor, here: Tensor, slope: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return points along the directions that are near the minimum there, with values and gradients."""
    down = _dot(slope, direction)
    uphill = ~(down < 0)  # rounding may do that
    direction = torch.where(uphill[:, None], -slope, direction)
    down = torch.where(uphill, -_dot(slope, slope), down)
    length = torch.ones_like(down)
    point = here + direction
    value, gradient = function(point, index)
    for _ in range(_TRIALS):
        after = _dot(gradient, direction)
        again = (~(after <= -_FLATTER * down)).nonzero()[:, 0]
        if not len(again):
            break
        # where a parabola through both slopes has its minimum, within reason
        shorter = (down / (down - after))[again]
        length[again] *= torch.where(shorter.isfinite(), shorter, 0.1).clamp(0.1, 0.8)
        point[again] = here[again] + length[again, None].to(here) * direction[again]
        value[again], gradient[again] = function(point[again], index[again])
    return point, value, gradient


class _History:
    """The last differences of points and of gradients."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, s: Tensor, y: Tensor) -> None:
        """Take note of a step; a pair without curvature counts as none."""
        curvature = _dot(s, y)
        self.pairs = [*self.pairs[1 - _PAIRS :], (s, y, torch.where(curvature > 0, 1 / curvature, 0.0))]

    def keep(self, going: Tensor) -> None:
        """Forget the items that have arrived."""
        self.pairs = [(s[going], y[going], rho[going]) for s, y, rho in self.pairs]

    def direction(self, gradient: Tensor) -> Tensor:
        """Return minus the inverse Hessian, as far as known, times the gradient: the two-loop recursion."""
        d, weights = -gradient, []
        for s, y, rho in reversed(self.pairs):
            a = rho * _dot(s, d)
            weights.append(a)
            d = d - a[:, None].to(d) * y
        if self.pairs:
            s, y, rho = self.pairs[-1]
            scale = torch.where(rho > 0, 1 / (rho * _dot(y, y)), 1.0)
            d = scale[:, None].to(d) * d
        for (s, y, rho), a in zip(self.pairs, reversed(weights), strict=True):
            d = d + (a - rho * _dot(y, d))[:, None].to(d) * s
        return d
