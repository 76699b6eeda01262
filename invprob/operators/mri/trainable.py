"""The derivative of the non-uniform Fourier transform with respect to where it samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from invprob.operators.fourier.nufft import Transforms


def transformed(t: Tensor, omega: Tensor, transforms: Transforms, *, adjoint: bool) -> Tensor:
    """Return the transform of images (..., frames, coils, *N), or its adjoint of samples; differentiable in omega."""
    out: Tensor = _Transform.apply(t, omega, transforms, adjoint)  # type: ignore[no-untyped-call]
    return out


class _Transform(torch.autograd.Function):
    """dL/domega_(j, m) = Re sum_c conj(g_cm) (-i) [F(r_j x_c)]_m with r_j = n_j - floor(N_j / 2).

    For the adjoint image and samples change roles.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, omega: Tensor, transforms: Transforms, adjoint: bool) -> Tensor:
        ctx.save_for_backward(t, omega)
        ctx.transforms, ctx.adjoint = transforms, adjoint
        return transforms.adjoint(t) if adjoint else transforms.forward(t)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        t, omega = ctx.saved_tensors
        transforms, adjoint, g = ctx.transforms, ctx.adjoint, grads[0]
        of_t = transformed(g, omega, transforms, adjoint=not adjoint) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_t, None, None, None
        image, samples = (g, t) if adjoint else (t, g)
        slopes = []
        d = omega.shape[-1]
        for axis, n in enumerate(transforms.sizes):
            place = (torch.arange(n, dtype=omega.dtype) - n // 2).reshape(n, *(1,) * (d - axis - 1)).to(image.device)
            moved = transforms.forward((image * place).to(image.dtype))
            product = (samples.conj() * -1j * moved).real.double()
            slopes.append(product.sum(-2).reshape(-1, *omega.shape[:2]).sum(0))
        return of_t, torch.stack(slopes, -1).to(omega), None, None
