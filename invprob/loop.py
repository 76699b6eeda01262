"""The one loop: iterate a solver, notice convergence and divergence, keep the best, report."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.certificate import certify, steepest_step
from invprob.fidelities import Misfit, QuadraticFidelity
from invprob.functional import Functional, Scalar, Zero
from invprob.linop import LinearOperator
from invprob.linop.doors import takes_arrays
from invprob.linop.pairing import require_adjoint
from invprob.result import Result
from invprob.solvers.base import Solver, State
from invprob.status import STATUS

RUNNING, CONVERGED, STOPPED, MAX_ITER, DIVERGED = "running", *STATUS
CODES = (RUNNING, *STATUS)
CHECK_EVERY = 10  # iterations between two evaluations of the objective
GROWTH = 1e3  # how far above those of the start and of zero an objective must be to count as diverging ...
PATIENCE = 3  # ... and at how many checks in a row; no measurement on record of either


@dataclass(frozen=True, eq=False)
class Step:
    """One iteration of the loop as seen from outside: the state, who is done, and the best image so far.

    Arguments:
        state: where the solver stands.
        best: the best image per item, `(*batch, *item)`.
        merit: its objective, else its residual, `(*batch,)`.
        codes: what became of each item, `(*batch,)`, as an index into `CODES`.
        n_iter: iterations per item, `(*batch,)`.
        objective: that of the last check, `(*batch,)`; None where there is none.
        seconds: since the start.
        history: the columns of `Result.history`, a list of rows each.
    """

    state: State
    best: Tensor
    merit: Tensor
    codes: Tensor
    n_iter: Tensor
    objective: Tensor | None
    seconds: float
    history: dict[str, list[Tensor]]

    @property
    def finished(self) -> bool:
        """Whether every item is."""
        return bool((self.codes != CODES.index(RUNNING)).all())


@takes_arrays
@torch.no_grad()
def solve(
    solver: Solver[Any],
    f: Functional,
    g: Functional | None = None,
    *,
    x0: Tensor | None = None,
    state: State | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
    noise: Scalar | None = None,
) -> Result:
    """Minimise f(x) + g(x) and return the image with status, history and certificate.

    Arguments:
        solver: the method with its settings, such as `ADMM()`.
        f: the data term, a fidelity or a misfit.
        g: the prior; None (the default) for none.
        x0: where to begin; by default zero for a fidelity, and for a nonlinear operator where it says.
        state: `Result.state` of an earlier run, to go on from in place of x0.
        max_iter, tol: override the solver's.
        noise: the standard deviation of the data's noise, a number or one per item, `(*batch,)`, in their unit, for the
            certificate.

    TypeError if f or g lacks what the solver needs, ValueError for what does not fit, such as an adjoint that is none.
    """
    if isinstance(f, Misfit) and isinstance(f.A, LinearOperator):
        require_adjoint(f.A)
    solver = _overridden(solver, max_iter, tol)
    g = Zero(f.ndim) if g is None else g
    (last,) = deque(iterate(solver, f, g, x0=x0, state=state), maxlen=1)
    return conclude(last, solver, f, g, noise=noise)


@torch.no_grad()
def conclude(
    step: Step, solver: Solver[Any], f: Functional, g: Functional | None = None, *, noise: Scalar | None = None
) -> Result:
    """Return the result as of a step of `iterate`; items still running count as stopped."""
    g = Zero(f.ndim) if g is None else g
    codes = torch.where(step.codes == CODES.index(RUNNING), CODES.index(STOPPED), step.codes)
    x = image_of(step, f, g)
    return Result(
        x=x,
        status=CODES[int(codes.max())],
        item_status=tuple(CODES[c] for c in codes.flatten().tolist()),
        n_iter=step.n_iter,
        seconds=step.seconds,
        history={name: torch.stack(rows) for name, rows in step.history.items()},
        certificate=certify(solver, f, g, replace(step.state, x=x), noise, step.history),
        state=step.state,
        ndim=f.ndim,
    )


@torch.no_grad()
def image_of(step: Step, f: Functional, g: Functional | None = None) -> Tensor:
    """Return the image as of a step of `iterate`, that of `conclude` without the cost of its certificate."""
    g = Zero(f.ndim) if g is None else g
    # the best was last sought at a check
    has_value = "value" in f.supports & g.supports
    merit = f.value(step.state.x) + g.value(step.state.x) if has_value else step.state.residual
    running = step.codes == CODES.index(RUNNING)
    latest = (step.codes == CODES.index(CONVERGED)) | (running & ((merit <= step.merit) | merit.isposinf()))
    return linalg.choose(latest, step.state.x, step.best, f.ndim)


@takes_arrays
@torch.no_grad()
def iterate(
    solver: Solver[Any],
    f: Functional,
    g: Functional | None = None,
    *,
    x0: Tensor | None = None,
    state: State | None = None,
) -> Iterator[Step]:
    """Return an iterator of a `Step` per iteration until all items are finished; the caller may leave at any time.

    An item that has converged or diverged stays as it is while its neighbours go on. The arguments are those of
    `solve`.
    """
    g = Zero(f.ndim) if g is None else g
    return _steps(solver, f, g, [solver.init(f, g, _start(f, x0)) if state is None else state])


@torch.no_grad()
def _steps(solver: Solver[Any], f: Functional, g: Functional, begin: list[State]) -> Iterator[Step]:
    """Yield what `iterate` does from the one state in `begin`, which is taken out: a large one is not needed twice."""
    state = begin.pop()
    advance = solver.prepared(f, g, state)
    watch = _Watch(f, g, state)
    first = state.iteration
    # an item that had arrived when an earlier run ended stays where it is
    codes = torch.where(state.residual <= solver.tol, CODES.index(CONVERGED), CODES.index(RUNNING))
    n_iter = torch.full_like(codes, first)
    running = codes == CODES.index(RUNNING)
    if not bool(running.any()):
        yield Step(state, watch.best, watch.merit, codes, n_iter, watch.objective, watch.seconds(), watch.history)
    while bool(running.any()):
        state = advance(state).keep(state, ~running)
        n_iter = n_iter + running
        last = state.iteration - first >= solver.max_iter
        converged = running & (state.residual <= solver.tol)
        diverged = running & watch.look(state, running, always=last or bool((converged == running).all()))
        codes = torch.where(converged, CODES.index(CONVERGED), codes)
        codes = torch.where(diverged, CODES.index(DIVERGED), codes)
        if last:
            codes = torch.where(codes == CODES.index(RUNNING), CODES.index(MAX_ITER), codes)
        running = codes == CODES.index(RUNNING)
        yield Step(state, watch.best, watch.merit, codes, n_iter, watch.objective, watch.seconds(), watch.history)


class _Watch:
    """Follows a run: objective every few iterations, the best image per item, the history."""

    def __init__(self, f: Functional, g: Functional, state: State) -> None:
        self.f, self.g = f, g
        self.has_value = "value" in f.supports & g.supports
        self.started = time.perf_counter()
        self.best = state.x
        self.untouched = torch.ones_like(state.residual, dtype=torch.bool)  # whether best is still the start
        self.size = self._size(state.x)
        # beyond this a run diverges: the start may lie at the very minimum, so zero has a say, too
        of_zero = self._size(torch.zeros_like(state.x)) if bool(state.x.any()) else self.size
        sizes = torch.stack([self.size, of_zero])
        reference = torch.where(sizes.isfinite(), sizes, 0.0).amax(0)
        self.limit = torch.where(reference > 0, GROWTH * reference, torch.inf)
        self.merit = self.size if self.has_value else torch.full_like(state.residual, torch.inf)
        # without a value growth is not seen where the data see nothing, but for the length of the image
        self.length = torch.zeros_like(state.residual) if self.has_value else self._natural_length(state.x)
        self.growing = torch.zeros_like(state.residual, dtype=torch.int64)
        self.history: dict[str, list[Tensor]] = defaultdict(list)

    @property
    def objective(self) -> Tensor | None:
        """The objective at the last check, where there is one."""
        return self.size if self.has_value else None

    def look(self, state: State, running: Tensor, *, always: bool) -> Tensor:
        """Take note of a state; return which items have diverged."""
        broken = running & (~linalg.norm(state.x, self.f.ndim).isfinite() | state.residual.isnan())
        if always or state.iteration % CHECK_EVERY == 0 or bool(broken.any()):
            self.size = self._size(state.x)
            growing = torch.where(self.size > self.limit, self.growing + ~self.size.isinf(), 0)
            self.growing = torch.where(self._outgrown(state.x), self.growing + 1, growing)
            broken = broken | self.size.isnan() | (self.growing >= PATIENCE)
            merit = self.size if self.has_value else state.residual
            self._prefer(state, merit, running & ~broken & (self.growing == 0))
            self._record(state)
        return broken

    def seconds(self) -> float:
        """Return the time since the start."""
        return time.perf_counter() - self.started

    def _natural_length(self, x: Tensor) -> Tensor:
        """Return |x| at the start, or that of an image that fits the data where it is more; 0 if neither is known."""
        first = linalg.norm(x, self.f.ndim)
        return torch.maximum(first, steepest_step(self.f)) if isinstance(self.f, QuadraticFidelity) else first

    def _outgrown(self, x: Tensor) -> Tensor:
        """Return which items are far longer than natural, where there is no objective to tell."""
        length = linalg.norm(x, self.f.ndim)
        if self.has_value:
            return torch.zeros_like(length, dtype=torch.bool)
        self.length = torch.where(self.length > 0, self.length, length)
        return length > GROWTH * self.length

    def _size(self, x: Tensor) -> Tensor:
        """Return the objective, as far as f and g have values; an infinite one is a constraint not yet met."""
        parts = [part.value(x).double() for part in (self.f, self.g) if "value" in part.supports]
        return sum(parts, start=torch.zeros(x.shape[: x.ndim - self.f.ndim], dtype=torch.float64, device=x.device))

    def _prefer(self, state: State, merit: Tensor, allowed: Tensor) -> None:
        """Keep the items of lower merit, and the latest as long as all but the start have been infinite."""
        unknown = merit.isposinf() & (self.untouched | self.merit.isinf())
        better = allowed & ((merit < self.merit) | unknown)
        self.best = linalg.choose(better, state.x, self.best, self.f.ndim)
        self.merit = torch.where(better, merit, self.merit)
        self.untouched = self.untouched & ~better

    def _record(self, state: State) -> None:
        self.history["iteration"].append(torch.tensor(state.iteration))
        self.history["seconds"].append(torch.tensor(self.seconds(), dtype=torch.float64))
        self.history["residual"].append(state.residual)
        if self.has_value:
            self.history["objective"].append(self.size)


def _start(f: Functional, x0: Tensor | None) -> Tensor:
    if x0 is not None:
        return x0
    if isinstance(f, Misfit):
        return f.start()
    raise ValueError(f"{type(f).__name__} does not say what a start image is: give x0")


def _overridden(solver: Solver[Any], max_iter: int | None, tol: float | None) -> Solver[Any]:
    changes: dict[str, Any] = {k: v for k, v in (("max_iter", max_iter), ("tol", tol)) if v is not None}
    return replace(solver, **changes) if changes else solver
