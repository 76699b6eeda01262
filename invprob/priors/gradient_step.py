"""A denoiser that is a gradient step on an explicit potential (Hurault, Leclaire & Papadakis, ICLR 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import inner, per_item
from invprob.priors.base import nonnegative
from invprob.priors.denoiser import ComplexAs, DenoiserPrior, Scale
from invprob.priors.denoiser_functions import DenoiserFunction


class GradientStepDenoiser(DenoiserPrior):
    """lam g(x) with the potential g(x) = 1/2 |x - N(x, sigma)|^2 of any differentiable network N.

    The denoiser is D = I - grad g (`gradient_step`); the gradient is exact, by autograd, also where the caller has
    switched autograd off. g is smooth and not convex: `ProximalGradient(backtracking=True)` takes gradient steps on it
    and prox steps on the fidelity, and lets f + lam g only decrease (Hurault et al., algorithm 1 and theorem 1).

    Arguments:
        potential: N(x, sigma); how it is called is said by `DenoiserPrior` for D, as are `scale`, `complex_as`,
            `channels` and `power_steps`.
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        sigma: the noise level that N is told, a number or one per item, in units of x; by default 0.05.
        ndim: how many axes, the last ones, make one item; by default 2.

    TypeError if autograd does not see through N.
    """

    exact = True

    def __init__(
        self,
        potential: DenoiserFunction,
        lam: Scalar = 1.0,
        sigma: Scalar = 0.05,
        *,
        ndim: int = 2,
        scale: Scale = 1.0,
        complex_as: ComplexAs = None,
        channels: bool | None = None,
        power_steps: int = 8,
    ) -> None:
        super().__init__(potential, ndim, scale, complex_as, channels, power_steps)
        self.lam = nonnegative(lam, "lam", self)
        self.sigma = nonnegative(sigma, "sigma", self)

    def noise_level(self, tau: Scalar | None = None) -> Tensor:
        """Return sigma."""
        del tau
        return self.sigma

    def value(self, x: Tensor) -> Tensor:
        """Return lam/2 |x - N(x, sigma)|^2 per item."""
        g = self._potential(x)
        return (self.lam.to(g) * g).to(x.real.dtype)

    def grad(self, x: Tensor) -> Tensor:
        """Return lam grad g(x)."""
        return per_item(self.lam, x, self.ndim) * self._slope(x)

    def gradient_step(self, x: Tensor) -> Tensor:
        """Return D(x) = x - grad g(x)."""
        return x - self._slope(x)

    def curvature(self) -> Scalar:
        """Return lam, as I - D = grad g has about the Lipschitz constant 1 where D denoises."""
        return self.lam.double()

    def _denoiser(self, v: Tensor, sigma: Tensor) -> Tensor:
        del sigma
        return self.gradient_step(v)

    def _potential(self, x: Tensor) -> Tensor:
        clean = self.denoise(x, self.sigma)
        if x.requires_grad and torch.is_grad_enabled() and not clean.requires_grad:
            raise TypeError("GradientStepDenoiser needs the derivative of its network, and autograd sees none")
        r = x - clean
        return 0.5 * inner(r, r, self.ndim)

    def _slope(self, x: Tensor) -> Tensor:
        """Return grad g(x), differentiable again where the caller asks for it."""
        wanted = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        with torch.enable_grad():
            point = x if wanted and x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._potential(point).sum(), point, create_graph=wanted)
        return slope if wanted else slope.detach()

    def extra_repr(self) -> str:
        """Show the weight and sigma."""
        return f"lam={self.lam.tolist()}, sigma={self.sigma.tolist()}"
