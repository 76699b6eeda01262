"""How much a denoiser D expands differences around an image, and how much its residual I - D does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from invprob.linalg import norm, power_iteration

ImageMap = Callable[[Tensor], Tensor]
SECANT = 1e-3  # length of a finite difference relative to |x|


class Expansion(NamedTuple):
    """|J| and |I - J| at an image, estimated from below; `derivative` says by autograd, not by finite differences."""

    denoiser: float
    residual: float
    derivative: bool


def expansion(D: ImageMap, x: Tensor, *, steps: int = 12) -> Expansion:
    """Return |J(x)| and |I - J(x)| of D by `steps` power steps on J^T J; where there is no derivative, by secants.

    Costs about six evaluations of D per step. x is taken as one item, so that of a batch the largest counts.
    A secant's slope bounds the Lipschitz constant from below, too, but not the derivative at x.
    """
    x = x.detach()
    try:
        with torch.enable_grad():
            pushed, pulled = _derivatives(D, x)
            sizes = (
                _largest(pushed, pulled, x, steps),
                _largest(lambda u: u - pushed(u), lambda u: u - pulled(u), x, steps),
            )
        return Expansion(*sizes, derivative=True)
    except (RuntimeError, NotImplementedError):
        with torch.no_grad():
            Dx = D(x)
            return Expansion(
                _steepest(lambda u: D(x + u) - Dx, x, steps),
                _steepest(lambda u: u - (D(x + u) - Dx), x, steps),
                derivative=False,
            )


def _derivatives(D: ImageMap, x: Tensor) -> tuple[ImageMap, ImageMap]:
    """Return u -> J u and u -> J^T u; RuntimeError if autograd does not see through D."""
    probe = x.clone().requires_grad_()
    answer = D(probe)
    if not answer.requires_grad:
        raise RuntimeError("no derivative")
    weight = torch.zeros_like(answer, requires_grad=True)
    (slope,) = torch.autograd.grad(answer, probe, weight, create_graph=True, materialize_grads=True)

    def transposed(of: Tensor, by: Tensor, u: Tensor) -> Tensor:
        return torch.autograd.grad(of, by, u, retain_graph=True, materialize_grads=True)[0]

    # J^T w is linear in w, and what autograd makes of it is its transpose, J: cheaper than forward derivatives
    return partial(transposed, slope, weight), partial(transposed, answer, probe)


def _largest(pushed: ImageMap, pulled: ImageMap, x: Tensor, steps: int) -> float:
    square = power_iteration(lambda u: pulled(pushed(u)), x, max_iter=steps)
    return float(square.clamp(min=0).sqrt())


def _steepest(change: ImageMap, x: Tensor, steps: int) -> float:
    """Return the largest |D(x + u) - D(x)| / |u| met when every u is the last change, made short."""
    size = SECANT * float(norm(x, x.ndim)) or SECANT
    u = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)).to(x.device)
    best = 0.0
    for _ in range(steps):
        length = float(norm(u, u.ndim))
        if not 0 < length < float("inf"):
            break
        u = u * (size / length)
        u = change(u)
        best = max(best, float(norm(u, u.ndim)) / size)
    return best
