"""The recipe that takes its prior from a learned proximal network: lpn."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Bound, Support, constraint_of
from invprob.methods.reporting import Progress
from invprob.methods.scales import admm, kept_nonnegative
from invprob.methods.strength import Strength
from invprob.methods.warm_start import Start, refined
from invprob.priors import LearnedProximal, Sum, load_pretrained
from invprob.problem import Problem
from invprob.solvers import ADMM

WEIGHT = 0.8  # lam over (noise / sigma)^2: chosen on generated images
PENALTY = 0.1  # rho is at least this share of |A|^2, as the default of `ADMM`
INNER = 1e-7, 0.5  # the least and the largest tolerance to which the network is inverted


def lpn(
    problem: Problem,
    *,
    strength: Strength = "auto",
    network: str = "lpn-natural-like",
    nonnegative: bool | None = None,
    lower: Bound = None,
    upper: Bound = None,
    support: Support = None,
    tol: float = 2e-3,
    max_iter: int = 40,
) -> Iterator[Progress]:
    """f(x) + lam R(x), R the regulariser of a learned proximal network, by ADMM; its objective is followed.

    Fang, Buchanan & Sulam 2024, from what total variation found. R stands for -sigma^2 log p, so lam goes with
    (noise / sigma)^2. f is 1/2 |A x - y|^2, or what the scan's likelihood asks for.

    Arguments:
        strength: the noise level assumed, relative to the largest reading; as for `pnp`.
        network: the name of pretrained weights of such a network.
        nonnegative: whether x >= 0; None (the default) where A >= 0 and no data contradict it.
        lower, upper, support: bounds and the place of the object, as for `tv`.
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.

    ValueError for weights that are no learned proximal network.
    """
    kept = kept_nonnegative(problem, nonnegative)
    constraint = constraint_of(problem, lower, upper, support, nonnegative=kept)
    known = load_pretrained(network)
    if not isinstance(known, LearnedProximal):
        raise ValueError(f"lpn needs a learned proximal network such as lpn-natural-like; {network!r} is a denoiser")
    A = problem.linear
    learned = known.network.to(A.device, A.dtype)
    inner = min(max(tol, INNER[0]), INNER[1])

    def parts(start: Start, f: Misfit) -> tuple[ADMM, Functional]:
        lam, ndim = start.weight(WEIGHT), problem.ndim
        prior = LearnedProximal(
            learned, lam, sigma=start.sigma, scale=start.size, ndim=ndim, tol=inner, card=known.card
        )
        bounds = constraint.box(A)
        g = prior if bounds is None else Sum(bounds, prior)
        rho = torch.maximum(lam, PENALTY * A.norm().double() ** 2)
        return admm(f, g, rho, tol=tol, max_iter=max_iter), g

    settings = {"network": network, **constraint.told}
    yield from refined("learned proximal network", problem, parts, strength, nonnegative, settings)
