"""The recipes of MRI without a prior: zero-filled, cg-sense."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator
from invprob.linop.algebra import Wrapped
from invprob.loop import iterate
from invprob.methods.reporting import Progress, direct_result, report, run, with_own_readings
from invprob.methods.scales import first_image
from invprob.methods.strength import Strength, fixed
from invprob.operators.mri.encoding import Encoding
from invprob.operators.mri.replicas import g_factor, noise_map
from invprob.problem import Problem
from invprob.result import ParameterMap, Result
from invprob.solvers import ConjugateGradient
from invprob.solvers.conjugate_gradient import CGState

# steps without a better prediction after which none is expected: with few lines held out the error is flat at first
PATIENCE = 12
# predictions worse than the best by no more than this are as good, and the earliest of them is taken: steps after it
# fit noise, of all readings more than of those kept. On spirals 1 dB better than the best prediction itself
ALIKE = 0.01


def zero_filled(problem: Problem) -> Iterator[Progress]:
    """Coil images by inverse Fourier transform with zeros for what was not measured, gridding off the grid; combined.

    sum_c conj(S_c) F^H y_c / sum_c |S_c|^2; samples off the grid are weighted by the area of k-space that is theirs.

    ValueError for other data than those of MRI.
    """
    encoding_of(problem.linear, "zero-filled")
    x = first_image(problem)
    yield Progress("filling with zeros", 1, 1, 0.0, lambda: direct_result(problem, x, {}), lambda: x)


def cg_sense(
    problem: Problem,
    *,
    strength: Strength = "auto",
    balanced: bool = False,
    max_iter: int = 50,
    replicas: int = 0,
) -> Iterator[Progress]:
    """Conjugate gradients on A^H W A x = A^H W y, stopped early (Pruessmann et al. 1999, 2001).

    After as many steps as predict whole lines, shots or points, set aside for all coils, as well as any do. Not at the
    noise level, which strong low frequencies reach long before the others are fitted.

    Arguments:
        strength: the data residual to stop at, as a share of the data; "auto" (the default) as above.
        balanced: whether samples off the grid are weighted by the area of k-space that is theirs: a fifth of the steps,
            and a little less quality. By default not.
        max_iter: the most steps.
        replicas: of noise that are reconstructed with as many steps, for the noise in every pixel (`Result.spread`) and
            the g-factor (`Result.maps`, and its median in the certificate); 0 (the default) for none. They cost as much
            as so many reconstructions.

    ValueError for other data than those of MRI, and for a single replica, which has no spread.
    """
    encoding_of(problem.linear, "cg-sense")
    if replicas != 0 and replicas < 2:
        raise ValueError(f"replicas must be 0 or at least 2, got {replicas}")
    given, of = fixed(strength), problem.quadratic()
    readings, of = of, of.balanced() if balanced else of
    steps = (yield from _turn(of, readings, max_iter)) if given is None else None
    target = None if given is None else given * of.size(of.y)
    solver = ConjugateGradient(max_iter=max_iter, tol=1e-6, discrepancy=target, steps=steps, normal=True)
    settings: dict[str, Any] = {"balanced": balanced, "max_iter": max_iter}
    for event in run("conjugate gradients", problem, solver, of.fidelity(), settings=settings):
        yield event.changed(partial(_told, problem=problem, of=of, replicas=replicas))


def encoding_of(A: LinearOperator, method: str) -> Encoding:
    """Return the MRI operator that multiples and lifts are made of; ValueError, in the method's name, for others."""
    inner = A
    while isinstance(inner, Wrapped):
        inner = inner.inner
    if not isinstance(inner, Encoding):
        raise ValueError(f"{method} is for MRI, not for {type(inner).__name__}: use direct or least-squares")
    return inner


def misfit_by_gram(problem: Problem, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return x -> |A x - y|_w per item over the readings under a mask, without A x.

    |A x - y|^2 = |y|^2 - 2 Re <x, b> + <x, A^H W A x>, b = A^H W y, which rounding leaves true above 1 % of the data.
    """
    A, w = problem.linear, problem.counted(mask)
    y, k, d = problem.y, len(problem.A.range_shape), problem.ndim
    weighted = y if w is None else w.to(y.real.dtype) * y
    b, square = A.adjoint(weighted), linalg.inner(y, weighted, k)

    def misfit(x: Tensor) -> Tensor:
        return (square - linalg.inner(x, 2 * b - A.gram(x, w), d)).clamp(min=0).sqrt()

    return misfit


def _turn(problem: Problem, readings: Problem, max_iter: int) -> Generator[Progress, None, Tensor]:
    """Return after how many conjugate gradients held-out readings are predicted about as well as ever, per item.

    `readings` are the problem's without weights that only speed it up, which would ask for what is mostly noise. Steps
    carry over from most of the readings to all of them: the residual does not, as it holds what no image explains.
    """
    mask = problem.held_out()
    solver, f = ConjugateGradient(max_iter=max_iter, tol=0.0, normal=True), problem.fidelity(~mask)
    unseen = misfit_by_gram(readings, mask)
    errors: list[Tensor] = []
    for step in iterate(solver, f):
        yield report("choosing when to stop", problem, solver, f, None, step)
        errors.append(unseen(cast(CGState, step.state).x))
        least = torch.stack(errors).argmin(0)
        if bool((least <= len(errors) - 1 - PATIENCE).all()):
            break
    found = torch.stack(errors)
    return 1 + (found <= (1 + ALIKE) * found.amin(0)).to(torch.uint8).argmax(0)


def _told(done: Result, problem: Problem, of: Problem, replicas: int) -> Result:
    """Return a result that speaks of the readings as they are, and of the noise in every pixel if asked for."""
    Ax = problem.A(done.x)
    reached = {"strength": of.data_residual(done.x, Ax).tolist()}
    done = replace(with_own_readings(done, problem, Ax), settings=reached | dict(done.settings))
    if not replicas or problem.batch:
        return done
    A, steps = encoding_of(problem.linear, "cg-sense"), max(1, int(done.n_iter.max()))
    noise = 1.0 if problem.noise is None else float(problem.noise)
    sd = noise_map(
        problem.linear,
        torch.Generator().manual_seed(0),
        steps=steps,
        noise=noise,
        weights=of.weights,
        replicas=replicas,
    )
    done = replace(done, spread=sd if problem.noise is not None else None)
    if A.maps is None or sd.shape != A.image_shape:
        return done
    g, facts = g_factor(A, sd, noise), done.certificate
    middle, high = (float(torch.nanquantile(g.flatten(), q)) for q in (0.5, 0.99))
    note = f"g-factor {middle:.2f} in the median, {high:.2f} at the 99th percentile: {replicas} replicas of "
    if facts is not None:
        facts = replace(facts, notes=(*facts.notes, f"{note}noise, {steps} steps"))
    return replace(done, maps={"g-factor": ParameterMap(g, "")}, certificate=facts)
