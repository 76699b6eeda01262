"""What convergence theorems ask of a learned proximal network, checked."""

from __future__ import annotations

from typing import Any

import torch

from invprob.functional import Functional, Scalar
from invprob.priors.learned_proximal import LearnedProximal
from invprob.solvers.base import Assumption, Solver

__all__ = ["proximal_assumptions"]


def proximal_assumptions(
    solver: Solver[Any], f: Functional, part: LearnedProximal, tau: Scalar | None
) -> list[Assumption]:
    """Return the conditions of Fang, Buchanan & Sulam 2024 (theorem 4.1), for a prox of step tau (1 / rho).

    The potential has to be alpha-strongly convex, 0 < alpha < 1, so that f is invertible and R smooth, and the
    penalty, or 1 / step, above Lip(grad f) = |A^T A|. None of it is needed where R is convex.
    """
    network = part.network
    name, alpha = type(network).__name__, network.strong_convexity()
    found = [
        Assumption(
            "the prior is a proximal operator", True, f"{name} is the gradient of a convex potential by construction"
        ),
        Assumption("0 < alpha < 1", 0 < alpha < 1, f"the potential is {alpha:.3g}-strongly convex"),
    ]
    if tau is not None:
        found.append(_step(solver, f, part, tau))
    trained = part.in_trained_range()
    if trained is not None:
        low, high = part.card["sigma_range"]
        level = part.sigma / part.scale
        reason = (
            f"it is {float(level.min()):.3g} to {float(level.max()):.3g} in the network's units, which was trained for "
            f"{low:.3g} to {high:.3g}"
        )
        found.append(Assumption("sigma is one the network was trained for", trained, reason))
    return found


def _step(solver: Solver[Any], f: Functional, part: LearnedProximal, tau: Scalar) -> Assumption:
    statement = "1 / (prox step) > |A^T A|"
    if part.convex:
        return Assumption(statement, True, "not needed, as R is convex")
    limit = f.lipschitz()
    if limit is None:
        return Assumption(statement, None, f"{type(f).__name__} has no Lipschitz gradient")
    step = torch.as_tensor(tau, dtype=torch.float64)
    share = float((step * torch.as_tensor(limit, dtype=torch.float64).to(step.device)).max())
    reason = f"{type(solver).__name__} takes steps of {share:.3g} / |A^T A|"
    return Assumption(statement, share < 1, reason)
