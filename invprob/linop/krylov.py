"""What can be learnt of a matrix by applying it: conjugate gradients and bounds of the largest eigenvalue.

Every tolerance is relative, so that scaling the input scales the output; nothing here adds an epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.linop.doors import takes_arrays
from invprob.linop.items import inner, norm, per_item, ratio

Map = Callable[[Tensor], Tensor]
SURE = 12  # steps before an eigenvalue counts as found: one may look converged while it is still the second


@dataclass(frozen=True)
class CGResult:
    """What conjugate gradients found: the solution, what is left (b - M x), steps and relative residual per item."""

    x: Tensor
    remainder: Tensor
    n_iter: Tensor
    residual: Tensor


@takes_arrays
def conjugate_gradient(
    apply: Map,
    b: Tensor,
    *,
    ndim: int,
    x0: Tensor | None = None,
    tol: float | Tensor = 1e-6,
    reduction: float = 0.0,
    max_iter: int = 1000,
    preconditioner: Map | None = None,
    preconditioned: bool = False,
) -> CGResult:
    """Solve M x = b for a self-adjoint M >= 0 until |b - M x| <= tol |b| or reduction |b - M x0|, per item.

    `preconditioned` measures residuals r by (r^H P r)^(1/2) with the preconditioner P: nearly the energy of the error,
    where |r| tells most of what the largest eigenvalues left. Hestenes & Stiefel 1952; an item that has arrived, or
    whose search direction p is in the null space of M as far as rounding lets it be told, stays where it is while its
    neighbours go on.
    """
    x = torch.zeros_like(b) if x0 is None else x0.expand_as(b).to(b.dtype)
    r = b if x0 is None else b - apply(x)
    z = r if preconditioner is None else preconditioner(r)
    p, rz = z, inner(r, z, ndim)

    def measured(r: Tensor, rz: Tensor) -> Tensor:
        return rz.clamp(min=0).sqrt() if preconditioned else norm(r, ndim)

    residual = measured(r, rz)
    size = residual if x0 is None else measured(b, inner(b, b if preconditioner is None else preconditioner(b), ndim))
    target = torch.maximum(tol * size, reduction * residual)
    n_iter = torch.zeros(residual.shape, dtype=torch.int64, device=b.device)
    steepest, rounding = torch.zeros_like(residual), torch.finfo(b.dtype).eps
    active = residual > target
    for _ in range(max_iter):
        if not bool(active.any()):
            break
        Mp = apply(p)
        curvature = inner(p, Mp, ndim)
        steepness = ratio(curvature, inner(p, p, ndim))
        steepest = torch.maximum(steepest, steepness)
        active = active & (steepness > rounding * steepest) & (rz > 0)
        alpha = per_item(torch.where(active, ratio(rz, curvature), 0.0), b, ndim)
        x = torch.addcmul(x, alpha, p)
        r = torch.addcmul(r, alpha, Mp, value=-1)
        n_iter = n_iter + active
        if not preconditioned:
            residual = torch.where(active, norm(r, ndim), residual)
            if not bool((active & (residual > target)).any()):
                break  # before the preconditioner makes a direction that nobody goes
        z = r if preconditioner is None else preconditioner(r)
        rz, rz_old = inner(r, z, ndim), rz
        if preconditioned:
            residual = torch.where(active, measured(r, rz), residual)
        active = active & (residual > target)
        p = torch.addcmul(z, per_item(torch.where(active & (rz_old > 0), ratio(rz, rz_old), 0.0), b, ndim), p)
    return CGResult(x, r, n_iter, ratio(residual, size))


@takes_arrays
def power_iteration(apply: Map, blank: Tensor, *, tol: float = 1e-4, max_iter: int = 500) -> Tensor:
    """Return the largest eigenvalue of a self-adjoint M >= 0 from below: the best that all vectors M^k v can tell.

    That is the largest Ritz value (Lanczos 1950), which comes far closer than the last vector's Rayleigh quotient for
    the same work (Kuczynski & Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992). Vectors that lose their
    orthogonality only find it twice. Stops when it grows by less than `tol` relative to itself over a step and the
    Ritz vector leaves a residual of less than sqrt(tol), not before `SURE` steps. The start vector comes from a
    generator of its own, so that the answer is the same every time. `blank` is one item (any values); where M is a
    batch of matrices, so is the answer.
    """
    ndim, generator = blank.ndim, torch.Generator().manual_seed(0)
    v = torch.randn(blank.shape, dtype=blank.dtype, generator=generator).to(blank.device)
    v = v / norm(v, ndim).to(v.real.dtype)
    before = torch.zeros_like(v)
    value = beta = torch.zeros((), dtype=torch.float64, device=blank.device)
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    for step in range(max_iter):
        w = apply(v)
        alpha = inner(v, w, ndim)
        w = w - per_item(alpha, w, ndim) * v - per_item(beta, w, ndim) * before
        alphas.append(alpha)
        previous = value
        value, last = _top_ritz(alphas, betas)
        beta = norm(w, ndim)
        if not bool((beta > 4 * torch.finfo(blank.dtype).eps * value).any()):
            break  # the vectors span all that M makes of the first
        settled = (value - previous <= tol * value) & (beta * last <= math.sqrt(tol) * value)
        if step >= SURE and bool(settled.all()):
            break
        betas.append(beta)
        before, v = v, w / per_item(torch.where(beta > 0, beta, 1.0), w, ndim)
    return value


def _top_ritz(alphas: Sequence[Tensor], betas: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of the tridiagonal matrix, and the size of its unit vector's last entry."""
    matrix = torch.diag_embed(torch.stack(list(alphas), -1))
    if betas:
        off = torch.stack([beta.expand(alphas[0].shape) for beta in betas], -1)
        matrix = matrix + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    value = torch.linalg.eigvalsh(matrix)[..., -1]
    with torch.no_grad():
        last = torch.linalg.eigh(matrix).eigenvectors[..., -1, -1].abs()
    return value, last


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
        ratios = torch.where(reached, w / torch.where(reached, v, torch.ones_like(v)), 0.0)
        largest = ratios.flatten(ratios.ndim - ndim).amax(-1).double()
        bound = torch.minimum(bound, largest)
        if bool((bound * inner(v, v, ndim) <= (1 + tol) * inner(v, w, ndim)).all()):
            break
        top = w.flatten(w.ndim - ndim).amax(-1)
        v = w / per_item(torch.where(top > 0, top, 1.0), w, ndim)
    return bound * (1 + 16 * torch.finfo(blank.dtype).eps)
