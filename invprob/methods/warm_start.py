"""What recipes with a learned prior share: they begin where total variation ends, at the noise level that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Constraint
from invprob.methods.reporting import Progress, run
from invprob.methods.scales import constant, started, unit
from invprob.methods.strength import Strength, fixed
from invprob.methods.total_variation import tv
from invprob.problem import Problem
from invprob.solvers import Solver

# noise level at which the slope of a learned prior is followed, relative to the image's contrast: chosen on generated
# images
SMOOTHED = 0.05
# tolerance at which, or iterations after which, total variation has gone far enough: no result was worse for ending
# there, and up to 1.6 times as fast where one item lags
ROUGHLY, ENOUGH = 4e-3, 120
# noise levels below which none is assumed, and beyond which no reading would say anything, relative to the largest
# reading; no measurement on record
FAINTEST, LOUDEST = 1e-4, 1e6
# a noise level more than this many times the misfit of total variation is taken for wrong, as by wiener; no measurement
# on record
CREDIBLE = 1.5


@dataclass(frozen=True)
class Start:
    """Where the learned prior takes over: an image, its contrast and the noise level of the data, per item."""

    x: Tensor
    size: Tensor
    noise: Tensor

    @property
    def sigma(self) -> Tensor:
        """The noise level at which the slope of a prior is followed."""
        return SMOOTHED * self.size

    def weight(self, share: float) -> Tensor:
        """Return lam for a prior that stands for -sigma^2 log p: `share` of (noise / sigma)^2."""
        return share * (self.noise / self.sigma) ** 2


def refined(
    phase: str,
    problem: Problem,
    parts: Callable[[Start, Misfit], tuple[Solver[Any], Functional]],
    strength: Strength,
    nonnegative: bool | None,
    settings: dict[str, Any],
    *,
    quadratic: bool = False,
    bounds: Constraint | None = None,
) -> Generator[Progress, None, None]:
    """Run total variation, then a solver with a learned prior from there.

    `parts(start, f)` returns solver and prior; `strength` is the noise level assumed, relative to the largest reading.
    With `quadratic` the data term is one of least squares, which stands for other likelihoods around the first image;
    `bounds` are those of the first image, and are told.
    """
    given, largest = fixed(strength), _largest(problem.quadratic())
    if given is not None and given > LOUDEST:
        raise ValueError(f"strength is the noise over the largest reading, at most {LOUDEST:g}, got {given:g}")
    bounds = Constraint() if bounds is None else bounds
    for found in tv(problem, nonnegative=nonnegative, **bounds.given, tol=ROUGHLY, max_iter=ENOUGH):
        yield found
    x, told = found.image(), None if found.choice is None else found.choice.noise
    del found  # with all that total variation has in memory
    least = FAINTEST * largest
    noise = (
        _noise(problem, x, told, least) if given is None else torch.maximum(constant(problem, given) * largest, least)
    )
    on = replace(problem, noise=noise) if problem.noise is None else problem
    f = (on.quadratic(x) if quadratic else on).fidelity()
    start = Start(x, unit(problem), noise)
    solver, g = parts(start, f)
    settings = {"strength": (noise / largest).tolist(), **settings, **bounds.told}
    yield from run(phase, problem, solver, f, g, state=started(problem, solver, f, g, x), settings=settings)


def _noise(problem: Problem, x: Tensor, told: Tensor | None, least: Tensor) -> Tensor:
    """Return the noise that total variation's image and its choice speak for; the scan's own as far as that agrees."""
    misfit = torch.maximum(problem.noise_seen(x).double(), least)
    # part of the noise is in the image, the less of it is in the misfit
    seen = misfit if told is None else torch.maximum(misfit, told)
    return seen if problem.noise is None else torch.minimum(torch.maximum(problem.noise, misfit), CREDIBLE * seen)


def _largest(problem: Problem) -> Tensor:
    """Return the largest reading that counts per item, and 1 where there is none."""
    counted = problem.counted()
    sizes = problem.y.abs() if counted is None else torch.where(counted > 0, problem.y.abs(), 0.0)
    largest = sizes.flatten(-len(problem.A.range_shape)).amax(-1).double()
    return torch.where(largest > 0, largest, 1.0)
