"""The laws of what solvers stand on: Gram matrices, diagonals, norms, normal equations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from invprob.linop.bases import to_basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.items import norm, per_item
from invprob.testing.linear_laws import _linear
from invprob.testing.numbers import dense_map, normal, relative
from invprob.testing.operator_probe import OperatorProbe
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule


def weights_of(p: OperatorProbe, batch: tuple[int, ...] = (), seed: int = 3) -> Tensor:
    """Return weights >= 0 for data, some of them 0."""
    shape = (*batch, *p.own_batch, *p.A.range_shape)
    w = normal(shape, p.A.dtype, p.seed + seed)
    return (w.abs() * (w > -1)).to(p.A.device)


def gram(p: OperatorProbe) -> Iterator[Finding]:
    """gram(x, W) = A^H W A x by whatever short way, for weights of every shape that broadcasts."""
    if not p.matched:
        return
    A = _linear(p)
    x = p.image((2,))
    yield Finding(relative(A.gram(x), A.adjoint(A(x))), p.nearby, "gram(x) is not A^H A x")
    w = weights_of(p, (2,))
    for weights in (w, w[0], w[0][..., :1], w[(0,) * (w.ndim - 1)], 2 * torch.ones((), dtype=A.dtype, device=A.device)):
        look = f"gram(x, weights) is not A^H W A x for weights of shape {tuple(weights.shape)}"
        yield Finding(relative(A.gram(x, weights), A.adjoint(weights * A(x))), p.nearby, look)


def diagonals(p: OperatorProbe) -> Iterator[Finding]:
    """What is said to be diagonal in a basis is: A, A^H W A, A A^H; an estimate is of the right size."""
    if not p.small or p.over_reals:
        return
    A, M = _linear(p), p.matrix
    n, m = A.domain_shape, A.range_shape
    weights = weights_of(p)
    W = torch.diag(weights.flatten()).to(M)
    claims = (
        ("diagonal", A.diagonal(), n, M),
        ("gram_diagonal", A.gram_diagonal(), n, M.mH @ M),
        ("gram_diagonal of weights", A.gram_diagonal(weights), n, M.mH @ W @ M),
        ("row_gram_diagonal", A.row_gram_diagonal(), m, M @ M.mH),
    )
    for name, found, shape, expected in claims:
        if found is not None:
            yield Finding(_off(found, shape, expected), p.nearby, f"{name} in the {found.basis} basis is not so")
    yield from _estimate(p, M)


def _off(found: Diagonal, shape: tuple[int, ...], expected: Tensor) -> float:
    """Return how far B^H diag B is from a matrix, relative."""
    kind = torch.complex128
    basis = dense_map(partial(to_basis, basis=found.basis, ndim=len(shape)), shape, kind)
    D = torch.diag(found.values.expand(shape).flatten().to(kind))
    return relative(basis.mH @ D @ basis, expected.to(kind))


def _estimate(p: OperatorProbe, M: Tensor) -> Iterator[Finding]:
    A = _linear(p)
    found = A.gram_diagonal_estimate()
    if found is None:
        yield fact(A.gram_diagonal() is None, "gram_diagonal_estimate() is None though gram_diagonal() is known")
        return
    values = found.values.expand(A.domain_shape).double()
    proper = bool((values >= 0).all() & values.isfinite().all())
    yield fact(proper, "gram_diagonal_estimate() has negative or infinite values, which cannot precondition")
    total = float(M.abs().double().square().sum())
    share = float(values.sum()) / total if total > 0 else 1.0
    look = f"gram_diagonal_estimate() adds up to {share:.3g} times the trace of A^H A"
    yield Finding(max(share, 1 / share if share > 0 else float("inf")), 5.0, look)
    twice = (2j * A).gram_diagonal_estimate()
    same = twice is not None and twice.basis == found.basis
    yield fact(same, "gram_diagonal_estimate() of 2 A is in another basis")
    if twice is not None:
        change = relative(twice.values.expand(A.domain_shape), 4 * found.values.expand(A.domain_shape))
        yield Finding(change, p.nearby, "gram_diagonal_estimate() of 2j A is not 4 times that of A")


def norms(p: OperatorProbe) -> Iterator[Finding]:
    """The norm is estimated from below, the bound lies above, and both are the same every time."""
    A = _linear(p)
    estimate, bound = A.norm(), A.norm_bound()
    yield fact(estimate.dtype == bound.dtype == A.dtype, f"norm is {estimate.dtype}, norm_bound {bound.dtype}")
    yield fact(estimate.shape == bound.shape, f"norm has the shape {tuple(estimate.shape)}, its bound another")
    yield fact(bool(p.own_batch) or not estimate.ndim, f"norm has the shape {tuple(estimate.shape)}, a number is due")
    yield fact(isinstance(A.norm_bound_kind, str), "norm_bound_kind must be words")
    yield Finding(float((estimate / bound.clamp(min=1e-300)).max()) - 1, p.nearby, "norm() exceeds norm_bound()")
    yield fact(bool(torch.equal(A._norm(), estimate)), "norm() differs from call to call")
    if A.nonnegative:
        yield fact("estimate" not in A.norm_bound_kind, "a non-negative operator can have a true bound")
    x = p.image()
    for _ in range(3):
        stretch = norm(A(x), len(A.range_shape)) / norm(x, len(A.domain_shape)).clamp(min=1e-300)
        yield Finding(float((stretch / bound.double().clamp(min=1e-300)).max()) - 1, p.nearby, "|A x| > norm_bound |x|")
        x = A.gram(x)
        if not bool(x.any()):
            break
        x = x / norm(x, len(A.domain_shape)).max().to(x.real.dtype)
    if p.small and not p.over_reals and p.largest > 0:
        true, lead = p.largest, float(estimate)
        look = f"norm() is {lead:.6g}, the largest singular value {true:.6g}"
        yield Finding(lead / true - 1, p.nearby, look)
        yield Finding(1 - lead / true, 0.03, look)
        look = f"norm_bound() is {float(bound):.6g}, the largest singular value {true:.6g}"
        yield Finding(1 - float(bound) / true, p.nearby / 100, look)
        if A.nonnegative:
            yield Finding(float(bound) / true - 1, 0.02, look)


def solving(p: OperatorProbe) -> Iterator[Finding]:
    """solve(b, shift) = (A^H A + shift)^-1 b, per item."""
    if not p.matched:
        return
    A = _linear(p)
    square = float(A.norm_bound().max()) ** 2
    if not 0 < square < float("inf"):
        return
    tol, allowed = (1e-6, 1e-4) if p.single else (1e-12, 1e-9)
    k = len(A.domain_shape)
    b, shift = p.image((2,)), torch.tensor([0.1, 2.0], dtype=torch.float64) * square
    if not p.small:  # the dense solution below says more
        x = A.solve(b[0], 2.0 * square, tol=tol)
        gap = norm(A.gram(x) + per_item(2.0 * square, x, k) * x - b[0], k) / norm(b[0], k)
        yield Finding(float(gap.max()), allowed, "solve leaves a residual")
        return
    if p.over_reals or p.own_batch:
        return
    x, M = A.solve(b, shift, tol=tol), p.matrix.to(torch.promote_types(p.matrix.dtype, torch.float64))
    for item in range(2):
        system = M.mH @ M + shift[item] * torch.eye(M.shape[1], dtype=M.dtype)
        expected = torch.linalg.solve(system, b[item].cpu().flatten().to(M.dtype))
        yield Finding(relative(x[item].cpu().flatten(), expected), allowed, "solve is not (A^H A + shift)^-1 b")
    again = A.solve(b[0], float(shift[0]), x0=x[0], tol=tol)
    yield Finding(relative(again, x[0]), allowed, "solve from its own solution goes elsewhere")


NORMAL_RULES = (
    Rule("gram", "gram(x, weights) = A^H W A x, by whatever short way", gram),
    Rule("diagonals", "what is said to be diagonal in a basis is diagonal there", diagonals),
    Rule("norm", "norm() <= |A| <= norm_bound(), the same every time", norms),
    Rule("solve", "solve(b, shift) = (A^H A + shift)^-1 b, per item", solving),
)
