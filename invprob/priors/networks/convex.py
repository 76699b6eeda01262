"""Networks that are proximal operators by construction: the base of learned proximal networks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invprob.priors.quasi_newton import minimise

__all__ = ["ConvexPotential", "ProximalNetwork", "Regularisation"]


class Regularisation(NamedTuple):
    """What is known of a regulariser at points x (B, *item): lower <= R(x) <= upper, per item, in float64.

    `gradient` is that of the lower bound, y - x with f(y) = x up to `residual` = |f(y) - x|; where R is
    explicit the bounds agree and the residual is 0.
    """

    lower: Tensor
    upper: Tensor
    gradient: Tensor
    residual: Tensor


class ProximalNetwork(nn.Module, ABC):
    """f(y, sigma), the proximal operator of a regulariser R of its own: f(y) = argmin_x R(x) + 1/2 |x - y|^2.

    y `(*batch, *item)` real with `ndim` item axes; sigma a number or `(*batch,)`, the noise level where f is told
    one (`conditional`), else of no effect. R stands for -sigma^2 log p(x) of the images it was trained on.
    """

    ndim: int = 2
    conditional: bool = False

    @property
    @abstractmethod
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""

    def forward(self, y: Tensor, sigma: Tensor | float = 1.0) -> Tensor:
        """Return f(y, sigma) of the shape and dtype of y, differentiable."""
        items, levels = self._flattened(y, sigma)
        return self._map(items, levels).reshape(y.shape).to(y.dtype)

    @abstractmethod
    def proximal(
        self, v: Tensor, t: Tensor, sigma: Tensor, *, tol: float, max_iter: int, guess: Tensor | None = None
    ) -> Tensor:
        """Return prox_{t R}(v) for items v (B, *item), t and sigma (B,), to a gradient of tol |v|.

        Searches begin at `guess`, of v's shape, which is v unless it is given.
        ValueError for a t that is so large that the minimiser need not be unique.
        """

    @abstractmethod
    def regularisation(self, x: Tensor, sigma: Tensor, *, tol: float, max_iter: int) -> Regularisation:
        """Return R and its gradient at items x (B, *item), sigma (B,)."""

    @abstractmethod
    def weak_convexity(self) -> float:
        """Return the least w >= 0 known for which R + w/2 |.|^2 is convex; 0 means that R is convex."""

    @abstractmethod
    def gradient_lipschitz(self) -> float:
        """Return a bound of Lip(grad R), infinite if there is none."""

    def lipschitz_bound(self) -> float:
        """Return a bound of Lip(f)."""
        w = self.weak_convexity()
        return 1 / (1 - w) if w < 1 else math.inf

    def strong_convexity(self) -> float:
        """Return the modulus of the potential of which f is the gradient."""
        return 1 / (1 + self.gradient_lipschitz())

    def project(self) -> None:
        """Bring the weights back to where the potential is convex, after a step of training."""
        return

    def penalty(self) -> Tensor | float:
        """Return what training adds to its loss so that `project` has nothing to do."""
        return 0.0

    @abstractmethod
    def _map(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Return f for items (B, *item), sigma (B,), in the precision of the weights."""

    def _flattened(self, y: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return y as (B, *item) and sigma as (B,) in the precision of the weights."""
        name, weight = type(self).__name__, next(self.parameters())
        if y.is_complex():
            raise ValueError(f"{name} takes real images, got a complex one: see LearnedProximal and Magnitude")
        if y.ndim < self.ndim or 0 in y.shape[y.ndim - self.ndim :]:
            raise ValueError(f"{name} takes items of {self.ndim} axes, got shape {tuple(y.shape)}")
        batch = y.shape[: y.ndim - self.ndim]
        level = torch.as_tensor(sigma, dtype=weight.dtype, device=weight.device)
        if level.shape not in (torch.Size(), batch):
            raise ValueError(
                f"{name}: sigma has shape {tuple(level.shape)}; give one number, or one per item {tuple(batch)}"
            )
        items = y.to(weight).reshape(math.prod(batch), *y.shape[y.ndim - self.ndim :])
        return items, level.expand(batch).reshape(-1)

    def _check_step(self, t: Tensor, always: float = 0.0) -> None:
        """Refuse a prox that need not be unique; up to the step `always` it surely is."""
        if bool((t <= always).all()):
            return
        w = self.weak_convexity()
        if bool((t * w >= 1).any()):
            raise ValueError(
                f"{type(self).__name__}: for lam tau = {float(t.max()):.4g} the prox need not be unique, as the "
                f"regulariser is only known to be {w:.3g}-weakly convex: choose lam tau < {1 / w:.4g}"
            )


class ConvexPotential(ProximalNetwork):
    """f = grad psi for a potential psi(y, sigma) that is `mu`-strongly convex in y: exactly the prox of some R.

    Gribonval & Nikolova 2020, theorem 2; Fang, Buchanan & Sulam 2024 ("What's in a prior?", ICLR, prop. 3.1).
    R(x) = <x, y> - 1/2 |x|^2 - psi(y) with f(y) = x; any y gives a lower bound p(y) and, with r = |f(y) - x|,
    p <= R(x) <= p + r^2 / (2 mu). A subclass writes `_pair`: psi and f in one pass without a graph, differentiable
    where training asks for it.
    """

    mu: float

    @abstractmethod
    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return psi (B,) in float64, None unless asked for, and f (B, *item)."""

    def potential_and_gradient(self, y: Tensor, sigma: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Return psi `(*batch,)` in float64 and f, of the shape and dtype of y, in one pass."""
        items, levels = self._flattened(y, sigma)
        psi, f = self._psi_and_f(items, levels)
        return psi.reshape(y.shape[: y.ndim - self.ndim]), f.reshape(y.shape).to(y.dtype)

    def _psi_and_f(self, y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        psi, f = self._pair(y, sigma, value=True)
        if psi is None:
            raise TypeError(f"{type(self).__name__} returned no potential")
        return psi, f

    def _map(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self._pair(y, sigma, value=False)[1]

    def weak_convexity(self) -> float:
        """Return 1 - 1 / Lip(f), at least 0."""
        return max(0.0, 1 - 1 / self.lipschitz_bound())

    @abstractmethod
    def lipschitz_bound(self) -> float:
        """Return a bound of Lip(f), the largest curvature of psi."""

    def strong_convexity(self) -> float:
        """Return mu."""
        return self.mu

    def gradient_lipschitz(self) -> float:
        """Return the bound max(1 / mu - 1, 1 - 1 / Lip(f)) of Lip(grad R) = Lip(f^-1 - I)."""
        return max(1 / self.mu - 1, self.weak_convexity()) if self.mu > 0 else math.inf

    def proximal(
        self, v: Tensor, t: Tensor, sigma: Tensor, *, tol: float, max_iter: int, guess: Tensor | None = None
    ) -> Tensor:
        """Return f(z) where t z + (1 - t) f(z) = v, which is f(v) for t = 1 and v for t = 0.

        For t < 1 z minimises t/2 |z|^2 + (1 - t) psi(z) - <v, z>, which is strongly convex, and for t > 1 where
        Lip(f) < t / (t - 1).
        """
        self._check_step(t, always=1.0)
        x = v.clone()
        plain, between = (t == 1).nonzero()[:, 0], ((t != 1) & (t != 0)).nonzero()[:, 0]
        if len(plain):
            x[plain] = self._map(v[plain], sigma[plain])
        if len(between):
            part, share, levels = v[between].flatten(1), t[between].double(), sigma[between]

            def function(z: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
                psi, f = self._psi_and_f(z.reshape(-1, *v.shape[1:]), levels[index])
                here, s = part[index], share[index]
                square, product = ((z.double() * other.double()).sum(1) for other in (z, here))
                slope = s[:, None].to(z) * z + (1 - s)[:, None].to(z) * f.flatten(1)
                return 0.5 * s * square + (1 - s) * psi - product, slope - here

            target = tol * torch.linalg.vector_norm(part, dim=1, dtype=torch.float64)
            rest = (1 / share - 1)[:, None].to(v)  # z = v + rest (v - f(z))
            z0 = part if guess is None else part + rest * (part - guess[between].flatten(1))
            found = minimise(function, z0, tol=target, max_iter=max_iter)
            x[between] = self._map(found.x.reshape(-1, *v.shape[1:]), levels)
        return x

    def regularisation(self, x: Tensor, sigma: Tensor, *, tol: float, max_iter: int) -> Regularisation:
        """Return the bounds of R(x) from y near f^-1(x), which minimises psi(y) - <x, y>."""
        flat = x.flatten(1)

        def function(y: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            psi, f = self._psi_and_f(y.reshape(-1, *x.shape[1:]), sigma[index])
            return psi - (flat[index].double() * y.double()).sum(1), f.flatten(1) - flat[index]

        size = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
        found = minimise(function, flat, tol=tol * size, max_iter=max_iter)
        lower = -found.value - 0.5 * size.square()
        slack = found.residual.square()
        upper = lower + (slack / (2 * self.mu) if self.mu > 0 else torch.where(slack > 0, torch.inf, 0.0))
        return Regularisation(lower, upper, (found.x - flat).reshape(x.shape), found.residual)

    def regularisation_at(self, y: Tensor, sigma: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Return x = f(y) and R(x) `(*batch,)`, exactly and without an inversion."""
        psi, x = self.potential_and_gradient(y, sigma)
        axes = tuple(range(-self.ndim, 0))
        return x, (x.double() * (y.double() - 0.5 * x.double())).sum(axes) - psi
