"""Nonlinear operators: one after the other, and the derivative at a point as a linear operator."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from invprob.grid import Grid
from invprob.linop.items import broadcast_batch
from invprob.linop.kernel import on_both_parts
from invprob.linop.linear import LinearOperator
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Operator, Shape


class Composed(Operator):
    """What an operator after another says of its data: the outer one speaks, and the inner one behind a filter."""

    @property
    @abstractmethod
    def factors(self) -> tuple[Operator, Operator]:
        """The outer and the inner operator."""

    @property
    def speaker(self) -> Operator:
        """The factor that knows what the data are."""
        outer, inner = self.factors
        return inner if outer.transparent else outer

    @property
    def measured(self) -> Tensor | None:
        """Which entries are readings of the outer operator, and of the inner one behind a filter.

        A filter that mixes readings makes one of every entry.
        """
        outer, inner = self.factors
        own = outer.measured
        factor = outer.diagonal() if outer.transparent and isinstance(outer, LinearOperator) else None
        below = None if factor is None or factor.basis not in ("any", "pixel") else inner.measured
        return own if below is None else below if own is None else own & below

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask the factor that knows the data."""
        return self.speaker.hold_out(share, generator)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask the factor that knows the data."""
        return self.speaker.fill(y, weights)

    def density(self) -> Tensor | None:
        """Ask the factor that knows the data."""
        return self.speaker.density()

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Ask the outer operator, whose data they are; behind a filter it is not known what data should look like."""
        outer, inner = self.factors
        return inner.doubts() if outer.transparent else outer.doubts(y)


class Chain(Composed):
    """(A o B)(x) = A(B(x)) where one of the two is not linear; its derivative is the product of theirs."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        check_fit(outer, inner)
        acts_on_both_parts = isinstance(outer, LinearOperator) and inner.complex_range
        super().__init__(
            inner.domain_shape,
            outer.range_shape,
            dtype=inner.dtype,
            complex_domain=inner.complex_domain,
            complex_range=outer.complex_range or acts_on_both_parts,
        )
        self.outer, self.inner = outer, inner
        self.matched = outer.matched and inner.matched
        self.data_kind, self.view_axes = self.speaker.data_kind, self.speaker.view_axes
        self.channels = inner.channels
        known = outer.degree, inner.degree
        self.degree = None if known[0] is None or known[1] is None else known[0] * known[1]

    @property
    def factors(self) -> tuple[Operator, Operator]:
        """The outer and the inner operator."""
        return self.outer, self.inner

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
        z = self.inner(x)
        return self.inner.vjp(x, of_kind(self.outer.vjp(z, v), z))

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return J_A J_B u by the chain rule, each part by its own way."""
        x = self.as_image(x)
        return self.outer.jvp(self.inner(x), self.inner.jvp(x, u))

    def linearised(self, x: Tensor) -> Linearised:
        """Return u -> J_A J_B u, each part linearised once, so that what it stores at the point serves every use."""
        return ChainLinearised(self, x)

    def start(self) -> Tensor:
        """Ask the inner operator, whose image it is."""
        return self.inner.start()

    @property
    def grid(self) -> Grid:
        """That of the inner operator's image."""
        return self.inner.grid

    def __repr__(self) -> str:
        return f"{self.outer!r} o {self.inner!r}"


