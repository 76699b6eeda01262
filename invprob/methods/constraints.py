"""Bounds on grey values and the support of the object, as settings of recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from invprob import linalg
from invprob.linop import Operator, Place
from invprob.priors import Box
from invprob.problem import Problem

__all__ = ["Bound", "Constraint", "Support", "constraint_of", "outlines"]

Bound = float | str | None
Support = Tensor | str | None
SHARE = 0.995  # of the rays, whose means along the outline's chords lie below the grey value of one material
LONG = 0.1  # of the longest chord: means along shorter ones are noise and edges


@dataclass(frozen=True, eq=False)
class Constraint:
    """lower <= x <= upper within a support, and x = 0 outside of it, on any grid of a problem.

    Arguments:
        lower, upper: per item, `(*batch,)`; None for none.
        support: bool, `(*item,)` or `(*batch, *item)` on the finest grid; None for everywhere.
        where: the support in words; "" for everywhere.
        implied: whether the lower bound is that of x >= 0, which is told by itself.
        nonnegative: per item, whether x >= 0; None where a recipe has not asked.
        outline: like `support`, without the margin that the uncertainty of an outline adds.
    """

    lower: Tensor | None = None
    upper: Tensor | None = None
    support: Tensor | None = None
    where: str = ""
    outline: Tensor | None = None
    implied: bool = False
    nonnegative: Tensor | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing is constrained."""
        return self.lower is None and self.upper is None and self.support is None

    @property
    def told(self) -> dict[str, Any]:
        """What a result tells of it among its settings."""
        bounds = {"lower": None if self.implied else self.lower, "upper": self.upper}
        told: dict[str, Any] = {name: bound.tolist() for name, bound in bounds.items() if bound is not None}
        kept = self.nonnegative
        if kept is not None:
            told["nonnegative"] = kept.tolist() if bool(kept.any()) and not bool(kept.all()) else bool(kept.all())
        return told | ({"support": self.where} if self.where else {})

    @property
    def given(self) -> dict[str, Any]:
        """It as settings of `tv`: what is numbers and masks already."""
        return {"lower": self.lower, "upper": self.upper, "support": self.support}

    def box(self, A: Operator) -> Box | None:
        """Return the constraint on the images of an operator, on a grid as fine or coarser; None for nothing."""
        if self.nothing:
            return None
        k = len(A.domain_shape)
        low, high = (
            torch.tensor(end, dtype=torch.float64) if bound is None else bound.reshape(*bound.shape, *[1] * k)
            for bound, end in ((self.lower, -torch.inf), (self.upper, torch.inf))
        )
        if self.support is not None:
            inside = coarse_support(self.support, A.domain_shape)
            low, high = torch.where(inside, low, 0.0), torch.where(inside, high, 0.0)
        return Box(low, high, k).to(A.device)


