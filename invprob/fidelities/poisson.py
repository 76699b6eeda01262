"""Counted events: the fidelity of Poisson noise."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities.base import Fidelity
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator


class KullbackLeibler(Functional):
    """phi(d) = sum_k u_k - y_k + y_k log(y_k / u_k) with u = d + b, +inf where u_k < 0, or u_k = 0 < y_k.

    Arguments:
        y: the counts, `(*batch, *item)`, real and >= 0.
        background: b >= 0, which broadcasts against y.
        ndim: how many axes, the last ones, make one item; by default 2.
        mask: boolean, True for the readings that count; None (the default) for all.
    """

    y: Tensor
    background: Tensor
    mask: Tensor | None

    def __init__(self, y: Tensor, background: Tensor, ndim: int = 2, mask: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("background", background, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.ndim = ndim

    def value(self, d: Tensor) -> Tensor:
        """Return phi(d) >= 0 per item, summed in float64."""
        u, y = self._mean(d).double(), self.y.double()
        inside = u > 0
        safe = torch.where(inside, u, 1.0)
        outside = torch.where((u == 0) & (y == 0), 0.0, torch.inf)
        parts = torch.where(inside, safe - y + torch.xlogy(y, y / safe), outside)
        return self._counted(parts).sum(linalg.item_axes(self.ndim)).clamp(min=0).to(d.dtype)

    def grad(self, d: Tensor) -> Tensor:
        """Return 1 - y / u; at the border u = 0 its limit, 1 or -inf, and NaN beyond it."""
        u = self._mean(d)
        border = torch.where(self.y > 0, -torch.inf, 1.0).to(u)
        slope = 1 - self.y / torch.where(u > 0, u, 1.0)
        return self._counted(torch.where(u > 0, slope, torch.where(u == 0, border, torch.nan)))

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return u - b with u the root >= 0 of u^2 - (v + b - tau) u - tau y = 0."""
        t = linalg.per_item(tau, v, self.ndim)
        d = _root(self._mean(v) - t, t * self.y) - self.background
        return d if self.mask is None else torch.where(self.mask, d, v)

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma phi*, 1 - q with q the root >= 0 of q^2 - (1 - v - sigma b) q - sigma y = 0."""
        s = linalg.per_item(sigma, v, self.ndim)
        return self._counted(1 - _root(1 - self._mean(v, s), s * self.y))

    def lipschitz(self) -> Scalar | None:
        """Return max y / b^2 per item, which holds for d >= 0; None without a background."""
        if not bool((self._counted(self.background, 1.0) > 0).all()):
            return None
        most = self._counted(self.y.double() / self.background.double().square())
        return most.amax(linalg.item_axes(self.ndim))

    def curvature(self) -> Scalar:
        """Return 1 / mean(y + b) per item, the curvature y / u^2 where u = y fits an average count."""
        axes, all_of = linalg.item_axes(self.ndim), self.y.double() + self.background.double()
        mean = self._counted(all_of).sum(axes) / self._counted(torch.ones_like(all_of)).sum(axes).clamp(min=1)
        return torch.where(mean > 0, 1 / mean, 1.0)

    def _counted(self, parts: Tensor, instead: float = 0.0) -> Tensor:
        return parts if self.mask is None else torch.where(self.mask, parts, instead)

    def _mean(self, d: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        if d.is_complex():
            raise TypeError(f"{type(self).__name__} counts events, which are real, and got {d.dtype}: pass real images")
        return d + factor * self.background


def _root(w: Tensor, c: Tensor) -> Tensor:
    """Return the root >= 0 of u^2 - w u - c = 0 for c >= 0, without cancellation or overflow."""
    some = c > 0  # the square root of 0 has no derivative
    side = torch.where(some, 2 * torch.where(some, c, 1.0).sqrt(), 0.0)
    far = 0.5 * (w.abs() + torch.hypot(w, side))  # the root of the larger modulus; the product of both is -c
    return torch.where(w >= 0, far, linalg.ratio(c, far))


class Poisson(Fidelity):
    """f(x) = sum_k u_k - y_k log u_k + const, u = A x + b: Poisson counts y of mean u; the constant makes f >= 0.

    The prox of phi is in closed form (`PrimalDual`, `ADMM`); the gradient has the Lipschitz constant max y / b^2 |A|^2
    where A x >= 0 and b > 0, and none else.

    Arguments:
        A: the linear operator, real.
        y: the data, `(*batch, *A.range_shape)`, counts or any real numbers >= 0.
        background: b >= 0, a number (by default 0) or a tensor that broadcasts against y, in the unit of y.
        mask: boolean, True for the readings that count; None (the default) for all.

    ValueError for negative or non-finite numbers, TypeError for a complex operator, data or image.
    """

    phi: KullbackLeibler

    def __init__(
        self, A: LinearOperator, y: Tensor, background: float | Tensor = 0.0, mask: Tensor | None = None
    ) -> None:
        if A.is_complex or y.is_complex():
            raise TypeError(f"Poisson counts events, which are real: {type(A).__name__} or its data are complex")
        y = A.as_data(y)
        b = torch.as_tensor(background, dtype=y.dtype, device=y.device)
        for what, t in (("data", y), ("background", b)):
            if not bool((t >= 0).all() and t.isfinite().all()):
                raise ValueError(f"Poisson: {what} must be finite and not negative; clip or mask what is not a count")
        if b.ndim > y.ndim or any(n not in (1, m) for n, m in zip(b.shape[::-1], y.shape[::-1], strict=False)):
            raise ValueError(f"Poisson: a background of shape {tuple(b.shape)} does not fit data {tuple(y.shape)}")
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"Poisson: mask must be boolean, True for what counts, got {mask.dtype}")
        super().__init__(A, KullbackLeibler(y, b, len(A.range_shape), mask))
