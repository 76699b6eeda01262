"""Input-convex convolutional networks: for images of any size, or of one size with a dense head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad, softplus

from invprob.priors.networks.convex import ConvexPotential
from invprob.priors.networks.transfer import gram_bound

__all__ = ["ConvexConv"]


class ConvexConv(ConvexPotential):
    """psi(y) = <w, z_K> + mu/2 |y|^2, z_k+1 = g(W_k * z_k + H_k+1 * P_k y + b_k+1), W, w >= 0, g = softplus.

    Input-convex (Amos, Xu & Kolter 2017) as in Fang, Buchanan & Sulam 2024, with 3 x 3 convolutions, every second one
    of stride 2. P_k averages blocks of pixels, so that every pixel reaches every skip. Without `side` the head is a
    sum over pixels, and images have any size; with `side` they have that one, and a dense layer stands before the
    head, as in the paper. `conditional` adds c_k log sigma to the biases, which keeps psi convex in y. `project` cuts
    negative weights to zero. psi and f = grad psi are one pass forwards and one backwards, written out.
    """

    def __init__(
        self,
        width: int = 32,
        layers: int = 4,
        *,
        side: int | None = None,
        beta: float = 10.0,
        mu: float = 0.05,
        conditional: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(width, layers, side or 1) < 1 or not beta > 0 or not 0 <= mu < 1:
            raise ValueError(
                "ConvexConv: width, layers and side must be at least 1, beta positive and mu in [0, 1), "
                f"got {width}, {layers}, {side}, {beta} and {mu}"
            )
        self.width, self.layers, self.side, self.beta, self.mu = width, layers, side, beta, mu
        self.conditional = conditional
        self.strides = [1] + [2 if k % 2 else 1 for k in range(1, layers)]
        generator = torch.Generator().manual_seed(seed)

        def free(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:])))

        def positive(*shape: int) -> nn.Parameter:
            return nn.Parameter(2 * torch.rand(shape, generator=generator) / math.prod(shape[1:]))

        self.skips = nn.ParameterList(free(width, 1, 3, 3) for _ in range(layers))
        self.weights = nn.ParameterList(positive(width, width, 3, 3) for _ in range(layers - 1))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(layers))
        if conditional:
            self.levels = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(layers))
        self.last = positive(1, width)
        if side is not None:
            small = side
            for stride in self.strides:
                small = -(-small // stride)
            self.dense = positive(width, width, small, small)
            self.dense_skip, self.dense_bias = free(width, 1, small, small), nn.Parameter(torch.zeros(width))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster, and no copies in between

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs to build this network again."""
        return {
            "width": self.width,
            "layers": self.layers,
            "side": self.side,
            "beta": self.beta,
            "mu": self.mu,
            "conditional": self.conditional,
        }

    @torch.no_grad()
    def project(self) -> None:
        """Set what is negative among the weights that must not be to zero."""
        dense = [self.dense] if self.side is not None else []
        for weight in (*self.weights, *dense, self.last):
            weight.clamp_(min=0)

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return mu + beta/4 sum_k max |d psi / d z_k| |d a_k / d y|^2, norms of convolutions by Gram iteration."""
        top = self.last.double()[0]
        tops, reaches = [], []
        if self.side is not None:
            tops.append(top)
            top = (self.dense.double() * top[:, None, None, None]).sum(0).flatten(1).amax(1)
        for weight in reversed(self.weights):
            tops.insert(0, top)
            top = (weight.double() * top[:, None, None, None]).sum((0, 2, 3))
        tops.insert(0, top)
        reach = 0.0
        for k, skip in enumerate(self.skips):
            before = gram_bound(self.weights[k - 1]) * reach if k else 0.0
            reach = before + gram_bound(skip)
            reaches.append(reach)
        if self.side is not None:
            reaches.append(_matrix_norm(self.dense) * reach + _matrix_norm(self.dense_skip))
        curve = sum(float(c.amax()) * reach**2 for c, reach in zip(tops, reaches, strict=True))
        return self.mu + self.beta / 4 * curve

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        if self.side is not None and tuple(y.shape[1:]) != (self.side, self.side):
            raise ValueError(
                f"ConvexConv is for images of {self.side} x {self.side} pixels, got {tuple(y.shape[1:])}: "
                "wrap it in PatchAverage for larger ones"
            )
        image, factor = y[:, None], 1
        layers = [self._activated(0, conv2d(image, self.skips[0], padding=1), sigma)]
        views = [image]
        for k in range(1, self.layers):
            stride, seen = self.strides[k], _shrunk(image, factor)
            mixed = conv2d(layers[-1], self.weights[k - 1], stride=stride, padding=1)
            mixed += conv2d(seen, self.skips[k], stride=stride, padding=1)  # in place: autograd keeps no sums
            layers.append(self._activated(k, mixed, sigma))
            views.append(seen)
            factor *= stride
        d = self.last[0][:, None, None]
        slope = torch.zeros_like(image)
        z = layers[-1]
        if self.side is not None:
            a = conv2d(z, self.dense) + conv2d(_shrunk(image, factor), self.dense_skip)
            z = softplus(a + self.dense_bias[:, None, None], self.beta)
        psi = (z.double() * d.double()).flatten(1).sum(1) if value else None
        if self.side is not None:
            d = self._through(z, d)
            slope = _grown(conv_transpose2d(d, self.dense_skip), image, factor)
            d = conv_transpose2d(d, self.dense)
        for k in range(self.layers - 1, 0, -1):
            factor //= self.strides[k]
            d = self._through(layers.pop(), d)
            slope = slope + _grown(_pulled(d, self.skips[k], self.strides[k], views[k]), image, factor)
            d = _pulled(d, self.weights[k - 1], self.strides[k], layers[-1])
        slope = slope + _pulled(self._through(layers.pop(), d), self.skips[0], 1, image)
        f = slope[:, 0] + self.mu * y
        return None if psi is None else psi + 0.5 * self.mu * y.double().square().flatten(1).sum(1), f

    def _activated(self, k: int, a: Tensor, sigma: Tensor) -> Tensor:
        """Return g(a + b_k)."""
        bias = self.biases[k][:, None, None]
        if self.conditional:
            level = sigma.clamp(min=1e-3).log()[:, None, None, None]
            bias = bias + level * self.levels[k][:, None, None]
        a += bias
        return softplus(a, self.beta)

    def _through(self, z: Tensor, d: Tensor) -> Tensor:
        """Return d g'(a) of z = g(a), which is d (1 - exp(-beta z)); without a graph in the memory of z."""
        if torch.is_grad_enabled():
            return -torch.expm1(-self.beta * z) * d
        return z.mul_(-self.beta).expm1_().mul_(d).neg_()


