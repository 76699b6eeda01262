"""One helper that makes a pair of opaque kernels, A and A^H, a citizen of autograd and torch.func."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from invprob.linop import LinearOperator


class LinearKernel(torch.autograd.Function):
    """y = A t (or A^H t): its derivative backwards is the same Function of the adjoint, forwards it is itself."""

    @staticmethod
    def forward(t: Tensor, operator: LinearOperator, adjoint: bool) -> Tensor:
        """Run the kernel."""
        return operator._adjoint(t) if adjoint else operator._forward(t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, LinearOperator, bool], output: Tensor) -> None:
        """Keep what the derivative needs: nothing of the tensor but its kind."""
        t, ctx.operator, ctx.adjoint = inputs
        ctx.real_input = not t.is_complex()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return A^H g, or its real part where a real t was promoted."""
        (g,) = grads
        back = LinearKernel.apply(g, ctx.operator, not ctx.adjoint)
        return (back.real if ctx.real_input and back.is_complex() else back), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Return A dt."""
        tangent: Tensor = LinearKernel.apply(tangents[0], ctx.operator, ctx.adjoint)
        return tangent

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, None, None], t: Tensor, operator: LinearOperator, adjoint: bool
    ) -> tuple[Tensor, int]:
        """Let a mapped axis be one more batch axis."""
        del info
        return LinearKernel.apply(t.movedim(in_dims[0] or 0, 0), operator, adjoint), 0
