"""Fields of ridge functions: a learned regulariser in closed form, and the proximal operator that it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from invprob.krylov import conjugate_gradient
from invprob.priors.minimise import minimise
from invprob.priors.networks.convex import ConvexPotential, ProximalNetwork, Regularisation
from invprob.priors.networks.transfer import transfer_bound

__all__ = ["ConvexRidge", "RidgeField", "RidgeRegulariser"]

_SMALLEST = 1e-6  # stands for sigma = 0, where the regulariser vanishes: single precision divides by it
_MAX_ITER = 200  # of the minimiser and its derivatives
_WIDTH, _WIDER = 0.03, 100.0  # of a ridge to begin with, in noise levels, and v / w - 1
_NEVER = -800.0  # its sigmoid is 0
_USUAL, _GROWTH = 0.1, 0.3  # noise level at which the c_j are what they are, and the power of sigma to begin with


class _Seen(NamedTuple):
    """Filters h (K, 1, k, k), c_j as it acts, responses t = h * x (B, K, rows, columns), and what follows from them."""

    filters: Tensor
    gain: Tensor
    response: Tensor
    small: Tensor  # sqrt(1 + (t / (w sigma))^2)
    large: Tensor  # the same with v
    concave: Tensor  # beta w / v
    places: tuple[Tensor, Tensor] | None  # of the pixels of an image that was enlarged


class RidgeField(nn.Module):
    """g(x, sigma) = sum over pixels and j of c_j phi_j(h_j * x), phi(t) = H_w(t) - beta w/v H_v(t), ridge functions.

    H_w(t) = (w sigma)^2 (sqrt(1 + (t / (w sigma))^2) - 1) is a rounded |t| (Goujon, Neumayer, Bohra, Ducotterd & Unser
    2023); with 0 < beta < 1 and v > w its slope falls again, to 1 - beta of what it was, so that strong edges cost no
    more than others, at a curvature of no less than -beta w/v (a difference of convex potentials: Goujon, Neumayer &
    Unser 2024). The filters have mean zero and are evaluated where they fit in: g ignores the grey level and knows no
    boundary; smaller images are enlarged. All c_j grow with a power of sigma; but for that g(s x, s sigma) = s^2 g(x,
    sigma). All weights are free: what bounds the curvature of g is measured, and g divided by what exceeds the limits:
    0 <= Hess g + weak, Hess g <= curvature, for every sigma.
    """

    def __init__(self, size: int, curvature: float, weak: float, falling: float, seed: int) -> None:
        super().__init__()
        if size < 2 or not 0 < curvature < math.inf or not 0 <= weak < 1 or not 0 <= falling < 1:
            raise ValueError(
                "a field of ridge functions needs size >= 2, curvature > 0, 0 <= weak < 1 and 0 <= falling < 1, got "
                f"{size}, {curvature}, {weak} and {falling}"
            )
        self.size, self.curvature, self.weak, self.falling = size, curvature, weak, falling
        count = size * size - 1
        draws = torch.randn(2, count, generator=torch.Generator().manual_seed(seed))
        self.filters = nn.Parameter(_cosines(size))
        # a third of the largest curvature to begin with
        self.log_gain = nn.Parameter(math.log(curvature / 3 / size**2) + 0.1 * draws[0])
        self.log_width = nn.Parameter(math.log(_WIDTH) + 0.1 * draws[1])
        self.log_wider = nn.Parameter(torch.full((count,), math.log(_WIDER)))
        self.growth = nn.Parameter(torch.tensor(_GROWTH))
        # where beta is 0 no training moves it, and g stays convex
        self.bend = nn.Parameter(torch.full((count,), math.log(falling / (1 - falling)) if falling > 0 else _NEVER))

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this field again."""
        return {"size": self.size, "curvature": self.curvature, "weak": self.weak, "falling": self.falling}

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the largest factor of g that keeps the limits, and bounds of -Hess g and Hess g with it; 0-d each."""
        h, gain, _, _, concave = self._weights()
        top, dip = transfer_bound(h, gain * (1 - concave)), transfer_bound(h, gain * concave)
        factor = torch.minimum(self.curvature / top, torch.where(dip > 0, self.weak / dip, torch.inf))
        return factor, factor * dip, factor * torch.maximum(top, dip)

    def pair(self, x: Tensor, sigma: Tensor, factor: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return g (B,) in float64, None unless asked for, and its gradient (B, H, W); factor from `constants`."""
        h, gain, response, small, large, concave, index = self._seen(x, sigma, factor)
        gradient = _reduced(_collected(h, gain * (1 / small - concave / large) * response), x, index)
        if not value:
            return None, gradient
        # H_w(t) = t^2 / (sqrt(1 + (t/w)^2) + 1), which loses no digits where t is small
        height = gain * response.square() * (1 / (small + 1) - concave / (large + 1))
        return height.flatten(1).double().sum(1), gradient

    def hessian(self, x: Tensor, sigma: Tensor, factor: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function p -> Hess g(x) p for images (B, H, W)."""
        h, gain, _, small, large, concave, index = self._seen(x, sigma, factor)
        curvature = gain * (small**-3 - concave * large**-3)

        def apply(p: Tensor) -> Tensor:
            return _reduced(_collected(h, curvature * _filtered(h, _enlarged(p, self.size)[0])), p, index)

        return apply

    def _seen(self, x: Tensor, sigma: Tensor, factor: Tensor) -> _Seen:
        """Return what the filters see in images (B, H, W) at noise levels (B,)."""
        h, gain, width, wider, concave = self._weights()
        whole, copies, index = _enlarged(x, self.size)
        level = sigma.clamp(min=_SMALLEST)
        strength = torch.minimum((level / _USUAL) ** self.growth, factor) / copies
        response = _filtered(h, whole)
        relative = response / (width * level[:, None, None, None])
        small, large = (1 + relative.square()).sqrt(), (1 + (relative / wider).square()).sqrt()
        return _Seen(h, strength[:, None, None, None] * gain, response, small, large, concave, index)

    def _weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return filters of mean zero (K, 1, k, k), and c, w, v / w > 1 and beta w / v, (K, 1, 1) each."""
        h = self.filters - self.filters.mean((2, 3), keepdim=True)
        wider = 1 + self.log_wider.exp()
        weights = (self.log_gain.exp(), self.log_width.exp(), wider, torch.sigmoid(self.bend) / wider)
        gain, width, ratio, concave = (w[:, None, None] for w in weights)
        return h, gain, width, ratio, concave


class RidgeRegulariser(ProximalNetwork):
    """f(y, sigma) = argmin_x g(x, sigma) + 1/2 |x - y|^2 with g a `RidgeField`: a learned prox whose R = g is explicit.

    g is at most `weak`-weakly convex, `weak` < 1, so that f is the gradient of a convex potential, as every learned
    proximal network is, and Lip(f) <= 1 / (1 - weak) (Goujon, Neumayer & Unser 2024, "Learning weakly convex
    regularizers"). R and its gradient cost one pass and prox_{t R} a few, each a convex problem. The derivatives
    of `forward` are those of the minimiser, by one linear system (the implicit function theorem); both are exact to
    `tol`, relative.
    """

    conditional = True

    def __init__(
        self,
        size: int = 5,
        *,
        curvature: float = 200.0,
        weak: float = 0.95,
        falling: float = 0.8,
        seed: int = 0,
        tol: float = 1e-3,
    ) -> None:
        super().__init__()
        self.field, self.tol = RidgeField(size, curvature, weak, falling, seed), tol

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        return self.field.arguments

    @torch.no_grad()
    def weak_convexity(self) -> float:
        """Return the bound of -Hess R."""
        return float(self.field.constants()[1])

    @torch.no_grad()
    def gradient_lipschitz(self) -> float:
        """Return the bound of |Hess R|."""
        return float(self.field.constants()[2])

    def _map(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Return the minimiser; its derivatives are those of y - grad g(x) times (I + Hess g(x))^-1."""
        x = self.proximal(y.detach(), torch.ones_like(sigma), sigma, tol=self.tol, max_iter=_MAX_ITER)
        if not torch.is_grad_enabled():
            return x
        factor = self.field.constants()[0]
        answer = y - self.field.pair(x, sigma, factor, value=False)[1]
        if not answer.requires_grad:
            return x
        with torch.no_grad():
            bent = self.field.hessian(x, sigma, factor)

        def implicit(slope: Tensor) -> Tensor:
            return conjugate_gradient(lambda p: p + bent(p), slope, ndim=2, tol=self.tol, max_iter=_MAX_ITER).x

        answer.register_hook(implicit)  # type: ignore[no-untyped-call]
        return answer

    @torch.no_grad()
    def proximal(self, v: Tensor, t: Tensor, sigma: Tensor, *, tol: float, max_iter: int) -> Tensor:
        """Return argmin_x t R(x) + 1/2 |x - v|^2."""
        self._check_step(t)
        factor = self.field.constants()[0]
        flat, wide = v.flatten(1), t.double()

        def function(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
            g, slope = self.field.pair(x.reshape(-1, *v.shape[1:]), sigma[index], factor, value=True)
            move, share = x - flat[index], wide[index]
            height = torch.zeros_like(share) if g is None else g
            return share * height + 0.5 * move.double().square().sum(1), share[:, None].to(x) * slope.flatten(1) + move

        size = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
        return minimise(function, flat, tol=tol * size, max_iter=max_iter).x.reshape(v.shape)

    def regularisation(self, x: Tensor, sigma: Tensor, *, tol: float, max_iter: int) -> Regularisation:
        """Return R(x), exactly."""
        del tol, max_iter
        g, slope = self.field.pair(x, sigma, self.field.constants()[0], value=True)
        g = torch.zeros(len(x), dtype=torch.float64) if g is None else g
        return Regularisation(g, g, slope, torch.zeros_like(g))

    def penalty(self) -> Tensor | float:
        """Return how far the free weights exceed the limits, so that they learn to keep them."""
        factor, _, _ = self.field.constants()
        return 1e-4 * factor.log().clamp(max=0).square()


class ConvexRidge(ConvexPotential):
    """f(y, sigma) = y - grad g(y, sigma) with g a `RidgeField` of curvature at most 1 - mu: one pass, no iteration.

    The fast member of the family: psi = 1/2 |y|^2 - g is mu-strongly convex, and Lip(f) <= 1 + weak.
    """

    conditional = True

    def __init__(
        self, size: int = 5, *, mu: float = 0.05, weak: float = 0.8, falling: float = 0.8, seed: int = 0
    ) -> None:
        super().__init__()
        if not 0 < mu < 1:
            raise ValueError(f"ConvexRidge: mu must lie in (0, 1), got {mu}")
        self.mu = mu
        self.field = RidgeField(size, 1 - mu, weak, falling, seed)

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        known = self.field.arguments
        return {"size": known["size"], "mu": self.mu, "weak": known["weak"], "falling": known["falling"]}

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return 1 - min Hess g."""
        return 1 + float(self.field.constants()[1])

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        g, slope = self.field.pair(y, sigma, self.field.constants()[0], value=value)
        psi = None if g is None else 0.5 * y.double().square().sum((1, 2)) - g
        return psi, y - slope


def _filtered(h: Tensor, x: Tensor) -> Tensor:
    """Return what the filters (K, 1, k, k) see in images (B, H, W), (B, K, H - k + 1, W - k + 1)."""
    return conv2d(x[:, None], h.contiguous(memory_format=torch.channels_last))


def _collected(h: Tensor, responses: Tensor) -> Tensor:
    """Return the adjoint of `_filtered`."""
    adjoint = h.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    return conv2d(responses, adjoint, padding=h.shape[-1] - 1)[:, 0]


def _cosines(size: int) -> Tensor:
    """Return the products of cosines (DCT-II) but for the constant one, (size^2 - 1, 1, size, size), length 1 each."""
    n = torch.arange(size) + 0.5
    rows = torch.stack([torch.cos(math.pi * f * n / size) * math.sqrt((2 if f else 1) / size) for f in range(size)])
    return torch.einsum("ia,jb->ijab", rows, rows).reshape(-1, 1, size, size)[1:].contiguous()


def _enlarged(x: Tensor, size: int) -> tuple[Tensor, int, tuple[Tensor, Tensor] | None]:
    """Return images (B, H, W) at least `size` wide, pixels repeated where need be, and how often at most."""
    height, width = x.shape[-2:]
    if min(height, width) >= size:
        return x, 1, None
    rows, columns = (torch.arange(max(n, size), device=x.device) * n // max(n, size) for n in (height, width))
    copies = -(-max(height, size) // height) * -(-max(width, size) // width)
    return x[:, rows[:, None], columns], copies, (rows, columns)


def _reduced(slope: Tensor, x: Tensor, index: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return the adjoint of `_enlarged`."""
    if index is None:
        return slope
    rows, columns = index
    by_rows = slope.new_zeros(len(slope), x.shape[1], slope.shape[2]).index_add(1, rows, slope)
    return slope.new_zeros(x.shape).index_add(2, columns, by_rows)
