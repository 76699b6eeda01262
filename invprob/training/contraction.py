"""A penalty that teaches a denoiser to be firm: I - D should not expand differences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invprob.linalg import norm, per_item
from invprob.training.batches import Batch

__all__ = ["MARGIN", "residual_expansion"]

MARGIN = 0.1  # the norm of I - D that costs nothing is at most 1 - this
_STEPS = 6


def residual_expansion(network: nn.Module, batch: Batch) -> Tensor:
    """Return |I - J_D| at the noisy images, (B,), by power steps from the noise; differentiable in the weights.

    What stays below 1 makes plug-and-play iterations converge (Ryu, Liu, Wang, Chen, Wang & Yin, ICML 2019), and, of
    a gradient-step denoiser, a proximal operator (Hurault, Leclaire & Papadakis, ICML 2022, which penalises it so).
    """
    ndim = batch.noisy.ndim - 1
    x = batch.noisy.detach().requires_grad_()
    residual = x - network(x, batch.sigma)
    # J^T u is linear in u, and its derivative by u along v is J v
    u = torch.zeros_like(residual, requires_grad=True)
    (pulled,) = torch.autograd.grad(residual, x, u, create_graph=True)

    def pushed(v: Tensor, *, graph: bool) -> Tensor:
        return torch.autograd.grad(pulled, u, v, create_graph=graph, retain_graph=True)[0]

    def unit(v: Tensor) -> Tensor:
        return v / per_item(norm(v, ndim).clamp(min=1e-30), v, ndim)

    v = unit(batch.noisy - batch.clean)
    for _ in range(_STEPS):
        (slope,) = torch.autograd.grad(residual, x, pushed(v, graph=False), retain_graph=True)
        v = unit(slope)
    return norm(pushed(v, graph=True), ndim)
