"""Plug-and-play: any denoiser in the place of a prox (Venkatakrishnan, Bouman & Wohlberg 2013)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from invprob.functional import Functional, Scalar
from invprob.priors.base import nonnegative

DenoiserFunction = Callable[[Tensor, Tensor], Tensor]


class Denoiser(Functional):
    """prox(v, tau) = D(v, sigma) with sigma = sqrt(lam tau), or with a fixed sigma; exactly one of lam and sigma.

    D(v, sigma) takes items `(*batch, *item)` and the standard deviation of the noise to remove, a 0-d or `(*batch,)`
    tensor in units of v. With a fixed sigma the fixed point depends on the step of the solver.
    """

    convex = False

    def __init__(
        self, D: DenoiserFunction, *, lam: Scalar | None = None, sigma: Scalar | None = None, ndim: int = 2
    ) -> None:
        super().__init__()
        if (lam is None) == (sigma is None):
            raise ValueError("Denoiser: give exactly one of lam (sigma = sqrt(lam tau)) and sigma (fixed)")
        self.D = D
        self.lam = None if lam is None else nonnegative(lam, "lam", self)
        self.sigma = None if sigma is None else nonnegative(sigma, "sigma", self)
        self.ndim = ndim

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return D(v, sigma)."""
        sigma = self.sigma
        if self.lam is not None:
            sigma = (self.lam.to(v.device) * nonnegative(tau, "tau", self).to(v.device)).sqrt()
        x = self.D(v, torch.as_tensor(sigma, dtype=v.real.dtype, device=v.device))
        if not isinstance(x, Tensor) or x.shape != v.shape or x.dtype != v.dtype:
            got = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"the denoiser was given {tuple(v.shape)} {v.dtype} and returned {got}")
        return x
