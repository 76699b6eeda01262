"""Arithmetic per item of the batch: inner products, norms, and numbers that multiply every item by its own.

`ndim` is the number of trailing axes that make one item.
"""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.linop.doors import takes_arrays

# numbers of an item that are in double precision at a time: all of a large one would take the memory of four
BLOCK = 2**18


def item_axes(ndim: int) -> tuple[int, ...]:
    """Return the trailing axes that make one item."""
    return tuple(range(-ndim, 0))


@takes_arrays
def inner(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Return Re <a, b> per item, in float64 so that no square over- or underflows, of shape `(*batch,)`."""
    if ndim and a.shape[-ndim:] == b.shape[-ndim:] and a.is_complex() == b.is_complex():
        blocks = zip(_blocks(_in_a_row(a, ndim)), _blocks(_in_a_row(b, ndim)), strict=True)
        parts = [_product(c.double(), d.double(), a.is_complex()) for c, d in blocks]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
    product = a.real.double() * b.real.double()
    if a.is_complex() and b.is_complex():
        product = product + a.imag.double() * b.imag.double()
    return product.sum(item_axes(ndim)) if ndim else product


@takes_arrays
def norm(a: Tensor, ndim: int) -> Tensor:
    """Return the Euclidean norm per item, of shape `(*batch,)`, in float64."""
    if ndim == 0:
        return a.abs().double()
    row = _in_a_row(a, ndim)  # of parts, as the norm of complex numbers in double precision is many times slower
    # a norm of norms has no second derivative where one of them is zero
    blocks = (row,) if torch.is_grad_enabled() and row.requires_grad else _blocks(row)
    sizes = [torch.linalg.vector_norm(block, dim=-1, dtype=torch.float64) for block in blocks]
    size: Tensor = sizes[0] if len(sizes) == 1 else torch.linalg.vector_norm(torch.stack(sizes), dim=0)
    return size


def _product(c: Tensor, d: Tensor, of_complex: bool) -> Tensor:
    """Return the inner products along the last axis."""
    # of real numbers in one pass, without an image of products
    total: Tensor = (c * d).sum(-1) if of_complex else torch.linalg.vecdot(c, d)
    return total


def _blocks(row: Tensor) -> tuple[Tensor, ...]:
    """Return a row in pieces of at most `BLOCK` numbers."""
    return (row,) if row.shape[-1] <= BLOCK else torch.split(row, BLOCK, -1)


def _in_a_row(a: Tensor, ndim: int) -> Tensor:
    """Return the numbers of every item along one axis, real and imaginary parts in turn of complex ones."""
    return torch.view_as_real(a.resolve_conj()).flatten(-ndim - 1) if a.is_complex() else a.flatten(-ndim)


def length(field: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """Return the Euclidean length of the vectors along one axis, or several, which are kept with size 1.

    Spelled out, where no derivative at zero is asked for: torch's own norm over a short leading axis is a hundred
    times slower.
    """
    if torch.is_grad_enabled() and field.requires_grad:
        safe: Tensor = torch.linalg.vector_norm(field, dim=axis, keepdim=True)
        return safe
    square = field.real.square() + field.imag.square() if field.is_complex() else field.square()
    return square.sum(axis, keepdim=True).sqrt()


def per_item(scalar: float | Tensor, like: Tensor, ndim: int) -> Tensor:
    """Return a number or a `(*batch,)` tensor in a shape that multiplies `like`, in its precision."""
    t = scalar if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)
    t = t.to(device=like.device, dtype=like.dtype if t.is_complex() else like.real.dtype)
    return t.reshape(t.shape + (1,) * ndim) if t.ndim else t


def choose(which: Tensor, a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Return the items of a where `which` `(*batch,)` says so, else those of b."""
    return torch.where(which.reshape(which.shape + (1,) * ndim), a, b)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where a is 0, whatever b is."""
    return torch.where(a == 0, torch.zeros_like(a), a / torch.where(a == 0, torch.ones_like(b), b))


def broadcast_batch(*shapes: tuple[int, ...]) -> torch.Size:
    """Return the batch shape that all shapes broadcast to; RuntimeError if they do not fit."""
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
