"""How well a denoiser does on images that were never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from invprob import metrics
from invprob.priors.networks import denoise_tiled
from invprob.training.batches import generator_of, like, validation_images, white_noise

__all__ = ["LEVELS", "samples", "validate"]

LEVELS = (15, 25, 50)  # of 255, as the field reports them
_NOISE = 17  # stream of random numbers that no training draws from


def validate(network: nn.Module, images: Tensor | None = None, levels: Sequence[float] = LEVELS) -> dict[str, Tensor]:
    """Return the mean PSNR in dB of noisy and of denoised images at noise levels sigma = level / 255.

    `images` (N, *item) on the scale [0, 1]: pictures, with channels before H if there are any, volumes, or complex ones
    with sigma^2 = E|n|^2; None for the generated grey validation images. Two float64 tensors, one entry per level,
    under "noisy" and "denoised". The noise is the same at every call.
    """
    images = validation_images() if images is None else images
    before, after = [], []
    for level in levels:
        pairs = _denoised(network, images, level)
        clean, noisy, clear = (torch.stack(kind) for kind in zip(*pairs, strict=True))
        before.append(metrics.psnr(noisy, clean, data_range=1.0, ndim=clean.ndim - 1).mean())
        after.append(metrics.psnr(clear, clean, data_range=1.0, ndim=clean.ndim - 1).mean())
    return {"noisy": torch.stack(before), "denoised": torch.stack(after)}


def samples(network: nn.Module, images: Tensor, level: float = 50) -> Tensor:
    """Return one picture (3 H, N W) in [0, 1]: clean images, below them noisy ones, below them denoised ones."""
    columns = [torch.cat(triple, -2) for triple in _denoised(network, images, level)]
    return torch.cat(columns, -1).clamp(0, 1)


def _denoised(network: nn.Module, images: Tensor, level: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each image clean, noisy and denoised, one by one: cheaper than as a batch, and bounded in memory."""
    weight = next(network.parameters())
    for k, clean in enumerate(images):
        noise = white_noise(clean.shape, generator_of(_NOISE, k), of_complex=clean.is_complex())
        noisy = clean + level / 255 * noise
        clear = denoise_tiled(network, like(noisy, weight), level / 255).to(clean)
        yield clean, noisy, clear
