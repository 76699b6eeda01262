"""Normal equations per item of the batch: in closed form where a basis makes them diagonal, else by iteration.

Every tolerance is relative, so that scaling the input scales the output; nothing here adds an epsilon.
`ndim` is the number of trailing axes that make one item.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invprob.linop.bases import Basis, from_basis, to_basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.items import item_axes, per_item
from invprob.linop.krylov import Map, conjugate_gradient

if TYPE_CHECKING:
    from invprob.linop.linear import LinearOperator


FLOOR = 1e-6  # smallest estimated eigenvalue a preconditioner divides by, relative to the largest
NormalTerm = tuple["LinearOperator | None", "Tensor | None", "float | Tensor"]


def solve_normal(
    terms: Sequence[NormalTerm],
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
    gradients to the relative residual `tol`, or `reduction` of the one at x0, else. Differentiable in b, rho and W,
    and once in the operators' parameters, by a second solve.
    """
    if not terms:
        raise ValueError("solve_normal needs at least one term")
    if ndim is None:
        ndim = next((len(A.domain_shape) for A, _, _ in terms if A is not None), b.ndim)
    closed = _solve_closed(terms, b, ndim)
    if closed is not None:
        return closed
    settings: dict[str, Any] = {
        "x0": x0,
        "tol": tol,
        "reduction": reduction,
        "max_iter": max_iter,
        "preconditioner": _preconditioner(terms, b, ndim),
    }
    parameters = [t for t in _parameters(terms) if t.requires_grad]
    if torch.is_grad_enabled() and (b.requires_grad or parameters):
        x: Tensor = _ImplicitSolution.apply(b, terms, ndim, settings, *parameters)  # type: ignore[no-untyped-call]
        return x
    return conjugate_gradient(partial(apply_normal, terms, ndim=ndim), b, ndim=ndim, **settings).x


def correct_normal(
    terms: Sequence[NormalTerm], r: Tensor, *, reduction: float, max_iter: int, ndim: int
) -> tuple[Tensor, Tensor]:
    """Return d with |r - M d| <= reduction |r| per item, and r - M d, for the M of `solve_normal`.

    So x + d solves M x = b better than x did, if r = b - M x; who keeps what is left saves an M x the next time.
    """
    wanted = [r, *_parameters(terms)]
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in wanted)
    closed = _solve_closed(terms, r, ndim)
    if closed is not None or differentiated:
        floor = 10 * torch.finfo(r.dtype).eps
        d = solve_normal(terms, r, tol=floor, reduction=reduction, max_iter=max_iter, ndim=ndim)
        return d, r - apply_normal(terms, d, ndim)
    found = conjugate_gradient(
        partial(apply_normal, terms, ndim=ndim),
        r,
        ndim=ndim,
        tol=reduction,
        max_iter=max_iter,
        preconditioner=_preconditioner(terms, r, ndim),
    )
    return found.x, found.remainder


def _parameters(terms: Sequence[NormalTerm]) -> list[Tensor]:
    """Return the tensors M depends on: the weights and those the operators hold."""
    found = [t for term in terms for t in term[1:] if isinstance(t, Tensor)]
    for A, _, _ in terms:
        found.extend(() if A is None else (*A.parameters(), *A.buffers()))
    return found


class _ImplicitSolution(torch.autograd.Function):
    """x = M^-1 b, dx = M^-1 (db - dM x): backwards u = M^-1 g belongs to b, and what -M x gives u to M."""

    @staticmethod
    def forward(
        ctx: Any, b: Tensor, terms: Sequence[NormalTerm], ndim: int, settings: dict[str, Any], *parameters: Tensor
    ) -> Tensor:
        x = conjugate_gradient(partial(apply_normal, terms, ndim=ndim), b, ndim=ndim, **settings).x
        ctx.save_for_backward(x)
        ctx.terms, ctx.ndim, ctx.parameters = terms, ndim, parameters
        ctx.settings = {"tol": settings["tol"], "max_iter": settings["max_iter"]}
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        u = solve_normal(ctx.terms, grads[0], ndim=ctx.ndim, **ctx.settings)
        if not ctx.parameters:
            return u, None, None, None
        twice = torch.is_grad_enabled()
        with torch.enable_grad():
            # twins, so that the way from M x back to the parameters does not lead through x as well
            twins = {id(t): t.view_as(t) for term in ctx.terms for t in term[1:] if isinstance(t, Tensor)}
            terms = [(A, twins.get(id(W), W), twins.get(id(rho), rho)) for A, W, rho in ctx.terms]
            if any(id(t) not in twins for t in ctx.parameters):
                x = x.detach()
                if twice:
                    raise NotImplementedError("solve_normal has no second derivative in an operator's parameters")
            Mx = apply_normal(terms, x, ctx.ndim)
        wanted = [twins.get(id(t), t) for t in ctx.parameters]
        others = torch.autograd.grad(Mx, wanted, -u, create_graph=twice, allow_unused=True)
        return u, None, None, None, *others


def apply_normal(terms: Sequence[NormalTerm], x: Tensor, ndim: int) -> Tensor:
    """Return M x = sum_i rho_i A_i^H W_i A_i x."""
    total = torch.zeros_like(x)
    for A, W, rho in terms:
        part = (x if W is None else W * x) if A is None else A.gram(x, W)
        total = total + per_item(rho, part, ndim) * part
    return total


