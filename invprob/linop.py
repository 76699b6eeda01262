"""Operators: what maps an image x to data y, with a true adjoint, a norm and an algebra.

A subclass of `LinearOperator` writes `_forward` (and `_adjoint`, which is otherwise derived by
reverse-mode differentiation); everything else follows.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Complex
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from invprob import linalg
from invprob.bases import Basis
from invprob.kernel import run_kernel
from invprob.module import COMPLEX_OF, Module, precision_of

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator

Shape = tuple[int, ...]
T = TypeVar("T")


class Coarser(NamedTuple):
    """A coarser stand-in: its operator, how data become data for it, how many readings are averaged into one."""

    operator: LinearOperator
    restrict: Callable[[Tensor], Tensor]
    averaged: int


class Bound(NamedTuple):
    """An upper bound of an operator's norm, and how it was found."""

    value: Tensor
    kind: str


class Operator(Module, ABC):
    """y = A(x) for x of shape `(*batch, *domain_shape)` and y of shape `(*batch, *range_shape)`.

    `dtype` sets the precision (float32 or float64); whether an end is complex belongs to the physics and is
    fixed by the class.
    """

    def __init__(
        self,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float32,
        complex_domain: bool = False,
        complex_range: bool = False,
    ) -> None:
        super().__init__()
        self.domain_shape: Shape = _valid_shape(domain_shape, self, "domain_shape")
        self.range_shape: Shape = _valid_shape(range_shape, self, "range_shape")
        self.complex_domain = complex_domain
        self.complex_range = complex_range
        # An empty buffer is how nn.Module.to(...) tells us our precision and device.
        self._anchor: Tensor
        self.register_buffer("_anchor", torch.empty(0, dtype=precision_of(dtype, self)), persistent=False)
        self._cache: dict[tuple[str, torch.dtype, torch.device], Any] = {}

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor:
        """Compute A(x); the shape and dtype of x have been checked."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision: float32 or float64."""
        return self._anchor.dtype

    @property
    def device(self) -> torch.device:
        """Where the operator computes."""
        return self._anchor.device

    @property
    def domain_dtype(self) -> torch.dtype:
        """The dtype of x as a rule (a real operator takes the complex one, too)."""
        return COMPLEX_OF[self.dtype] if self.complex_domain else self.dtype

    @property
    def range_dtype(self) -> torch.dtype:
        """The dtype of y as a rule."""
        return COMPLEX_OF[self.dtype] if self.complex_range else self.dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return A(x); ValueError or TypeError if x does not fit the domain."""
        x = self.as_image(x)
        return self._checked(self._forward(x), x, self.domain_shape, self.range_shape)

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Return A(x)."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return J(x)^H v, the adjoint of the derivative at x applied to v in data space."""
        pull = torch.func.vjp(self, self.as_image(x))[1]
        g: Tensor = pull(self.as_data(v))[0]
        return g

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return J(x) u, the derivative at x along u in image space."""
        tangent: Tensor = torch.func.jvp(self, (self.as_image(x),), (self.as_image(u),))[1]
        return tangent

    def as_image(self, x: Tensor) -> Tensor:
        """Return x, which must fit the domain, in the operator's precision and kind; ValueError or TypeError else.

        Lower precision and integers are converted, higher precision is refused.
        """
        return self._fit(x, self.domain_shape, self.complex_domain, "an image")

    def as_data(self, y: Tensor) -> Tensor:
        """Return y, which must fit the range, in the operator's precision and kind; ValueError or TypeError else."""
        return self._fit(y, self.range_shape, self.complex_range, "data")

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype, from which `type(A)(**config)` is the same operator.

        TypeError for an operator that cannot be written to a file; every registered one can.
        """
        raise TypeError(f"{type(self).__name__} has no config(): it cannot be written to a file")

    def _fit(self, t: Tensor, shape: Shape, is_complex: bool, what: str) -> Tensor:
        name = type(self).__name__
        if t.ndim < len(shape) or tuple(t.shape[t.ndim - len(shape) :]) != shape:
            raise ValueError(f"{name} expects {what} of shape (*batch, {_inside(shape)}), got {tuple(t.shape)}")
        if t.device != self.device:
            raise ValueError(f"{name} is on {self.device}, {what} on {t.device}: use A.to({str(t.device)!r})")
        if torch.promote_types(t.dtype, self.dtype) not in (self.dtype, COMPLEX_OF[self.dtype]):
            raise TypeError(
                f"{name} computes in {self.dtype} and would lose digits of {t.dtype}: "
                f"use A.to({t.dtype}), or convert {what} first"
            )
        return t.to(COMPLEX_OF[self.dtype] if is_complex or t.is_complex() else self.dtype)

    def _checked(self, out: Tensor, t: Tensor, shape_in: Shape, shape_out: Shape) -> Tensor:
        batch = t.shape[: t.ndim - len(shape_in)]
        due = (*batch, *shape_out)
        # an operator with a batch of parameters may add to the batch
        free = out.ndim >= len(due) and tuple(out.shape[out.ndim - len(shape_out) :]) == shape_out
        given = out.shape[out.ndim - len(due) : out.ndim - len(shape_out)]
        if not free or any(n not in (1, m) for n, m in zip(batch, given, strict=True)):
            raise ValueError(
                f"{type(self).__name__} computed a result of shape {tuple(out.shape)} where {due} is due: "
                "its _forward or _adjoint is wrong"
            )
        return out

    def _cached(self, name: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, remembered per precision and device unless the operator is being trained."""
        if any(t.requires_grad for t in (*self.parameters(), *self.buffers())):
            return compute()
        key = (name, self.dtype, self.device)
        if key not in self._cache:
            with torch.no_grad():
                self._cache[key] = compute()
        found: T = self._cache[key]
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """Return what stands between the brackets of repr(A)."""
        return f"{self.domain_shape} -> {self.range_shape}, {str(self.range_dtype).removeprefix('torch.')}"


