"""One helper that makes a pair of opaque kernels, A and A^H, a citizen of autograd and torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from invprob.linop.linear import LinearOperator


def run_kernel(A: LinearOperator, t: Tensor, *, adjoint: bool) -> Tensor:
    """Return A t or A^H t by the operator's hooks, with the other one as the derivative."""
    out: Tensor = LinearKernel.apply(t, A, adjoint)  # type: ignore[no-untyped-call]
    return out


def on_both_parts(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Apply a real linear function to the real and the imaginary part of t, as one more batch axis."""
    real, imag = function(torch.stack([t.real, t.imag]))
    return torch.complex(real, imag)


class LinearKernel(torch.autograd.Function):
    """y = A t (or A^H t): its derivative backwards is the same Function of the adjoint, forwards it is itself."""

    @staticmethod
    def forward(t: Tensor, operator: LinearOperator, adjoint: bool) -> Tensor:
        """Run the kernel; a real one sees real tensors only."""
        hook = operator._adjoint if adjoint else operator._forward
        return on_both_parts(hook, t) if t.is_complex() and not operator.is_complex else hook(t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, LinearOperator, bool], output: Tensor) -> None:
        """Keep what the derivative needs: nothing of the tensor."""
        _, ctx.operator, ctx.adjoint = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return A^H g."""
        return run_kernel(ctx.operator, grads[0], adjoint=not ctx.adjoint), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Return A dt."""
        return run_kernel(ctx.operator, tangents[0], adjoint=ctx.adjoint)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, None, None], t: Tensor, operator: LinearOperator, adjoint: bool
    ) -> tuple[Tensor, int]:
        """Let a mapped axis be one more batch axis."""
        del info
        return run_kernel(operator, t.movedim(in_dims[0] or 0, 0), adjoint=adjoint), 0
