"""Bounds of what banks of convolutions expand: by their transfer functions, and by Gram iteration."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

__all__ = ["gram_bound", "transfer_bound"]

_GRID = 128  # frequencies per axis


def transfer_bound(filters: Tensor, weights: Tensor) -> Tensor:
    """Return a bound of |sum_k w_k H_k^T H_k| for convolutions by filters (K, 1, k, k) and w (K,) >= 0, 0-d.

    It holds for images of every size, whether the convolutions are cropped, zero-padded or periodic. The norm is the
    maximum of F(omega) = sum_k w_k |h_k(omega)|^2, here over a grid; as |F''| <= (k - 1)^2 max F along each axis
    (Bernstein's inequality), F is at most max over the grid / (1 - (k - 1)^2 d^2) at the distance d from it.
    Differentiable.
    """
    k = filters.shape[-1]
    wide = pad(filters, (k - 1,) * 4).transpose(0, 1)
    correlation = conv2d(wide * weights.reshape(-1, 1, 1), filters.transpose(0, 1))[0, 0]
    lag = torch.arange(1 - k, k).to(filters)
    angle = torch.arange(_GRID).to(filters)[:, None] * (2 * math.pi / _GRID) * lag
    cos, sin = angle.cos(), angle.sin()
    peak: Tensor = (cos @ correlation @ cos.T - sin @ correlation @ sin.T).amax()
    return peak / (1 - ((k - 1) * math.pi / _GRID) ** 2)


def gram_bound(kernel: Tensor, steps: int = 3) -> float:
    """Return a bound of the norm of a convolution with kernel (out, in, k, k), whatever the size and the boundary.

    Gram iteration (Delattre, Barthelemy, Araujo & Allauzen 2023, "Efficient bound of Lipschitz constant for
    convolutional layers by Gram iteration", theorem 2), on the kernel itself rather than on its Fourier transform:
    |K| = |(K^T K)^(2^s)|^(2^-(s+1)), and the norm of a symmetric one is at most its largest sum of absolute values.
    Cropping, zero padding, strides and periodic images only make the norm smaller.
    """
    K = kernel.detach().double()
    log = 0.0  # of what the kernels so far were divided by, against overflow
    for step in range(steps):
        size = float(K.abs().amax())
        if size == 0:
            return 0.0
        K = K / size
        log += math.log(size) / 2**step
        K = _gram(K)
    largest = float(K.abs().sum((1, 2, 3)).amax())
    return math.exp(log + math.log(largest) / 2**steps)


def _gram(K: Tensor) -> Tensor:
    """Return the kernel (in, in, 2k - 1, 2k - 1) of K^T K."""
    k = K.shape[-1]
    wide = pad(K.transpose(0, 1), (k - 1,) * 4)
    return conv2d(wide, K.transpose(0, 1))
