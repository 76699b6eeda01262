"""The base of the priors that a sampler asks: what an image was before noise of any level was added."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import per_item
from invprob.linop.module import Module


class ScorePrior(Module, ABC):
    """p(x0), known by D(x, sigma) = E[x0 | x] for x = x0 + sigma n with white Gaussian n.

    x is `(*batch, *item)`, sigma a number or `(*batch,)`; for complex x sigma^2 = E|n|^2. By Tweedie's formula (Robbins
    1956) the score of the noisy density is (D(x, sigma) - x) / sigma^2. A subclass writes `denoise`; attributes:

    ndim: how many axes, the last ones, make one item.
    spread: the standard deviation of the images' values, which data steps take for their scale.
    """

    ndim: int
    spread: float

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma) = E[x0 | x]."""

    @property
    def sigma_range(self) -> tuple[float, float] | None:
        """The noise levels at which D is known; None where it is at all."""
        return None

    def score(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return the gradient of log p(x, sigma), for complex x twice that with respect to the conjugate."""
        return (self.denoise(x, sigma) - x) / per_item(sigma, x, self.ndim).square()

    def forward(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma)."""
        return self.denoise(x, sigma)
