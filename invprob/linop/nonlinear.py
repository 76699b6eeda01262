"""Nonlinear operators: one after the other, and the derivative at a point as a linear operator."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.grid import Grid
from invprob.linop.items import broadcast_batch
from invprob.linop.linear import LinearOperator
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Operator


class Chain(Operator):
    """(A o B)(x) = A(B(x)) where one of the two is not linear; its derivative is the product of theirs."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        check_fit(outer, inner)
        super().__init__(
            inner.domain_shape,
            outer.range_shape,
            dtype=inner.dtype,
            complex_domain=inner.complex_domain,
            complex_range=outer.complex_range,
        )
        self.outer, self.inner = outer, inner
        self._speaker = (speaker(outer, inner),)  # in a tuple, as it is no part of its own
        self.data_kind, self.view_axes = self._speaker[0].data_kind, self._speaker[0].view_axes
        self.channels = inner.channels
        known = outer.degree, inner.degree
        self.degree = None if known[0] is None or known[1] is None else known[0] * known[1]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parts."""
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        """Where the parts compute."""
        return self.inner.device

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return J_B^H J_A^H v by the chain rule, each part by its own way."""
        x = self.as_image(x)
        return self.inner.vjp(x, self.outer.vjp(self.inner(x), v))

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return J_A J_B u by the chain rule, each part by its own way."""
        x = self.as_image(x)
        return self.outer.jvp(self.inner(x), self.inner.jvp(x, u))

    @property
    def grid(self) -> Grid:
        """That of the inner operator's image."""
        return self.inner.grid

    @property
    def measured(self) -> Tensor | None:
        """Which entries are readings of the outer operator, and of the inner one behind a filter."""
        return joined_measured(self.outer, self.inner)

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask the part that knows the data."""
        return self._speaker[0].hold_out(share, generator)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask the part that knows the data."""
        return self._speaker[0].fill(y, weights)

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Ask the outer operator, whose data they are; behind a filter nobody knows what data should look like."""
        return self.inner.doubts() if self.outer.transparent else self.outer.doubts(y)

    def __repr__(self) -> str:
        return f"{self.outer!r} o {self.inner!r}"


class Linearised(LinearOperator):
    """u -> J(x) u for the derivative J of an operator A at x, `(*batch, *domain_shape)`; its adjoint is A's vjp.

    Linear over the real numbers: between complex and real spaces <J u, v> = <u, J^H v> holds in their real parts.
    """

    def __init__(self, operator: Operator, x: Tensor) -> None:
        super().__init__(operator.domain_shape, operator.range_shape, dtype=operator.dtype)
        self.complex_domain, self.complex_range = operator.complex_domain, operator.complex_range
        self.operator = operator
        self.point = operator.as_image(x)
        self._value: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """That of the operator."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """That of the operator."""
        return self.operator.device

    @property
    def value(self) -> Tensor:
        """A(x), computed once."""
        if self._value is None:
            self._value = self.operator(self.point)
        return self._value

    @property
    def grid(self) -> Grid:
        """That of the operator's image."""
        return self.operator.grid

    def _forward(self, x: Tensor) -> Tensor:
        point, u = self._paired(x, len(self.domain_shape))
        return self.operator.jvp(point, u)

    def _adjoint(self, y: Tensor) -> Tensor:
        k = len(self.range_shape)
        point = self.point.expand(*broadcast_batch(self._batch, y.shape[: y.ndim - k]), *self.domain_shape)
        v = y.expand(*point.shape[: point.ndim - len(self.domain_shape)], *self.range_shape)
        return self.operator.vjp(point, v)

    @property
    def _batch(self) -> torch.Size:
        return self.point.shape[: self.point.ndim - len(self.domain_shape)]

    def _paired(self, u: Tensor, d: int) -> tuple[Tensor, Tensor]:
        """Return the point and u with one batch shape and of one kind."""
        batch = broadcast_batch(self._batch, u.shape[: u.ndim - d])
        point = self.point.to(torch.promote_types(self.point.dtype, u.dtype))
        return point.expand(*batch, *self.domain_shape), u.to(point.dtype).expand(*batch, *self.domain_shape)

    def _blank(self) -> Tensor:
        dtype = COMPLEX_OF[self.dtype] if self.point.is_complex() else self.dtype
        return torch.zeros(self.domain_shape, dtype=dtype, device=self.device)

    def extra_repr(self) -> str:
        """Name the operator."""
        return f"{self.operator!r} at a point"


def check_fit(outer: Operator, inner: Operator) -> None:
    """Raise ValueError or TypeError unless the outer operator takes what the inner one gives."""
    if outer.domain_shape != inner.range_shape:
        raise ValueError(
            f"{type(outer).__name__} @ {type(inner).__name__}: the outer takes {outer.domain_shape}, "
            f"the inner gives {inner.range_shape}"
        )
    if (outer.dtype, outer.device) != (inner.dtype, inner.device):
        raise TypeError(
            f"{type(outer).__name__} @ {type(inner).__name__}: {outer.dtype} on {outer.device} and {inner.dtype} on "
            f"{inner.device}: bring them together with .to(...)"
        )


def speaker(outer: Operator, inner: Operator) -> Operator:
    """Return which of two operators knows what the data of their composition are."""
    return inner if outer.transparent else outer


def joined_measured(outer: Operator, inner: Operator) -> Tensor | None:
    """Return which entries are readings of the outer operator, and of the inner one where the outer is a filter."""
    own = outer.measured
    below = inner.measured if outer.transparent else None
    return own if below is None else below if own is None else own & below
