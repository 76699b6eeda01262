"""The recipes that come from image restoration: wiener, wavelet."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.methods.progress import Progress, direct_result, run
from invprob.methods.recipes import constant, contrast, is_constrained, peak, penalty
from invprob.methods.strength import Strength, choose, fixed
from invprob.multilevel import Level
from invprob.operators import Blur
from invprob.operators.noise_level import estimate_noise
from invprob.priors import NonNegative, Sum, WaveletL1
from invprob.solvers import ADMM

TRUSTED = 1.5  # a noise level more than this many times what the data show is taken for wrong


def wiener(problem: Level) -> Iterator[Progress]:
    """Wiener's filter for blurred images, `Blur.direct`, with the noise level of the scan or that of the data.

    The scan's level only ever raises what the data show (`estimate_noise`), and at most to 1.5 times that.
    """
    A, y = problem.A, problem.y
    if not isinstance(A, Blur):
        raise ValueError(f"wiener is for blurred images (Blur), not for {type(A).__name__}: use tikhonov or tv")
    if problem.weights is not None:
        raise ValueError("wiener takes all readings alike and the scan has weights: use tv or wavelet")
    seen = estimate_noise(y, problem.ndim)
    given = seen if problem.noise is None else problem.noise.to(seen)
    sigma = torch.minimum(torch.maximum(given, seen), seen * TRUSTED)
    x = A.direct(y, noise=sigma)
    settings = {"noise_to_seen": torch.where(seen > 0, linalg.ratio(sigma, seen), 1.0).tolist()}
    yield Progress("Wiener's filter", 1, 1, 0.0, lambda: direct_result(problem, x, settings))


def wavelet(
    problem: Level,
    *,
    strength: Strength = "auto",
    wavelet: str = "db2",
    nonnegative: bool | None = None,
    tol: float = 1e-3,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + lam |details of W x|_1 with lam = strength max |A^H y|, x >= 0 where A >= 0, by ADMM.

    Averaged over two shifts per axis (cycle spinning, Coifman & Donoho 1995), for which there is a prox but no value.
    """
    constrained = is_constrained(problem, nonnegative)
    largest, size = peak(problem), contrast(problem)

    def parts(level: Level, chosen: Tensor, weights: Tensor | None) -> tuple[ADMM, L2, Functional]:
        lam = chosen * largest
        sparse = WaveletL1(lam, wavelet=wavelet, spins=2, ndim=level.ndim)
        g = Sum(sparse, NonNegative(level.ndim)) if constrained else sparse
        return ADMM(rho=penalty(lam, size, level.A), tol=tol, max_iter=max_iter), L2(level.A, level.y, weights), g

    given = fixed(strength)
    chosen = constant(problem, given) if given is not None else (yield from choose([problem], parts))
    solver, f, g = parts(problem, chosen, problem.weights)
    settings = {"strength": chosen.tolist(), "wavelet": wavelet, "nonnegative": constrained, "tol": tol}
    yield from run("wavelet sparsity", problem, solver, f, g, settings=settings)