def coarse_support(support: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a support on a coarser grid: a pixel is inside if any of the finer ones is."""
    return filled(support, shape) > 0


def filled(support: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return how much of each pixel of a coarser grid lies within a support."""
    k = len(shape)
    if tuple(support.shape[-k:]) == tuple(shape):
        return support.float()
    pool: Callable[..., Tensor] = functional.adaptive_avg_pool2d if k == 2 else functional.adaptive_avg_pool3d
    flat = support.reshape(1, -1, *support.shape[-k:]).float()
    return pool(flat, shape).reshape(*support.shape[:-k], *shape)


def constraint_of(
    problem: Problem, lower: Bound, upper: Bound, support: Support, *, nonnegative: Tensor | None = None
) -> Constraint:
    """Return what the settings of a recipe ask for.

    Arguments:
        lower, upper: numbers in the unit of the image; None for no bound, and for a lower one 0 where `nonnegative`;
            "auto" makes 0 of the lower one, and of the upper one the highest mean along a ray through the support,
            which is the value of an object of one material, and too low a bound for others.
        support: a mask of the object, bool, of the shape of the image, or "disc", "ellipse" or "convex", fitted to the
            edges of a sinogram; None for none.

    ValueError for other words, bounds in the wrong order, a mask of another shape, and outlines that do not fit.
    """
    inside, outline, where = None, None, ""
    if isinstance(support, str):
        found = outlines(problem, support)
        inside, outline = (
            torch.stack(masks).reshape(*problem.batch, *problem.A.domain_shape)
            for masks in zip(*((place.inside, place.fitted) for place in found), strict=True)
        )
        where = found[len(found) // 2].words
    elif support is not None:
        inside, where, k = torch.as_tensor(support).bool().to(problem.y.device), "a mask", problem.ndim
        if tuple(inside.shape[-k:]) != tuple(problem.A.domain_shape):
            raise ValueError(
                f"support must be a mask of the shape of the image, {tuple(problem.A.domain_shape)}, "
                f"got {tuple(inside.shape)}"
            )
        outline = inside
    low = _number(problem, "lower", lower)
    implied = lower is None and nonnegative is not None and bool(nonnegative.any())
    if lower == "auto":
        low = torch.zeros(problem.batch, dtype=torch.float64)
    elif implied and nonnegative is not None:
        low = torch.where(nonnegative, 0.0, -torch.inf).double()
    high = _number(problem, "upper", upper)
    if upper == "auto":
        high = highest_mean(problem, inside)
    if low is not None and high is not None and not bool((low <= high).all()):
        raise ValueError(f"lower must not exceed upper, got {low.tolist()} and {high.tolist()}")
    return Constraint(low, high, inside, where, outline, implied, nonnegative)


def outlines(problem: Problem, shape: str) -> list[Place]:
    """Return where the object of every item is; ValueError where its data do not show it."""
    A, y = problem.A, problem.quadratic().y
    items = A.fill(y, problem.counted()).reshape(-1, *A.range_shape)
    found = [place for place in (A.outline(item, shape) for item in items) if place is not None]
    if not found or len(found) < len(items):
        raise ValueError(
            "outlines are seen by parallel and fan beams in the plane, "
            f"not by {type(A).__name__}: give a mask as support"
        )
    return found


def highest_mean(problem: Problem, support: Tensor | None) -> Tensor:
    """Return per item the highest mean of x along the chord that a ray has within the support, `(*batch,)`."""
    if support is None:
        raise ValueError("upper=auto needs a support: it is found from the chords of rays within it")
    of = problem.quadratic()
    chords = of.linear(support.to(of.y.dtype))
    largest = chords.abs().flatten(-len(of.A.range_shape)).amax(-1)
    long = chords > LONG * linalg.per_item(largest, chords, len(of.A.range_shape))
    counted = of.counted()
    long = long if counted is None else long & (counted > 0)
    means = torch.where(long, of.y / torch.where(long, chords, 1.0), -torch.inf).double()
    flat, count = means.flatten(-len(of.A.range_shape)), long.expand(of.y.shape).flatten(-len(of.A.range_shape)).sum(-1)
    rank = flat.shape[-1] - 1 - ((1 - SHARE) * count).long()
    return flat.sort(-1).values.gather(-1, rank.unsqueeze(-1)).squeeze(-1).clamp(min=0)


def _number(problem: Problem, name: str, bound: Bound | Tensor) -> Tensor | None:
    if bound is None or bound == "auto":
        return None
    if isinstance(bound, str):
        raise ValueError(f"{name} must be a number, 'auto' or None, got {bound!r}")
    value = torch.as_tensor(bound, dtype=torch.float64)
    if bool((value.isnan() | (value == (torch.inf if name == "lower" else -torch.inf))).any()):
        raise ValueError(f"{name} must be a number, 'auto' or None, got {bound}")
    most = torch.finfo(problem.y.dtype).max ** 0.4  # of data of about 1; images are squared
    return torch.where(value.isinf(), value, value.clamp(-most, most)).expand(problem.batch)
