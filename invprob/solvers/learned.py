"""What can be said of a result whose prior is a denoiser: what the theorems ask of it, and what was met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from invprob.functional import Functional, Scalar
from invprob.priors import RED, Denoiser, GradientStepDenoiser, LearnedProximal
from invprob.priors.denoiser import DenoiserPrior
from invprob.priors.jacobian import Expansion
from invprob.solvers.base import Assumption, Solver, State
from invprob.solvers.proximal_theorem import proximal_assumptions

SLACK = 1e-3  # by which an estimate may pass a bound before that counts as broken; no measurement on record


def learned_facts(solver: Solver[Any], f: Functional, g: Functional, state: State) -> dict[str, Any]:
    """Return `lipschitz`, `residual_lipschitz` and the assumptions of the denoisers in g; nothing if there is none."""
    steps: Mapping[int, Scalar] = {id(part): tau for part, tau in solver.prox_steps(f, g, state)}
    facts: dict[str, Any] = {}
    assumptions: list[Assumption] = []
    for part in g.modules():
        if isinstance(part, LearnedProximal):
            assumptions.extend(proximal_assumptions(solver, f, part, steps.get(id(part))))
        if not isinstance(part, DenoiserPrior):
            continue
        sigma = part.noise_level(steps.get(id(part)))
        if sigma is None:
            continue
        # in a sum or under an operator the denoiser sees another image than the result
        whole = part.ndim == g.ndim and any(t.functional is part and t.operator is None for t in g.terms(state.x))
        level = sigma.to(state.x.device)
        found = part.expansion(state.x, level) if whole else None
        if found is not None:
            facts["lipschitz"] = max(found.denoiser, facts.get("lipschitz", 0.0))
            facts["residual_lipschitz"] = max(found.residual, facts.get("residual_lipschitz", 0.0))
        assumptions.extend(_of_units(part, state.x, level))
        assumptions.extend(_of_map(part, found))
    return facts | {"assumptions": tuple(assumptions)}


def contraction(history: Mapping[str, list[Tensor]]) -> Tensor | None:
    """Return by which factor per iteration the residual fell over the second half of a run, per item; None if short.

    NaN for an item whose residual was zero or not finite.
    """
    if not history.get("iteration"):
        return None
    iterations = torch.stack(history["iteration"]).double()
    last = len(iterations) - 1
    known = torch.stack(history["residual"]).isfinite().reshape(last + 1, -1).all(1).nonzero().flatten().tolist()
    begin = next((k for k in known if iterations[k] >= iterations[last] / 2), last)
    span = float(iterations[last] - iterations[begin])
    if span < 1:
        return None
    ratio = history["residual"][last] / history["residual"][begin]
    return torch.where(ratio > 0, ratio ** (1 / span), torch.nan)


def _of_units(part: DenoiserPrior, x: Tensor, sigma: Tensor) -> list[Assumption]:
    """Return what concerns the noise level."""
    levels = f"{float(sigma.min()):.3g}" + (f" to {float(sigma.max()):.3g}" if sigma.min() != sigma.max() else "")
    found = []
    trained = part.in_trained_range(x, sigma)
    if trained is not None:
        low, high = part.D.sigma_range  # type: ignore[attr-defined]
        reason = f"sigma is {levels} in the units of the image, the denoiser knows {low:.3g} to {high:.3g} in its own"
        found.append(Assumption("sigma is in the range the denoiser was trained for", trained, reason))
    if isinstance(part, Denoiser) and part.lam is None:
        found.append(
            Assumption(
                "the fixed point does not depend on the step",
                False,
                f"sigma is fixed at {levels}: change rho or tau and it moves",
            )
        )
    return found


def _of_map(part: DenoiserPrior, found: Expansion | None) -> list[Assumption]:
    """Return what concerns the denoiser as a map, from what it does around the result."""
    how = (
        "not looked at" if found is None else "around the result, by autograd" if found.derivative else "by differences"
    )
    if isinstance(part, GradientStepDenoiser):
        return [
            Assumption("the gradient of the prior is exact", True, "it is that of an explicit potential, by autograd")
        ]
    if isinstance(part, RED):
        seen = None if found is None else found.residual
        limit = part.residual_lipschitz
        steps = Assumption(f"Lip(I - D) <= {limit:g}, which sets the step", _holds(seen, limit), _said(seen, how))
        reason = "so it was declared" if part.symmetric else "Reehorst & Schniter 2019: else RED is no gradient"
        return [steps, Assumption("the denoiser's Jacobian is symmetric", part.symmetric or None, reason)]
    own, rest = (None, None) if found is None else (found.denoiser, found.residual)
    return [
        Assumption("the denoiser is non-expansive", _holds(own, 1.0), f"Lip(D): {_said(own, how)}"),
        Assumption(
            "Lip(I - D) < 1 (Ryu et al. 2019, theorems 1 and 2, for a strongly convex f)",
            _holds(rest, 1.0),
            f"Lip(I - D): {_said(rest, how)}",
        ),
    ]


def _holds(seen: float | None, limit: float) -> bool | None:
    """Return False where an estimate from below passes the limit; no look at one image can prove the contrary."""
    return False if seen is not None and seen > limit * (1 + SLACK) else None


def _said(seen: float | None, how: str) -> str:
    return how if seen is None else f"at least {seen:.3g} {how}"
