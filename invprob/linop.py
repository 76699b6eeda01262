"""Operators: what maps an image x to data y, with a true adjoint, a norm and an algebra.

A subclass of `LinearOperator` writes `_forward` (and `_adjoint`, which is otherwise derived by
reverse-mode differentiation); everything else follows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from invprob import linalg
from invprob.kernel import LinearKernel

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator

Shape = tuple[int, ...]
COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
REAL_OF: dict[torch.dtype | None, torch.dtype] = {c: r for r, c in COMPLEX_OF.items()}


class Operator(nn.Module, ABC):
    """y = A(x) for x of shape `(*batch, *domain_shape)` and y of shape `(*batch, *range_shape)`.

    `dtype` sets the precision (float32 or float64); whether an end is complex belongs to the physics and is
    fixed by the class. A real operator applied to complex input acts on both parts.
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
        precision = REAL_OF.get(dtype, dtype)
        if precision not in COMPLEX_OF:
            raise TypeError(f"{type(self).__name__}: dtype must be float32 or float64 (or its complex), got {dtype}")
        self.register_buffer("_anchor", torch.empty(0, dtype=precision), persistent=False)
        self._cache: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

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

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a precision and a device, as nn.Module.to: `A.to(torch.float64)`, `A.to("cuda")`.

        Real stays real and complex stays complex; `A.to(torch.complex128)` means `A.to(torch.float64)`.
        """
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        precision = REAL_OF.get(dtype, dtype)
        if precision is not None and precision not in COMPLEX_OF:
            raise TypeError(f"{type(self).__name__} computes in float32 or float64, not in {dtype}")

        def convert(t: Tensor) -> Tensor:
            target = precision
            if precision is None or not (t.is_floating_point() or t.is_complex()):
                target = None
            elif t.is_complex():
                target = COMPLEX_OF[precision]
            return t.to(device=device, dtype=target, non_blocking=non_blocking)

        return self._apply(convert)

    def forward(self, x: Tensor) -> Tensor:
        """Return A(x); ValueError or TypeError if x does not fit the domain."""
        return self._checked(self._forward(self._admit(x)), self.range_shape)

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return J(x)^H v, the adjoint of the derivative at x applied to v in data space."""
        _, pull = torch.func.vjp(self, self._admit(x))
        (g,) = pull(self._admit_data(v))
        return g

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return J(x) u, the derivative at x along u in image space."""
        _, tangent = torch.func.jvp(self, (self._admit(x),), (self._admit(u),))
        return tangent

    def _admit(self, x: Tensor) -> Tensor:
        """Check x at the door of the domain and bring it to our precision."""
        return self._fit(x, self.domain_shape, self.complex_domain, "an image")

    def _admit_data(self, y: Tensor) -> Tensor:
        """Check y at the door of the range and bring it to our precision."""
        return self._fit(y, self.range_shape, self.complex_range, "data")

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

    def _checked(self, t: Tensor, shape: Shape) -> Tensor:
        if t.ndim < len(shape) or tuple(t.shape[t.ndim - len(shape) :]) != shape:
            raise ValueError(
                f"{type(self).__name__} computed a result of shape {tuple(t.shape)} "
                f"where (*batch, {_inside(shape)}) is due: its _forward or _adjoint is wrong"
            )
        return t

    def _cached(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return `compute()`, remembered per precision and device unless the operator is being trained."""
        if any(p.requires_grad for p in self.parameters()):
            return compute()
        key = (name, self.dtype, self.device)
        if key not in self._cache:
            with torch.no_grad():
                self._cache[key] = compute()
        return self._cache[key]

    def extra_repr(self) -> str:
        """Return what stands between the brackets of repr(A)."""
        return f"{self.domain_shape} -> {self.range_shape}, {str(self.range_dtype).removeprefix('torch.')}"


class LinearOperator(Operator):
    """y = A x with the adjoint A^H, so that <A x, y> = <x, A^H y> to rounding.

    Hooks for a subclass: `_forward`, and `_adjoint` (else derived). Class attributes: `nonnegative` says that
    no entry of A is below zero; `traceable = False` says that the hooks are kernels autograd cannot look into,
    in which case the adjoint serves as the derivative; `matched = False` says that `_adjoint` only approximates A^H.
    """

    nonnegative: ClassVar[bool] = False
    traceable: ClassVar[bool] = True
    matched: bool = True

    def forward(self, x: Tensor) -> Tensor:
        """Return A x."""
        x = self._admit(x)
        y = self._forward(x) if self.traceable else LinearKernel.apply(x, self, False)
        return self._checked(y, self.range_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y; y of shape `(*batch, *range_shape)`."""
        y = self._admit_data(y)
        x = self._adjoint(y) if self.traceable else LinearKernel.apply(y, self, True)
        return self._checked(x, self.domain_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        """Compute A^H y by reverse-mode differentiation of `_forward`."""
        batch = y.shape[: y.ndim - len(self.range_shape)]
        complex_input = self.complex_domain or (y.is_complex() and not self.complex_range)
        dtype = COMPLEX_OF[self.dtype] if complex_input else self.dtype
        zero = torch.zeros(*batch, *self.domain_shape, dtype=dtype, device=y.device)
        image, pull = torch.func.vjp(self._forward, zero)
        (x,) = pull(y.to(image.dtype))
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
        return self.adjoint(self(x))

    def gram_diagonal(self, weights: Tensor | None = None) -> linalg.Diagonal | None:
        """Return the basis in which A^H W A is diagonal, with its diagonal; None where none is known."""
        del weights
        return None

    def norm(self) -> Tensor:
        """Return an estimate of |A| (the largest singular value) from below, by power iteration."""
        return self._cached("norm", lambda: linalg.power_iteration(self.gram, self._blank()).sqrt())

    def norm_bound(self) -> Tensor:
        """Return an upper bound of |A|; `norm_bound_kind` says how sure it is."""
        return self._cached("norm_bound", self._norm_bound)

    def _norm_bound(self) -> Tensor:
        if self.nonnegative:
            return linalg.collatz_wielandt(self.gram, self._blank()).sqrt()
        return 1.05 * self.norm()

    @property
    def norm_bound_kind(self) -> str:
        """How `norm_bound` was found."""
        return "Collatz-Wielandt bound" if self.nonnegative else "1.05 x power iteration, an estimate"

    def solve(self, b: Tensor, shift: float | Tensor, *, x0: Tensor | None = None, tol: float = 1e-6) -> Tensor:
        """Return (A^H A + shift I)^-1 b for b in the domain, to the relative residual `tol`, per item."""
        return linalg.solve_normal([(self, None, 1.0), (None, None, shift)], self._admit(b), x0=x0, tol=tol)

    def direct(self, y: Tensor) -> Tensor:
        """Return the field's direct reconstruction; by default ten conjugate-gradient steps on |A x - y|^2."""
        b = self.adjoint(y)
        return linalg.conjugate_gradient(self.gram, b, ndim=len(self.domain_shape), tol=0.0, max_iter=10).x

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

        return Scaled(self, factor)

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

        `kinds`: dtype, complex_domain, complex_range as for every operator. With both functions given, neither
        needs to be differentiable: each is the other's derivative.
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
    sizes = tuple(int(n) for n in shape)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{type(owner).__name__}: {what} must hold positive sizes, got {sizes}")
    return sizes


def _inside(shape: Shape) -> str:
    return ", ".join(map(str, shape))