class LinearOperator(Operator):
    """y = A x with the adjoint A^H, so that <A x, y> = <x, A^H y> to rounding.

    A real operator applied to complex input acts on both parts; `is_complex` says that A has complex entries, and
    real input is promoted. Hooks for a subclass: `_forward`, and as far as they are worth it `_adjoint` (else
    derived), `_gram`, `_norm`, `_norm_bound`, `diagonal`, `gram_diagonal`, `direct`. Attributes:
    `view_axes` is how many leading data axes count views, whose readings share what no model explains; `nonnegative`
    says that no entry of A is below zero; `traceable = False` that the hooks are kernels autograd cannot look into, in
    which case the adjoint serves as the derivative and a real operator's hooks see real tensors only; `matched =
    False` that `_adjoint` only approximates A^H.
    """

    view_axes: int = 0
    nonnegative: bool = False
    traceable: bool = True
    matched: bool = True

    def __init__(
        self,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float32,
        is_complex: bool = False,
    ) -> None:
        super().__init__(domain_shape, range_shape, dtype=dtype, complex_domain=is_complex, complex_range=is_complex)

    @property
    def is_complex(self) -> bool:
        """Whether A has complex entries."""
        return self.complex_domain

    def forward(self, x: Tensor) -> Tensor:
        """Return A x."""
        x = self.as_image(x)
        y = self._forward(x) if self.traceable else run_kernel(self, x, adjoint=False)
        return self._checked(y, x, self.domain_shape, self.range_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y; y of shape `(*batch, *range_shape)`."""
        y = self.as_data(y)
        x = self._adjoint(y) if self.traceable else run_kernel(self, y, adjoint=True)
        return self._checked(x, y, self.range_shape, self.domain_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        """Compute A^H y by reverse-mode differentiation of `_forward`."""
        batch = y.shape[: y.ndim - len(self.range_shape)]
        zero = y.new_zeros(*batch, *self.domain_shape)
        x: Tensor = torch.func.vjp(self._forward, zero)[1](y)[0]
        return x

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator; `A.H.H is A`."""
        from invprob.algebra import Adjoint

        return Adjoint(self)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return A^H v: the derivative of a linear map is the map."""
        del x
        return self.adjoint(v)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return A u."""
        del x
        return self(u)

    def gram(self, x: Tensor) -> Tensor:
        """Return A^H A x, by a shorter way where the physics has one."""
        x = self.as_image(x)
        return self._checked(self._gram(x), x, self.domain_shape, self.domain_shape)

    def _gram(self, x: Tensor) -> Tensor:
        return self.adjoint(self(x))

    def diagonal(self) -> linalg.Diagonal | None:
        """Return the basis in which A itself is diagonal, A = B^H diag B; None where none is known."""
        return None

    def gram_diagonal(self, weights: Tensor | None = None) -> linalg.Diagonal | None:
        """Return the basis in which A^H W A is diagonal, with its diagonal; None where none is known."""
        own = self.diagonal()
        return None if own is None else own.gram(weights)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> linalg.Diagonal | None:
        """Return a basis in which A^H A is nearly diagonal, with a diagonal >= 0: a preconditioner for `solve`.

        The basis asked for, so that operators go together, if A has an estimate there, else the one that fits A best.
        """
        del basis
        return self.gram_diagonal()

    def row_gram_diagonal(self) -> linalg.Diagonal | None:
        """Return the basis of data space in which A A^H is diagonal, with its diagonal; None where none is known.

        A closed form of `solve` for an A with fewer rows than columns, whose A^H A is diagonal nowhere.
        """
        return None

    def norm(self) -> Tensor:
        """Return |A| (the largest singular value): in closed form, or estimated from below by power iteration."""
        return self._cached("norm", self._norm)

    def _norm(self) -> Tensor:
        known = self._square()
        if known is not None:
            return known.sqrt().to(self.dtype)
        return linalg.power_iteration(self.gram, self._blank()).sqrt().to(self.dtype)

    def _square(self) -> Tensor | None:
        """Return |A|^2 in float64 where A^H A or A A^H is diagonal."""
        for found, shape in ((self.gram_diagonal(), self.domain_shape), (self.row_gram_diagonal(), self.range_shape)):
            if found is not None:
                return found.largest(len(shape))
        return None

    def norm_bound(self) -> Tensor:
        """Return an upper bound of |A|; `norm_bound_kind` says how sure it is."""
        return self._cached("norm_bound", self._norm_bound).value

    @property
    def norm_bound_kind(self) -> str:
        """How `norm_bound` was found."""
        return self._cached("norm_bound", self._norm_bound).kind

    def _norm_bound(self) -> Bound:
        if self._square() is not None:
            return Bound(self.norm() * (1 + 16 * torch.finfo(self.dtype).eps), "closed form")
        if self.nonnegative:
            square = linalg.collatz_wielandt(self.gram, self._blank())
            return Bound(square.sqrt().to(self.dtype), "Collatz-Wielandt bound")
        return Bound(1.05 * self.norm(), "1.05 x power iteration, an estimate")

    def solve(self, b: Tensor, shift: float | Tensor, *, x0: Tensor | None = None, tol: float = 1e-6) -> Tensor:
        """Return (A^H A + shift I)^-1 b for b in the domain, to the relative residual `tol`, per item."""
        return linalg.solve_normal([(self, None, 1.0), (None, None, shift)], self.as_image(b), x0=x0, tol=tol)

    def direct(self, y: Tensor) -> Tensor:
        """Return the field's direct reconstruction; by default ten conjugate-gradient steps on |A x - y|^2."""
        b = self.adjoint(y)
        return linalg.conjugate_gradient(self.gram, b, ndim=len(self.domain_shape), max_iter=10).x

    def coarser(self) -> Coarser | None:
        """Return the operator on a grid of half as many pixels per axis, None where the physics knows none."""
        return None

    def lift(self, shape: Sequence[int]) -> LinearOperator:
        """Return the operator applied along extra item axes: domain `(*shape, *A.domain_shape)`."""
        from invprob.algebra import Lifted

        return Lifted(self, tuple(shape))

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        from invprob.algebra import Composition

        return Composition(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __add__(self, other: LinearOperator) -> LinearOperator:
        from invprob.algebra import Sum

        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: complex | Tensor) -> LinearOperator:
        from invprob.algebra import Scaled

        return Scaled(self, factor) if isinstance(factor, (Complex, Tensor)) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> LinearOperator:
        return self * -1.0

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return self + other * -1.0 if isinstance(other, LinearOperator) else NotImplemented

    @staticmethod
    def from_functions(
        forward: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor] | None,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        **kinds: Any,
    ) -> LinearOperator:
        """Return the operator of two functions on `(*batch, *shape)`; `adjoint=None` derives it from `forward`.

        `kinds`: dtype and is_complex as for every operator. With both functions given, neither needs to be
        differentiable: each is the other's derivative.
        """
        from invprob.adapters import FromFunctions

        return FromFunctions(forward, adjoint, domain_shape, range_shape, **kinds)

    @staticmethod
    def from_scipy(matrix: Any, domain_shape: Sequence[int], range_shape: Sequence[int]) -> LinearOperator:
        """Return y = reshape(L @ flatten(x)) for a scipy LinearOperator, a sparse matrix or a numpy array L."""
        from invprob.adapters import FromScipy

        return FromScipy(matrix, domain_shape, range_shape)

    def as_scipy(self) -> ScipyLinearOperator:
        """Return the operator on flattened numpy vectors, for scipy.sparse.linalg."""
        from invprob.adapters import as_scipy

        return as_scipy(self)

    def _blank(self) -> Tensor:
        """Return a zero image, for the iterations that need to know its kind."""
        return torch.zeros(self.domain_shape, dtype=self.domain_dtype, device=self.device)


def _valid_shape(shape: Sequence[int], owner: object, what: str) -> Shape:
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{type(owner).__name__}: {what} must hold positive whole sizes, got {shape}")
    return sizes


def _inside(shape: Shape) -> str:
    return ", ".join(map(str, shape))
