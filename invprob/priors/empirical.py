"""The prior that knows a set of images and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d

from invprob.functional import Scalar
from invprob.linalg import per_item
from invprob.priors.score import ScorePrior

_POOLS: dict[int, Any] = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}
_CHUNK = 2**22  # numbers that are compared at a time


class EmpiricalPrior(ScorePrior):
    """p(x) = 1/n sum_i delta(x - x_i): D(x, sigma) is the mean of images, weighed by how near x is to them.

    D(x, sigma) = sum_i w_i x_i with w_i ~ exp(-|x - x_i|^2 / 2 sigma^2), what a diffusion model tends to that has
    learnt its images by heart. With a `window` every pixel has weights of its own, from the distances within the window
    around it, so that images are put together from parts of many (Kamb & Ganguli 2024). Items are taken one by one and
    images in chunks, so that memory and results do not depend on the batch.

    Arguments:
        images: the set, `(n, *item)`.
        window: the odd side of the window in pixels; None (the default) compares whole images.

    ValueError for no images, and for an even window.
    """

    def __init__(self, images: Tensor, window: int | None = None) -> None:
        super().__init__()
        if images.ndim < 2 or not len(images):
            raise ValueError(f"EmpiricalPrior: images must be (n, *item) with n >= 1, got {tuple(images.shape)}")
        if window is not None and (window < 1 or window % 2 == 0 or images.ndim - 1 not in _POOLS):
            raise ValueError(f"EmpiricalPrior: window must be odd, for items of one to three axes, got {window}")
        self.ndim, self.window = images.ndim - 1, window
        self.images: Tensor
        self.register_buffer("images", images, persistent=False)

    @property
    def spread(self) -> float:  # type: ignore[override]
        """The standard deviation of all values around the mean image."""
        return float((self.images - self.images.mean(0)).abs().square().mean().sqrt())

    def denoise(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma)."""
        batch = x.shape[: x.ndim - self.ndim]
        level = torch.as_tensor(sigma, dtype=x.real.dtype, device=x.device).expand(batch).reshape(-1)
        items = x.reshape(-1, *x.shape[x.ndim - self.ndim :])
        answers = [self._item(item, s) for item, s in zip(items, level, strict=True)]
        return torch.stack(answers).reshape(x.shape) if answers else x

    def _item(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return D of one item by a soft maximum over the set, of which a chunk is held at a time."""
        chunk = max(1, _CHUNK // x.numel())
        top = torch.full((), -torch.inf, dtype=sigma.dtype, device=x.device)
        total, mean = torch.zeros_like(top), torch.zeros_like(x)
        for part in torch.split(self.images.to(x), chunk):
            log = self._log_weights(x - part, sigma)
            now = torch.maximum(top, log.amax(0))
            weights, fade = torch.exp(log - now), torch.exp(top - now)
            total, mean = fade * total + weights.sum(0), fade * mean + (weights * part).sum(0)
            top = now
        return mean / total

    def _log_weights(self, difference: Tensor, sigma: Tensor) -> Tensor:
        """Return -|x - x_i|^2 / 2 sigma^2, `(chunk, 1...)`, or around every pixel, `(chunk, *item)`."""
        square = difference.abs().square()
        if self.window is None:
            distance = square.flatten(1).sum(1).reshape(-1, *(1,) * self.ndim)
        else:
            sides = {"stride": 1, "padding": self.window // 2}
            distance = _POOLS[self.ndim](square[:, None], self.window, **sides)[:, 0] * self.window**self.ndim
        half = 1.0 if difference.is_complex() else 0.5
        return -half * distance / per_item(sigma.square().clamp(min=torch.finfo(square.dtype).tiny), distance, 0)
