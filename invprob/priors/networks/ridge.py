"""Fields of ridge functions: a learned regulariser in closed form, and the proximal operator that it has."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, softplus

from invprob.priors.minimise import minimise
from invprob.priors.networks.convex import ConvexPotential, ProximalNetwork, Regularisation
from invprob.priors.networks.transfer import transfer_bound

__all__ = ["ConvexRidge", "RidgeField", "RidgeRegulariser"]

_SMALLEST = 1e-24  # stands for sigma^2 = 0, where the regulariser vanishes


class RidgeField(nn.Module):
    """g(x, sigma) = sum over pixels and j of w_j sigma^2 rho_j(e_j / (w_j sigma^2)), e_j = sum_k Q_jk (h_k * x)^2.

    rho_j(u) = ((1 + u)^(1 - a_j) - 1) / (2 (1 - a_j)) lies between sqrt(1 + u) - 1 at a = 1/2, which is convex in x,
    and Cauchy's log(1 + u) / 2 at a = 1; with Q = I these are ridge functions (Goujon, Neumayer, Bohra, Ducotterd &
    Unser 2023), else norms of groups of filters. The filters have mean zero and are evaluated where they fit in, so
    that g ignores the grey level and knows no boundary; smaller images are enlarged first. g(c x, c sigma) =
    c^2 g(x, sigma). All weights are free: what bounds the curvature of g is measured, and g divided by what exceeds
    the limits: 0 <= Hess g + weak, Hess g <= curvature.
    """

    def __init__(self, size: int, curvature: float, weak: float, exponent: float, seed: int) -> None:
        super().__init__()
        if size < 2 or not 0 < curvature < math.inf or not 0 <= weak < 1 or not 0.5 <= exponent < 1:
            raise ValueError(
                "a field of ridge functions needs size >= 2, curvature > 0, 0 <= weak < 1 and 1/2 <= exponent < 1, got "
                f"{size}, {curvature}, {weak} and {exponent}"
            )
        self.size, self.curvature, self.weak = size, curvature, weak
        self.exponent, self.seed = exponent, seed
        count = size * size - 1
        generator = torch.Generator().manual_seed(seed)
        self.filters = nn.Parameter(_cosines(size))
        # nearly the identity to begin with, scaled to a third of the largest curvature
        mixing = torch.full((count, count), -7.0) + 0.3 * torch.randn(count, count, generator=generator)
        start = curvature / 3 / size**2
        self.mixing = nn.Parameter(mixing + torch.eye(count) * (7 + math.log(math.expm1(start))))
        self.log_width = nn.Parameter(torch.full((count,), math.log(start) - 3.8))
        # where the exponent is 1/2 no training moves it, and g stays convex
        share = (exponent - 0.5) / 0.499
        logit = math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(60.0, share - 0.5)
        self.bend = nn.Parameter(torch.full((count,), logit))

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this field again."""
        return {"size": self.size, "curvature": self.curvature, "weak": self.weak, "exponent": self.exponent}

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the factor of g that keeps the limits, and bounds of -Hess g and of Hess g with it; 0-d each."""
        h, mix, _, a = self._weights()
        m = 2 * a - 1  # the least curvature of t -> rho(t^2) is at t^2 = 3 / m
        concave = 2 * (m / (m + 3)) ** (a + 1)
        top = transfer_bound(h, mix.sum(0))
        dip = transfer_bound(h, (mix * concave[:, None]).sum(0))
        factor = torch.minimum(self.curvature / top, torch.where(dip > 0, self.weak / dip, torch.inf)).clamp(max=1.0)
        return factor, factor * dip, factor * top

    def pair(self, x: Tensor, sigma: Tensor, factor: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return g (B,) in float64, None unless asked for, and its gradient (B, H, W); factor from `constants`."""
        h, mix, width, a = self._weights()
        last = {"memory_format": torch.channels_last}
        whole, copies, index = _enlarged(x, self.size)
        factor = factor / copies
        response = conv2d(whole[:, None], h.contiguous(**last))
        energy = conv2d(response.square(), mix[:, :, None, None].contiguous(**last))
        scale = width[:, None, None] * sigma.square().clamp(min=_SMALLEST)[:, None, None, None]
        log = torch.log1p(energy / scale)
        gain = conv2d(torch.exp(-a[:, None, None] * log), mix.T[:, :, None, None].contiguous(**last))
        adjoint = h.flip(2, 3).transpose(0, 1).contiguous(**last)
        slope = factor * conv2d(gain * response, adjoint, padding=self.size - 1)[:, 0]
        if not value:
            return None, _reduced(slope, x, index)
        b = 1 - a[:, None, None]
        height = (scale * torch.expm1(b * log) / (2 * b)).flatten(1).double().sum(1)
        return factor.double() * height, _reduced(slope, x, index)

    def _weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return filters of mean zero (K, 1, k, k), Q >= 0, w > 0 and the exponents a."""
        h = self.filters - self.filters.mean((2, 3), keepdim=True)
        return h, softplus(self.mixing), self.log_width.exp(), 0.5 + 0.499 * torch.sigmoid(self.bend)


class RidgeRegulariser(ProximalNetwork):
    """f(y, sigma) = argmin_x g(x, sigma) + 1/2 |x - y|^2 with g a `RidgeField`: a learned prox whose R = g is explicit.

    g is at most `weak`-weakly convex, `weak` < 1, so that f is the gradient of a convex potential, as every learned
    proximal network is, and Lip(f) <= 1 / (1 - weak) (Goujon, Neumayer & Unser 2024, "Learning weakly convex
    regularizers"). R and its gradient cost one pass and prox_{t R} a few, each a convex problem. `forward` takes
    `steps` accelerated steps, the last `kept` of them with a derivative.
    """

    conditional = True

    def __init__(
        self,
        size: int = 5,
        *,
        curvature: float = 25.0,
        weak: float = 0.8,
        exponent: float = 0.63,
        steps: int = 20,
        kept: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= kept <= steps:
            raise ValueError(f"RidgeRegulariser: 1 <= kept <= steps is needed, got {kept} and {steps}")
        self.field = RidgeField(size, curvature, weak, exponent, seed)
        self.steps, self.kept = steps, kept

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        return {**self.field.arguments, "steps": self.steps, "kept": self.kept}

    @torch.no_grad()
    def weak_convexity(self) -> float:
        """Return the bound of -Hess R."""
        return float(self.field.constants()[1])

    @torch.no_grad()
    def gradient_lipschitz(self) -> float:
        """Return the bound of |Hess R|."""
        return float(self.field.constants()[2])

    def _map(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Return the image after a fixed number of accelerated steps (Nesterov 2004, section 2.2)."""
        factor, weak, top = self.field.constants()
        step = (1 / (1 + top)).detach()
        root = ((1 + top) / (1 - weak)).sqrt().detach()
        inertia = (root - 1) / (root + 1)

        def advance(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            slope = self.field.pair(v, sigma, factor, value=False)[1]
            ahead = v - step * (v - y + slope)
            return ahead, ahead + inertia * (ahead - x)

        x = v = y
        with torch.no_grad():
            for _ in range(self.steps - self.kept):
                x, v = advance(x, v)
        for _ in range(self.kept):
            x, v = advance(x, v)
        return x

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
        return 1e-4 * factor.log().square()


class ConvexRidge(ConvexPotential):
    """f(y, sigma) = y - grad g(y, sigma) with g a `RidgeField` of curvature at most 1 - mu: one pass, no iteration.

    The fast member of the family: psi = 1/2 |y|^2 - g is mu-strongly convex, and Lip(f) <= 1 + weak.
    """

    conditional = True

    def __init__(
        self, size: int = 5, *, mu: float = 0.05, weak: float = 0.8, exponent: float = 0.9, seed: int = 0
    ) -> None:
        super().__init__()
        if not 0 < mu < 1:
            raise ValueError(f"ConvexRidge: mu must lie in (0, 1), got {mu}")
        self.mu = mu
        self.field = RidgeField(size, 1 - mu, weak, exponent, seed)

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        known = self.field.arguments
        return {"size": known["size"], "mu": self.mu, "weak": known["weak"], "exponent": known["exponent"]}

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return 1 - min Hess g."""
        return 1 + float(self.field.constants()[1])

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        g, slope = self.field.pair(y, sigma, self.field.constants()[0], value=value)
        psi = None if g is None else 0.5 * y.double().square().sum((1, 2)) - g
        return psi, y - slope


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
