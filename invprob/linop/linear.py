"""Linear operators: a true adjoint, a Gram matrix, a norm with its bound, and an algebra.

A subclass of `LinearOperator` writes `_forward` (and `_adjoint`, which is otherwise derived by
reverse-mode differentiation); everything else follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Complex
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import Tensor

from invprob.grid import Channels
from invprob.linop.bases import Basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.items import norm, per_item
from invprob.linop.kernel import run_kernel
from invprob.linop.krylov import collatz_wielandt, conjugate_gradient, power_iteration
from invprob.linop.normal import solve_normal
from invprob.linop.operator import Operator
from invprob.linop.spectrum import Spectrum

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator


class Coarser(NamedTuple):
    """A coarser stand-in: its operator, how data become data for it, how many readings are averaged into one."""

    operator: LinearOperator
    restrict: Callable[[Tensor], Tensor]
    averaged: int


class Bound(NamedTuple):
    """An upper bound of an operator's norm, and how it was found."""

    value: Tensor
    kind: str


class LinearOperator(Operator):
    """y = A x with the adjoint A^H, so that <A x, y> = <x, A^H y> to rounding.

    A real operator applied to complex input acts on both parts. Hooks for a subclass: `_forward`, and as far as they
    are worth it `_adjoint` (else derived), `_gram`, `_weighted_gram`, `_norm`, `_norm_bound`, `diagonal`,
    `gram_diagonal`, `direct`, `coarser`, and what every operator may say of its data. Attributes: `nonnegative` says
    that no entry of A is below zero, `rings` that some are, by the ringing of a spectrum cut off and no more;
    `traceable = False` that the hooks are kernels autograd cannot look into, in which case the adjoint serves as the
    derivative and a real operator's hooks see real tensors only; `matched = False` that `_adjoint` only approximates
    A^H; `short_gram` that A^H W A x costs less than A x and A^H y after one another.

    Arguments:
        domain_shape: that of an image x, without batch axes.
        range_shape: that of the data y of one image.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.
        is_complex: whether A has complex entries; real input is then promoted.
    """

    degree = 1.0
    nonnegative: bool = False
    rings: bool = False
    traceable: bool = True
    matched: bool = True
    short_gram: bool = False

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
        H: LinearOperator = _algebra().Adjoint(self)
        return H

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return A^H v: the derivative of a linear map is the map."""
        del x
        return self.adjoint(v)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return A u."""
        del x
        return self(u)

    def gram(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return A^H W A x, by a shorter way where the physics has one; `weights` broadcast against the data."""
        x = self.as_image(x)
        product = self._gram(x) if weights is None else self._weighted_gram(x, weights)
        return self._checked(product, x, self.domain_shape, self.domain_shape)

    def _gram(self, x: Tensor) -> Tensor:
        return self.adjoint(self(x))

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.adjoint(weights * self(x))

    def diagonal(self) -> Diagonal | None:
        """Return the basis in which A itself is diagonal, A = B^H diag B; None where none is known."""
        return None

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the basis in which A^H W A is diagonal, with its diagonal; None where none is known."""
        own = self.diagonal()
        return None if own is None else own.gram(weights)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return a basis in which A^H A is nearly diagonal, with a diagonal >= 0: a preconditioner for `solve`.

        The basis asked for, so that operators go together, if A has an estimate there, else the one that fits A best.
        """
        del basis
        return self.gram_diagonal()

    def weighted_gram_estimate(self, weights: Tensor) -> Diagonal | None:
        """Return what A^H W A nearly is, as `gram_diagonal_estimate`, where the weights' mean alone would tell little.

        None, the default, where it is about the mean weight times the estimate of A^H A.
        """
        del weights
        return None

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return the basis of data space in which A A^H is diagonal, with its diagonal; None where none is known.

        A closed form of `solve` for an A with fewer rows than columns, whose A^H A is diagonal nowhere.
        """
        return None

    def row_spectrum(self, systems: int = 1) -> Spectrum | None:
        """Return the eigenvectors of A A^H where readings are so few that they are worth it; None as a rule.

        They solve every rho A^H A + s I by two products with A, whatever rho, s and the right-hand side; `systems` says
        how many will be.
        """
        del systems
        return None

    def factored_rows(self) -> Spectrum:
        """Return the eigenvectors of A A^H from its dense matrix, computed once: for few readings."""
        return self._cached("factored rows", lambda: self.row_spectrum() or Spectrum.of_rows(self))

    def norm(self) -> Tensor:
        """Return |A| (the largest singular value): in closed form, or estimated from below by power iteration."""
        return self._cached("norm", self._norm)

    def _norm(self) -> Tensor:
        known = self._square()
        if known is not None:
            return known.sqrt().to(self.dtype)
        return power_iteration(self.gram, self.start()).sqrt().to(self.dtype)

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
            square = collatz_wielandt(self.gram, self.start())
            return Bound(square.sqrt().to(self.dtype), "Collatz-Wielandt bound")
        return Bound(1.05 * self.norm(), "1.05 x power iteration, an estimate")

    def solve(self, b: Tensor, shift: float | Tensor, *, x0: Tensor | None = None, tol: float = 1e-6) -> Tensor:
        """Return (A^H A + shift I)^-1 b for b in the domain, to the relative residual `tol`, per item."""
        return solve_normal([(self, None, 1.0), (None, None, shift)], self.as_image(b), x0=x0, tol=tol)

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the field's direct reconstruction; by default ten conjugate-gradient steps on |A x - y|^2_W."""
        y = self.as_data(y)
        b, ndim = self.adjoint(y if weights is None else weights * y), len(self.domain_shape)
        # a power of two, lest products of tiny or huge operators leave the range of float32
        size = norm(b, ndim)
        scale = per_item(torch.exp2(torch.where(size > 0, size, 1.0).log2().round()), b, ndim)
        return scale * conjugate_gradient(lambda x: self.gram(x, weights), b / scale, ndim=ndim, max_iter=10).x

    def coarser(self) -> Coarser | None:
        """Return the operator on a grid of half as many pixels per axis, None where the physics knows none."""
        return None

    def thinned(self) -> Coarser | None:
        """Return the operator of every other view, how data become its data, and 1; None where there are no views."""
        return None

    def lift(
        self, shape: Sequence[int], *, channels: Channels | None = None, spacing: float | None = None
    ) -> LinearOperator:
        """Return the operator applied along extra item axes: domain `(*shape, *A.domain_shape)`.

        Arguments:
            shape: the extra axes.
            channels: what they count, which priors need to know: "colour" or "echoes" of one scene, whose edges lie in
                the same places; "frames" of a scene that moves; "slices" of a volume. None: the items lie side by side
                and share nothing.
            spacing: the distance between slices, in the unit of A's lengths; by default as between rows of A's image.
        """
        from invprob.linop.lifted import Lifted

        return Lifted(self, tuple(shape), channels, spacing)

    @overload
    def __matmul__(self, other: LinearOperator) -> LinearOperator: ...
    @overload
    def __matmul__(self, other: Operator) -> Operator: ...
    def __matmul__(self, other: Operator) -> Operator:
        """Return x -> A(other(x)), a linear operator if the other one is."""
        if not isinstance(other, LinearOperator):
            return super().__matmul__(other)
        product: LinearOperator = _algebra().Composition(self, other)
        return product

    def __add__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        total: LinearOperator = _algebra().Sum(self, other)
        return total

    def __mul__(self, factor: complex | Tensor) -> LinearOperator:
        if not isinstance(factor, (Complex, Tensor)):
            return NotImplemented
        multiple: LinearOperator = _algebra().Scaled(self, factor)
        return multiple

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
        """Return the operator y = forward(x), x = adjoint(y) of two functions.

        Arguments:
            forward: A, a function of images `(*batch, *domain_shape)`.
            adjoint: A^H, a function of data `(*batch, *range_shape)`; None derives it from `forward`, which must then
                be differentiable. With both given neither needs to be: each is the other's derivative.
            domain_shape: that of an image, without batch axes.
            range_shape: that of the data of one image.
            kinds: `dtype` and `is_complex`, as for every operator.
        """
        from invprob.linop.adapters import FromFunctions

        return FromFunctions(forward, adjoint, domain_shape, range_shape, **kinds)

    @staticmethod
    def from_scipy(matrix: Any, domain_shape: Sequence[int], range_shape: Sequence[int]) -> LinearOperator:
        """Return the operator y = reshape(L @ flatten(x)), in the precision and of the kind of L.

        Arguments:
            matrix: L, a scipy LinearOperator, a sparse matrix or a numpy array of `prod(range_shape)` rows and
                `prod(domain_shape)` columns.
            domain_shape: that of an image.
            range_shape: that of the data of one image.

        ValueError for a matrix of another size.
        """
        from invprob.linop.adapters import FromScipy

        return FromScipy(matrix, domain_shape, range_shape)

    def as_scipy(self) -> ScipyLinearOperator:
        """Return the operator on flattened numpy vectors, for scipy.sparse.linalg."""
        from invprob.linop.adapters import as_scipy

        return as_scipy(self)


def _algebra() -> Any:
    """Return the operators made of operators, which are linear operators and so stand above this module."""
    from invprob.linop import algebra

    return algebra
