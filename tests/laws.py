"""What the tests share: the numbers that `invprob.testing` measures, as assertions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.linop.module import COMPLEX_OF as COMPLEX
from invprob.testing import numbers
from invprob.testing.numbers import dense as dense
from invprob.testing.numbers import dense_map as dense_map
from invprob.testing.numbers import mismatch as mismatch
from invprob.testing.numbers import normal as randn


def image_of(A: LinearOperator, batch: Sequence[int] = (), *, seed: int = 0, as_complex: bool = False) -> Tensor:
    dtype = COMPLEX[A.dtype] if as_complex else A.domain_dtype
    return randn((*batch, *A.domain_shape), dtype, seed)


def data_of(A: LinearOperator, batch: Sequence[int] = (), *, seed: int = 1, as_complex: bool = False) -> Tensor:
    dtype = COMPLEX[A.dtype] if as_complex else A.range_dtype
    return randn((*batch, *A.range_shape), dtype, seed)


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, after checking that the shapes are the same."""
    assert found.shape == expected.shape
    return numbers.relative(found, expected)


def check_items_are_alone(function: Callable[[Tensor], Tensor], batch: Tensor, tol: float) -> None:
    """The function of a batch is the batch of the function, also beside a neighbour a million times larger."""
    for finding in numbers.alone(function, batch, tol, "the function"):
        assert finding.passed, finding


def check_pure(function: Callable[[Tensor], Tensor], t: Tensor, *, own_memory: bool = True) -> None:
    """Same input, same bits; the input stays as it was and, if so asked, shares no memory with the output."""
    with torch.no_grad():
        for finding in numbers.pure(function, t, "the function", own_memory=own_memory):
            assert finding.passed, finding


__all__ = ["COMPLEX", "check_items_are_alone", "check_pure", "data_of", "dense", "dense_map", "image_of", "mismatch"]
__all__ += ["randn", "relative"]
