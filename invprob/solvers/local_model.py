"""The model of f(x) + g(x) around a point that Gauss-Newton minimises: A linearised, a smooth g by its curvature."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2, Misfit
from invprob.functional import Functional
from invprob.linalg import per_item
from invprob.linop import Linearised, LinearOperator
from invprob.linop.forward_mode import derivative_along
from invprob.linop.nonlinear import of_kind

MOST_STEPS = 500  # of conjugate gradients for one direction, which bounds the work


@dataclass(frozen=True, eq=False)
class LocalModel:
    """m(d) = f + <grad f, d> + 1/2 <J d, W J d> around a point x, with W the Hessian of phi, and g on top of it.

    Arguments:
        f, g: the misfit and the prior.
        J: the derivative of A at x.
        pulled: grad f(x).
        gradient: that of f, and of g where it is smooth.
        curvature: the terms of M, what stands for the Hessian of a smooth g; None for a g that has no gradient.
    """

    f: Misfit
    g: Functional
    J: Linearised
    pulled: Tensor
    gradient: Tensor
    curvature: tuple[linalg.NormalTerm, ...] | None

    @classmethod
    def at(cls, f: Misfit, g: Functional, x: Tensor) -> LocalModel:
        """Return the model around x."""
        derivative, curvature = f.A.linearised(x), curvature_of(g, x)
        pulled = derivative.adjoint(f.phi.grad(derivative.value))
        return cls(f, g, derivative, pulled, pulled if curvature is None else pulled + g.grad(x), curvature)

    def weighed(self, u: Tensor) -> Tensor:
        """Return W u for u in data space."""
        term = self.f.hessian()
        if term is not None:
            return term.apply(u, len(self.J.range_shape))
        return derivative_along(self.f.phi.grad, self.J.value, u.expand_as(self.J.value))

    def bent(self, d: Tensor) -> Tensor:
        """Return M d."""
        return sum((term.apply(d, self.f.ndim) for term in self.curvature or ()), start=torch.zeros_like(d))

    def hessian(self, d: Tensor) -> Tensor:
        """Return (J^H W J + M) d."""
        return self.J.adjoint(self.weighed(self.J(d))) + self.bent(d)

    def along(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slope along d and the curvature <d, (J^H W J + M) d>, per item, without a g of no gradient."""
        pushed, ndim = self.J(d), self.f.ndim
        curvature = linalg.inner(pushed, self.weighed(pushed), len(self.J.range_shape))
        return linalg.inner(self.gradient, d, ndim), curvature + linalg.inner(d, self.bent(d), ndim)

    def steepness(self) -> Tensor:
        """Return the curvature along the gradient per item, which is about the largest there is."""
        return linalg.ratio(self.along(self.gradient)[1], linalg.norm(self.gradient, self.f.ndim) ** 2)

    def scale(self) -> Tensor:
        """Return |J^H W y| per item, what gradients are small beside; 0 where phi is not quadratic."""
        term, y = self.f.hessian(), self.f.y
        if term is None or y is None:
            return torch.zeros_like(linalg.norm(self.pulled, self.f.ndim))
        return linalg.norm(self.J.adjoint(term.apply(y, len(self.J.range_shape))), self.f.ndim)

    def direction(self, mu: Tensor, tol: Tensor) -> Tensor:
        """Return d with (J^H W J + M + mu) d = -gradient, to the relative accuracy tol per item, for a smooth g."""
        shift = self._shift(mu)
        if shift is not None:
            return self._direction_from_data(shift, tol)
        ndim = self.f.ndim

        def damped(d: Tensor) -> Tensor:
            return self.hessian(d) + per_item(mu, d, ndim) * d

        return linalg.conjugate_gradient(damped, -self.gradient, ndim=ndim, tol=tol, max_iter=MOST_STEPS).x

    def _shift(self, mu: Tensor) -> Tensor | None:
        """Return mu + M where M is a number and the space of data is the smaller one, else None."""
        unknowns = prod(self.J.domain_shape) * (1 + self.J.complex_domain)
        readings = prod(self.J.range_shape) * (1 + self.J.complex_range)
        if self.f.hessian() is None or self.curvature is None or readings >= unknowns:
            return None
        if any(term.operator is not None or term.weights is not None for term in self.curvature):
            return None
        shift = mu + sum(torch.as_tensor(term.scale).to(mu) for term in self.curvature)
        # an item that is at rest and not damped has no direction to find, and does not choose the way for others
        rest = linalg.norm(self.gradient, self.f.ndim) == 0
        return torch.where(shift > 0, shift, 1.0) if bool(((shift > 0) | rest).all()) else None

    def _direction_from_data(self, s: Tensor, tol: Tensor) -> Tensor:
        """Return d = B^H z - h / s with (B B^H + s) z = B h / s - C (A(x) - y), B = C J, C^H C = W, h = grad g(x).

        Woodbury 1950, without a difference of two large vectors where s is small.
        """
        ndim, whitened = self.f.ndim, Whitened(self.f, self.J)
        h = self.gradient - self.pulled
        h = h / per_item(s, h, ndim)
        b = whitened(h) - whitened.residual
        # |B^H e| <= |B| |e|, and |B| is about what it is along the gradient
        size = linalg.norm(self.gradient, ndim)
        steep = linalg.ratio(linalg.norm(whitened(self.gradient), 1), size)
        wanted = torch.minimum(tol * linalg.ratio(size, steep * linalg.norm(b, 1)), tol)

        def damped(z: Tensor) -> Tensor:
            return whitened(whitened.adjoint(z)) + per_item(s, z, 1) * z

        z = linalg.conjugate_gradient(damped, b, ndim=1, tol=wanted, max_iter=MOST_STEPS).x
        return whitened.adjoint(z) - h

    def fidelity(self, mu: Tensor) -> L2:
        """Return 1/2 |A(x) + J (z - x) - y|_W^2 + mu/2 |z - x|^2, a quadratic fidelity of z."""
        whitened = Whitened(self.f, self.J, mu)
        rest = whitened.range_shape[0] - whitened.residual.shape[-1]
        return L2(whitened, whitened(self.J.point) - torch.nn.functional.pad(whitened.residual, (0, rest)))


