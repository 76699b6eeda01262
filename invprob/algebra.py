"""Operators made of operators: adjoint, composition, sum, multiple, stack, lift. Structure is data, not closures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from invprob.bases import Basis
from invprob.linalg import Diagonal
from invprob.linop import Bound, LinearOperator, Shape

IMAGINARY = (complex, np.complexfloating)  # numbers that make an operator complex


class _Combined(LinearOperator):
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

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parts."""
        return self._list()[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the parts compute."""
        return self._list()[0].device

    def _list(self) -> list[LinearOperator]:
        return [part for part in self.parts if isinstance(part, LinearOperator)]

    def _joined(self, combine: Callable[[Tensor, Tensor], Tensor]) -> Diagonal | None:
        first, second = (part.diagonal() for part in self._list())
        return None if first is None or second is None else first.joined(second, combine)


class _Wrapped(_Combined):
    """What operators made of one operator share."""

    @property
    def inner(self) -> LinearOperator:
        """The operator it is made of."""
        return self._list()[0]

    def _norm(self) -> Tensor:
        return self.inner.norm()

    def _norm_bound(self) -> Bound:
        return Bound(self.inner.norm_bound(), self.inner.norm_bound_kind)


class Adjoint(_Wrapped):
    """A^H as an operator."""

    def __init__(self, inner: LinearOperator) -> None:
        super().__init__((inner,), inner.range_shape, inner.domain_shape)

    def _forward(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner(y)

    def diagonal(self) -> Diagonal | None:
        """Return the conjugate diagonal."""
        found = self.inner.diagonal()
        return None if found is None else Diagonal(found.values.conj(), found.basis)

    @property
    def H(self) -> LinearOperator:
        """The operator this is the adjoint of: the very object."""
        return self.inner

    def __repr__(self) -> str:
        return f"{_tight(self.inner)}.H"


class Composition(_Combined):
    """(A B) x = A (B x)."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain_shape != inner.range_shape:
            raise ValueError(
                f"{type(outer).__name__} @ {type(inner).__name__}: the outer takes {outer.domain_shape}, "
                f"the inner gives {inner.range_shape}"
            )
        super().__init__((outer, inner), inner.domain_shape, outer.range_shape)

    def _forward(self, x: Tensor) -> Tensor:
        outer, inner = self._list()
        return outer(inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        outer, inner = self._list()
        return inner.adjoint(outer.adjoint(y))

    def _gram(self, x: Tensor) -> Tensor:
        outer, inner = self._list()
        return inner.adjoint(outer.gram(inner(x)))

    def diagonal(self) -> Diagonal | None:
        """Return the product of the diagonals where both factors are diagonal in one basis."""
        return self._joined(torch.mul)

    def __repr__(self) -> str:
        outer, inner = self._list()
        return f"{_factor(outer)} @ {_factor(inner)}"


class Sum(_Combined):
    """(A + B) x = A x + B x."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if (first.domain_shape, first.range_shape) != (second.domain_shape, second.range_shape):
            raise ValueError(
                f"{type(first).__name__} + {type(second).__name__}: {first.extra_repr()} and "
                f"{second.extra_repr()} differ"
            )
        super().__init__((first, second), first.domain_shape, first.range_shape)

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


class Scaled(_Wrapped):
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
        self.view_axes = inner.view_axes
        if isinstance(factor, Tensor) and not isinstance(factor, nn.Parameter):
            self.register_buffer("factor", c, persistent=False)
        else:
            self.factor = c
        self.nonnegative = inner.nonnegative and not c.is_complex() and bool(c >= 0)

    def _forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.factor.conj() * self.inner.adjoint(y)

    def _gram(self, x: Tensor) -> Tensor:
        return self.factor.abs().square() * self.inner.gram(x)

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

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return |c|^2 times that of A, where it has one."""
        return self._times_square(self.inner.row_gram_diagonal())

    def _times_square(self, found: Diagonal | None) -> Diagonal | None:
        return None if found is None else Diagonal(self.factor.abs().square() * found.values, found.basis)

    def _norm(self) -> Tensor:
        return (self.factor.abs() * self.inner.norm()).to(self.dtype)

    def _norm_bound(self) -> Bound:
        value, kind = super()._norm_bound()
        return Bound((self.factor.abs() * value).to(self.dtype), kind)

    def __repr__(self) -> str:
        number = f"({self.factor.item():g})" if self.factor.is_complex() else f"{self.factor.item():g}"
        return f"{number} * {_factor(self.inner)}"


class VStack(_Combined):
    """[A; B; ...] x: the data of several operators, joined along the first item axis."""

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        if not operators:
            raise ValueError("vstack needs at least one operator")
        first = operators[0]
        for op in operators[1:]:
            if op.domain_shape != first.domain_shape or op.range_shape[1:] != first.range_shape[1:]:
                raise ValueError(
                    f"vstack: {first.extra_repr()} and {op.extra_repr()} need one domain and ranges that "
                    "differ in their first axis alone"
                )
        sizes = [op.range_shape[0] for op in operators]
        super().__init__(operators, first.domain_shape, (sum(sizes), *first.range_shape[1:]))
        self.sizes = sizes

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([op(x) for op in self._list()], dim=-len(self.range_shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        pieces = torch.split(y, self.sizes, dim=-len(self.range_shape))
        first, *rest = (op.adjoint(piece) for op, piece in zip(self._list(), pieces, strict=True))
        return sum(rest, start=first)

    def _gram(self, x: Tensor) -> Tensor:
        first, *rest = (op.gram(x) for op in self._list())
        return sum(rest, start=first)

    def __repr__(self) -> str:
        return f"vstack([{', '.join(map(repr, self._list()))}])"


class Lifted(_Wrapped):
    """A applied along extra item axes: what a volume prior needs of a slice operator."""

    def __init__(self, inner: LinearOperator, shape: Shape) -> None:
        super().__init__((inner,), (*shape, *inner.domain_shape), (*shape, *inner.range_shape))

    def _forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(y)

    def _gram(self, x: Tensor) -> Tensor:
        return self.inner.gram(x)

    def diagonal(self) -> Diagonal | None:
        """Return the diagonal of A, the same for every index."""
        return self._for_all(self.inner.diagonal(), self.domain_shape)

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the diagonal of A^H W A, the same for every index."""
        return self._for_all(self.inner.gram_diagonal(weights), self.domain_shape)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return the estimate of A, the same for every index."""
        return self._for_all(self.inner.gram_diagonal_estimate(basis), self.domain_shape)

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return the diagonal of A A^H, the same for every index."""
        return self._for_all(self.inner.row_gram_diagonal(), self.range_shape)

    def _for_all(self, found: Diagonal | None, shape: Shape) -> Diagonal | None:
        # along the extra axes A does nothing, which is diagonal in any basis
        if found is None or found.basis == "any" or found.values.ndim >= len(shape):
            return found
        return Diagonal(found.values.expand(shape), found.basis)

    def direct(self, y: Tensor) -> Tensor:
        """Return the inner operator's direct reconstruction per index."""
        return self.inner.direct(self.as_data(y))

    def __repr__(self) -> str:
        extra = self.domain_shape[: len(self.domain_shape) - len(self.inner.domain_shape)]
        return f"{_tight(self.inner)}.lift({extra})"


def vstack(operators: Sequence[LinearOperator]) -> LinearOperator:
    """Return [A; B; ...], whose data are joined along the first item axis."""
    return operators[0] if len(operators) == 1 else VStack(operators)


def _factor(op: LinearOperator) -> str:
    """Return repr(op) as it must stand in a product."""
    return f"({op!r})" if isinstance(op, Sum) else repr(op)


def _tight(op: LinearOperator) -> str:
    """Return repr(op) as it must stand before a dot."""
    return f"({op!r})" if isinstance(op, (Sum, Scaled, Composition)) else repr(op)
