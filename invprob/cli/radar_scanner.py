"""A simulated radar: a random target before the X-shaped array, with noise in decibels."""

from __future__ import annotations

from invprob.benchmark.noise import decibels
from invprob.phantoms import as_generator, radar_target
from invprob.phantoms.instruments import instrument
from invprob.phantoms.targets import CUBE
from invprob.scan import Scan

__all__ = ["scan_target"]


def scan_target(frequencies: int, ratio: float, seed: int, *, command: str) -> Scan:
    """Return a scan of one target at `frequencies` from 4 to 16 GHz, its noise `ratio` dB below the mean power.

    The scatterers stand on the grid of the image, as in Oral & Oktem 2024: a target is defined by its voxels.
    """
    generator = as_generator(seed)
    target = radar_target(generator)
    A = instrument("x-array", frequencies=frequencies)(CUBE).operator
    data, sigma, _ = decibels(A(target), generator, ratio=ratio)
    provenance = {
        "command": command,
        "phantom": f"radar target, seed {seed}",
        "measured": "point scatterers on the grid of the image",
        "noise": f"Gaussian, {ratio:g} dB below the mean power",
    }
    return Scan(A, data, float(sigma), target, provenance=provenance)
