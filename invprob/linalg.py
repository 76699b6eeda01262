"""Iterative linear algebra per item of the batch: conjugate gradients, normal equations, operator norms.

Every tolerance is relative, so that scaling the input scales the output; nothing here adds an epsilon.
`ndim` is the number of trailing axes that make one item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invprob.bases import Basis, from_basis, to_basis

if TYPE_CHECKING:
    from invprob.linop import LinearOperator

Map = Callable[[Tensor], Tensor]


def item_axes(ndim: int) -> tuple[int, ...]:
    """Return the trailing axes that make one item."""
    return tuple(range(-ndim, 0))


def inner(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Return Re <a, b> per item, summed in float64, of shape `(*batch,)`."""
    product = a * b if not a.is_complex() else torch.real(a.conj() * b)
    return product.sum(item_axes(ndim), dtype=torch.float64) if ndim else product.double()


def norm(a: Tensor, ndim: int) -> Tensor:
    """Return the Euclidean norm per item, of shape `(*batch,)`, in float64."""
    return inner(a, a, ndim).sqrt()


def per_item(scalar: float | Tensor, like: Tensor, ndim: int) -> Tensor:
    """Return a number or a `(*batch,)` tensor in a shape that multiplies `like`, in its precision."""
    t = scalar if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)
    t = t.to(device=like.device, dtype=like.dtype if t.is_complex() else like.real.dtype)
    return t.reshape(t.shape + (1,) * ndim) if t.ndim else t


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where a is 0, whatever b is."""
    return torch.where(a == 0, torch.zeros_like(a), a / torch.where(a == 0, torch.ones_like(b), b))


@dataclass(frozen=True)
class CGResult:
    """What conjugate gradients found: the solution, steps taken and relative residual per item."""

    x: Tensor
    n_iter: Tensor
    residual: Tensor


def conjugate_gradient(
    apply: Map,
    b: Tensor,
    *,
    ndim: int,
    x0: Tensor | None = None,
    tol: float = 1e-6,
    reduction: float = 0.0,
    max_iter: int = 1000,
    preconditioner: Map | None = None,
) -> CGResult:
    """Solve M x = b for a self-adjoint M >= 0 until |b - M x| <= tol |b| or reduction |b - M x0|, per item.

    Hestenes & Stiefel 1952; an item that has arrived, or whose search direction has become degenerate
    (p^H M p <= 0 in rounding), stays where it is while its neighbours go on.
    """
    x = torch.zeros_like(b) if x0 is None else x0.expand_as(b).to(b.dtype)
    r = b.clone() if x0 is None else b - apply(x)
    z = r if preconditioner is None else preconditioner(r)
    p = z
    rz = inner(r, z, ndim)
    residual = norm(r, ndim)
    target = torch.maximum(tol * norm(b, ndim), reduction * residual)
    n_iter = torch.zeros(residual.shape, dtype=torch.int64, device=b.device)
    active = residual > target
    for _ in range(max_iter):
        if not bool(active.any()):
            break
        Mp = apply(p)
        curvature = inner(p, Mp, ndim)
        active = active & (curvature > 0) & (rz > 0)
        alpha = per_item(torch.where(active, ratio(rz, curvature), 0.0), b, ndim)
        x = x + alpha * p
        r = r - alpha * Mp
        z = r if preconditioner is None else preconditioner(r)
        rz, rz_old = inner(r, z, ndim), rz
        p = z + per_item(torch.where(active, ratio(rz, rz_old), 0.0), b, ndim) * p
        n_iter = n_iter + active
        residual = torch.where(active, norm(r, ndim), residual)
        active = active & (residual > target)
    return CGResult(x, n_iter, ratio(residual, norm(b, ndim)))


def power_iteration(apply: Map, blank: Tensor, *, tol: float = 1e-4, max_iter: int = 500) -> Tensor:
    """Return the largest eigenvalue of a self-adjoint M >= 0 from below: the Rayleigh quotients of v <- M v / |M v|.

    Stops when the quotient grows by less than `tol` relative to itself over a step. The start vector comes from
    a generator of its own, so that the answer is the same every time. `blank` is one item (any values).
    """
    v = torch.randn(blank.shape, dtype=blank.dtype, generator=torch.Generator().manual_seed(0)).to(blank.device)
    ndim = blank.ndim
    v = v / norm(v, ndim).to(v.real.dtype)
    value = torch.zeros((), dtype=torch.float64, device=blank.device)
    for _ in range(max_iter):
        w = apply(v)
        quotient, length = inner(v, w, ndim), norm(w, ndim)
        if not bool(length > 0):
            return length.to(blank.real.dtype)
        v = w / length.to(v.real.dtype)
        previous, value = value, quotient
        if bool(value - previous <= tol * value):
            break
    return value.to(blank.real.dtype)


def collatz_wielandt(apply: Map, blank: Tensor, *, max_iter: int = 20, tol: float = 1e-2) -> Tensor:
    """Return max_i (M v)_i / v_i >= the largest eigenvalue of an entrywise non-negative M, v from power steps.

    Holds for every v > 0 (Collatz 1942, Wielandt 1950). Entries that M never reaches form zero rows and columns
    and are left out. Every vector's ratio is a bound, the smallest is returned; it stops when bound and Rayleigh
    quotient agree to `tol`.
    """
    ndim = blank.ndim
    v = torch.ones_like(blank)
    bound = torch.full((), math.inf, dtype=torch.float64, device=blank.device)
    for _ in range(max_iter):
        w = apply(v)
        reached = (v > 0) & (w > 0)
        if not bool(reached.any()):
            return torch.zeros((), dtype=blank.dtype, device=blank.device)
        bound = torch.minimum(bound, (w[reached] / v[reached]).max().double())
        if bool(bound * inner(v, v, ndim) <= (1 + tol) * inner(v, w, ndim)):
            break
        v = w / w.max()
    rounding = 1 + 16 * torch.finfo(blank.dtype).eps
    return (bound * rounding).to(blank.dtype)


@dataclass(frozen=True)
class Diagonal:
    """A^H W A = B^H diag(values) B for a unitary B; basis `"any"` says that it is a multiple of the identity."""

    values: Tensor
    basis: Basis


Term = tuple["LinearOperator | None", "Tensor | None", "float | Tensor"]


def solve_normal(
    terms: Sequence[Term],
    b: Tensor,
    *,
    x0: Tensor | None = None,
    tol: float = 1e-6,
    reduction: float = 0.0,
    max_iter: int = 1000,
    ndim: int | None = None,
) -> Tensor:
    """Solve (sum_i rho_i A_i^H W_i A_i) x = b for x, per item; `terms` holds (A_i, W_i, rho_i).

    A_i None stands for the identity and W_i None for no weights (else a tensor that multiplies data of A_i);
    rho_i is a number or a `(*batch,)` tensor. Closed form when all parts are diagonal in one basis, conjugate
    gradients to the relative residual `tol`, or `reduction` of the one at x0, else. Differentiable in b, rho and W by a second solve.
    """
    if ndim is None:
        ndim = next((len(A.domain_shape) for A, _, _ in terms if A is not None), b.ndim)
    closed = _solve_diagonal(terms, b, ndim)
    if closed is not None:
        return closed
    with torch.no_grad():
        x = conjugate_gradient(
            partial(_apply_normal, terms, ndim=ndim),
            b,
            ndim=ndim,
            x0=x0,
            tol=tol,
            reduction=reduction,
            max_iter=max_iter,
        ).x
    parameters = [b, *(t for term in terms for t in term[1:] if isinstance(t, Tensor))]
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in parameters):
        return x
    # Implicit function theorem: dx = M^-1 (db - dM x), and the bracket is the differential of b - M x at fixed x.
    solve = partial(solve_normal, terms, tol=tol, max_iter=max_iter, ndim=ndim)
    return _ImplicitSolution.apply(b - _apply_normal(terms, x, ndim), x, solve)


class _ImplicitSolution(torch.autograd.Function):
    """x as a function of its own residual r = b - M x: value x, derivative M^-1 dr."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, x: Tensor, solve: Map) -> Tensor:
        ctx.solve = solve
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.solve(grads[0]), None, None


def _apply_normal(terms: Sequence[Term], x: Tensor, ndim: int) -> Tensor:
    total = None
    for A, W, rho in terms:
        part = x if A is None else A.gram(x) if W is None else A.adjoint(W * A(x))
        part = per_item(rho, part, ndim) * part
        total = part if total is None else total + part
    if total is None:
        raise ValueError("solve_normal needs at least one term")
    return total


def _solve_diagonal(terms: Sequence[Term], b: Tensor, ndim: int) -> Tensor | None:
    """Return the closed form where every part is diagonal in one basis, else None."""
    total: Tensor = torch.zeros((), dtype=b.real.dtype, device=b.device)
    basis: Basis = "any"
    for A, W, rho in terms:
        part = Diagonal(torch.ones_like(total), "any") if A is None else A.gram_diagonal(W)
        if part is None or (basis != "any" and part.basis not in ("any", basis)):
            return None
        basis = basis if part.basis == "any" else part.basis
        total = total + per_item(rho, b, ndim) * part.values
    return from_basis(to_basis(b, basis, ndim) / total, basis, ndim).to(b.dtype)
