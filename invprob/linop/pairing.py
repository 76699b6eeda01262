"""Is what stands for the adjoint of an operator its adjoint?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from invprob.linop.items import inner, norm, per_item, ratio

if TYPE_CHECKING:
    from invprob.linop.linear import LinearOperator

__all__ = ["UNRELATED", "adjoint_mismatch", "require_adjoint"]

UNRELATED = 1e-2  # beyond it a pair is wrong: rounding in float32 leaves 1e-7 to 1e-4, an unrelated map about 1


def adjoint_mismatch(A: LinearOperator) -> float:
    """Return |<A x, y> - <x, A^H y>| relative to what <A x, y> is for such a pair, the larger of two; about 1 if wrong.

    x is white noise of a fixed seed, and y is A x, for which <A x, y> is |A x|^2, or white noise, for which it is
    |A x| |y| / sqrt(number of data). Remembered as norms are.
    """
    return A._cached("adjoint mismatch", lambda: _mismatch(A))


def require_adjoint(A: LinearOperator) -> None:
    """Raise ValueError if A^H is not the adjoint of A though it is said to be."""
    if not A.matched:
        return
    found = adjoint_mismatch(A)
    if found > UNRELATED:
        raise ValueError(
            f"the adjoint of {A!r} is not that of its forward map: <A x, y> and <x, A^H y> differ by {found:.2g} of "
            "their size for random x and y; correct _adjoint (or leave it out: it is then derived), and try "
            "invprob.testing.check(A)"
        )


def _mismatch(A: LinearOperator) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(A.domain_shape, dtype=A.domain_dtype, generator=generator).to(A.device)
    noise = torch.randn(A.range_shape, dtype=A.range_dtype, generator=generator).to(A.device)
    Ax, k, d = A(x), len(A.range_shape), len(A.domain_shape)
    size = norm(Ax, k)
    own = Ax / per_item(torch.where(size > 0, size, 1.0).to(Ax.real.dtype), Ax, k)
    y = torch.stack([own, (noise / norm(noise, k).to(noise.real.dtype)).expand(own.shape)])
    difference = (inner(Ax.expand(y.shape), y, k) - inner(x.expand(*y.shape[:-k], *x.shape), A.adjoint(y), d)).abs()
    usual = torch.stack([size, size / math.sqrt(math.prod(A.range_shape))])
    return float(ratio(difference, usual).max())
