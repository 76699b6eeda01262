"""Regularisation by denoising (Romano, Elad & Milanfar 2017)."""

from __future__ import annotations

from torch import Tensor

from invprob.functional import Functional, Scalar
from invprob.linalg import inner, per_item
from invprob.priors.base import nonnegative
from invprob.priors.denoiser import ComplexAs, DenoiserPrior, Scale
from invprob.priors.denoiser_functions import DenoiserFunction


class RED(DenoiserPrior):
    """grad = lam (x - D(x, sigma)), a force that pulls towards what the denoiser would make of x.

    It is the gradient of lam/2 <x, x - D(x)> only if D is locally homogeneous and its Jacobian symmetric (Reehorst &
    Schniter 2019, section III), which almost no denoiser is; else there is no value, and solvers seek
    grad f(x) + lam (x - D(x)) = 0.

    Arguments:
        D: the denoiser, a function or a network; how it is called is said by `DenoiserPrior`, as are `scale`,
            `complex_as`, `channels` and `power_steps`.
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        sigma: the noise level that D is told, a number or one per item, in units of x; by default 0.05.
        symmetric: declares that D is homogeneous with a symmetric Jacobian, and gives the value.
        residual_lipschitz: a bound of |I - D|, which sets the steps; by default 2, which holds if D is non-expansive.
            The certificate tells what was met.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(
        self,
        D: DenoiserFunction,
        lam: Scalar = 1.0,
        sigma: Scalar = 0.05,
        *,
        symmetric: bool = False,
        residual_lipschitz: float = 2.0,
        ndim: int = 2,
        scale: Scale = 1.0,
        complex_as: ComplexAs = None,
        channels: bool | None = None,
        power_steps: int = 8,
    ) -> None:
        super().__init__(D, ndim, scale, complex_as, channels, power_steps)
        self.lam = nonnegative(lam, "lam", self)
        self.sigma = nonnegative(sigma, "sigma", self)
        self.residual_lipschitz = float(nonnegative(residual_lipschitz, "residual_lipschitz", self))
        self.symmetric = symmetric

    @property
    def supports(self) -> frozenset[str]:
        """The gradient, and the value where D is declared symmetric."""
        return frozenset({"value", "grad"}) if self.symmetric else frozenset({"grad"})

    def noise_level(self, tau: Scalar | None = None) -> Tensor:
        """Return sigma."""
        del tau
        return self.sigma

    def value(self, x: Tensor) -> Tensor:
        """Return lam/2 <x, x - D(x)> per item; TypeError unless D is declared symmetric."""
        if not self.symmetric:
            raise Functional._lacks(self, "value")
        value = 0.5 * inner(x, x - self.denoise(x, self.sigma), self.ndim)
        return (self.lam.to(value) * value).to(x.real.dtype)

    def grad(self, x: Tensor) -> Tensor:
        """Return lam (x - D(x, sigma))."""
        return per_item(self.lam, x, self.ndim) * (x - self.denoise(x, self.sigma))

    def lipschitz(self) -> Scalar:
        """Return lam `residual_lipschitz`."""
        return self.lam.double() * self.residual_lipschitz

    def extra_repr(self) -> str:
        """Show the weight and sigma."""
        return f"lam={self.lam.tolist()}, sigma={self.sigma.tolist()}"
