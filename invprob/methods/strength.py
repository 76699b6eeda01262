"""How strong the prior of a recipe is: as asked, or such that the image predicts data of its own kind best."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import cast

import torch
from torch import Tensor

from invprob import linalg
from invprob.likelihood import Gaussian
from invprob.linop import Operator
from invprob.loop import iterate
from invprob.methods.continuation import Reached
from invprob.methods.examination import residual_correlation, shows_noise
from invprob.methods.reporting import Progress, report
from invprob.methods.scales import constant, pull_of_noise
from invprob.methods.trials import Criterion, Parts, search_held_out, search_risk
from invprob.operators.image.noise_level import estimate_noise
from invprob.problem import Problem
from invprob.solvers import ConjugateGradient
from invprob.solvers.conjugate_gradient import CGState
from invprob.tuning import Choice, MinimumSearch
from invprob.tuning.risk import generalised_cross_validation, predictive_risk

Strength = float | str
SEARCH_SIZE = (
    192  # shorter image side from which scores are those of the finest grid: coarser ones misfit by themselves
)
# what the best strength of total variation is, relative to the pull of the noise: 0.5 to 0.6 from few views to blur
EXPECTED = 0.5
ROUNDS = 10  # the most trials of a search
# what tells that the noise of views is not white: the correlation of neighbouring residuals (0.08 at most of the
# benchmark's views), and their fourth moment over the square of the second (3 of normal ones; 3.3, and 4.3 where edges
# are as sharp as a skull's; 5.2 and more where counts without weights or outliers make readings unequal)
COLOURED, UNEQUAL = 0.2, 4.5
WORSE = 5  # steps of conjugate gradients without a better prediction after which none is expected


def fixed(strength: Strength) -> float | None:
    """Return the number given, None for "auto"; ValueError for anything else."""
    if strength == "auto":
        return None
    if isinstance(strength, str) or not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be 'auto' or a number >= 0, got {strength!r}")
    return float(strength)


@dataclass(frozen=True, eq=False)
class Found:
    """A strength per item, and how it was found.

    Arguments:
        strength: `(*batch,)`.
        choice: the story of its choice; None of a number that was given.
        level: the grid on which it was found, of those from coarse to fine.
        at: where the last trial ended; None without trials.
    """

    strength: Tensor
    choice: Choice | None = None
    level: int = 0
    at: Reached | None = None


def choose(
    levels: Sequence[Problem], parts: Parts, given: float | None = None, start: Tensor | None = None
) -> Generator[Progress, None, Found]:
    """Return the strength that was given, else the one whose image predicts data best, per item.

    How well is estimated without the truth (`invprob.tuning.risk`): by the unbiased predictive risk where the noise
    level is known or a picture shows it, by generalised cross-validation where it is not. Views, and pictures with as
    many readings as pixels, take the stronger of what both ask for, as a model error looks like detail to the one, and
    noise like signal to the other. Both take the noise for white: where what is left of views is not, views set aside
    have their say, too. Samples and readings with outliers are set aside and predicted: what a prior makes of few
    samples hangs on a noise level that is wrong by far. Where samples are no fewer than pixels, cross-validation may
    ask for more: readings set aside say little of wavelets.

    Arguments:
        levels: the problem on grids from coarse to fine; the search is bracketed on the coarsest and ends on the first
            that is fine enough.
        parts: solver, data term of the readings that a mask keeps and prior, for a strength.
        given: the strength, where there is nothing to choose.
        start: where the search begins, `(*batch,)`; by default where the prior holds against the pull of the noise.
    """
    finest = levels[-1]
    if given is not None:
        return Found(constant(finest, given))
    start = EXPECTED * pull_of_noise(finest) if start is None else start
    index = next((i for i, level in enumerate(levels) if _side(level.A) >= SEARCH_SIZE), len(levels) - 1)
    on, samples = _as_least_squares(levels[index]), finest.A.data_kind == "samples"
    if on is not None and samples and not _determined(on):
        on = None
    least = torch.zeros_like(start)
    if index > 0 or on is None or samples:
        held_out = MinimumSearch(start, rounds=ROUNDS)
        at = yield from search_held_out(held_out, levels[0], parts)
        if on is None:
            return Found(held_out.best, _choice(held_out, "held-out data", levels[0]), 0, at)
        if samples:  # from a start of its own: cross-validation has minima where readings set aside end
            least = held_out.best
        else:
            start = held_out.best
    rules = _rules(on)
    search = MinimumSearch(start, criteria=len(rules), rounds=ROUNDS)
    at, noise = yield from search_risk(search, on, parts, tuple(rules.values()))
    best = torch.maximum(search.best, least)
    rule = " and ".join([*rules, "held-out data"] if samples else rules)
    found = Found(best, replace(_choice(search, rule, on), strength=best, noise=noise), index, at)
    if on.A.data_kind != "views" or at is None:
        return found
    white = _is_white(on, at.x)
    return found if bool(white.all()) else (yield from _by_views_set_aside(on, parts, found, white))


def _determined(on: Problem) -> bool:
    """Return whether there are as many readings as pixels."""
    return bool((torch.as_tensor(on.readings) >= prod(on.A.domain_shape)).all())


def _is_white(on: Problem, x: Tensor) -> Tensor:
    """Return per item whether what an image of least squares leaves looks like noise of one level."""
    weights, axes = on.counted(), linalg.item_axes(len(on.A.range_shape))
    d = on.A(x)
    square = (d - on.y).abs().square().double()
    square = square if weights is None else weights * square
    n = torch.as_tensor(on.readings, device=d.device).double()
    most = UNEQUAL * (2 / 3 if d.is_complex() else 1)  # of complex normal numbers the fourth moment is 2
    unequal = n * square.square().sum(axes) > most * square.sum(axes).square()
    return ~unequal & (residual_correlation(on, x, d) <= COLOURED)


def _by_views_set_aside(on: Problem, parts: Parts, found: Found, white: Tensor) -> Generator[Progress, None, Found]:
    """Return, for items whose noise is not white, what predicts views set aside best if it is more than was found."""
    search = MinimumSearch(found.strength, rounds=ROUNDS)
    yield from search_held_out(search, on, parts)
    best = torch.where(white, found.strength, torch.maximum(search.best, found.strength))
    at, noise = yield from search_risk(MinimumSearch(best, rounds=1), on, parts, (generalised_cross_validation,))
    rule = "held-out views, as the noise is not white,"
    choice = replace(_choice(search, rule, on), strength=best, noise=noise)
    at = at if at is None else at.keep(found.at, white)
    return replace(found, strength=best, choice=choice.unless(white, found.choice), at=at)


def _as_least_squares(level: Problem) -> Problem | None:
    """Return the problem of least squares on which risks are estimated, with the noise that a picture shows; or None.

    Outliers have a variance that no reading tells.
    """
    gaussian = isinstance(level.likelihood, Gaussian)
    if not gaussian and not level.likelihood.counted:
        return None
    return _with_noise_seen(level) if gaussian and shows_noise(level.A) else level.quadratic()


def _rules(on: Problem) -> dict[str, Criterion]:
    """Return what scores a strength, by name."""
    rules: dict[str, Criterion] = {}
    if on.noise is None or on.A.data_kind != "picture" or shows_noise(on.A):
        rules["generalised cross-validation"] = generalised_cross_validation
    if on.noise is not None and on.A.data_kind != "samples":
        rules["the predictive risk"] = partial(predictive_risk, noise=on.noise)
    return rules


def _choice(search: MinimumSearch, rule: str, on: Problem) -> Choice:
    trials, scores = search.curve()
    readings = torch.as_tensor(on.readings, device=scores.device).double()
    return Choice(search.best, rule, trials, scores, search.flat(readings**-0.5))


def _side(A: Operator) -> int:
    """Return the shorter side of an image in space."""
    return min(A.domain_shape[-A.grid.ndim :])


def _with_noise_seen(level: Problem) -> Problem:
    """Return a problem whose noise level is what its picture shows, or says if that is more."""
    seen = noise_of_picture(level)
    return replace(level, noise=seen if level.noise is None else torch.maximum(level.noise.to(seen), seen))


def noise_of_picture(level: Problem) -> Tensor:
    """Return the noise that a picture shows, its mean power over the channels of one in colour."""
    if level.colours == 1:
        return estimate_noise(level.y, len(level.A.range_shape)).double()
    return estimate_noise(level.y, len(level.A.range_shape) - 1).double().square().mean(-1).sqrt()


def held_out_misfit(problem: Problem, max_iter: int) -> Generator[Progress, None, Tensor]:
    """Return the data residual |A x - y| at which conjugate gradients predict held-out readings best, per item.

    For a problem of least squares. Of the steps of conjugate gradients a probe would tell the degrees of freedom, too,
    but what it tells goes with the rounding of the data: multiplied by 1.9, they stopped elsewhere.
    """
    mask = problem.held_out()
    solver, f = ConjugateGradient(max_iter=max_iter, tol=0.0), problem.fidelity(~mask)
    share = torch.as_tensor(problem.count(~mask)).double() / problem.readings
    best = torch.full(problem.batch, torch.inf, dtype=torch.float64, device=problem.y.device)
    target, worse = torch.zeros_like(best), torch.zeros_like(best)
    for step in iterate(solver, f):
        yield report("choosing when to stop", problem, solver, f, None, step)
        state = cast(CGState, step.state)
        error = problem.size(state.misfit, mask)
        better = (error < best) & (worse < WORSE)
        best = torch.where(better, error, best)
        target = torch.where(better, problem.size(state.misfit, ~mask) / share.sqrt(), target)
        worse = torch.where(better, 0.0, worse + 1)
        if bool((worse >= WORSE).all()):
            break
    return target
