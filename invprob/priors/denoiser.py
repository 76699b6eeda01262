"""Plug-and-play: any denoiser in the place of a prox (Venkatakrishnan, Bouman & Wohlberg 2013)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from invprob.functional import Functional, Scalar
from invprob.linalg import item_axes, per_item
from invprob.linop.kernel import on_both_parts
from invprob.priors.base import nonnegative
from invprob.priors.denoiser_functions import (
    DenoiserFunction,
    OnBatch,
    PerItem,
    check_answer,
    is_network,
    per_slice,
    phase,
    wants_batches,
)
from invprob.priors.jacobian import Expansion, expansion

ComplexMap = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
ComplexAs = Literal["whole", "parts", "magnitude"] | ComplexMap | None
Scale = Scalar | Literal["max"]
PATCH = 128  # a network's Jacobian is looked at on so many central pixels per axis: time and memory stay bounded


class DenoiserPrior(Functional):
    """A prior that asks a denoiser D(v, sigma): how D is called, in which units, and what it expands.

    Noise levels of complex images are sigma^2 = E|n|^2 everywhere but in D's own hands.

    Arguments:
        D: a function of items `(*batch, *item)` and sigma 0-d or `(*batch,)`, as are this package's networks, which see
            each slice of a volume by itself; any other network, for (B, C, H, W) and sigma (B,); or a numpy function of
            one item and a float (one that answers a tensor with an array, or wrapped in `PerItem`).
        ndim: how many axes, the last ones, make one item.
        scale: c, the value of the image that D knows as 1: D is asked as c D(v / c, sigma / c), so that a denoiser of
            images in [0, 1] serves others; a number, one per item, or "max" for the largest |v| of the item, which
            makes D(c v, c sigma) = c D(v, sigma).
        complex_as: what D sees of complex images: "parts", real and imaginary apart, asked with sigma / sqrt(2), the
            standard deviation of each; "magnitude", |v| with the phase kept; "whole"; or a pair of maps to real tensors
            and back. By default networks and `PerItem` see parts, functions of tensors the whole.
        channels: whether the first axis of an item counts channels; by default if it has three axes or more.
        power_steps: the work that the certificate puts into the Lipschitz constants, 0 for none.
    """

    convex = False
    exact = False  # whether D must be the very function that autograd differentiates, in its full precision

    def __init__(
        self,
        D: DenoiserFunction,
        ndim: int,
        scale: Scale,
        complex_as: ComplexAs,
        channels: bool | None,
        power_steps: int,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(scale, str):
            if scale != "max":
                raise ValueError(f"{name}: scale must be positive numbers or 'max', got {scale!r}")
        elif not bool((nonnegative(scale, "scale", self) > 0).all()):
            raise ValueError(f"{name}: scale must be positive, got {scale}")
        if isinstance(complex_as, str) and complex_as not in ("whole", "parts", "magnitude"):
            raise ValueError(
                f"{name}: complex_as must be 'whole', 'parts', 'magnitude' or a pair of maps, got {complex_as!r}"
            )
        if power_steps < 0:
            raise ValueError(f"{name}: power_steps must not be negative, got {power_steps}")
        self.D = D
        self.ndim = ndim
        self.scale = scale
        self.channels = channels
        self.power_steps = power_steps
        self.on_arrays = False
        self.complex_as = complex_as or ("parts" if is_network(D) or isinstance(D, PerItem) else "whole")

    @abstractmethod
    def noise_level(self, tau: Scalar | None = None) -> Tensor | None:
        """Return the sigma that D is asked with in a prox of step tau; None where that is not known."""

    def denoise(self, v: Tensor, sigma: Scalar) -> Tensor:
        """Return D(v, sigma) in the units of v; v itself for items with sigma = 0."""
        level = torch.as_tensor(sigma, dtype=v.real.dtype, device=v.device)
        c = self.unit(v)
        if c is None:
            x = self._by_kind(v, level)
        else:
            size = per_item(c, v, self.ndim)
            x = size * self._by_kind(v / size, level / c.to(level))
        still = level == 0
        return torch.where(per_item(still, v, self.ndim) != 0, v, x) if bool(still.any()) else x

    def unit(self, v: Tensor) -> Tensor | None:
        """Return what counts as 1 for D, a number or one per item; None if v is in D's units."""
        if not isinstance(self.scale, str):
            c = torch.as_tensor(self.scale, dtype=v.real.dtype, device=v.device)
            return None if not isinstance(self.scale, Tensor) and self.scale == 1 else c
        if not v.numel():
            return None
        top: Tensor = v.abs().amax(item_axes(self.ndim))
        return torch.where(top > 0, top, torch.ones_like(top))

    def in_trained_range(self, x: Tensor, sigma: Tensor) -> bool | None:
        """Return whether sigma lies in D's attribute `sigma_range` (in D's units); None if it has none."""
        span = getattr(self.D, "sigma_range", None)
        if span is None:
            return None
        c = self.unit(x)
        level = sigma if c is None else sigma / c.to(sigma)
        if x.is_complex() and self.complex_as == "parts":
            level = level / 2**0.5
        slack = 1e-6 * float(span[1])
        return bool(((level >= span[0] - slack) & (level <= span[1] + slack)).all())

    def expansion(self, x: Tensor, sigma: Tensor) -> Expansion | None:
        """Return the Lipschitz constants of D(., sigma) and of I - D around x, estimated from below, None if unwanted.

        A network is looked at on the central 128 pixels of each axis.
        """
        if self.power_steps == 0 or not x.numel():
            return None
        space = self.ndim - 1 if self.channels or (self.channels is None and self.ndim > 2) else self.ndim
        if is_network(self.D):
            for axis in item_axes(space):
                n = min(x.shape[axis], PATCH)
                x = x.narrow(axis, (x.shape[axis] - n) // 2, n)
        return expansion(lambda v: self._denoiser(v, sigma), x.contiguous(), steps=self.power_steps)

    def _denoiser(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return what counts as the denoiser of this prior."""
        return self.denoise(v, sigma)

    def _by_kind(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return D(v, sigma) for real or complex v in D's units."""
        how = self.complex_as
        if not v.is_complex() or how == "whole":
            return self._ask(v, sigma, self.ndim)
        if how == "magnitude":
            return self._ask(v.abs(), sigma, self.ndim).clamp(min=0) * phase(v)
        if how == "parts":
            part = sigma / 2**0.5  # the one place where a noise level of complex images becomes that of their parts
            both = part.expand(2, *v.shape[: v.ndim - self.ndim]) if part.ndim else part
            return on_both_parts(lambda t: self._ask(t, both, self.ndim), v)
        apart, together = how
        real = apart(v)
        return check_answer(together(self._ask(real, sigma, real.ndim - (v.ndim - self.ndim))), v)

    def _ask(self, v: Tensor, sigma: Tensor, ndim: int) -> Tensor:
        """Return what D says to items of `ndim` axes."""
        D, ask = self.D, self.D
        if self.on_arrays:
            ask = PerItem(D, ndim)  # type: ignore[arg-type]
        elif wants_batches(D) and isinstance(D, nn.Module):
            ask = OnBatch(D, ndim, channels=self.channels)
        else:
            sigma = per_slice(D, v, sigma)
        graph = torch.is_grad_enabled()
        try:
            with torch.set_grad_enabled(graph or self.exact):  # without a graph networks may save time and precision
                answer: object = ask(v, sigma)
        except (TypeError, AttributeError) as error:
            error.add_note("the denoiser was given tensors: wrap a function of numpy arrays in PerItem")
            raise
        if isinstance(answer, np.ndarray):
            self.on_arrays = True  # found out once, so that no image is denoised twice
            return self._ask(v, sigma, ndim)
        answer = check_answer(answer, v)
        return answer if graph else answer.detach()


class Denoiser(DenoiserPrior):
    """prox(v, tau) = D(v, sigma) with sigma = sqrt(lam tau), or with a fixed sigma; exactly one of lam and sigma.

    Arguments:
        D: the denoiser, a function or a network; how it is called is said by `DenoiserPrior`, as are `scale`,
            `complex_as`, `channels` and `power_steps`.
        lam: the weight, a number or one per item, `(*batch,)`, in the unit of v^2 / tau.
        sigma: the standard deviation of the noise to remove, a number or one per item, in units of v. With a fixed one
            the fixed point depends on the step of the solver.
        ndim: how many axes, the last ones, make one item; by default 2.

    ValueError for both of lam and sigma or none, and if D returns NaN, another shape or dtype.
    """

    def __init__(
        self,
        D: DenoiserFunction,
        lam: Scalar | None = None,
        sigma: Scalar | None = None,
        *,
        ndim: int = 2,
        scale: Scale = 1.0,
        complex_as: ComplexAs = None,
        channels: bool | None = None,
        power_steps: int = 8,
    ) -> None:
        super().__init__(D, ndim, scale, complex_as, channels, power_steps)
        if (lam is None) == (sigma is None):
            raise ValueError("Denoiser: give exactly one of lam (sigma = sqrt(lam tau)) and sigma (fixed)")
        self.lam = None if lam is None else nonnegative(lam, "lam", self)
        self.sigma = None if sigma is None else nonnegative(sigma, "sigma", self)

    def noise_level(self, tau: Scalar | None = None) -> Tensor | None:
        """Return sqrt(lam tau), or the fixed sigma."""
        if self.lam is None or tau is None:
            return self.sigma
        t = nonnegative(tau, "tau", self)
        return (self.lam.to(t.device) * t).sqrt()

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return D(v, sigma)."""
        sigma = self.noise_level(tau)
        return self.denoise(v, 0.0 if sigma is None else sigma.to(v.device))

    def extra_repr(self) -> str:
        """Show what sigma comes from."""
        return f"sigma={self.sigma.tolist()}" if self.sigma is not None else f"lam={self.lam.tolist()}"  # type: ignore[union-attr]
