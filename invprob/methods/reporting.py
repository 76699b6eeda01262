"""What a recipe reports while it works, and how its end becomes a result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from invprob.certificate import Certificate, certify_image
from invprob.doubt import Doubt
from invprob.fidelities import QuadraticFidelity
from invprob.functional import Functional
from invprob.likelihood import Gaussian, Transmission
from invprob.linop import Coarser
from invprob.loop import Step, conclude, image_of, iterate
from invprob.methods.examination import examined
from invprob.methods.stack_views import few_views
from invprob.problem import Problem
from invprob.result import Result
from invprob.solvers import Solver, State
from invprob.tuning import Choice


@dataclass(frozen=True)
class Progress:
    """One iteration of a recipe.

    Arguments:
        phase: what is being done, in words.
        step, total: the iteration, of at most so many.
        residual: the largest relative residual; None of a method that draws samples, which has none.
        conclude: makes the result.
        show: makes its image alone, where the certificate is what costs; None (the default) for that of `conclude`.
        choice: how the strength of the prior was chosen; None (the default) where it was given or is still sought.
    """

    phase: str
    step: int
    total: int
    residual: float | None
    conclude: Callable[[], Result]
    show: Callable[[], Tensor] | None = None
    choice: Choice | None = None

    def result(self) -> Result:
        """Return the best image so far, in the units of the scan, with its certificate."""
        return self.conclude()

    def image(self) -> Tensor:
        """Return the image of `result` alone: as a preview, or to go on from."""
        return self.conclude().x if self.show is None else self.show()

    def changed(self, result: Callable[[Result], Result], image: Callable[[Tensor], Tensor] | None = None) -> Progress:
        """Return the same with another result, and with another image where a result has one."""
        show = self.show if image is None else lambda: image(self.image())
        return replace(self, conclude=lambda: result(self.result()), show=show)


Recipe = Callable[..., Iterator[Progress]]
T = TypeVar("T")


def of_own_readings(problem: Problem, events: Iterator[Progress]) -> Iterator[Progress]:
    """Yield the events of a recipe on the balanced problem; the results count the readings of this one."""
    for event in events:
        yield event.changed(partial(with_own_readings, problem=problem))


def changed(
    events: Generator[Progress, None, T], result: Callable[[Result], Result], image: Callable[[Tensor], Tensor]
) -> Generator[Progress, None, T]:
    """Yield events with other results and images, and return what they end with."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return cast("T", end.value)
        yield event.changed(result, image)


def with_own_readings(done: Result, problem: Problem, Ax: Tensor | None = None) -> Result:
    """Return a result whose certificate counts the problem's readings, whatever weights helped to find the image.

    `Ax` is A(x), where it is known already.
    """
    facts = done.certificate
    if facts is None:
        return done
    Ax = problem.A(done.x) if Ax is None else Ax
    to_noise = facts.residual_to_noise if problem.noise is None else problem.residual_to_noise(done.x, Ax)
    residual = problem.data_residual(done.x, Ax)
    return replace(done, certificate=replace(facts, data_residual=residual, residual_to_noise=to_noise))


def run(
    phase: str,
    problem: Problem,
    solver: Solver[Any],
    f: Functional,
    g: Functional | None = None,
    *,
    state: State | None = None,
    settings: dict[str, Any] | None = None,
    choice: Choice | None = None,
) -> Generator[Progress, None, State]:
    """Run the loop, report every iteration and return the last state; results tell of the choice of the strength."""
    steps = iterate(solver, f, g, state=state)
    del state  # the first of large ones would be kept in memory to the end
    for step in steps:
        yield report(phase, problem, solver, f, g, step, settings, choice)
    return step.state


def report(
    phase: str,
    problem: Problem,
    solver: Solver[Any],
    f: Functional,
    g: Functional | None,
    step: Step,
    settings: dict[str, Any] | None = None,
    choice: Choice | None = None,
) -> Progress:
    """Return the report of one step of the loop."""

    def result() -> Result:
        done = conclude(step, solver, f, g, noise=problem.noise)
        facts, told = done.certificate, {**(settings or {}), "solver": type(solver).__name__}
        history = done.history if choice is None else {**done.history, **choice.history}
        if facts is not None:
            Ax = problem.A(done.x)
            facts = facts if plain(problem, f) else judged(facts, problem, done.x, f, Ax)
            facts = examined(facts, problem, done.x, told, Ax)
            facts = facts if choice is None else replace(facts, notes=(*facts.notes, *choice.notes))
        return replace(done, certificate=facts, history=history, settings=told)

    residual = float(step.state.residual.max())
    return Progress(
        phase, step.state.iteration, solver.max_iter, residual, result, lambda: image_of(step, f, g), choice
    )


def plain(problem: Problem, f: Functional) -> bool:
    """Return whether the data term says all that a certificate has to say of the data."""
    return isinstance(problem.likelihood, Gaussian) and isinstance(f, QuadraticFidelity)


def judged(
    facts: Certificate, problem: Problem, x: Tensor, f: Functional, Ax: Tensor, *, direct: bool = False
) -> Certificate:
    """Return a certificate whose numbers about the data are those of the problem's own likelihood."""
    notes = facts.notes
    if direct:
        notes = (*notes, _stand_in(problem))
    elif isinstance(f, QuadraticFidelity):
        notes = (*notes, f"weighted least squares stand for the {problem.likelihood.name} likelihood")
    residual, to_noise = problem.data_residual(x, Ax), problem.residual_to_noise(x, Ax)
    return replace(facts, data_residual=residual, residual_to_noise=to_noise, notes=notes)


def _stand_in(problem: Problem) -> str:
    """Return the sentence on what a direct method takes where readings are not spread as Gaussian ones are."""
    if isinstance(problem.likelihood, Transmission):
        return "a direct method takes the logarithms of the counts, not the transmission likelihood"
    return f"a direct method does not use the {problem.likelihood.name} likelihood"


def direct_result(problem: Problem, x: Tensor, settings: dict[str, Any], doubts: Sequence[Doubt] = ()) -> Result:
    """Return the result of a method without iterations, and what that method is known to go wrong with."""
    items = torch.zeros(problem.batch, dtype=torch.int64)
    few = few_views(problem.A) if problem.batch.numel() > 1 else None
    facts = _certified(problem, few, x, settings)
    return Result(
        x=x,
        status="converged",
        item_status=("converged",) * items.numel(),
        n_iter=items,
        seconds=0.0,
        history={},
        certificate=replace(facts, doubts=tuple(dict.fromkeys((*doubts, *facts.doubts)))),
        state=None,
        settings=settings,
        ndim=len(problem.A.domain_shape),
    )


def _certified(problem: Problem, few: Coarser | None, x: Tensor, settings: dict[str, Any]) -> Certificate:
    """Return what data say of an image that no iteration has led to; of a stack a few views, as all cost more."""
    some = problem if few is None else problem.of_views(few)
    Ax, f = some.A(x), cast("QuadraticFidelity", some.quadratic().fidelity())
    facts = certify_image(f, x, some.noise, Ax=Ax, norm=few is None)
    facts = facts if plain(some, f) else judged(facts, some, x, f, Ax, direct=True)
    if few is None:
        return examined(facts, some, x, settings, Ax)
    shown, total = few.operator.range_shape[0], problem.A.range_shape[0]
    note = (
        f"the images of this stack were compared with {shown} of their {total} views, and whether another image would "
        "explain the data better was not tried: reconstruct one row by itself to know"
    )
    return examined(replace(facts, notes=(*facts.notes, note)), some, x, settings, Ax, whole=problem)
