"""Operators from what people already have: two functions, a matrix, a scipy LinearOperator; and back to scipy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from invprob.linop.linear import LinearOperator
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Shape

Function = Callable[[Tensor], Tensor]


class FromFunctions(LinearOperator):
    """y = forward(x), x = adjoint(y): see `LinearOperator.from_functions`; linear and matched as far as the two are."""

    def __init__(
        self,
        forward: Function,
        adjoint: Function | None,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        **kinds: Any,
    ) -> None:
        super().__init__(domain_shape, range_shape, **kinds)
        self.forward_function = forward
        self.adjoint_function = adjoint
        # two functions are each other's derivative and may hide anything; one alone must be differentiable
        self.traceable = adjoint is None

    def _forward(self, x: Tensor) -> Tensor:
        return self.forward_function(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y) if self.adjoint_function is None else self.adjoint_function(y)


class FromScipy(LinearOperator):
    """y = reshape(L @ flatten(x)): see `LinearOperator.from_scipy`."""

    traceable = False

    def __init__(self, matrix: Any, domain_shape: Sequence[int], range_shape: Sequence[int]) -> None:
        L = aslinearoperator(matrix)
        sizes = (math.prod(range_shape), math.prod(domain_shape))
        if L.shape != sizes:
            raise ValueError(f"from_scipy: the matrix is {L.shape}, the shapes ask for {sizes}")
        is_complex = bool(np.issubdtype(L.dtype, np.complexfloating))
        single = L.dtype in (np.float32, np.complex64)
        super().__init__(
            domain_shape,
            range_shape,
            dtype=torch.float32 if single else torch.float64,
            is_complex=is_complex,
        )
        self.matrix = L

    def _forward(self, x: Tensor) -> Tensor:
        return self._product(self.matrix.matmat, x, self.domain_shape, self.range_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._product(self.matrix.rmatmat, y, self.range_shape, self.domain_shape)

    def _product(self, multiply: Callable[[Any], Any], t: Tensor, shape: Shape, shape_out: Shape) -> Tensor:
        batch = t.shape[: t.ndim - len(shape)]
        columns = multiply(t.detach().reshape(batch.numel(), math.prod(shape)).T.cpu().numpy())
        out = torch.from_numpy(np.ascontiguousarray(columns.T)).reshape(*batch, *shape_out)
        return out.to(t.device, COMPLEX_OF[self.dtype] if out.is_complex() else self.dtype)


def as_scipy(A: LinearOperator) -> ScipyLinearOperator:
    """Return A on flattened numpy vectors: `matvec` is A, `rmatvec` is A^H."""

    def product(function: Function, shape: Shape) -> Callable[[Any], Any]:
        def columns(vectors: Any) -> Any:
            items = torch.from_numpy(np.ascontiguousarray(vectors.T)).reshape(vectors.shape[1], *shape)
            items = items.to(A.device, COMPLEX_OF[A.dtype] if items.is_complex() else A.dtype)
            with torch.no_grad():
                return function(items).reshape(len(items), -1).T.cpu().numpy()

        return columns

    forward, adjoint = product(A, A.domain_shape), product(A.adjoint, A.range_shape)
    return ScipyLinearOperator(
        shape=(math.prod(A.range_shape), math.prod(A.domain_shape)),
        matvec=lambda v: forward(v.reshape(-1, 1)),
        rmatvec=lambda v: adjoint(v.reshape(-1, 1)),
        matmat=forward,
        rmatmat=adjoint,
        dtype=np.dtype(str(A.range_dtype).removeprefix("torch.")),
    )
