"""An input-convex network of one number, applied to every entry."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from invprob.priors.networks.convex import ConvexPotential

__all__ = ["ConvexScalar"]


class ConvexScalar(ConvexPotential):
    """psi(y) = sum_i w^T z_K(y_i) + mu/2 y_i^2, z_1 = g(h_1 y + b_1), z_k+1 = g(W_k z_k + h_k+1 y + b_k+1).

    W, w >= 0 and g = softplus(beta .) / beta (Amos, Xu & Kolter 2017; Fang, Buchanan & Sulam 2024, prop. 3.1). Items
    (n,) are n independent numbers. `project` cuts negative weights to zero.
    """

    ndim = 1

    def __init__(
        self, width: int = 32, layers: int = 2, *, beta: float = 10.0, mu: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__()
        if min(width, layers) < 1 or not beta > 0 or not 0 <= mu < 1:
            raise ValueError(
                "ConvexScalar: width and layers must be at least 1, beta positive and mu in [0, 1), "
                f"got {width}, {layers}, {beta} and {mu}"
            )
        self.width, self.layers, self.beta, self.mu = width, layers, beta, mu
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(2 * torch.rand(shape, generator=generator) - 1)

        self.skips = nn.ParameterList(draw(width) for _ in range(layers))
        self.biases = nn.ParameterList(draw(width) for _ in range(layers))
        self.weights = nn.ParameterList(
            nn.Parameter(draw(width, width).abs().detach() / width) for _ in range(layers - 1)
        )
        self.last = nn.Parameter(draw(width).abs().detach() / width)

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        return {"width": self.width, "layers": self.layers, "beta": self.beta, "mu": self.mu}

    @torch.no_grad()
    def project(self) -> None:
        """Set what is negative among the weights that must not be to zero."""
        for weight in (*self.weights, self.last):
            weight.clamp_(min=0)

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return mu + beta/4 sum_k c_k (da_k / dy)^2 with bounds of psi's slope c_k in z_k and of da_k / dy."""
        ahead, reach = [self.last.double()], [self.skips[0].double().abs()]
        for weight in reversed(self.weights):
            ahead.insert(0, weight.double().T @ ahead[0])
        for weight, skip in zip(self.weights, list(self.skips)[1:], strict=True):
            reach.append(weight.double() @ reach[-1] + skip.double().abs())
        return self.mu + self.beta / 4 * sum(float(c @ a.square()) for c, a in zip(ahead, reach, strict=True))

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        del sigma
        flat = y.reshape(-1, 1)
        inner = [flat * self.skips[0] + self.biases[0]]
        for weight, skip, bias in zip(self.weights, list(self.skips)[1:], list(self.biases)[1:], strict=True):
            inner.append(softplus(inner[-1], self.beta) @ weight.T + flat * skip + bias)
        d = torch.sigmoid(self.beta * inner[-1]) * self.last
        slope = d @ self.skips[-1]
        for k in range(self.layers - 2, -1, -1):
            d = torch.sigmoid(self.beta * inner[k]) * (d @ self.weights[k])
            slope = slope + d @ self.skips[k]
        f = slope.reshape(y.shape) + self.mu * y
        if not value:
            return None, f
        wide = y.double()
        each = softplus(inner[-1].double(), self.beta) @ self.last.double()
        return (each.reshape(y.shape) + 0.5 * self.mu * wide.square()).flatten(1).sum(1), f
