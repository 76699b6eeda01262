"""Outliers and known noise levels: the sum of moduli, and the ball around the data."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities.base import Fidelity, sound_weights
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator


class AbsoluteDistance(Functional):
    """phi(d) = sum_k w_k |d_k - y_k|, moduli for complex d.

    Arguments:
        y: the data, `(*batch, *item)`.
        ndim: how many axes, the last ones, make one item; by default 2.
        weights: w >= 0, which broadcast against y; None (the default) means 1.
    """

    y: Tensor
    weights: Tensor | None

    def __init__(self, y: Tensor, ndim: int = 2, weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.ndim = ndim

    def value(self, d: Tensor) -> Tensor:
        """Return phi(d) per item."""
        parts = (d - self.y).abs()
        return (parts if self.weights is None else self.weights * parts).sum(linalg.item_axes(self.ndim))

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return y + (v - y) (1 - tau w / |v - y|)_+, the soft threshold around y."""
        r = v - self.y
        t = linalg.per_item(tau, r.real, self.ndim)
        return self.y + _shrunk(r, r.abs(), t if self.weights is None else t * self.weights)

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma phi*, w r / max(w, |r|) with r = v - sigma y."""
        r = v - linalg.per_item(sigma, v, self.ndim) * self.y
        if self.weights is None:
            return r / r.abs().clamp(min=1)
        return r * linalg.ratio(self.weights, torch.maximum(self.weights, r.abs()))

    def curvature(self) -> Scalar:
        """Return 1 / mean |y| per item: the slope over the size of the data."""
        mean = self.y.abs().double().mean(linalg.item_axes(self.ndim))
        return torch.where(mean > 0, 1 / mean, 1.0)


class L1Fidelity(Fidelity):
    """f(x) = sum_k w_k |(A x)_k - y_k|, moduli for complex data: the fidelity of Laplace noise and outliers.

    Not smooth: its prox on data space serves `PrimalDual` and `ADMM`.

    Arguments:
        A: the linear operator.
        y: the data, `(*batch, *A.range_shape)`.
        weights: w >= 0, broadcasting against y, 0 for what was not measured; None (the default) means 1.
    """

    phi: AbsoluteDistance

    def __init__(self, A: LinearOperator, y: Tensor, weights: Tensor | None = None) -> None:
        y = A.as_data(y)
        super().__init__(A, AbsoluteDistance(y, len(A.range_shape), sound_weights(self, A, y, weights)))


class BallIndicator(Functional):
    """phi(d) = 0 where |d - y| <= eps, to the rounding of d and y, +inf elsewhere.

    Arguments:
        y: the data, `(*batch, *item)`.
        eps: the radius, a number or one per item, `(*batch,)`, in the unit of y.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    y: Tensor
    eps: Tensor

    def __init__(self, y: Tensor, eps: Tensor, ndim: int = 2) -> None:
        super().__init__()
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("eps", eps, persistent=False)
        self.ndim = ndim

    def value(self, d: Tensor) -> Tensor:
        """Return 0 per item in the ball and +inf outside."""
        size = linalg.norm(d - self.y, self.ndim)
        rounding = 4 * torch.finfo(d.dtype).eps * (linalg.norm(d, self.ndim) + linalg.norm(self.y, self.ndim))
        return torch.where(size <= self.eps.double() + rounding, 0.0, torch.inf).to(d.real.dtype)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return the nearest point of the ball, whatever tau."""
        del tau
        r = v - self.y
        size = linalg.norm(r, self.ndim)
        inside = size <= self.eps.double()
        factor = torch.where(inside, 1.0, self.eps.double() / torch.where(inside, 1.0, size))
        return self.y + linalg.per_item(factor, r, self.ndim) * r

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma phi*, r (1 - sigma eps / |r|)_+ with r = v - sigma y."""
        r = v - linalg.per_item(sigma, v, self.ndim) * self.y
        reach = torch.as_tensor(sigma, dtype=torch.float64, device=r.device) * self.eps.double()
        size = linalg.norm(r, self.ndim)
        return linalg.per_item(_shrunk(torch.ones_like(size), size, reach), r, self.ndim) * r


class L2Ball(Fidelity):
    """The constraint |A x - y| <= eps: value 0 where it holds and +inf elsewhere.

    With a prior g it states min g(x) subject to |A x - y| <= eps (`PrimalDual`, `ADMM`), without a weight to choose.

    Arguments:
        A: the linear operator.
        y: the data, `(*batch, *A.range_shape)`.
        eps: |noise| = sigma sqrt(number of data), a number >= 0 or one per item, `(*batch,)`, in the unit of y;
            ValueError else.
    """

    phi: BallIndicator

    def __init__(self, A: LinearOperator, y: Tensor, eps: Scalar) -> None:
        y = A.as_data(y)
        radius = torch.as_tensor(eps, dtype=A.dtype, device=y.device)
        if not bool((radius >= 0).all() and radius.isfinite().all()):
            raise ValueError(f"L2Ball: eps must be finite and not negative, got {eps}")
        batch = y.shape[: y.ndim - len(A.range_shape)]
        if radius.ndim > 0 and radius.shape != batch:
            raise ValueError(
                f"L2Ball: eps of shape {tuple(radius.shape)} must be a number or one per item, {tuple(batch)}"
            )
        super().__init__(A, BallIndicator(y, radius, len(A.range_shape)))


def _shrunk(r: Tensor, length: Tensor, t: Tensor) -> Tensor:
    """Return r (1 - t / length)_+ without dividing by zero."""
    return r * ((length - t).clamp(min=0) / torch.where(length > 0, length, 1.0))