def _shrunk(image: Tensor, factor: int) -> Tensor:
    """Return the means of blocks of factor x factor pixels, beyond the border zero."""
    if factor == 1:
        return image
    height, width = image.shape[-2:]
    whole = pad(image, (0, -width % factor, 0, -height % factor))
    return conv2d(whole, _block(image, factor), stride=factor)


def _grown(small: Tensor, image: Tensor, factor: int) -> Tensor:
    """Return the adjoint of `_shrunk`."""
    if factor == 1:
        return small
    whole: Tensor = conv_transpose2d(small, _block(image, factor), stride=factor)
    return whole[..., : image.shape[-2], : image.shape[-1]]


def _block(image: Tensor, factor: int) -> Tensor:
    return image.new_full((1, 1, factor, factor), 1 / factor**2)


def _pulled(d: Tensor, kernel: Tensor, stride: int, like: Tensor) -> Tensor:
    """Return the adjoint of a padded 3 x 3 convolution of something like `like`."""
    if stride == 1:  # faster than the transposed one
        return conv2d(d, kernel.flip(2, 3).transpose(0, 1), padding=1)
    rest = [n - ((m - 1) * stride + 1) for n, m in zip(like.shape[-2:], d.shape[-2:], strict=True)]
    pulled: Tensor = conv_transpose2d(d, kernel, stride=stride, padding=1, output_padding=rest)
    return pulled


def _matrix_norm(kernel: Tensor) -> float:
    return float(torch.linalg.matrix_norm(kernel.detach().double().flatten(1), 2))