class Linearised(LinearOperator):
    """u -> J(x) u for the derivative J of an operator A at x, `(*batch, *domain_shape)`; its adjoint is A's vjp.

    Its spaces are of the kind of x and of A(x). Between two real ones it acts on both parts of a complex u, as every
    real operator does. Where one is complex it is linear over the real numbers: <J u, v> = <u, J^H v> holds in real
    parts, real u and v are promoted, and TypeError meets complex ones in a real space. An operator that can keep
    something at the point for all later uses derives a class with `_prepare`, `_push` and `_pull`, and returns it from
    `linearised`. `value` is A(x).
    """

    point: Tensor
    value: Tensor

    def __init__(self, operator: Operator, x: Tensor) -> None:
        super().__init__(operator.domain_shape, operator.range_shape, dtype=operator.dtype)
        self.operator = operator
        self.register_buffer("point", operator.as_image(x), persistent=False)
        self.register_buffer("value", self._prepare(), persistent=False)
        self.complex_domain = self.point.is_complex()
        self.complex_range = operator.complex_range or self.value.is_complex()
        self.data_kind, self.view_axes, self.channels = operator.data_kind, operator.view_axes, operator.channels
        self.matched = operator.matched

    @property
    def is_complex(self) -> bool:
        """Whether either space is complex."""
        return self.complex_domain or self.complex_range

    @property
    def dtype(self) -> torch.dtype:
        """That of the operator."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """That of the operator."""
        return self.operator.device

    @property
    def batch(self) -> torch.Size:
        """The batch of points."""
        return self.point.shape[: self.point.ndim - len(self.domain_shape)]

    @property
    def grid(self) -> Grid:
        """That of the operator's image."""
        return self.operator.grid

    @property
    def measured(self) -> Tensor | None:
        """That of the operator."""
        return self.operator.measured

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask the operator."""
        return self.operator.hold_out(share, generator)

    def _prepare(self) -> Tensor:
        """Compute A(x) at the point, and keep what the derivative needs."""
        return self.operator(self.point)

    def _push(self, x: Tensor, u: Tensor) -> Tensor:
        """Compute J(x) u for u of the kind of x, which is the point in the batch of u."""
        return self.operator.jvp(x, u)

    def _pull(self, x: Tensor, v: Tensor) -> Tensor:
        """Compute J(x)^H v for v of the kind of A(x), where x is the point in the batch of v."""
        return self.operator.vjp(x, v)

    def _forward(self, x: Tensor) -> Tensor:
        u = self._spread(x, self.domain_shape)
        if u.is_complex() and not self.complex_domain:
            self._refuse_complex("images", self.complex_range)
            return on_both_parts(lambda part: self._push(self._point_for(part, self.domain_shape), part), u)
        pushed = self._push(self._point_for(u, self.domain_shape), u)
        return pushed.to(COMPLEX_OF[self.dtype]) if self.complex_range else pushed

    def _adjoint(self, y: Tensor) -> Tensor:
        v = self._spread(y, self.range_shape)
        if v.is_complex() and not self.complex_range:
            self._refuse_complex("data", self.complex_domain)
            return on_both_parts(lambda part: self._pull(self._point_for(part, self.range_shape), part), v)
        return of_kind(self._pull(self._point_for(v, self.range_shape), v), self.point)

    def _spread(self, t: Tensor, shape: Shape) -> Tensor:
        """Return t for every point, in memory of its own, which forward mode asks for."""
        return t.expand(*broadcast_batch(self.batch, t.shape[: t.ndim - len(shape)]), *shape).contiguous()

    def _point_for(self, t: Tensor, shape: Shape) -> Tensor:
        """Return the point in the batch of t, whose items are of `shape`."""
        return self.point.expand(*t.shape[: t.ndim - len(shape)], *self.domain_shape).contiguous()

    def _refuse_complex(self, what: str, other_is_complex: bool) -> None:
        if other_is_complex:
            raise TypeError(
                f"{self!r} is linear over the real numbers only, and its {what} are real: pass the real part of "
                f"complex {what}, or linearise at a complex point"
            )

    def _norm(self) -> Tensor:
        """Return |J(x)| per point."""
        if not self.batch:
            return super()._norm()
        points = self.point.reshape(-1, *self.domain_shape)
        return torch.stack([self.operator.linearised(x).norm() for x in points]).reshape(self.batch)

    def extra_repr(self) -> str:
        """Name the operator."""
        return f"{self.operator!r} at a point"


class ChainLinearised(Linearised):
    """The derivative of a chain: that of the outer operator after that of the inner one."""

    operator: Chain

    def _prepare(self) -> Tensor:
        self.inner = self.operator.inner.linearised(self.point)
        self.outer = self.operator.outer.linearised(self.inner.value)
        return self.outer.value

    def _push(self, x: Tensor, u: Tensor) -> Tensor:
        return self.outer(self.inner(u))

    def _pull(self, x: Tensor, v: Tensor) -> Tensor:
        return self.inner.adjoint(of_kind(self.outer.adjoint(v), self.inner.value))


def of_kind(t: Tensor, like: Tensor) -> Tensor:
    """Return a cotangent in the kind of the space it belongs to: its real part where that is real."""
    if like.is_complex():
        return t.to(COMPLEX_OF.get(t.dtype, t.dtype))
    return t.real if t.is_complex() else t


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
