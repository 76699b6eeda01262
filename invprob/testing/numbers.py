"""Random tensors from generators of their own, dense matrices, and how far two tensors are apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.linop.items import item_axes
from invprob.testing.report import Finding, fact

Function = Callable[[Tensor], Tensor]
LOUD = 1e6  # how much larger the neighbour is that must not disturb
CHUNK = 256  # columns of a dense matrix computed at once


def normal(shape: Sequence[int], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Return normal numbers from a generator of their own, E |n|^2 = 1; on the CPU."""
    return torch.randn(tuple(shape), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def relative(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected|, the absolute difference where that is 0; inf for differing shapes."""
    if found.shape != expected.shape:
        return math.inf
    wide = torch.complex128 if found.is_complex() or expected.is_complex() else torch.float64
    a, b = found.detach().to(wide), expected.detach().to(wide)
    difference, size = torch.linalg.vector_norm(a - b), torch.linalg.vector_norm(b)
    return float(difference / size) if size > 0 else float(difference)


def product(a: Tensor, b: Tensor) -> complex:
    """Return <a, b> = sum conj(b) a in double precision."""
    wide = torch.complex128
    return complex(torch.vdot(b.detach().to(wide).flatten(), a.detach().to(wide).flatten()))


def size(t: Tensor) -> float:
    """Return |t| in double precision."""
    return float(torch.linalg.vector_norm(t.detach().to(torch.complex128)))


def mismatch(A: LinearOperator, x: Tensor, y: Tensor, *, over_reals: bool = False) -> float:
    """Return |<A x, y> - <x, A^H y>| / (|A x| |y|), summed in double precision; inf where shapes do not fit."""
    Ax, Ay = A(x), A.adjoint(y)
    if Ax.shape != y.shape or Ay.shape != x.shape:
        return math.inf
    difference = product(Ax, y) - product(x, Ay)
    gap, scale = abs(difference.real if over_reals else difference), size(Ax) * size(y)
    return gap / scale if scale > 0 else gap


def dense_map(function: Function, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the matrix of a linear function of one item of `shape`, its columns computed as batches."""
    n = math.prod(shape)
    basis = torch.eye(n, dtype=dtype).reshape(n, *shape)
    with torch.no_grad():
        return torch.cat([function(part).reshape(len(part), -1) for part in torch.split(basis, CHUNK)]).mT


def dense(A: LinearOperator) -> Tensor:
    """Return the matrix of A."""
    return dense_map(lambda e: A(e.to(A.device)), A.domain_shape, A.domain_dtype)


def alone(function: Function, batch: Tensor, allowed: float, what: str, loud: float = LOUD) -> Iterator[Finding]:
    """Find whether a function of a batch is the batch of the function, also beside a very large neighbour."""
    with_neighbour = batch.clone()
    with_neighbour[-1] = with_neighbour[-1] * loud
    together, beside = function(batch), function(with_neighbour)
    for k in range(len(batch)):
        by_itself = function(batch[k])
        if together.shape != (len(batch), *by_itself.shape):
            yield fact(False, f"{what}: a batch gives {tuple(together.shape)}, one item {tuple(by_itself.shape)}")
            return
        look = f"{what}: an item depends on its neighbours in the batch (a norm, a maximum or a stop over all items?)"
        yield Finding(relative(together[k], by_itself), allowed, look)
        if k < len(batch) - 1:
            yield Finding(relative(beside[k], by_itself), allowed, f"{look}; seen beside one {loud:.0e} times larger")


def pure(function: Function, t: Tensor, what: str, *, own_memory: bool = True) -> Iterator[Finding]:
    """Find whether the same input gives the same bits, stays as it was, and shares no memory with the output."""
    before, state = t.clone(), torch.random.get_rng_state()
    first = function(t)
    yield fact(torch.equal(t, before), f"{what}: the input is changed in place")
    yield fact(_same_bits(first, function(t)), f"{what}: a second call with the same input gives another result")
    undisturbed = torch.equal(state, torch.random.get_rng_state())
    yield fact(undisturbed, f"{what}: draws from torch's global random numbers; take a generator or a seed")
    if own_memory:
        first.zero_()
        yield fact(torch.equal(t, before), f"{what}: the output shares memory with the input: clone it")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a, b))


def on_items(values: Tensor, like: Tensor, ndim: int) -> Tensor:
    """Return numbers per item in a shape that multiplies items of `ndim` axes."""
    return values.to(like.real.dtype).reshape(values.shape + (1,) * ndim)


def squares(t: Tensor, ndim: int) -> Tensor:
    """Return |t|^2 per item, in float64."""
    return t.abs().double().square().sum(item_axes(ndim))
