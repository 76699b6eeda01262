"""A simulated radar: a random target before the X-shaped array, with noise in decibels."""

from __future__ import annotations

import numpy as np
import torch

from invprob.operators import NearFieldMIMO, x_array
from invprob.phantoms import as_generator, radar_target
from invprob.phantoms.targets import CUBE
from invprob.scan import Scan, Units

__all__ = ["scan_target"]


def scan_target(frequencies: int, ratio: float, seed: int, *, command: str) -> Scan:
    """Return a scan of one target at `frequencies` from 4 to 16 GHz, its noise `ratio` dB below the mean power.

    The scatterers stand on the grid of the image, as in Oral & Oktem 2024: a target is defined by its voxels.
    """
    generator = as_generator(seed)
    target = radar_target(generator)
    across = np.linspace(-0.15, 0.15, CUBE[0])
    axes = (across, across, np.linspace(0.35, 0.65, CUBE[2]))
    A = NearFieldMIMO(axes, *x_array(), np.linspace(4e9, 16e9, frequencies))
    clean = A(target)
    sigma = float(clean.abs().square().mean().sqrt()) / 10 ** (ratio / 20)
    data = clean + sigma * torch.randn(clean.shape, dtype=clean.dtype, generator=generator)
    provenance = {
        "command": command,
        "phantom": f"radar target, seed {seed}",
        "measured": "point scatterers on the grid of the image",
        "noise": f"Gaussian, {ratio:g} dB below the mean power",
    }
    return Scan(A, data, sigma, target, units=Units(length="m"), provenance=provenance)
