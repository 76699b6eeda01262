"""What the laws of operators try them on: images, data, the dense matrix, and which tolerances their precision asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from invprob.linop import Linearised, LinearOperator, Operator
from invprob.linop.module import COMPLEX_OF
from invprob.testing import numbers
from invprob.testing.numbers import Function

SMALL = 2**19  # entries up to which the dense matrix is made
COLUMNS = 1024


@dataclass(frozen=True)
class Door:
    """One way through an operator: A, its adjoint or its Gram matrix."""

    name: str
    call: Function
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


class OperatorProbe:
    """An operator, linear or not, with what it is tried on; `around` is an image near which a nonlinear one is tried.

    Where an operator has a batch of parameters, items carry it as their last batch axes.
    """

    def __init__(self, A: Operator, *, seed: int = 0, around: Tensor | None = None, pickles: bool = False) -> None:
        self.A, self.seed, self.around, self.pickles = A, seed, around, pickles
        self.linear = A if isinstance(A, LinearOperator) else None
        self.single = A.dtype == torch.float32
        self.rounding = 1e-6 if self.single else 1e-12
        self.nearby = 1e-5 if self.single else 1e-12  # of what is summed in another order
        self.points = [part for part in A.modules() if isinstance(part, Linearised)]
        self.over_reals = any(part.complex_domain or part.complex_range for part in self.points)
        parts = [part for part in A.modules() if isinstance(part, LinearOperator)]
        self.matched = all(part.matched for part in parts)

    @cached_property
    def own_batch(self) -> tuple[int, ...]:
        """The batch of parameters."""
        with torch.no_grad():
            out = self.A(self._normal(self.A.domain_shape, self.A.domain_dtype, 0, self.around))
        return tuple(out.shape[: out.ndim - len(self.A.range_shape)])

    def image(self, batch: Sequence[int] = (), *, seed: int = 0, as_complex: bool = False) -> Tensor:
        """Return a random image."""
        dtype = COMPLEX_OF[self.A.dtype] if as_complex else self.A.domain_dtype
        return self._normal((*batch, *self.own_batch, *self.A.domain_shape), dtype, seed, self.around)

    def data(self, batch: Sequence[int] = (), *, seed: int = 1, as_complex: bool = False) -> Tensor:
        """Return random data, which no image need have."""
        dtype = COMPLEX_OF[self.A.dtype] if as_complex else self.A.range_dtype
        return self._normal((*batch, *self.own_batch, *self.A.range_shape), dtype, seed, None)

    def _normal(self, shape: Sequence[int], dtype: torch.dtype, seed: int, around: Tensor | None) -> Tensor:
        t = numbers.normal(shape, dtype, self.seed + seed).to(self.A.device)
        if around is None:
            return t
        centre = self.A.as_image(around)
        return centre + 0.1 * centre.abs().mean() * t

    @cached_property
    def doors(self) -> tuple[Door, ...]:
        """The ways through the operator."""
        A, n, m = self.A, self.A.domain_shape, self.A.range_shape
        first = Door("A", A, n, m)
        if self.linear is None:
            return (first,)
        return (first, Door("A^H", self.linear.adjoint, m, n), Door("gram", self.linear.gram, n, n))

    def draw(self, door: Door, batch: Sequence[int] = (), *, seed: int = 0, as_complex: bool = False) -> Tensor:
        """Return what a door takes."""
        if door.name == "A^H":
            return self.data(batch, seed=seed + 1, as_complex=as_complex)
        return self.image(batch, seed=seed, as_complex=as_complex)

    @cached_property
    def small(self) -> bool:
        """Whether the dense matrix may be made."""
        columns = math.prod(self.A.domain_shape)
        return columns <= COLUMNS and columns * math.prod(self.A.range_shape) <= SMALL and not self.own_batch

    @cached_property
    def matrix(self) -> Tensor:
        """The dense matrix of a linear operator."""
        if self.linear is None:
            raise TypeError(f"{type(self.A).__name__} is not linear: it has no matrix")
        return numbers.dense(self.linear).cpu()

    @cached_property
    def largest(self) -> float:
        """The largest singular value of the dense matrix."""
        return float(torch.linalg.matrix_norm(self.matrix.to(torch.promote_types(self.matrix.dtype, torch.float64)), 2))
