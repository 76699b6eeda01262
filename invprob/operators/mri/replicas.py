"""How much noise a linear reconstruction leaves in every pixel, and the g-factor of parallel imaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator
from invprob.operators.mri.encoding import BLOCK, Encoding

REPLICAS = 40  # which tell a standard deviation to 1 / (2 sqrt(40)) = 8 % per pixel


def noise_map(
    A: LinearOperator,
    generator: torch.Generator,
    *,
    steps: int,
    noise: float = 1.0,
    weights: Tensor | None = None,
    replicas: int = REPLICAS,
) -> Tensor:
    """Return the standard deviation of the image's noise, `domain_shape`: that of reconstructed replicas of noise.

    Pseudo multiple replicas (Robson et al., MRM 60, 2008): white noise through as many conjugate-gradient steps on
    A^H W A x = A^H W n. Steps that do not converge understate what the exact inverse would amplify.

    Arguments:
        A: the operator.
        generator: where the noise comes from.
        steps: of conjugate gradients.
        noise: the standard deviation of the data's noise, sigma^2 = E|n|^2; by default 1.
        weights: W, that broadcast against the data; None for 1.
        replicas: how many.

    ValueError for fewer than two replicas or no step.
    """
    if replicas < 2 or steps < 1:
        raise ValueError(f"noise_map: at least two replicas and one step, got {replicas} and {steps}")
    total = torch.zeros(A.domain_shape, dtype=torch.float64, device=A.device)
    few = max(1, BLOCK // (16 * math.prod(A.range_shape)))
    for first in range(0, replicas, few):
        count = min(few, replicas - first)
        n = noise * torch.randn((count, *A.range_shape), dtype=A.range_dtype, generator=generator).to(A.device)
        n = n if A.measured is None else n * A.measured
        b = A.adjoint(n if weights is None else weights * n)
        x = linalg.conjugate_gradient(
            lambda t: A.gram(t, weights), b, ndim=len(A.domain_shape), tol=0.0, max_iter=steps
        ).x
        total = total + x.abs().double().square().sum(0)
    return (total / replicas).sqrt().to(A.dtype)


def g_factor(A: Encoding, spread: Tensor, noise: float = 1.0) -> Tensor:
    """Return g = sd sqrt(sum |S|^2) / (sigma sqrt(R)), NaN where no coil sees anything (Pruessmann et al. 1999).

    Arguments:
        A: the operator, with maps.
        spread: the standard deviation of the image, of `noise_map`.
        noise: that of the data.

    ValueError without maps.
    """
    if A.maps is None:
        raise ValueError("g_factor: a g-factor compares with the coils' maps, and this operator has none")
    square = A.maps.abs().square().sum(-len(A.image_shape) - 1).to(spread)
    readings = math.prod(A.range_shape) if A.measured is None else int(A.measured.expand(A.range_shape).sum())
    share = readings / (A.coils or 1) / A.frames / math.prod(A.image_shape)
    g = spread * square.sqrt() * math.sqrt(share) / noise
    return torch.where(square > 0, g, torch.nan)