class Whitened(LinearOperator):
    """d -> (C J d, sqrt(mu) d) as one vector, C^H C = W the Hessian of a quadratic phi; mu `(*batch,)`, None for 0.

    `residual` is C (A(x) - y), so that |C J d + residual|^2 is twice the model of the misfit.
    """

    def __init__(self, f: Misfit, derivative: Linearised, mu: Tensor | None = None) -> None:
        term, y = f.hessian(), f.y
        if term is None or y is None:
            raise TypeError(f"{type(f.phi).__name__} is not quadratic: Gauss-Newton needs a smooth prior then")
        C, W, rho = term.operator, term.weights, term.scale
        self_sized = 0 if mu is None else prod(derivative.domain_shape)
        out = derivative.range_shape if C is None else C.range_shape
        super().__init__(derivative.domain_shape, (prod(out) + self_sized,), dtype=derivative.dtype)
        self.complex_domain = derivative.complex_domain
        self.complex_range = derivative.complex_range or (mu is not None and derivative.complex_domain)
        self.J, self.C, self.out = derivative, C, out
        self.factor = torch.as_tensor(rho, dtype=torch.float64) ** 0.5
        self.root_weights = None if W is None else W.sqrt()
        self.root_mu = None if mu is None else mu.sqrt()
        self.residual = self._whiten(derivative.value - y)

    @property
    def dtype(self) -> torch.dtype:
        """That of the operator."""
        return self.J.dtype

    @property
    def device(self) -> torch.device:
        """That of the operator."""
        return self.J.device

    def _whiten(self, r: Tensor) -> Tensor:
        r = r if self.C is None else self.C(r)
        r = r if self.root_weights is None else self.root_weights * r
        return (self.factor.to(r.real.dtype) * r).flatten(-len(self.out))

    def _forward(self, x: Tensor) -> Tensor:
        first = self._whiten(self.J(x))
        if self.root_mu is None:
            return first
        d = len(self.domain_shape)
        second = (per_item(self.root_mu, x, d) * x).flatten(-d)
        return torch.cat([first, second.to(torch.promote_types(first.dtype, second.dtype))], -1)

    def _adjoint(self, y: Tensor) -> Tensor:
        size = prod(self.out)
        r = of_kind(y[..., :size].reshape(*y.shape[:-1], *self.out), self.J.value)
        r = self.factor.to(r.real.dtype) * (r if self.root_weights is None else self.root_weights * r)
        x = self.J.adjoint(r if self.C is None else self.C.adjoint(r))
        if self.root_mu is None:
            return x
        second = of_kind(y[..., size:].reshape(*y.shape[:-1], *self.domain_shape), self.J.point)
        return x + per_item(self.root_mu, second, len(self.domain_shape)) * second


def curvature_of(g: Functional, x: Tensor) -> tuple[linalg.NormalTerm, ...] | None:
    """Return terms (C, W, rho) whose sum of rho C^H W C is the Hessian of g, or above it; None unless g is smooth.

    A quadratic term is its own, one with a Lipschitz gradient has L C^H C.
    """
    found: list[linalg.NormalTerm] = []
    for term in g.terms(x):
        known = term.normal_term()
        if known is None and "grad" in term.functional.supports:
            bound = term.functional.lipschitz()
            known = None if bound is None else linalg.NormalTerm(term.operator, None, bound)
        if known is None:
            return None
        found.append(known)
    return tuple(found)
