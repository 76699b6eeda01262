"""Sobolev norms as fidelity: least squares with a weight per frequency, the fidelity of coloured Gaussian noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities.base import QuadraticFidelity
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator
from invprob.linop.doors import takes_arrays
from invprob.linop.module import precision_of
from invprob.transforms import SobolevMetric

NEWTON_STEPS = 50  # half a dozen do, unless the spectrum is as steep as rounding allows


class HalfSquaredSobolev(Functional):
    """phi(d) = 1/2 |P_s (d - y)|^2 on data space.

    Arguments:
        y: the data, `(*batch, *item)`.
        s: the order.
        ndim: how many axes, the last ones, make one item; by default 2.
        metric: the settings of `SobolevMetric`.
    """

    y: Tensor

    def __init__(self, y: Tensor, s: float, ndim: int = 2, **metric: Any) -> None:
        super().__init__()
        self.register_buffer("y", y, persistent=False)
        self.ndim = ndim
        shape, dtype = y.shape[y.ndim - ndim :], precision_of(y.dtype, self)
        self.root = SobolevMetric(shape, s, dtype=dtype, **metric).to(y.device)
        self.metric = SobolevMetric(shape, 2 * s, dtype=dtype, **metric).to(y.device)

    def value(self, d: Tensor) -> Tensor:
        """Return phi(d) per item."""
        r = self.root(d - self.y)
        return 0.5 * linalg.inner(r, r, self.ndim).to(r.real.dtype)

    def grad(self, d: Tensor) -> Tensor:
        """Return P_2s (d - y)."""
        return self.metric(d - self.y)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return y + (1 + tau P_2s)^-1 (v - y)."""
        t = linalg.per_item(tau, v.real, self.ndim)
        return self.y + self.metric.filtered(v - self.y, 1 / (1 + t * self.metric.multiplier))

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma phi*, P_2s (P_2s + sigma)^-1 (v - sigma y), also where P_2s has a null space."""
        w, t = self.metric.multiplier, linalg.per_item(sigma, v.real, self.ndim)
        return self.metric.filtered(v - t * self.y, w / (w + t))

    def lipschitz(self) -> Scalar:
        """Return max <xi>^2s."""
        return self.metric.norm().double()

    def hessian(self) -> linalg.NormalTerm:
        """Return (P_s, None, 1), which stand for P_2s."""
        return linalg.NormalTerm(self.root)


class SobolevL2(QuadraticFidelity):
    """f(x) = 1/2 |P_s (A x - y)|^2 = 1/2 |A x - y|^2_{H^s} with P_s = (I - l^2 Laplacian)^{s/2}.

    Zhu, Hu, Lou & Yang 2021 (arXiv 2109.06255). It is the likelihood of Gaussian noise of power spectrum ~ <xi>^-2s.
    For a nonlinear operator use `Misfit(A, HalfSquaredSobolev(y, s, ...))`.

    Arguments:
        A: the linear operator.
        y: the data, `(*batch, *A.range_shape)`.
        s: the order: 0 is `L2`; s > 0 asks most of high frequencies (fast, and as fast at fitting noise; red noise),
            s < 0 of low ones (slow, smooth; blue noise).
        metric: `spacing`, `length_scale`, `homogeneous`, `symbol`, `boundary` and `axes` (of the data, such as the
            detector axis of a sinogram or the time axis of traces; default all) of `SobolevMetric`, with its errors.
    """

    phi: HalfSquaredSobolev

    def __init__(self, A: LinearOperator, y: Tensor, s: float, **metric: Any) -> None:
        super().__init__(A, HalfSquaredSobolev(A.as_data(y), s, len(A.range_shape), **metric))
        self.whitened = self.phi.root @ A if s else A

    @property
    def y(self) -> Tensor:
        """The data."""
        return self.phi.y

    def weigh(self, r: Tensor) -> Tensor:
        """Return P_2s r."""
        return self.phi.metric(r)

    def normal_term(self) -> linalg.NormalTerm:
        """Return the Hessian (P_s A)^H (P_s A) = A^H P_2s A."""
        return linalg.NormalTerm(self.whitened)

    def lipschitz(self) -> Scalar:
        """Return |P_s A|^2, in closed form where both are diagonal in one basis; at most max <xi>^2s |A|^2."""
        apart = self.phi.lipschitz() * self.A.norm_bound().double() ** 2
        return torch.minimum(torch.as_tensor(apart), self.whitened.norm_bound().double() ** 2)


class SobolevOrder(NamedTuple):
    """The order that noise asks for, per item.

    Arguments:
        s: the order.
        standard_error: of s.
    """

    s: Tensor
    standard_error: Tensor


@takes_arrays
def estimate_s(residual: Tensor, ndim: int = 2, *, above: float = 0.0, **metric: Any) -> SobolevOrder:
    """Return the s for which P_s makes the residual white: its power spectrum is fitted by c <xi>^-2s.

    Maximum of the Whittle likelihood -sum_k log S_k + I_k / S_k (Whittle 1953) over c and s by Newton's method:
    statistically efficient, where regressing log I_k on log <xi_k> is not. The standard error is that of Fisher's
    information, (N Var log <xi>^2)^{-1/2}, with N half the number of coefficients for real data.

    Arguments:
        residual: a sample of noise such as A x - y, `(*batch, *item)`; NaN is what comes of zeros.
        ndim: how many axes, the last ones, make one item; by default 2.
        above: frequencies with l |xi| <= above are left out, as the constant always is; by default 0.
        metric: the settings of `SobolevMetric`.

    ValueError if there are no two frequencies.
    """
    wide = residual.to(torch.complex128 if residual.is_complex() else torch.float64)
    first = SobolevMetric(wide.shape[wide.ndim - ndim :], 1.0, dtype=torch.float64, **metric).to(wide.device)
    w = first.weights(2.0).expand(first.domain_shape)
    inside = w > w.min() + above**2
    log_w, log_power = w[inside].log(), first.power_spectrum(wide)[..., inside].log()
    spread = log_w.var(correction=0) if len(log_w) else log_w.new_zeros(())
    if not bool(spread > 0):
        raise ValueError(f"estimate_s: a residual of shape {tuple(residual.shape)} has no two frequencies to compare")
    s, centred = torch.zeros_like(log_power[..., 0]), log_w - log_w.mean()
    for _ in range(NEWTON_STEPS):
        # minus the profile likelihood, log sum_k I_k w_k^s - s mean_k log w_k, is convex
        share = torch.softmax(log_power + s.unsqueeze(-1) * centred, -1)
        slope = (share * centred).sum(-1)
        curvature = (share * (centred - slope.unsqueeze(-1)).square()).sum(-1)
        move = (slope / curvature).clamp(-1.0, 1.0)
        s = s - move
        if not bool((move.abs() > 1e-10).any()):
            break
    count = len(log_w) if wide.is_complex() else len(log_w) / 2
    return SobolevOrder(s, (count * spread).rsqrt() + 0 * s)
