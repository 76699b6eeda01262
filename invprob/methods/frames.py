"""The recipe of frames that share a background: low-rank-sparse."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.linop import LinearOperator
from invprob.methods.continuation import Reached, continued
from invprob.methods.reporting import Progress, of_own_readings, run
from invprob.methods.scales import THRESHOLD, WEAKEST, first_image
from invprob.methods.strength import Strength, choose, fixed
from invprob.priors import L1, Analysis, NuclearNorm, Sum
from invprob.problem import Problem
from invprob.result import Result
from invprob.solvers import ADMM
from invprob.transforms import Component, Frequencies, Total


def low_rank_sparse(
    problem: Problem,
    *,
    strength: Strength = "auto",
    background: float = 1.0,
    tol: float = 1e-3,
    max_iter: int = 100,
) -> Iterator[Progress]:
    """Frames x = l + s: 1/2 |A x - y|^2 + lam_l |l|_* + lam_s |F s|_1, F the Fourier transform along time.

    By ADMM (Otazo, Candes & Sodickson 2015): a background l whose frames are combinations of few, and what changes
    with few frequencies. lam_s = strength max |F A^H y|, and lam_l is so much relative to the largest singular value
    of A^H y. Samples of k-space off the grid are weighted by the area that is theirs.

    Arguments:
        strength: a number >= 0; "auto" (the default) predicts held-out readings best.
        background: the relative weight of |l|_* beside that of |F s|_1, a number > 0; by default 1.
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.

    ValueError for images that are no frames.
    """
    A, k = problem.linear, problem.ndim
    if A.channels != "frames":
        raise ValueError(
            "low-rank-sparse is for frames: an MRI operator with frames=T, or A.lift((T,), channels='frames')"
        )
    if not background > 0:
        raise ValueError(f"background of low-rank-sparse must be a number > 0, got {background}")
    shape, kind = A.domain_shape, A.dtype
    total, time = Total(shape, dtype=kind).to(A.device), Frequencies(shape, dtype=kind).to(A.device)
    still, moving = (Component(shape, index, dtype=kind).to(A.device) for index in range(2))
    split = replace(problem, A=A @ total)
    of = split.balanced()
    pulls, sizes = _scales(A.adjoint(of.force()), time), _scales(A.direct(of.y, of.weights), time)

    def parts(on: Problem, chosen: Tensor, keep: Tensor | None) -> tuple[ADMM, Misfit, Functional]:
        lams = (background * chosen * pulls[0], chosen * pulls[1])
        least = WEAKEST * A.norm().double() ** 2
        rho = [torch.maximum(linalg.ratio(lam, THRESHOLD * size), least) for lam, size in zip(lams, sizes, strict=True)]
        low_rank, sparse = Analysis(NuclearNorm(lams[0], k), still), Analysis(L1(lams[1], k), time @ moving)
        return ADMM(rho=rho, tol=tol, max_iter=max_iter), on.fidelity(keep), Sum(low_rank, sparse)

    def separated() -> Generator[Progress, None, None]:
        found = yield from choose([of], parts, fixed(strength))
        solver, f, g = parts(of, found.strength, None)
        at, chosen = found.at, found.strength
        settings: dict[str, Any] = {"strength": chosen.tolist(), "background": background, "tol": tol}
        start = continued(of, solver, f, g, at or Reached(first_image(of)), chosen)
        yield from run("low rank and sparse", of, solver, f, g, state=start, settings=settings, choice=found.choice)

    for event in of_own_readings(split, separated()):
        yield event.changed(partial(_together, total=total), total)


def _scales(x: Tensor, time: Frequencies) -> tuple[Tensor, Tensor]:
    """Return the largest singular value of frames and the largest of their frequencies per item, float64."""
    k = len(time.domain_shape)
    matrix = x.flatten(1 - k).to(torch.complex128)
    largest = torch.linalg.eigvalsh(matrix @ matrix.mH)[..., -1].clamp(min=0).sqrt()
    return largest, time(x).abs().flatten(-k).amax(-1).double()


def _together(done: Result, total: LinearOperator) -> Result:
    return replace(done, x=total(done.x), ndim=len(total.range_shape))