def _solve_closed(terms: Sequence[NormalTerm], b: Tensor, ndim: int) -> Tensor | None:
    """Return the closed form where one is known, else None."""
    closed = _solve_diagonal(terms, b, ndim)
    return _solve_by_rows(terms, b, ndim) if closed is None else closed


def _solve_diagonal(terms: Sequence[NormalTerm], b: Tensor, ndim: int) -> Tensor | None:
    """Return the closed form where every part is diagonal in one basis, else None; least norm where M is singular."""
    parts = [None if A is None else A.gram_diagonal(W) for A, W, _ in terms]
    if any(part is None and A is not None for part, (A, _, _) in zip(parts, terms, strict=True)):
        return None
    total = _total(terms, parts, b, ndim)
    if total is None:
        return None
    zero = total.values == 0
    singular = bool(zero.any())
    inverse = torch.where(zero, 0.0, 1 / torch.where(zero, 1.0, total.values)) if singular else 1 / total.values
    return _multiplied(b, Diagonal(inverse, total.basis), ndim)


def _solve_by_rows(terms: Sequence[NormalTerm], b: Tensor, ndim: int) -> Tensor | None:
    """Return the closed form of rho A^H A + s I, s > 0, where A A^H is diagonal, else None.

    (rho A^H A + s)^-1 b = (b - rho A^H (rho A A^H + s)^-1 A b) / s (Woodbury 1950).
    """
    operators = [(A, W, rho) for A, W, rho in terms if A is not None]
    if len(operators) != 1 or any(A is None and W is not None for A, W, _ in terms):
        return None
    A, W, rho = operators[0]
    rows = A.row_gram_diagonal() if W is None else None
    shift = torch.zeros((), dtype=torch.float64, device=b.device)
    for other, _, s in terms:
        shift = shift + s if other is None else shift
    if rows is None or not bool((shift > 0).all()):
        return None
    y, k = A(b), len(A.range_shape)
    rows = _kept_for(y, rows)
    ratios = per_item(rho, y, k) / (per_item(rho, y, k) * rows.values + per_item(shift, y, k))
    return (b - A.adjoint(_multiplied(y, Diagonal(ratios, rows.basis), k))) / per_item(shift, b, ndim)


def _preconditioner(terms: Sequence[NormalTerm], b: Tensor, ndim: int) -> Map | None:
    """Return v -> M^-1 v with every part's estimated diagonal in place of it, None where one has no estimate."""
    parts = [None if A is None else A.gram_diagonal_estimate() for A, _, _ in terms]
    basis = next((part.basis for part in parts if part is not None and part.basis != "any"), None)
    parts = [
        A.gram_diagonal_estimate(basis)
        if A is not None and part is not None and part.basis not in ("any", basis)
        else part
        for part, (A, _, _) in zip(parts, terms, strict=True)
    ]
    if any(part is None and A is not None for part, (A, _, _) in zip(parts, terms, strict=True)):
        return None
    means = [(A, None, rho if W is None else rho * _mean(A, W)) for A, W, rho in terms]
    with torch.no_grad():
        total = _total(means, parts, b, ndim)
    if total is None or total.basis == "any":
        return None
    floor = FLOOR * total.values.flatten(-ndim).amax(-1)
    inverse = 1 / torch.maximum(total.values, floor.reshape(floor.shape + (1,) * ndim))
    return lambda v: _multiplied(v, Diagonal(torch.where(inverse.isfinite(), inverse, 1.0), total.basis), ndim)


def _mean(A: LinearOperator | None, W: Tensor) -> Tensor:
    """Return the mean weight per item."""
    item = len(A.range_shape) if A is not None else W.ndim
    return W.double().mean(item_axes(min(item, W.ndim)))


def _total(terms: Sequence[NormalTerm], parts: Sequence[Diagonal | None], b: Tensor, ndim: int) -> Diagonal | None:
    """Return sum_i rho_i parts_i (None is the identity) if they share a basis, as `_multiplied` wants it for b."""
    total: Tensor = torch.zeros((), dtype=b.real.dtype, device=b.device)
    basis: Basis = "any"
    for (_, _, rho), part in zip(terms, parts, strict=True):
        diagonal = Diagonal(torch.ones_like(total), "any") if part is None else _kept_for(b, part)
        if "any" not in (basis, diagonal.basis) and diagonal.basis != basis:
            return None
        basis = basis if diagonal.basis == "any" else diagonal.basis
        total = torch.addcmul(total, per_item(rho, b, ndim), diagonal.values)
    return Diagonal(total, basis)


def _kept_for(x: Tensor, diagonal: Diagonal) -> Diagonal:
    """Return the half of a Fourier diagonal that real x need: a real system is even in frequency."""
    if diagonal.basis != "fourier" or x.is_complex():
        return diagonal
    return Diagonal(diagonal.values[..., : x.shape[-1] // 2 + 1], "fourier")


def _multiplied(x: Tensor, diagonal: Diagonal, ndim: int) -> Tensor:
    """Return B^H diag B x; a Fourier diagonal as `_kept_for` x."""
    values, basis = diagonal.values, diagonal.basis
    if basis == "fourier" and not x.is_complex():
        axes, sizes = item_axes(ndim), x.shape[-ndim:]
        y: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * values, sizes, axes)
        return y
    return from_basis(to_basis(x, basis, ndim) * values, basis, ndim)
