"""Drawing an image to a few grey values that it shows itself."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise

from torch import Tensor

from invprob.methods.constraints import coarse_support
from invprob.methods.reporting import Progress, run
from invprob.methods.scales import contrast, peak, penalty, started, variation_of
from invprob.methods.segmentation import MOST, segment
from invprob.priors import GreyLevels, Sum
from invprob.problem import Problem
from invprob.solvers import ADMM

__all__ = ["checked_count", "drawn_to_levels"]

PULLS, STEPS = (0.02, 0.05, 0.1, 0.2), 30  # of the pull, relative to ADMM's penalty, that grows, and iterations of each


def checked_count(problem: Problem, count: int) -> int:
    """Return how many grey values were asked for; ValueError for other numbers, batches and complex images."""
    if not 2 <= count <= MOST:
        raise ValueError(f"grey_values must be a whole number from 2 to {MOST}, or None, got {count}")
    if problem.batch.numel() != 1 or problem.y.is_complex():
        raise ValueError("grey_values is for single real images: leave it out")
    return count


def drawn_to_levels(
    problem: Problem, x: Tensor, count: int, strength: Tensor, support: Tensor | None, tol: float
) -> Generator[Progress, None, tuple[float, ...]]:
    """Yield total variation with a pull to `count` grey values that grows, and return these.

    They are the means of the classes of least variance (`segment`), anew before each step (Schuele, Schnoerr, Weber &
    Hornegger 2005 draw to two that are known).
    """
    lam = strength * peak(problem)
    inside = None if support is None else coarse_support(support, problem.A.domain_shape)
    rho = penalty(lam, contrast(x, problem.ndim), problem.linear)
    f = problem.fidelity()
    levels: tuple[float, ...] = ()
    for pull in PULLS:
        levels = _means(x, segment(x, count, problem.ndim), count)
        grey = GreyLevels(levels, pull * rho, support=inside, ndim=problem.ndim)
        solver, g = ADMM(rho=rho, tol=tol, max_iter=STEPS), Sum(variation_of(problem.A, lam), grey)
        settings = {"strength": strength.tolist(), "tol": tol, "grey_values": count}
        state = started(problem, solver, f, g, x)
        state = yield from run(f"{count} grey values", problem, solver, f, g, state=state, settings=settings)
        x = state.x
    return levels


def _means(x: Tensor, labels: Tensor, count: int) -> tuple[float, ...]:
    """Return the means of the classes, which rise; ValueError where two are one."""
    means = tuple(float(x[labels == k].double().mean()) for k in range(count))  # nan of an empty class
    if not all(low < high for low, high in pairwise(means)):
        raise ValueError(f"the image does not show {count} grey values: ask for fewer")
    return means
