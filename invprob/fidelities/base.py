"""How far an image's data are from the measured: f = phi o A for a bound pair (A, y)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator, Operator


class Misfit(Functional):
    """f(x) = phi(A(x)) for any operator, nonlinear ones included: value and gradient, neither convex nor Lipschitz.

    Arguments:
        A: the operator.
        phi: the functional on data space, of items `A.range_shape`; it holds the data y, `(*batch, *A.range_shape)`.
    """

    convex = False

    def __init__(self, A: Operator, phi: Functional) -> None:
        super().__init__()
        self.A = A
        self.phi = phi
        self.ndim = len(A.domain_shape)

    @property
    def y(self) -> Tensor | None:
        """The data, `(*batch, *A.range_shape)`, where phi holds any."""
        y: Tensor | None = getattr(self.phi, "y", None)
        return y

    @property
    def supports(self) -> frozenset[str]:
        """Value and gradient as far as phi has them; a prox in image space is for quadratic phi alone."""
        return self.phi.supports & {"value", "grad"}

    def start(self) -> Tensor:
        """Return where iterations begin that are given no x0: what the operator says, for every item of the data.

        ValueError where the operator knows no such image: give x0.
        """
        return self.A.start().expand(*self._batch, *self.A.domain_shape).clone()

    def admit(self, x0: Tensor) -> Tensor:
        """Return a start image in the precision, kind and batch of the problem; ValueError if it does not fit."""
        x0 = self.A.as_image(x0)
        return x0 + torch.zeros(*self._batch, *self.A.domain_shape, dtype=x0.dtype, device=x0.device)

    @property
    def _batch(self) -> torch.Size:
        """The batch of the data."""
        return torch.Size() if self.y is None else self.y.shape[: self.y.ndim - len(self.A.range_shape)]

    def hessian(self) -> linalg.NormalTerm | None:
        """Return (C, W, rho) where phi is quadratic with Hessian rho C^H W C, None where it is not."""
        known = getattr(self.phi, "hessian", None)
        return None if known is None else known()

    def value(self, x: Tensor) -> Tensor:
        """Return phi(A(x)) per item."""
        return self.phi.value(self.A(x))

    def grad(self, x: Tensor) -> Tensor:
        """Return J(x)^H grad phi(A(x)) with J the derivative of A; for a linear A that is A^H grad phi(A x)."""
        return self.A.vjp(x, self.phi.grad(self.A(x)))


class Fidelity(Misfit):
    """f(x) = phi(A x) for a linear A: `f.A` is the operator, `f.phi` the functional on data space, y its data.

    Arguments:
        A: the linear operator.
        phi: the functional on data space, of items `A.range_shape`; f is convex if it is.
    """

    convex = True
    A: LinearOperator

    def __init__(self, A: LinearOperator, phi: Functional) -> None:
        super().__init__(A, phi)
        self.convex = phi.convex

    def start(self) -> Tensor:
        """Return the zero image of the batch and kind that the data ask for."""
        A = self.A
        kind = A.domain_dtype if self.y is None else A.image_dtype(self.y)
        return torch.zeros(*self._batch, *A.domain_shape, dtype=kind, device=A.device)

    def admit(self, x0: Tensor) -> Tensor:
        """Return a start image in the precision, kind and batch of the problem; ValueError if it does not fit."""
        return self.start() + self.A.as_image(x0)

    def lipschitz(self) -> Scalar | None:
        """Return Lip(grad phi) |A|^2, with the operator's bound for the norm."""
        of_phi = self.phi.lipschitz()
        return None if of_phi is None else of_phi * self.A.norm_bound().double() ** 2

    def curvature(self) -> Scalar | None:
        """Return the curvature of phi, 1 if it knows none, times |A|^2."""
        of_phi = self.phi.curvature()
        return (1.0 if of_phi is None else of_phi) * self.A.norm_bound().double() ** 2


class QuadraticFidelity(Fidelity):
    """f(x) = 1/2 <A x - y, W (A x - y)> for a self-adjoint W >= 0: what linear systems can solve.

    Arguments:
        A, phi: as of `Fidelity`, phi quadratic.
    """

    @property
    @abstractmethod
    def y(self) -> Tensor:
        """The data, `(*batch, *A.range_shape)`."""

    @abstractmethod
    def weigh(self, r: Tensor) -> Tensor:
        """Return W r."""

    @abstractmethod
    def normal_term(self) -> linalg.NormalTerm:
        """Return the Hessian A^H W A."""

    def curvature(self) -> Scalar | None:
        """Return Lip(grad f)."""
        return self.lipschitz()

    @property
    def supports(self) -> frozenset[str]:
        """Value, gradient, and a prox in image space (a linear system)."""
        return frozenset({"value", "grad", "prox"})

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return (tau A^H W A + I)^-1 (tau A^H W y + v)."""
        b = linalg.per_item(tau, v, self.ndim) * self.back_projected() + v
        hessian = replace(self.normal_term(), scale=tau)
        return linalg.solve_normal([hessian, linalg.NormalTerm(None)], b, x0=v)

    def back_projected(self) -> Tensor:
        """Return A^H W y, the right-hand side of the normal equations."""
        return self.A.adjoint(self.weigh(self.y))


def sound_weights(owner: object, A: LinearOperator, y: Tensor, weights: Tensor | None) -> Tensor | None:
    """Return weights in the precision of A; ValueError unless they are real, finite, >= 0 and broadcast against y."""
    if weights is None:
        return None
    name = type(owner).__name__
    if weights.is_complex() or not bool((weights >= 0).all() and weights.isfinite().all()):
        raise ValueError(f"{name}: weights must be real, finite and not negative")
    if weights.ndim > y.ndim or any(n not in (1, m) for n, m in zip(weights.shape[::-1], y.shape[::-1], strict=False)):
        raise ValueError(f"{name}: weights of shape {tuple(weights.shape)} do not fit data {tuple(y.shape)}")
    return weights.to(device=y.device, dtype=A.dtype)
