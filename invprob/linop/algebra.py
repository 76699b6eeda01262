"""Operators made of operators: adjoint, composition, sum, multiple, stack. Structure is data, not closures.

Each passes on what its parts say of their data, or says why it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from invprob.grid import Grid
from invprob.linop.bases import Basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.items import broadcast_batch, ratio
from invprob.linop.linear import Bound, Coarser, LinearOperator
from invprob.linop.nonlinear import Composed, check_fit
from invprob.linop.operator import Operator, Place, Shape
from invprob.linop.spectrum import Spectrum

IMAGINARY = (complex, np.complexfloating)  # numbers that make an operator complex


class Combined(LinearOperator):
    """What operators made of operators share: the parts, whose precision and device are its own."""

    def __init__(
        self,
        parts: Sequence[LinearOperator],
        domain_shape: Shape,
        range_shape: Shape,
        *,
        complex_factor: bool = False,
    ) -> None:
        first = parts[0]
        for part in parts[1:]:
            if (part.dtype, part.device) != (first.dtype, first.device):
                raise TypeError(
                    f"{type(self).__name__}: {type(first).__name__} is {first.dtype} on {first.device}, "
                    f"{type(part).__name__} is {part.dtype} on {part.device}: bring them together with .to(...)"
                )
        is_complex = complex_factor or any(part.is_complex for part in parts)
        super().__init__(domain_shape, range_shape, dtype=first.dtype, is_complex=is_complex)
        self.parts = nn.ModuleList(parts)
        self.matched = all(part.matched for part in parts)
        self.nonnegative = all(part.nonnegative for part in parts)
        self.rings = any(part.rings for part in parts) and all(part.nonnegative or part.rings for part in parts)
        self.short_gram = parts[0].short_gram
        self.channels = parts[-1].channels
        self.parameter_batch = broadcast_batch(*(part.parameter_batch for part in parts))
        if any(part.complex_domain != part.complex_range for part in parts):  # real-linear, as derivatives may be
            self.complex_domain = complex_factor or parts[-1].complex_domain
            self.complex_range = complex_factor or parts[0].complex_range

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parts."""
        return self._list()[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the parts compute."""
        return self._list()[0].device

    @property
    def grid(self) -> Grid:
        """That of the part that sees the image."""
        return self._list()[-1].grid

    def field_of_view(self) -> float | None:
        """Return that of the part that sees the image."""
        return self._list()[-1].field_of_view()

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Return what the part that sees the image leaves unseen."""
        last = self._list()[-1]
        return last.unseen_edges(x) if last.domain_shape == self.domain_shape else None

    def _unseen_by_all(self, x: Tensor) -> Tensor | None:
        """Return the slopes that no part tells of; None where a part does not know."""
        found = [slopes for slopes in (part.unseen_edges(x) for part in self._list()) if slopes is not None]
        return torch.stack(found).amin(0) if len(found) == len(self.parts) else None

    def _list(self) -> list[LinearOperator]:
        return [part for part in self.parts if isinstance(part, LinearOperator)]

    def _joined(self, combine: Callable[[Tensor, Tensor], Tensor]) -> Diagonal | None:
        first, second = (part.diagonal() for part in self._list())
        return None if first is None or second is None else first.joined(second, combine)


class Wrapped(Combined):
    """What operators made of one operator share."""

    @property
    def inner(self) -> LinearOperator:
        """The operator it is made of."""
        return self._list()[0]

    def _norm(self) -> Tensor:
        return self.inner.norm()

    def _norm_bound(self) -> Bound:
        return Bound(self.inner.norm_bound(), self.inner.norm_bound_kind)


class Adjoint(Wrapped):
    """A^H as an operator."""

    def __init__(self, inner: LinearOperator) -> None:
        super().__init__((inner,), inner.range_shape, inner.domain_shape)
        self.channels, self.short_gram = None, False
        self.complex_domain, self.complex_range = self.complex_range, self.complex_domain

    def _forward(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner(y)

    def diagonal(self) -> Diagonal | None:
        """Return the conjugate diagonal."""
        found = self.inner.diagonal()
        return None if found is None else Diagonal(found.values.conj(), found.basis)

    @property
    def grid(self) -> Grid:
        """None known: its images are the data of another operator."""
        return Grid.of_pixels(len(self.domain_shape))

    @property
    def H(self) -> LinearOperator:
        """The operator this is the adjoint of: the very object."""
        return self.inner

    def __repr__(self) -> str:
        return f"{in_front_of_dot(self.inner)}.H"


class Composition(Composed, Combined):
    """(A B) x = A (B x). Of its data speaks A, and B where A is a filter of data (`transparent`)."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        check_fit(outer, inner)
        super().__init__((outer, inner), inner.domain_shape, outer.range_shape)
        self.data_kind, self.view_axes = self.speaker.data_kind, self.speaker.view_axes

    @property
    def factors(self) -> tuple[Operator, Operator]:
        """The outer and the inner operator."""
        outer, inner = self._list()
        return outer, inner

    def _forward(self, x: Tensor) -> Tensor:
        outer, inner = self._list()
        return outer(inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        outer, inner = self._list()
        return inner.adjoint(outer.adjoint(y))

    def _gram(self, x: Tensor) -> Tensor:
        outer, inner = self._list()
        return inner.adjoint(outer.gram(inner(x)))

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        outer, inner = self._list()
        return inner.adjoint(outer.gram(inner(x), weights))

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the inner operator's direct reconstruction where the outer is a mask on its data; else by CG.

        A filter of data has no coarser twin and no inverse that the field's formulas could use.
        """
        outer, inner = self._list()
        factor = outer.diagonal() if outer.transparent else None
        if factor is None or factor.basis not in ("any", "pixel"):
            return super().direct(y, weights)
        seen = factor.values != 0
        y = ratio(self.as_data(y) * seen, factor.values)
        own = factor.values.abs().square()
        own = own if weights is None else weights * own
        return inner.direct(y, None if weights is None and bool((own == own.flatten()[0]).all()) else own)

    def diagonal(self) -> Diagonal | None:
        """Return the product of the diagonals where both factors are diagonal in one basis."""
        return self._joined(torch.mul)

    def __repr__(self) -> str:
        outer, inner = self._list()
        return f"{in_product(outer)} @ {in_product(inner)}"


class Sum(Combined):
    """(A + B) x = A x + B x."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if (first.domain_shape, first.range_shape) != (second.domain_shape, second.range_shape):
            raise ValueError(
                f"{type(first).__name__} + {type(second).__name__}: {first.extra_repr()} and "
                f"{second.extra_repr()} differ"
            )
        super().__init__((first, second), first.domain_shape, first.range_shape)
        share_what_agrees(self, first, second)
        self.short_gram = False

    @property
    def measured(self) -> Tensor | None:
        """What is a reading of either."""
        first, second = (part.measured for part in self._list())
        return None if first is None or second is None else first | second

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask the first, whose data have the same shape."""
        return self._list()[0].hold_out(share, generator)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask the first, whose data have the same shape."""
        return self._list()[0].fill(y, weights)

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Return the slopes that neither part tells of."""
        return self._unseen_by_all(x)

    def outline(self, y: Tensor, shape: str) -> Place | None:
        """Return None: the edges of one shadow hide in the other."""
        del y, shape
        return None

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what is doubtful about either geometry; what sums of data look like is not known."""
        del y
        return [doubt for part in self._list() for doubt in part.doubts()]

    def _forward(self, x: Tensor) -> Tensor:
        first, second = self._list()
        return first(x) + second(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        first, second = self._list()
        return first.adjoint(y) + second.adjoint(y)

    def diagonal(self) -> Diagonal | None:
        """Return the sum of the diagonals where both terms are diagonal in one basis."""
        return self._joined(torch.add)

    def __repr__(self) -> str:
        first, second = self._list()
        return f"{first!r} + {second!r}"


class Scaled(Wrapped):
    """(c A) x = c (A x) for a number or a 0-d tensor c; a complex c makes the operator complex."""

    factor: Tensor

    def __init__(self, inner: LinearOperator, factor: complex | Tensor) -> None:
        if not isinstance(factor, Tensor):
            # a plain attribute, which no change of precision rounds
            c = torch.tensor(factor, dtype=torch.complex128 if isinstance(factor, IMAGINARY) else torch.float64)
        elif not factor.ndim:
            c = factor
        else:
            raise ValueError(f"a scalar times {type(inner).__name__}: the factor has shape {tuple(factor.shape)}")
        super().__init__((inner,), inner.domain_shape, inner.range_shape, complex_factor=c.is_complex())
        self.data_kind, self.view_axes, self.transparent = inner.data_kind, inner.view_axes, inner.transparent
        if isinstance(factor, Tensor) and not isinstance(factor, nn.Parameter):
            self.register_buffer("factor", c, persistent=False)
        else:
            self.factor = c
        positive = not c.is_complex() and bool(c >= 0)
        self.nonnegative, self.rings = inner.nonnegative and positive, inner.rings and positive

    def _forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.factor.conj() * self.inner.adjoint(y)

    def _gram(self, x: Tensor) -> Tensor:
        return self.factor.abs().square() * self.inner.gram(x)

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.factor.abs().square() * self.inner.gram(x, weights)

    @property
    def measured(self) -> Tensor | None:
        """That of A."""
        return self.inner.measured

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask A."""
        return self.inner.hold_out(share, generator)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask A."""
        return self.inner.fill(y, weights)

    def density(self) -> Tensor | None:
        """Ask A."""
        return self.inner.density()

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Ask A about y / c; about its geometry alone if c is complex or 0."""
        real = not self.factor.is_complex() and bool(self.factor != 0)
        return self.inner.doubts(None if y is None or not real else y / self.factor.to(y))

    def outline(self, y: Tensor, shape: str) -> Place | None:
        """Ask A about y / c; a complex c, or 0, leaves no shadow."""
        if self.factor.is_complex() or not bool(self.factor != 0):
            return None
        return self.inner.outline(y / self.factor.to(y), shape)

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return A's direct reconstruction of y / c, 0 for c = 0."""
        y = self.as_data(y)
        if not bool(self.factor != 0):
            return self.adjoint(y)
        return self.inner.direct(y / self.factor.to(self.device), weights)

    def coarser(self) -> Coarser | None:
        """Return c times what A knows."""
        found = self.inner.coarser()
        return None if found is None else found._replace(operator=found.operator * self.factor)

    def thinned(self) -> Coarser | None:
        """Return c times what A knows."""
        found = self.inner.thinned()
        return None if found is None else found._replace(operator=found.operator * self.factor)

    def diagonal(self) -> Diagonal | None:
        """Return c times the diagonal of A, where it has one."""
        found = self.inner.diagonal()
        return None if found is None else Diagonal(self.factor * found.values, found.basis)

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return |c|^2 times the diagonal of A^H W A, where it has one."""
        return self._times_square(self.inner.gram_diagonal(weights))

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return |c|^2 times the estimate of A, where it has one."""
        return self._times_square(self.inner.gram_diagonal_estimate(basis))

    def weighted_gram_estimate(self, weights: Tensor) -> Diagonal | None:
        """Return |c|^2 times the estimate of A^H W A, where it has one."""
        return self._times_square(self.inner.weighted_gram_estimate(weights))

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return |c|^2 times that of A, where it has one."""
        return self._times_square(self.inner.row_gram_diagonal())

    def row_spectrum(self, systems: int = 1) -> Spectrum | None:
        """Return that of A, with |c|^2 times the values."""
        found = self.inner.row_spectrum(systems)
        return None if found is None else Spectrum(self.factor.abs().square() * found.values, found.vectors)

    def _times_square(self, found: Diagonal | None) -> Diagonal | None:
        return None if found is None else Diagonal(self.factor.abs().square() * found.values, found.basis)

    def _norm(self) -> Tensor:
        return (self.factor.abs() * self.inner.norm()).to(self.dtype)

    def _norm_bound(self) -> Bound:
        value, kind = super()._norm_bound()
        return Bound((self.factor.abs() * value).to(self.dtype), kind)

    def __repr__(self) -> str:
        number = f"({self.factor.item():g})" if self.factor.is_complex() else f"{self.factor.item():g}"
        return f"{number} * {in_product(self.inner)}"


def share_what_agrees(whole: LinearOperator, *parts: LinearOperator) -> None:
    """Let an operator say of its data what all its parts say."""
    kinds, axes = {part.data_kind for part in parts}, {part.view_axes for part in parts}
    whole.data_kind = kinds.pop() if len(kinds) == 1 else "samples"
    whole.view_axes = axes.pop() if len(axes) == 1 else 0


def in_product(op: LinearOperator) -> str:
    """Return repr(op) as it must stand in a product."""
    return f"({op!r})" if isinstance(op, Sum) else repr(op)


def in_front_of_dot(op: LinearOperator) -> str:
    """Return repr(op) as it must stand before a dot."""
    return f"({op!r})" if isinstance(op, (Sum, Scaled, Composition)) else repr(op)
