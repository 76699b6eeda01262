"""How strong the prior of a recipe is: as asked, or found from the noise level or from held-out readings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.methods.progress import Progress, report, run
from invprob.multilevel import Level
from invprob.solve import iterate
from invprob.solvers import ConjugateGradient, Solver
from invprob.solvers.conjugate_gradient import CGState
from invprob.tuning import DiscrepancySearch, HeldOutSearch, Search, hold_out

Strength = float | str
Parts = Callable[[Level, Tensor, "Tensor | None"], tuple[Solver[Any], L2, Functional]]
SEARCH_TOL = 5e-3  # residual at which a trial strength is judged
WORSE = 5  # steps of conjugate gradients without a better prediction after which none is expected


def fixed(strength: Strength) -> float | None:
    """Return the number given, None for "auto"; ValueError for anything else."""
    if strength == "auto":
        return None
    if isinstance(strength, str) or not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be 'auto' or a number >= 0, got {strength!r}")
    return float(strength)


def choose(on: Level, parts: Parts, start: float) -> Generator[Progress, None, Tensor]:
    """Return the strength per item for which the misfit is the noise's, or held-out readings are predicted best.

    `parts(level, strength, weights)` returns solver, fidelity and prior; the problem is solved on the level `on`.
    """
    k, weights, mask = len(on.A.range_shape), None, None
    first = torch.full(on.batch, start, dtype=torch.float64, device=on.y.device)
    search: Search
    if on.noise is not None:
        search = DiscrepancySearch(on.noise * on.readings**0.5, first)
    else:
        search = HeldOutSearch(first)
        mask = hold_out(on.A.range_shape).to(on.y.device)
        weights = (~mask).to(on.A.dtype)
    x0, tried = None, 0
    while (trial := search.ask()) is not None:
        tried += 1
        solver, f, g = parts(on, trial, weights)
        solver = replace(solver, tol=max(solver.tol, SEARCH_TOL))
        start_state = None if x0 is None else solver.init(f, g, x0)
        phase = f"choosing the strength, {tried} of at most {search.rounds}"
        state = yield from run(phase, on, solver, f, g, state=start_state, settings={"strength": trial.tolist()})
        x0 = state.x
        misfit = on.A(x0) - on.y
        search.tell(linalg.norm(misfit if mask is None else misfit * mask, k))
    return search.best


def held_out_misfit(problem: Level, max_iter: int) -> Generator[Progress, None, Tensor]:
    """Return the data residual |A x - y| at which conjugate gradients predict held-out readings best, per item."""
    k = len(problem.A.range_shape)
    mask = hold_out(problem.A.range_shape).to(problem.y.device)
    used = (~mask).to(problem.A.dtype)
    solver, f = ConjugateGradient(max_iter=max_iter, tol=0.0), L2(problem.A, problem.y, used)
    best = torch.full(problem.batch, torch.inf, dtype=torch.float64, device=problem.y.device)
    target, worse = torch.zeros_like(best), torch.zeros_like(best)
    for step in iterate(solver, f):
        yield report("choosing when to stop", problem, solver, f, None, step)
        state = cast(CGState, step.state)
        error = linalg.norm(state.misfit * mask, k)
        better = (error < best) & (worse < WORSE)
        best = torch.where(better, error, best)
        target = torch.where(better, linalg.norm(state.misfit * used, k) / used.double().mean().sqrt(), target)
        worse = torch.where(better, 0.0, worse + 1)
        if bool((worse >= WORSE).all()):
            break
    return target
