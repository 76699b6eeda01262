"""Fields of ridge functions: a learned regulariser in closed form, and the proximal operator that it has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from invprob.linop.krylov import conjugate_gradient
from invprob.priors.networks.convex import ConvexPotential, ProximalNetwork, Regularisation
from invprob.priors.networks.transfer import transfer_bound
from invprob.priors.quasi_newton import minimise

__all__ = ["ConvexRidge", "RidgeField", "RidgeRegulariser"]

_SMALLEST = 1e-6  # stands for sigma = 0, where the regulariser vanishes: single precision divides by it
_MAX_ITER = 200  # of the minimiser and its derivatives
_WIDTH, _WIDER = 0.1, 80.0  # of a ridge to begin with, in noise levels, and v / w - 1
_FIRST, _REST = 1.0, 0.01  # c w to begin with: of the differences, and of all other filters
_NEVER = -800.0  # its sigmoid is 0
_USUAL, _GROWTH = 0.1, 0.1  # noise level at which the c_j are what they are, and the power of sigma to begin with


class _Seen(NamedTuple):
    """What 4 P pairs of filters see: responses t (B, 4 P, 2, H, W), and what follows from |t| (B, 4 P, 1, H, W)."""

    filters: Tensor  # (8 P, 1, k, k)
    gain: Tensor  # c_j as it acts
    response: Tensor
    small: Tensor  # sqrt(1 + (|t| / (w sigma))^2)
    large: Tensor  # the same with v
    concave: Tensor  # beta w / v
    bends: tuple[Tensor, Tensor]  # 1 / (w sigma)^2 and 1 / (v sigma)^2


class RidgeField(nn.Module):
    """g(x, sigma) = sum over pixels and j of c_j phi_j(|t_j|), t_j = (h_j * x, k_j * x), phi = H_w - beta w/v H_v.

    H_w(t) = (w sigma)^2 (sqrt(1 + (t / (w sigma))^2) - 1) is a rounded |t| (Goujon, Neumayer, Bohra, Ducotterd & Unser
    2023), here of two responses together, as total variation has it of two differences: an edge costs the same in all
    directions between h_j and k_j. With 0 < beta < 1 and v > w its slope falls again, to 1 - beta of what it was, so
    that strong edges cost no more than others, at a curvature of no less than -beta w/v (a difference of convex
    potentials: Goujon, Neumayer & Unser 2024). The filters have mean zero, so that g ignores the grey level. g is the
    mean over the four mirror images of x, which goes on beyond its borders as in a mirror: by both together the bounds
    for periodic images hold, for every size. All c_j grow with a power of sigma; but for that g(s x, s sigma) = s^2
    g(x, sigma). All weights are free: what bounds the curvature of g is measured, and g divided by what exceeds the
    limits: 0 <= Hess g + weak, Hess g <= curvature, for every sigma.
    """

    def __init__(self, size: int, pairs: int, curvature: float, weak: float, falling: float, seed: int) -> None:
        super().__init__()
        if size < 3 or size % 2 == 0 or not 0 < curvature < math.inf or not 0 <= weak < 1 or not 0 <= falling < 1:
            raise ValueError(
                "a field of ridge functions needs an odd size >= 3, curvature > 0, 0 <= weak < 1 and 0 <= falling < 1, "
                f"got {size}, {curvature}, {weak} and {falling}"
            )
        if not 1 <= pairs <= size**2 // 2 + 1:
            raise ValueError(f"filters of {size} x {size} make 1 to {size**2 // 2 + 1} pairs, got {pairs}")
        self.size, self.pairs, self.curvature, self.weak, self.falling = size, pairs, curvature, weak, falling
        self.filters = nn.Parameter(torch.cat([_differences(size), _cosines(size)])[: 2 * pairs])
        draws = torch.randn(2, pairs, generator=torch.Generator().manual_seed(seed))
        # total variation to begin with, rounded and falling: from the cosines no training found what beats it
        force = torch.tensor([_FIRST] + [_REST] * (pairs - 1))
        self.log_gain = nn.Parameter((force / _WIDTH).log() + 0.1 * draws[0])
        self.log_width = nn.Parameter(math.log(_WIDTH) + 0.1 * draws[1])
        self.log_wider = nn.Parameter(torch.full((pairs,), math.log(_WIDER)))
        self.growth = nn.Parameter(torch.tensor(_GROWTH))
        # where beta is 0 no training moves it, and g stays convex
        self.bend = nn.Parameter(torch.full((pairs,), math.log(falling / (1 - falling)) if falling > 0 else _NEVER))

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this field again."""
        names = ("size", "pairs", "curvature", "weak", "falling")
        return {name: getattr(self, name) for name in names}

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the largest factor of g that keeps the limits, and bounds of -Hess g and Hess g with it; 0-d each."""
        h, gain, _, _, concave = self._weights()
        up, down = ((gain * w).expand(-1, 2, 1, 1).flatten() for w in (1 - concave, concave))
        top, dip = transfer_bound(h, up), transfer_bound(h, down)
        factor = torch.minimum(self.curvature / top, torch.where(dip > 0, self.weak / dip, torch.inf))
        return factor, factor * dip, factor * torch.maximum(top, dip)

    def pair(self, x: Tensor, sigma: Tensor, factor: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return g (B,) in float64, None unless asked for, and its gradient (B, H, W); factor from `constants`."""
        h, gain, t, small, large, concave, _ = self._seen(x, sigma, factor)
        gradient = _collected(h, gain * (1 / small - concave / large) * t)
        if not value:
            return None, gradient
        # H_w(t) = t^2 / (sqrt(1 + (t/w)^2) + 1), which loses no digits where t is small
        height = gain * t.square() * (1 / (small + 1) - concave / (large + 1))
        return height.flatten(1).double().sum(1), gradient

    def hessian(self, x: Tensor, sigma: Tensor, factor: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function p -> Hess g(x) p for images (B, H, W)."""
        h, gain, t, small, large, concave, (tight, loose) = self._seen(x, sigma, factor)
        across = gain * (1 / small - concave / large)
        along = gain * (tight * small**-3 - loose * concave * large**-3)  # what it is less in the direction of t

        def apply(p: Tensor) -> Tensor:
            seen = _filtered(h, p)
            return _collected(h, across * seen - along * (t * seen).sum(2, keepdim=True) * t)

        return apply

    def _seen(self, x: Tensor, sigma: Tensor, factor: Tensor) -> _Seen:
        """Return what the filters see in images (B, H, W) at noise levels (B,)."""
        h, gain, width, wider, concave = self._weights()
        level = sigma.clamp(min=_SMALLEST)[:, None, None, None, None]
        strength = torch.minimum((level / _USUAL) ** self.growth, factor)
        response = _filtered(h, x)
        tight = (width * level) ** -2
        loose = tight / wider**2
        square = response.square().sum(2, keepdim=True)
        small, large = ((1 + bend * square).sqrt() for bend in (tight, loose))
        return _Seen(h, strength * gain, response, small, large, concave, (tight, loose))

    def _weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return filters of mean zero (8 P, 1, k, k), and c / 4, w, v / w > 1 and beta w / v, (4 P, 1, 1, 1) each."""
        h = self.filters - self.filters.mean((2, 3), keepdim=True)
        h = torch.cat([h, h.flip(2), h.flip(3), h.flip(2, 3)])
        wider = 1 + self.log_wider.exp()
        weights = (self.log_gain.exp() / 4, self.log_width.exp(), wider, torch.sigmoid(self.bend) / wider)
        gain, width, ratio, concave = (w.repeat(4)[:, None, None, None] for w in weights)
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
        pairs: int = 4,
        curvature: float = 200.0,
        weak: float = 0.95,
        falling: float = 0.9,
        seed: int = 0,
        tol: float = 1e-3,
    ) -> None:
        super().__init__()
        self.field, self.tol = RidgeField(size, pairs, curvature, weak, falling, seed), tol

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
    def proximal(
        self, v: Tensor, t: Tensor, sigma: Tensor, *, tol: float, max_iter: int, guess: Tensor | None = None
    ) -> Tensor:
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
        first = flat if guess is None else guess.flatten(1)
        return minimise(function, first, tol=tol * size, max_iter=max_iter).x.reshape(v.shape)

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
        self,
        size: int = 5,
        *,
        pairs: int = 4,
        mu: float = 0.05,
        weak: float = 0.8,
        falling: float = 0.9,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < mu < 1:
            raise ValueError(f"ConvexRidge: mu must lie in (0, 1), got {mu}")
        self.mu = mu
        self.field = RidgeField(size, pairs, 1 - mu, weak, falling, seed)

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        return {**{key: value for key, value in self.field.arguments.items() if key != "curvature"}, "mu": self.mu}

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return 1 - min Hess g."""
        return 1 + float(self.field.constants()[1])

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        g, slope = self.field.pair(y, sigma, self.field.constants()[0], value=value)
        psi = None if g is None else 0.5 * y.double().square().sum((1, 2)) - g
        return psi, y - slope


def _filtered(h: Tensor, x: Tensor) -> Tensor:
    """Return what the filters (2 P, 1, k, k) see around each pixel of images (B, H, W) and their mirror images.

    The shape is (B, P, 2, H, W).
    """
    rows, columns = _places(h, x.shape[-2:])
    seen = conv2d(x[:, None, rows[:, None], columns], h.contiguous(memory_format=torch.channels_last))
    return seen.reshape(len(x), len(h) // 2, 2, *x.shape[-2:])


def _collected(h: Tensor, responses: Tensor) -> Tensor:
    """Return the adjoint of `_filtered`."""
    adjoint = h.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    wide = conv2d(responses.flatten(1, 2), adjoint, padding=h.shape[-1] - 1)[:, 0]
    (height, width), (rows, columns) = responses.shape[-2:], _places(h, responses.shape[-2:])
    by_rows = wide.new_zeros(len(wide), height, wide.shape[2]).index_add(1, rows, wide)
    return wide.new_zeros(len(wide), height, width).index_add(2, columns, by_rows)


def _places(h: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return which rows and columns of an image lie under the filters, half of one beyond each border, mirrored."""
    reach = h.shape[-1] // 2
    period = [torch.arange(-reach, n + reach, device=h.device) % (2 * n) for n in shape]
    rows, columns = (torch.minimum(m, 2 * n - 1 - m) for m, n in zip(period, shape, strict=True))
    return rows, columns


def _differences(size: int) -> Tensor:
    """Return the differences between a pixel and its two neighbours, (2, 1, size, size)."""
    filters, k = torch.zeros(2, 1, size, size), size // 2
    filters[:, 0, k, k] = -1
    filters[0, 0, k + 1, k] = filters[1, 0, k, k + 1] = 1
    return filters


def _cosines(size: int) -> Tensor:
    """Return the products of cosines (DCT-II) but for the constant one, in pairs from slow to fast, length 1 each.

    A product is followed by its transpose, those that are their own transposes by each other: (size^2 - 1, 1, k, k).
    """
    n = torch.arange(size) + 0.5
    rows = torch.stack([torch.cos(math.pi * f * n / size) * math.sqrt((2 if f else 1) / size) for f in range(size)])
    pairs = [((i, j), (j, i)) for i, j in itertools.combinations(range(size), 2)]
    pairs += [((i, i), (i + 1, i + 1)) for i in range(1, size, 2)]
    places = [place for pair in sorted(pairs, key=lambda pair: sum(pair[0]) + sum(pair[1])) for place in pair]
    return torch.stack([torch.outer(rows[i], rows[j]) for i, j in places])[:, None]
