"""From the fringes that edges throw to attenuation: one distance, one material (Paganin et al. 2002, J. Microsc. 206).

A wave of wavelength lambda behind an object of one material, n = 1 - delta + i beta, seen at a distance z near enough,
has the transmission T = exp(-p) - (z delta / mu) laplacian(exp(-p)), where p is the line integral of its attenuation
mu = 4 pi beta / lambda. Hence p = -ln(F^-1[F[T] / (1 + pi z lambda (delta / beta) |f|^2)]), f in cycles per length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from invprob.errors import InputError

__all__ = ["PhaseRetrieval", "retrieval_of"]

_KEV_MM = 1.2398419843e-6  # Planck's constant times the speed of light
_REACH = 12.0  # lengths after which the filter's answer to a point, K_0(r / length), is below 1e-5 of its middle
_ECHO = 32  # pixels more: what ends sharply at the highest frequency dies down slowly
_WIDEST = 4096  # pixels: a typing error rather than a fringe


@dataclass(frozen=True)
class PhaseRetrieval:
    """The filter for a material, a distance and an energy; lengths in mm, the energy in keV."""

    ratio: float
    distance: float
    energy: float
    pixel_size: float

    @property
    def length(self) -> float:
        """How far the filter smooths, in pixels: sqrt(z lambda (delta / beta) / 4 pi)."""
        wavelength = _KEV_MM / self.energy
        return math.sqrt(self.distance * wavelength * self.ratio / (4 * math.pi)) / self.pixel_size

    @property
    def margin(self) -> int:
        """How many pixels around a pixel it is made of."""
        return math.ceil(_REACH * self.length) + _ECHO

    @property
    def words(self) -> str:
        """What was done, in a line."""
        told = f"delta/beta {self.ratio:g}, {self.distance:g} mm, {self.energy:g} keV"
        return f"phase retrieval by Paganin et al. 2002 ({told}), smoothing over {self.length:.2g} pixels"

    def retrieved(self, transmission: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the transmission `(views, rows, columns)` that attenuation alone would have left.

        Beyond the detector what lies at its edge goes on.
        """
        out = np.empty_like(transmission)
        around = self.margin
        shape = [fft.next_fast_len(n + 2 * around, real=True) for n in transmission.shape[1:]]
        f, g = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
        response = (1 / (1 + (2 * math.pi * self.length) ** 2 * (f**2 + g**2))).astype(np.float32)
        padding = [(around, m - n - around) for m, n in zip(shape, transmission.shape[1:], strict=True)]
        rows, columns = (slice(around, around + n) for n in transmission.shape[1:])
        for view, picture in enumerate(transmission):
            spectrum = fft.rfft2(np.pad(picture, padding, mode="edge"))
            out[view] = fft.irfft2(spectrum * response, shape)[rows, columns]
        return out


def retrieval_of(
    given: Any, where: str, pixel_size: float | None, distance: float | None = None, energy: float | None = None
) -> PhaseRetrieval:
    """Return the filter of the option: delta/beta, perhaps with a distance and an energy, else those of the file.

    InputError for what is not known, or makes no sense.
    """
    typed = "--phase-retrieval DELTA_OVER_BETA:MM:KEV"
    parts: list[float] = np.atleast_1d(np.asarray(given, dtype=np.float64)).tolist()
    if not 1 <= len(parts) <= 3 or not all(0 < part < math.inf for part in parts):
        raise InputError(f"{typed} takes one to three numbers greater than 0, got {given!r}")
    distance = parts[1] if len(parts) > 1 else distance
    energy = parts[2] if len(parts) > 2 else energy
    if distance is None or energy is None:
        named = "distance" if distance is None else "energy"
        raise InputError(f"{where} names no {named} for the phase: give it with {typed}")
    if pixel_size is None:
        raise InputError(f"{where} names no size of a pixel, without which no phase is retrieved: add --pixel-size MM")
    filtered = PhaseRetrieval(parts[0], float(distance), float(energy), pixel_size)
    if filtered.margin > _WIDEST:
        raise InputError(f"{filtered.words}: more than a detector has; check the units of {typed} and --pixel-size")
    return filtered
