"""Trial strengths: solving with each loosely, from where the one before it ended, and scoring what comes out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.linalg import per_item
from invprob.methods.continuation import Reached, continued, reached
from invprob.methods.reporting import Progress, changed, run, with_own_readings
from invprob.methods.scales import first_image, plausible_noise
from invprob.problem import Problem
from invprob.result import Result
from invprob.solvers import ConjugateGradient, Solver
from invprob.tuning import MinimumSearch
from invprob.tuning.risk import PROBE, probe, unexplained_noise

# solver, data term of the readings that the mask keeps (None: all) and prior for a strength per item
Parts = Callable[[Problem, Tensor, "Tensor | None"], tuple[Solver[Any], Misfit, Functional]]
# |A x - y|^2 / n and degrees of freedom per reading, both `(trials, *batch)`, to scores
Criterion = Callable[[Tensor, Tensor], Tensor]
# residual at which, or steps after which, a trial of a splitting method is judged; conjugate gradients go to their own
# residual, as how many steps they take is nothing smooth that a probe could be followed through
SEARCH_TOL, SEARCH_STEPS = 5e-3, 100
# readings of a picture beyond which a problem and its twin are solved in turn: 512 x 512 took as long either way
LARGE = 2**19
_RISK, _FREEDOM = "prediction error", "degrees of freedom"  # what trials of a problem and of its twin tell


@dataclass(frozen=True)
class Probed:
    """A problem and its twin whose data a probe has moved, in which degrees of freedom are seen.

    Arguments:
        problem: the problem as it is.
        twin: the same of the moved data.
        b: the probe.
        eps: its strength, `(*batch,)`.
    """

    problem: Problem
    twin: Problem
    b: Tensor
    eps: Tensor

    @cached_property
    def pair(self) -> Problem:
        """Return both as one problem, with a leading batch axis of two."""
        on, twice = self.problem, (2, *self.problem.batch)
        return replace(
            on,
            y=torch.stack([on.y, self.twin.y]),
            noise=None if on.noise is None else on.noise.expand(twice),
            weights=None if on.weights is None else on.weights.expand(2, *on.y.shape),
        )

    def scores(self, x: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Return |A x - y|^2_w / n and df, the degrees of freedom per reading, for the image and that of the twin."""
        on = self.problem
        d, moved = on.A(x), on.A(moved)
        n = torch.as_tensor(on.readings, device=d.device).double()
        weights = on.counted()
        change = (self.b.conj() * (moved - d)).real.double()
        df = (change if weights is None else weights * change).sum(linalg.item_axes(len(on.A.range_shape))) / (
            n * self.eps
        )
        return on.size(d - on.y).square() / n, df


def probed(problem: Problem) -> Probed:
    """Return a problem of Gaussian noise beside its twin."""
    k = len(problem.A.range_shape)
    b = probe(problem.A.range_shape, problem.y, problem.counted())
    eps = PROBE * plausible_noise(problem)
    moved = problem.y + per_item(eps, problem.y, k).to(problem.y.real.dtype) * b
    return Probed(problem, replace(problem, y=moved), b, eps)


def search_risk(
    search: MinimumSearch, on: Problem, parts: Parts, criteria: Sequence[Criterion]
) -> Generator[Progress, None, tuple[Reached | None, Tensor | None]]:
    """Score trial strengths by criteria of misfit and degrees of freedom.

    Returns where the last trial ended, and the noise level per item that the trial nearest to the best speaks for.
    """
    both = probed(on)
    try_both = _in_turn if on.A.data_kind == "picture" and on.y.numel() > LARGE else _together
    at: tuple[Reached, Reached] | None = None
    trials, found = [], []
    while (trial := search.ask()) is not None:
        settled = search.settled
        now = yield from try_both(both, search, parts, trial, at)
        at = now if at is None else (now[0].keep(at[0], settled), now[1].keep(at[1], settled))
        trials.append(torch.where(settled, -torch.inf, trial.log()))
        found.append(both.scores(at[0].x, at[1].x))
        misfits, dfs = (torch.stack(column) for column in zip(*found, strict=True))
        scores = torch.stack([score(misfits, dfs) for score in criteria], 1)
        search.revise(scores[:-1])
        search.tell(scores[-1])
    if at is None:
        return None, None
    nearest = (torch.stack(trials) - search.best.log()).abs().argmin(0, keepdim=True)
    return at[0], unexplained_noise(misfits, dfs).gather(0, nearest).squeeze(0)


def _together(
    both: Probed, search: MinimumSearch, parts: Parts, strength: Tensor, at: tuple[Reached, Reached] | None
) -> Generator[Progress, None, tuple[Reached, Reached]]:
    """Try a strength on a problem and its twin as a batch of two, which keeps two threads busy with one image."""
    pair = both.pair
    start = None if at is None else at[0].beside(at[1])
    events = _trial(search, pair, parts, strength.expand(pair.batch), None, start, _RISK)
    now = yield from changed(events, lambda result: result.row(0), lambda images: images[0])  # the problem as it is
    return now.item(0), now.item(1)


def _in_turn(
    both: Probed, search: MinimumSearch, parts: Parts, strength: Tensor, at: tuple[Reached, Reached] | None
) -> Generator[Progress, None, tuple[Reached, Reached]]:
    """Try a strength on a problem and then on its twin, in the memory of one."""
    first, second = at or (None, None)
    now = yield from _trial(search, both.problem, parts, strength, None, first, _RISK)
    events = _trial(search, both.twin, parts, strength, None, second, _FREEDOM)

    def own(result: Result) -> Result:  # the twin is nobody's image
        return with_own_readings(replace(result, x=now.x), both.problem)

    moved = yield from changed(events, own, lambda _: now.x)
    return now, moved


def search_held_out(search: MinimumSearch, on: Problem, parts: Parts) -> Generator[Progress, None, Reached | None]:
    """Score trial strengths by how they predict readings set aside, in the units of the problem's likelihood.

    Returns where the last trial ended.
    """
    mask, at = on.held_out(), None
    while (trial := search.ask()) is not None:
        settled = search.settled
        now = yield from _trial(search, on, parts, trial, ~mask, at, "held-out data")
        at = now.keep(at, settled)
        search.tell(on.misfit(at.x, mask).square())
    return at


def _trial(
    search: MinimumSearch,
    on: Problem,
    parts: Parts,
    strength: Tensor,
    keep: Tensor | None,
    at: Reached | None,
    score: str,
) -> Generator[Progress, None, Reached]:
    solver, f, g = parts(on, strength, keep)
    loosely = solver.tol if isinstance(solver, ConjugateGradient) else max(solver.tol, SEARCH_TOL)
    solver = replace(solver, tol=loosely, max_iter=min(solver.max_iter, SEARCH_STEPS))
    at = at or Reached(first_image(on if keep is None else _only(on, keep)))
    phase, told = f"choosing the strength, {score} {len(search.logs) + 1} of at most {search.rounds}", strength.tolist()
    state = yield from run(
        phase, on, solver, f, g, state=continued(on, solver, f, g, at, strength), settings={"strength": told}
    )
    return reached(state, strength)


def _only(problem: Problem, keep: Tensor) -> Problem:
    """Return the problem whose other readings weigh nothing."""
    weights = keep.to(problem.y.device, problem.y.real.dtype).expand(problem.y.shape)
    return replace(problem, weights=weights if problem.weights is None else problem.weights * weights)
