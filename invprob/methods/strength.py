"""How strong the prior of a recipe is: as asked, or found from the noise level or from held-out readings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.likelihood import Gaussian
from invprob.linop import Operator
from invprob.loop import iterate
from invprob.methods.reporting import Progress, report, run
from invprob.methods.scales import started
from invprob.operators.image.noise_level import estimate_noise
from invprob.problem import Problem
from invprob.solvers import ConjugateGradient, Solver
from invprob.solvers.conjugate_gradient import CGState
from invprob.tuning import DiscrepancySearch, HeldOutSearch, Search

Strength = float | str
Parts = Callable[[Problem, Tensor, "Tensor | None"], tuple[Solver[Any], Misfit, Functional]]
SEARCH_SIZE = 192  # shorter image side on which misfit and noise are compared: coarser grids misfit by themselves
# residual at which, or steps after which, a trial strength is judged; no measurement on record, of these and the next
SEARCH_TOL, SEARCH_STEPS = 5e-3, 60
OF_SCANS, OF_PICTURES = 3e-2, 0.3  # strongest strength tried, relative to max |A^H y|
WORSE = 5  # steps of conjugate gradients without a better prediction after which none is expected


def fixed(strength: Strength) -> float | None:
    """Return the number given, None for "auto"; ValueError for anything else."""
    if strength == "auto":
        return None
    if isinstance(strength, str) or not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be 'auto' or a number >= 0, got {strength!r}")
    return float(strength)


def choose(levels: Sequence[Problem], parts: Parts, start: float | None = None) -> Generator[Progress, None, Tensor]:
    """Return the strength per item that predicts held-out readings best, but no less than what the noise asks for.

    Held-out readings are tried on the coarsest level, from `start` downwards. Where the noise level is known, or can be
    estimated because the data are a picture, and the image found would fit the data more closely than it, the
    strength is raised until the misfit is the noise's (Morozov 1966), on the first level fine enough to tell. Not
    so where readings are few and no picture: on the benchmark's few-4 even the true noise level costs 0.4 dB, as the
    prior then leaves what the data tell, and a wrong one 3 to 5.
    Both are measured by the likelihood of the data. `parts(level, strength, keep)` returns solver, data term of the
    readings that `keep` marks (None: all) and prior.
    """
    coarse, finest = levels[0], levels[-1]
    mask = coarse.held_out()
    views, picture = finest.A.data_kind == "views", shows_noise(finest.A)
    start = (OF_SCANS if views else OF_PICTURES) if start is None else start
    first = torch.full(coarse.batch, start, dtype=torch.float64, device=coarse.y.device)
    prediction = HeldOutSearch(first)
    chosen = yield from _search(prediction, coarse, parts, mask)
    if picture and finest.weights is None and isinstance(finest.likelihood, Gaussian):
        seen = _noise_seen(finest)
        finest = replace(finest, noise=seen if finest.noise is None else torch.maximum(finest.noise.to(seen), seen))
    if finest.noise is None or not (views or picture):
        return chosen
    fine = next((level for level in levels[:-1] if _side(level.A) >= SEARCH_SIZE), finest)
    # the error of a prediction is the noise and more: a noise level above it is wrong
    most = prediction.score * (_weight(fine) / _weight(coarse, mask)).sqrt()
    target = torch.minimum(_noise_norm(fine), most)
    raised: Tensor = yield from _search(DiscrepancySearch(target, chosen, only_raise=True), fine, parts, None)
    return raised


def _side(A: Operator) -> int:
    """Return the shorter side of an image in space."""
    return min(A.domain_shape[-A.grid.ndim :])


def shows_noise(A: Operator) -> bool:
    """Return whether data are a picture with about as many readings as pixels, in which noise can be seen."""
    return A.data_kind == "picture" and A.measured is None and 2 * prod(A.range_shape) > prod(A.domain_shape)


def _noise_seen(level: Problem) -> Tensor:
    """Return the noise that a picture shows, its mean power over the channels of one in colour."""
    if level.colours == 1:
        return estimate_noise(level.y, len(level.A.range_shape)).double()
    return estimate_noise(level.y, len(level.A.range_shape) - 1).double().square().mean(-1).sqrt()


def _weight(level: Problem, mask: Tensor | None = None) -> Tensor:
    """Return the sum of the weights per item, under a mask if there is one."""
    one = torch.ones(level.A.range_shape, dtype=level.A.dtype, device=level.y.device)
    return level.size(one.expand(*level.batch, *one.shape), mask).square()


def _noise_norm(level: Problem) -> Tensor:
    noise = torch.zeros(level.batch, dtype=torch.float64) if level.noise is None else level.noise
    return noise * level.readings**0.5


def _search(search: Search, on: Problem, parts: Parts, mask: Tensor | None) -> Generator[Progress, None, Tensor]:
    """Run a search on a level; readings under the mask, if there is one, are held out and make the score."""
    keep = None if mask is None else ~mask
    x0, tried = None, 0
    while (trial := search.ask()) is not None:
        tried += 1
        solver, f, g = parts(on, trial, keep)
        solver = replace(solver, tol=max(solver.tol, SEARCH_TOL), max_iter=min(solver.max_iter, SEARCH_STEPS))
        begin = None if x0 is None else started(on, solver, f, g, x0)
        phase = f"choosing the strength, {search.name} {tried} of at most {search.rounds}"
        state = yield from run(phase, on, solver, f, g, state=begin, settings={"strength": trial.tolist()})
        x0 = state.x
        search.tell(on.excess(x0) if mask is None else on.misfit(x0, mask))
    return search.best


def held_out_misfit(problem: Problem, max_iter: int) -> Generator[Progress, None, Tensor]:
    """Return the data residual |A x - y| at which conjugate gradients predict held-out readings best, per item.

    For a problem of least squares.
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
