"""What the law tests share: random numbers, dense matrices, comparisons per item."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from invprob.linop import LinearOperator

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def randn(shape: Sequence[int], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Normal numbers from a generator of their own."""
    return torch.randn(tuple(shape), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def image_of(A: LinearOperator, batch: Sequence[int] = (), *, seed: int = 0, as_complex: bool = False) -> Tensor:
    dtype = COMPLEX[A.dtype] if as_complex else A.domain_dtype
    return randn((*batch, *A.domain_shape), dtype, seed)


def data_of(A: LinearOperator, batch: Sequence[int] = (), *, seed: int = 1, as_complex: bool = False) -> Tensor:
    dtype = COMPLEX[A.dtype] if as_complex else A.range_dtype
    return randn((*batch, *A.range_shape), dtype, seed)


def dense(A: LinearOperator) -> Tensor:
    """The matrix of A, column by column."""
    n = int(np.prod(A.domain_shape))
    basis = torch.eye(n, dtype=A.domain_dtype).reshape(n, *A.domain_shape)
    return torch.stack([A(e).flatten() for e in basis], dim=1)


def dense_map(function: Callable[[Tensor], Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The matrix of any linear function of one item of `shape`."""
    n = int(np.prod(shape))
    return torch.stack([function(e).flatten() for e in torch.eye(n, dtype=dtype).reshape(n, *shape)], dim=1)


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, after checking that the shapes are the same."""
    assert found.shape == expected.shape
    difference = torch.linalg.vector_norm(found - expected)
    size = torch.linalg.vector_norm(expected)
    return float(difference / size) if size > 0 else float(difference)


def mismatch(A: LinearOperator, x: Tensor, y: Tensor) -> float:
    """|<A x, y> - <x, A^H y>| / (|A x| |y|), summed in double precision."""
    Ax, Ay = A(x), A.adjoint(y)
    assert Ax.shape == y.shape
    assert Ay.shape == x.shape
    wide = torch.complex128
    left, right = (torch.vdot(b.to(wide).flatten(), a.to(wide).flatten()) for a, b in ((Ax, y), (x, Ay)))
    size = torch.linalg.vector_norm(Ax.to(wide)) * torch.linalg.vector_norm(y.to(wide))
    return float((left - right).abs() / size) if size > 0 else float((left - right).abs())


def check_items_are_alone(function: Callable[[Tensor], Tensor], batch: Tensor, tol: float) -> None:
    """The function of a batch is the batch of the function, also beside a neighbour a million times larger."""
    loud = batch.clone()
    loud[-1] = loud[-1] * 1e6
    together, beside = function(batch), function(loud)
    for k in range(len(batch)):
        alone = function(batch[k])
        assert relative(together[k], alone) <= tol
        if k < len(batch) - 1:
            assert relative(beside[k], alone) <= tol


def check_pure(function: Callable[[Tensor], Tensor], t: Tensor, *, own_memory: bool = True) -> None:
    """Same input, same bits; the input stays as it was and, if so asked, shares no memory with the output."""
    before = t.clone()
    first = function(t)
    assert torch.equal(first, function(t))
    if own_memory:
        first.zero_()
    assert torch.equal(t, before)
