"""Waves on their way between antennas and voxels, frequency after frequency: a_k = w e^(-i kappa_k R).

Of evenly spaced frequencies each wave is the one before times a constant phase (a recurrence), so that two tables per
leg stand for all frequencies. Phases are computed in float64, whatever the precision of the waves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Leg", "Planes", "Waves", "even", "tables"]

ANCHOR = 64  # frequencies after which phases are computed anew, so that rounding does not add up
EVEN = 1e-9  # relative difference of the steps in frequency that counts as none


@dataclass(frozen=True, eq=False)
class Leg:
    """Ways (antennas, voxels) in metres and the real or complex amplitudes there, all in float64.

    `rising` multiplies the wave by 1 - i kappa R, as Kirchhoff's integral does.
    """

    way: Tensor
    amplitude: Tensor
    rising: bool = False


@dataclass(frozen=True, eq=False)
class Planes:
    """Waves at every ANCHOR-th frequency, (anchors, rows, 2, voxels), and what takes them to the next one,
    (rows, 2, voxels): real and imaginary parts lie in planes of their own.
    """

    starts: NDArray[Any]
    step: NDArray[Any]


class Waves:
    """The waves of a leg, one table after the other along the wavenumbers, in a complex dtype.

    Arguments:
        leg: ways and amplitudes.
        wavenumbers: kappa in 1/m, ascending.
        dtype: torch.complex64 or torch.complex128.
        device: where the tables are.
    """

    def __init__(self, leg: Leg, wavenumbers: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> None:
        steps, way, amplitude = np.diff(wavenumbers), leg.way.to(device), leg.amplitude.to(device, dtype)
        anchors = range(0, len(wavenumbers), ANCHOR)
        self._starts = {k: amplitude * self._phase(way, wavenumbers[k], dtype) for k in anchors}
        self._step = self._phase(way, steps.mean(), dtype) if even(wavenumbers) else None
        self._way = way if leg.rising or self._step is None else None
        self._rising, self._wavenumbers, self._dtype = leg.rising, wavenumbers, dtype

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the wave at every wavenumber, in a buffer that the next one overwrites."""
        wave = torch.empty(0)
        for k, kappa in enumerate(self._wavenumbers):
            if k in self._starts:
                wave = self._starts[k].clone()
            elif self._step is not None:
                wave.mul_(self._step)
            elif self._way is not None:
                wave.mul_(self._phase(self._way, kappa - self._wavenumbers[k - 1], self._dtype))
            if self._rising and self._way is not None:
                yield wave * torch.complex(torch.ones_like(self._way), -float(kappa) * self._way).to(self._dtype)
            else:
                yield wave

    def planes(self, rows: int, voxels: int) -> Planes:
        """Return waves of even steps as planes of their parts, with zeros up to multiples of `rows` and `voxels`."""
        count, size = (-(-n // m) * m for n, m in zip(self._starts[0].shape, (rows, voxels), strict=True))
        starts = np.stack([_planar(start, count, size) for start in self._starts.values()])
        return Planes(starts, np.zeros_like(starts[0]) if self._step is None else _planar(self._step, count, size))

    @staticmethod
    def _phase(way: Tensor, kappa: float, dtype: torch.dtype) -> Tensor:
        angle = -float(kappa) * way
        return torch.polar(torch.ones_like(angle), angle).to(dtype)


def _planar(wave: Tensor, rows: int, voxels: int) -> NDArray[Any]:
    found = np.zeros((rows, 2, voxels), wave.real.numpy().dtype)
    found[: len(wave), 0, : wave.shape[1]], found[: len(wave), 1, : wave.shape[1]] = wave.real, wave.imag
    return found


def tables(wavenumbers: NDArray[np.float64]) -> int:
    """Return how many tables, one number for each wave at each voxel, `Waves` keeps for these."""
    return -(-len(wavenumbers) // ANCHOR) + 1  # of uneven ones the ways in the place of the step


def even(wavenumbers: NDArray[np.float64]) -> bool:
    """Return whether there are several, one step apart."""
    steps = np.diff(wavenumbers)
    return steps.size > 0 and float(np.ptp(steps)) <= EVEN * float(steps.max())
