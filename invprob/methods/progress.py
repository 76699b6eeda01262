"""What a recipe reports while it works."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from invprob.certificate import certify_image
from invprob.fidelities import L2, QuadraticFidelity
from invprob.functional import Functional
from invprob.loop import Step, conclude, image_of, iterate
from invprob.problem import Problem
from invprob.result import Result
from invprob.solvers import Solver, State


@dataclass(frozen=True)
class Progress:
    """One iteration of a recipe: the phase in words, the step of at most `total`, the largest residual.

    A method that draws samples has no residual: None.

    `conclude` makes the result; `show`, if it is given, its image alone, where the certificate is what costs.
    """

    phase: str
    step: int
    total: int
    residual: float | None
    conclude: Callable[[], Result]
    show: Callable[[], Tensor] | None = None

    def result(self) -> Result:
        """Return the best image so far, in the units of the scan, with its certificate."""
        return self.conclude()

    def image(self) -> Tensor:
        """Return the image of `result` alone: as a preview, or to go on from."""
        return self.conclude().x if self.show is None else self.show()


Recipe = Callable[..., Iterator[Progress]]


def run(
    phase: str,
    level: Problem,
    solver: Solver[Any],
    f: QuadraticFidelity,
    g: Functional | None = None,
    *,
    state: State | None = None,
    settings: dict[str, Any] | None = None,
) -> Generator[Progress, None, State]:
    """Run the loop, report every iteration and return the last state."""
    for step in iterate(solver, f, g, state=state):
        yield report(phase, level, solver, f, g, step, settings)
    return step.state


def report(
    phase: str,
    level: Problem,
    solver: Solver[Any],
    f: QuadraticFidelity,
    g: Functional | None,
    step: Step,
    settings: dict[str, Any] | None = None,
) -> Progress:
    """Return the report of one step of the loop."""

    def result() -> Result:
        done = conclude(step, solver, f, g, noise=level.noise)
        return replace(done, settings={**(settings or {}), "solver": type(solver).__name__})

    residual = float(step.state.residual.max())
    return Progress(phase, step.state.iteration, solver.max_iter, residual, result, lambda: image_of(step, f, g))


def direct_result(problem: Problem, x: Tensor, settings: dict[str, Any]) -> Result:
    """Return the result of a method without iterations."""
    items = torch.zeros(problem.batch, dtype=torch.int64)
    return Result(
        x=x,
        status="converged",
        item_status=("converged",) * items.numel(),
        n_iter=items,
        seconds=0.0,
        history={},
        certificate=certify_image(L2(problem.A, problem.y, problem.weights), x, problem.noise),
        state=None,
        settings=settings,
        ndim=len(problem.A.domain_shape),
    )
