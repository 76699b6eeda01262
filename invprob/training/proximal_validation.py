"""How well a learned proximal network does what it was trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from invprob import metrics
from invprob.training.batches import generator_of, validation_images, white_noise
from invprob.training.image_file import held_out, read_images
from invprob.training.laplace import laplace_matched, laplace_mean, laplace_median
from invprob.training.proximal_settings import ProximalSettings
from invprob.training.validation import LEVELS, validate

__all__ = ["proximal_quality"]

_SEEN = 3.4  # where the map of Laplace's problem is judged, as published
_NOISE = 23  # stream of random numbers that no training draws from


@torch.no_grad()
def proximal_quality(network: Any, settings: ProximalSettings, step: int) -> dict[str, Any]:
    """Return plain numbers for the card: distances from the known answers, or PSNR in dB on held-out images."""
    if settings.data == "laplace":
        return _laplace(network, settings, step)
    if settings.data.endswith(".npz"):
        clean = held_out(read_images(Path(settings.data)))
        noisy = clean + settings.sigma_max * white_noise(clean.shape, generator_of(_NOISE, 0))
        weight = next(network.parameters())
        answer = network(noisy.to(weight), settings.sigma_max).to(clean)
        before, after = (float(metrics.psnr(x, clean, data_range=1.0).mean()) for x in (noisy, answer))
        found = {f"sigma {settings.sigma_max:g}": {"noisy": round(before, 3), "denoised": round(after, 3)}}
        return {"measure": "mean PSNR in dB on images held out", **found}
    measured = validate(network, validation_images(12, 128))
    rows = {
        f"sigma {level}/255": {key: round(float(column[k]), 3) for key, column in measured.items()}
        for k, level in enumerate(LEVELS)
    }
    return {"measure": "mean PSNR in dB on 12 generated validation images", **rows}


def _laplace(network: Any, settings: ProximalSettings, step: int) -> dict[str, Any]:
    y = torch.linspace(-_SEEN, _SEEN, 681, dtype=torch.float64)
    weight = next(network.parameters())
    f = network(y[:, None].to(weight))[:, 0].double()
    gamma = settings.gamma(max(0, step - 1))
    sigma = settings.sigma_max
    soft = y.sign() * (y.abs() - sigma**2).clamp(min=0)
    if gamma is not None:
        name, target = f"gamma {gamma:g}", laplace_matched(y, gamma, sigma)
    elif settings.pretraining == "l1":
        name, target = "median", laplace_median(y, sigma)
    else:
        name, target = "mean", laplace_mean(y, sigma)
    far, off = (f - soft).abs(), (f - target).abs()
    return {
        "measure": f"on [-{_SEEN}, {_SEEN}]; the target is the exact minimiser: {name}",
        "largest distance from the target": round(float(off.max()), 4),
        "largest distance from the soft threshold": round(float(far.max()), 4),
        "RMS distance from the soft threshold": round(float(far.square().mean().sqrt()), 4),
    }
