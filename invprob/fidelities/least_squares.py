"""Least squares, with weights: the fidelity of Gaussian noise."""

from __future__ import annotations

from torch import Tensor

from invprob import linalg
from invprob.fidelities.base import QuadraticFidelity, sound_weights
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator


class HalfSquaredDistance(Functional):
    """phi(d) = 1/2 sum_k w_k |d_k - y_k|^2 on data space.

    Arguments:
        y: the data, `(*batch, *item)`.
        weights: w >= 0, which broadcast against y; None means 1.
        ndim: how many axes, the last ones, make one item.
    """

    y: Tensor
    weights: Tensor | None

    def __init__(self, y: Tensor, weights: Tensor | None, ndim: int) -> None:
        super().__init__()
        self.register_buffer("y", y, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.ndim = ndim

    def value(self, d: Tensor) -> Tensor:
        """Return phi(d) per item."""
        r = d - self.y
        return 0.5 * linalg.inner(r, self.weigh(r), self.ndim).to(r.real.dtype)

    def grad(self, d: Tensor) -> Tensor:
        """Return w (d - y)."""
        return self.weigh(d - self.y)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return (v + tau w y) / (1 + tau w)."""
        t = linalg.per_item(tau, v, self.ndim)
        t = t if self.weights is None else t * self.weights
        return (v + t * self.y) / (1 + t)

    def conjugate_prox(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return the prox of sigma phi*, (v - sigma y) w / (w + sigma), without a division by w."""
        s = linalg.per_item(sigma, v, self.ndim)
        if self.weights is None:
            return (v - s * self.y) / (1 + s)
        return (v - s * self.y) * (self.weights / (self.weights + s))

    def lipschitz(self) -> Scalar:
        """Return max w per item."""
        if self.weights is None:
            return 1.0
        return self.weights.flatten(-min(self.ndim, self.weights.ndim)).amax(-1).double()

    def hessian(self) -> linalg.NormalTerm:
        """Return (None, w, 1), which stand for w."""
        return linalg.NormalTerm(None, self.weights)

    def weigh(self, r: Tensor) -> Tensor:
        """Return w r."""
        return r if self.weights is None else self.weights * r


class L2(QuadraticFidelity):
    """f(x) = 1/2 |A x - y|^2_W = 1/2 sum_k w_k |(A x)_k - y_k|^2.

    Arguments:
        A: the linear operator.
        y: the data, `(*batch, *A.range_shape)`.
        weights: w >= 0, real, broadcasting against y: 1 / variance for Gaussian noise, 0 for what was not measured;
            None (the default) means 1.

    ValueError for shapes that do not fit, weights that are negative or not finite.
    """

    phi: HalfSquaredDistance

    def __init__(self, A: LinearOperator, y: Tensor, weights: Tensor | None = None) -> None:
        y = A.as_data(y)
        super().__init__(A, HalfSquaredDistance(y, sound_weights(self, A, y, weights), len(A.range_shape)))
        self._pulled: tuple[Tensor, int, Tensor] | None = None

    @property
    def y(self) -> Tensor:
        """The data."""
        return self.phi.y

    @property
    def weights(self) -> Tensor | None:
        """The weights, None for 1."""
        return self.phi.weights

    def weigh(self, r: Tensor) -> Tensor:
        """Return w r."""
        return self.phi.weigh(r)

    def grad(self, x: Tensor) -> Tensor:
        """Return A^H W (A x - y), as A^H W A x - A^H W y where that costs less."""
        if not self.A.short_gram:
            return super().grad(x)
        return self.A.gram(x, self.weights) - self.back_projected()

    def back_projected(self) -> Tensor:
        """Return A^H W y; remembered for an operator with a short Gram matrix, unless it is differentiated."""
        y, trained = self.y, [*self.A.parameters(), self.y]
        if not self.A.short_gram or any(t.requires_grad for t in trained):
            return super().back_projected()
        if self._pulled is None or self._pulled[0] is not y or self._pulled[1] != y._version:
            self._pulled = (y, y._version, super().back_projected())
        return self._pulled[2]

    def normal_term(self) -> linalg.NormalTerm:
        """Return the Hessian A^H W A."""
        return linalg.NormalTerm(self.A, self.weights)
