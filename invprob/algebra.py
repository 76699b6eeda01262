"""Operators made of operators: adjoint, composition, sum, multiple, stack, lift. Structure is data, not closures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invprob.linop import LinearOperator, Shape


class _Combined(LinearOperator):
    """What operators made of operators share: the parts, their precision and their device."""

    def __init__(self, parts: Sequence[LinearOperator], domain_shape: Shape, range_shape: Shape) -> None:
        first, last = parts[0], parts[-1]
        for part in parts[1:]:
            if (part.dtype, part.device) != (first.dtype, first.device):
                raise TypeError(
                    f"{type(self).__name__}: {type(first).__name__} is {first.dtype} on {first.device}, "
                    f"{type(part).__name__} is {part.dtype} on {part.device}: bring them together with .to(...)"
                )
        super().__init__(
            domain_shape,
            range_shape,
            dtype=first.dtype,
            complex_domain=last.complex_domain,
            complex_range=any(part.complex_range for part in parts),
        )
        self.to(first.device)
        self.parts = nn.ModuleList(parts)
        self.matched = all(part.matched for part in parts)

    def _terms(self) -> list[LinearOperator]:
        return [part for part in self.parts if isinstance(part, LinearOperator)]


class Adjoint(LinearOperator):
    """A^H as an operator."""

    def __init__(self, inner: LinearOperator) -> None:
        super().__init__(
            inner.range_shape,
            inner.domain_shape,
            dtype=inner.dtype,
            complex_domain=inner.complex_range,
            complex_range=inner.complex_domain,
        )
        self.to(inner.device)
        self.inner = inner
        self.matched = inner.matched

    def _forward(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner(y)

    @property
    def H(self) -> LinearOperator:
        """The operator this is the adjoint of: the very object."""
        return self.inner

    def norm(self) -> Tensor:
        """Return |A^H| = |A|."""
        return self.inner.norm()

    def norm_bound(self) -> Tensor:
        """Return the bound of |A|, which bounds |A^H|."""
        return self.inner.norm_bound()

    @property
    def norm_bound_kind(self) -> str:
        """How the inner operator bounds its norm."""
        return self.inner.norm_bound_kind


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
        outer, inner = self._terms()
        return outer(inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        outer, inner = self._terms()
        return inner.adjoint(outer.adjoint(y))

    def gram(self, x: Tensor) -> Tensor:
        """Return B^H (A^H A) B x, with the short way of A where it has one."""
        outer, inner = self._terms()
        return inner.adjoint(outer.gram(inner(x)))


class Sum(_Combined):
    """(A + B) x = A x + B x."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        ends = [(op.domain_shape, op.range_shape, op.complex_domain) for op in (first, second)]
        if ends[0] != ends[1]:
            raise ValueError(
                f"{type(first).__name__} + {type(second).__name__}: {first.extra_repr()} and {second.extra_repr()} differ"
            )
        super().__init__((first, second), first.domain_shape, first.range_shape)

    def _forward(self, x: Tensor) -> Tensor:
        first, second = self._terms()
        return first(x) + second(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        first, second = self._terms()
        return first.adjoint(y) + second.adjoint(y)


class Scaled(_Combined):
    """(c A) x = c (A x) for a number or a 0-d tensor c."""

    def __init__(self, inner: LinearOperator, factor: complex | Tensor) -> None:
        super().__init__((inner,), inner.domain_shape, inner.range_shape)
        self.factor = torch.as_tensor(factor)
        if self.factor.ndim:
            raise ValueError(f"a scalar times {type(inner).__name__}: the factor has shape {tuple(self.factor.shape)}")
        self.complex_range = inner.complex_range or self.factor.is_complex()

    def _forward(self, x: Tensor) -> Tensor:
        (inner,) = self._terms()
        return self.factor * inner(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        (inner,) = self._terms()
        return self.factor.conj() * inner.adjoint(y)

    def gram(self, x: Tensor) -> Tensor:
        """Return |c|^2 A^H A x."""
        (inner,) = self._terms()
        return self.factor.abs().square() * inner.gram(x)

    def norm(self) -> Tensor:
        """Return |c| |A|."""
        return self.factor.abs() * self._terms()[0].norm()

    def norm_bound(self) -> Tensor:
        """Return |c| times the bound of |A|."""
        return self.factor.abs() * self._terms()[0].norm_bound()

    @property
    def norm_bound_kind(self) -> str:
        """How the inner operator bounds its norm."""
        return self._terms()[0].norm_bound_kind


class VStack(_Combined):
    """[A; B; ...] x: the data of several operators, joined along the first item axis."""

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
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
        return torch.cat([op(x) for op in self._terms()], dim=-len(self.range_shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        pieces = y.split(self.sizes, dim=-len(self.range_shape))
        first, *rest = (op.adjoint(piece) for op, piece in zip(self._terms(), pieces, strict=True))
        return sum(rest, start=first)

    def gram(self, x: Tensor) -> Tensor:
        """Return sum_i A_i^H A_i x."""
        first, *rest = (op.gram(x) for op in self._terms())
        return sum(rest, start=first)


class Lifted(_Combined):
    """A applied along extra item axes: what a volume prior needs of a slice operator."""

    def __init__(self, inner: LinearOperator, shape: Shape) -> None:
        super().__init__((inner,), (*shape, *inner.domain_shape), (*shape, *inner.range_shape))

    def _forward(self, x: Tensor) -> Tensor:
        return self._terms()[0](x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._terms()[0].adjoint(y)

    def gram(self, x: Tensor) -> Tensor:
        """Return A^H A x by the inner operator's way."""
        return self._terms()[0].gram(x)

    def norm(self) -> Tensor:
        """Return |A|: a copy of A per index changes nothing."""
        return self._terms()[0].norm()

    def norm_bound(self) -> Tensor:
        """Return the inner operator's bound."""
        return self._terms()[0].norm_bound()

    @property
    def norm_bound_kind(self) -> str:
        """How the inner operator bounds its norm."""
        return self._terms()[0].norm_bound_kind

    def direct(self, y: Tensor) -> Tensor:
        """Return the inner operator's direct reconstruction per index."""
        return self._terms()[0].direct(y)


def vstack(operators: Sequence[LinearOperator]) -> LinearOperator:
    """Return [A; B; ...], whose data are joined along the first item axis."""
    return operators[0] if len(operators) == 1 else VStack(operators)
