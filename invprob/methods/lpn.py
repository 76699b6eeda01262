"""The recipe that takes its prior from a learned proximal network: lpn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.methods.progress import Progress, run
from invprob.methods.recipes import constant, is_constrained, unit
from invprob.methods.strength import Strength, choose, fixed
from invprob.multilevel import Level, filled, pyramid
from invprob.priors import LearnedProximal, NonNegative, Sum, load_pretrained
from invprob.solvers import ADMM, Solver

SIGMA = 0.05  # the noise level that the network is told, relative to the contrast of the image
START = 0.3  # the strongest strength tried
PENALTY = 0.1  # rho is at least this share of |A|^2


def lpn(
    problem: Level,
    *,
    strength: Strength = "auto",
    network: str = "lpn-natural-like",
    nonnegative: bool | None = None,
    tol: float = 3e-4,
    max_iter: int = 200,
) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + lam R(x), lam = strength |A|^2, R the regulariser of a learned proximal network, by ADMM.

    Fang, Buchanan & Sulam 2024. x >= 0 where A >= 0; `network` names pretrained weights. The objective is followed.
    """
    given, constrained = fixed(strength), is_constrained(problem, nonnegative)
    prior = load_pretrained(network)
    if not isinstance(prior, LearnedProximal):
        raise ValueError(f"lpn needs a learned proximal network such as lpn-natural-like; {network!r} is a denoiser")
    learned = prior.network.to(problem.A.device, problem.A.dtype)
    size = unit(problem)

    def parts(level: Level, chosen: Tensor, weights: Tensor | None) -> tuple[Solver[Any], L2, Functional]:
        square = level.A.norm().double() ** 2
        lam = chosen * square
        regulariser = LearnedProximal(learned, lam, sigma=SIGMA * size, scale=size, ndim=level.ndim, card=prior.card)
        g = Sum(NonNegative(level.ndim), regulariser) if constrained else regulariser
        rho = torch.maximum(lam, PENALTY * square)
        return ADMM(rho=rho, tol=tol, max_iter=max_iter), L2(level.A, level.y, weights), g

    coarse = pyramid(problem)[0]
    chosen = constant(problem, given) if given is not None else (yield from choose([coarse, problem], parts, START))
    solver, f, g = parts(problem, chosen, problem.weights)
    settings = {"strength": chosen.tolist(), "network": network, "nonnegative": constrained, "tol": tol}
    begin = solver.init(f, g, problem.A.direct(filled(problem.y, problem.weights)))
    yield from run("learned proximal network", problem, solver, f, g, state=begin, settings=settings)
