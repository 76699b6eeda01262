"""Learned proximal networks as priors: exact proximal operators of a regulariser that can be evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import inner, per_item
from invprob.priors.base import Prior, nonnegative
from invprob.priors.networks.convex import ConvexPotential, ProximalNetwork, Regularisation

__all__ = ["Bounds", "LearnedProximal"]


class Bounds(NamedTuple):
    """lower <= lam R(x) <= upper and the relative residual |f(y) - x| / |x| they were found with, per item."""

    lower: Tensor
    upper: Tensor
    residual: Tensor


class LearnedProximal(Prior):
    """lam R(x) for the regulariser R whose proximal operator is the network f (Fang, Buchanan & Sulam 2024).

    With t = lam tau, prox(v, tau) = prox_{t R}(v) exactly: f(v) for t = 1; for 0 < t < 1 the x = f(z) with
    t z + (1 - t) f(z) = v; t > 1 only where Lip(f) permits, ValueError else. `value` is R by inversion of f, a
    lower bound that `bounds` makes two-sided; for a network whose R is explicit both are exact. R is defined up to a
    constant. Of complex images R sees the real and the imaginary part; wrap it in `Magnitude` to see |x|.

    Arguments:
        network: f, a proximal operator by construction, such as `load_pretrained("lpn-...").network`; TypeError else.
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        sigma: the noise level that f is told, if it is, a number or one per item in units of x, of complex x
            sigma^2 = E|n|^2, so that f is told sigma / sqrt(2) of its parts; R then stands for
            -sigma^2 log p, so that it acts as a strength.
        scale: c, the value of the image that f knows as 1, a number or one per item: R(x) means c^2 R(x / c; sigma /
            c).
        ndim: how many axes, the last ones, make one item; by default the network's. An item may have more, and R is the
            sum over them, or fewer, as a row of pixels.
        tol: inversions and proxes stop at a gradient of tol |v|.
        max_iter: the most iterations of one of them.
        card: what is known of the weights; its `sigma_range` goes into the certificate.
    """

    def __init__(
        self,
        network: ProximalNetwork,
        lam: Scalar = 1.0,
        *,
        sigma: Scalar | None = None,
        scale: Scalar = 1.0,
        ndim: int | None = None,
        tol: float = 1e-4,
        max_iter: int = 200,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(network, ProximalNetwork):
            raise TypeError(
                f"LearnedProximal needs a network that is a proximal operator by construction, such as those of "
                f"load_pretrained('lpn-...').network, got {type(network).__name__}; for any other use Denoiser"
            )
        ndim = network.ndim if ndim is None else ndim
        if ndim < 1:
            raise ValueError(f"LearnedProximal: ndim must be at least 1, got {ndim}")
        if not 0 < tol < 1 or max_iter < 1:
            raise ValueError(f"LearnedProximal: 0 < tol < 1 and max_iter >= 1 are needed, got {tol} and {max_iter}")
        super().__init__(lam, ndim)
        if network.conditional and sigma is None:
            raise ValueError(f"LearnedProximal: {type(network).__name__} is told the noise level: give sigma")
        if not bool((nonnegative(scale, "scale", self) > 0).all()):
            raise ValueError(f"LearnedProximal: scale must be positive, got {scale}")
        self.network = network
        self.sigma = nonnegative(1.0 if sigma is None else sigma, "sigma", self)
        self.scale = nonnegative(scale, "scale", self)
        self.tol, self.max_iter = tol, max_iter
        self.card = dict(card or {})
        self.convex = network.weak_convexity() == 0

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        return self._minimiser(v, t)

    def prox_near(self, v: Tensor, tau: Scalar, guess: Tensor) -> Tensor:
        """Return prox(v, tau), sought from a guess to half of `tol`, so that one that is nearly right moves, too."""
        return self._minimiser(v, self._step(v, tau), guess=guess)

    def _value(self, x: Tensor) -> Tensor:
        found = self._regularisation(x)
        value = found.lower.to(x.real.dtype)
        if torch.is_grad_enabled() and x.requires_grad:  # by the envelope theorem, the slope of the bound is that of R
            value = value + inner(found.gradient, x - x.detach(), self.ndim).to(value)
        return value

    def _grad(self, x: Tensor) -> Tensor:
        return self._regularisation(x).gradient

    def bounds(self, x: Tensor) -> Bounds:
        """Return the two-sided certificate p <= lam R(x) <= p + lam r^2 / (2 mu), in float64, shape `(*batch,)`."""
        found = self._regularisation(x)
        lam = self.lam.to(found.lower)
        size = inner(x, x, self.ndim).sqrt()
        relative = torch.where(size > 0, found.residual / torch.where(size > 0, size, 1.0), 0.0)
        return Bounds(lam * found.lower, lam * found.upper, relative)

    def denoise(self, x: Tensor, sigma: Scalar | None = None) -> Tensor:
        """Return f(x, sigma) in the units of x, by default with the sigma of this prior: the prox for lam tau = 1."""
        return self._minimiser(x, torch.ones((), dtype=torch.float64, device=x.device), sigma)

    def denoise_and_value(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return x = f(v), which is prox(v, 1 / lam), and lam R(x) without an inversion."""
        found: list[Tensor] = []
        network = self.network

        def both(items: Tensor, sigma: Tensor, share: Tensor) -> Tensor:
            if isinstance(network, ConvexPotential):
                x, value = network.regularisation_at(items, sigma)
            else:
                tol = self._tolerance(items)
                x = network.proximal(items, share, sigma, tol=tol, max_iter=self.max_iter)
                value = network.regularisation(x, sigma, tol=tol, max_iter=self.max_iter).lower
            found.append(value)
            return x

        x = self._in_units(both, v, torch.ones((), dtype=torch.float64, device=v.device))
        value = self.scale.to(v.device).double() ** 2 * self._total(found[0], v)
        return x, (self.lam.to(value) * value).to(v.real.dtype)

    def lipschitz(self) -> Scalar | None:
        """Return lam times the network's bound of Lip(grad R), None where there is none."""
        bound = self.network.gradient_lipschitz()
        return self.lam.double() * bound if math.isfinite(bound) else None

    def curvature(self) -> Scalar:
        """Return lam: around the images it was trained on f removes noise, where grad R = f^-1 - I is about I."""
        return self.lam.double()

    def in_trained_range(self) -> bool | None:
        """Return whether sigma / scale is a noise level the network was trained for, None if its card does not say."""
        span = self.card.get("sigma_range")
        if span is None or not self.network.conditional:
            return None
        level = self.sigma / self.scale
        return bool(((level >= span[0] * (1 - 1e-6)) & (level <= span[1] * (1 + 1e-6))).all())

    def extra_repr(self) -> str:
        """Show the weight and, where it matters, sigma."""
        told = f", sigma={self.sigma.tolist()}" if self.network.conditional else ""
        return f"{super().extra_repr()}{told}"

    def _minimiser(self, v: Tensor, t: Tensor, sigma: Scalar | None = None, *, guess: Tensor | None = None) -> Tensor:
        """Return the prox of t R, by default at the noise level of this prior."""

        def proximal(items: Tensor, level: Tensor, share: Tensor) -> Tensor:
            tol = self._tolerance(items) * (1.0 if guess is None else 0.5)
            start = None if guess is None else self._items(guess)
            return self.network.proximal(items, share, level, tol=tol, max_iter=self.max_iter, guess=start)

        return self._in_units(proximal, v, t.to(v.device), sigma)

    def _tolerance(self, x: Tensor) -> float:
        return max(self.tol, 16 * torch.finfo(x.dtype).eps)

    def _regularisation(self, x: Tensor) -> Regularisation:
        """Return what is known of R at x, all in the shapes and units of x."""
        found: list[Regularisation] = []

        def evaluate(items: Tensor, sigma: Tensor, share: Tensor) -> Tensor:
            del share
            found.append(self.network.regularisation(items, sigma, tol=self._tolerance(items), max_iter=self.max_iter))
            return found[0].gradient

        gradient = self._in_units(evaluate, x.detach(), torch.ones((), dtype=torch.float64, device=x.device))
        square = self.scale.to(x.device).double() ** 2
        lower, upper = (square * self._total(t, x) for t in (found[0].lower, found[0].upper))
        residual = (square * self._total(found[0].residual.square(), x)).sqrt()
        return Regularisation(lower, upper, gradient, residual)

    def _total(self, each: Tensor, x: Tensor) -> Tensor:
        """Return the sum over what the network sees of every item of x, `(*batch,)`."""
        batch = x.shape[: x.ndim - self.ndim]
        parts = 2 if x.is_complex() else 1
        return each.reshape(parts, *batch, -1).sum((0, -1)) if each.numel() else each.new_zeros(batch)

    @torch.no_grad()
    def _in_units(
        self, function: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, t: Tensor, sigma: Scalar | None = None
    ) -> Tensor:
        """Return c function(x / c, sigma / c, t) with the items of x as the network takes them: real, (B, *item)."""
        c = self.scale.to(x.device)
        level = (self.sigma if sigma is None else nonnegative(sigma, "sigma", self)).to(x.device) / c
        if x.is_complex():  # sigma^2 = E|n|^2, and the network sees the parts, as in `Denoiser`
            level = level / 2**0.5
        parts = (2,) if x.is_complex() else ()
        lead, axes = (*parts, *x.shape[: x.ndim - self.ndim]), x.shape[x.ndim - self.ndim :]
        between = axes[: max(0, self.ndim - self.network.ndim)]

        def spread(number: Tensor) -> Tensor:
            return number.expand(lead).reshape(lead + (1,) * len(between)).expand(lead + between).reshape(-1)

        items = self._items(x)
        answer = function(items, spread(level).to(items), spread(t.double())).reshape(lead + axes).to(x.real.dtype)
        whole = torch.complex(answer[0], answer[1]) if parts else answer
        return per_item(c, x, self.ndim) * whole

    def _items(self, x: Tensor) -> Tensor:
        """Return x / c as the network takes it: real parts before imaginary ones, (B, *item), missing axes of 1."""
        small = x / per_item(self.scale.to(x.device), x, self.ndim)
        flat = torch.stack([small.real, small.imag]) if x.is_complex() else small
        missing = max(0, self.network.ndim - self.ndim)
        item = (1,) * missing + flat.shape[flat.ndim - self.network.ndim + missing :]
        return flat.to(next(self.network.parameters()).dtype).reshape(-1, *item)
