"""A prior of real images for complex ones: it sees |x|."""

from __future__ import annotations

from torch import Tensor

from invprob.functional import Functional, Scalar
from invprob.priors.denoiser_functions import phase


class Magnitude(Functional):
    """g(|x|) for a prior g of real images; prox = max(prox_g(|v|), 0) v / |v|: the phase stays, 1 where v is 0.

    Exact where prox_g of a non-negative image is not negative (L1, boxes, total variation, Tikhonov's), else the
    modulus is cut at 0. Real images keep their signs. It has a value and a prox as far as g has them.

    Arguments:
        prior: g.
    """

    convex = False

    def __init__(self, prior: Functional) -> None:
        super().__init__()
        self.prior = prior
        self.ndim = prior.ndim

    @property
    def supports(self) -> frozenset[str]:
        """Value and prox as far as g has them; |x| has no gradient at 0."""
        return self.prior.supports - {"grad"}

    def value(self, x: Tensor) -> Tensor:
        """Return g(|x|) per item."""
        return self.prior.value(x.abs())

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return the prox of g at |v|, not below 0, with the phase of v."""
        return self.prior.prox(v.abs(), tau).clamp(min=0) * phase(v)
