"""Quadratic regularisation."""

from __future__ import annotations

from torch import Tensor

from invprob import linalg
from invprob.functional import Scalar
from invprob.linop import LinearOperator
from invprob.priors.base import Prior


class Tikhonov(Prior):
    """lam/2 |C x|^2 (Tikhonov 1963).

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        C: the linear operator; None (the default) is the identity, `Gradient(shape)` penalises slopes.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(self, lam: Scalar = 1.0, C: LinearOperator | None = None, ndim: int = 2) -> None:
        super().__init__(lam, ndim if C is None else len(C.domain_shape))
        self.C = C

    def _value(self, x: Tensor) -> Tensor:
        z = x if self.C is None else self.C(x)
        ndim = self.ndim if self.C is None else len(self.C.range_shape)
        return 0.5 * linalg.inner(z, z, ndim).to(x.real.dtype)

    def _grad(self, x: Tensor) -> Tensor:
        return x if self.C is None else self.C.gram(x)

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        return linalg.solve_normal([(self.C, None, t), (None, None, 1.0)], v, ndim=self.ndim)

    def lipschitz(self) -> Scalar:
        """Return lam |C|^2 per item."""
        lam = self.lam.double()
        return lam if self.C is None else lam * self.C.norm_bound().to(lam) ** 2

    def normal_term(self) -> linalg.NormalTerm:
        """Return the Hessian lam C^H C."""
        return linalg.NormalTerm(self.C, scale=self.lam)
