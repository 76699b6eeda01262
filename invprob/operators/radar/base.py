"""What radars share: complex samples at frequencies, focusing by their adjoint, what is doubtful of their data."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob import linalg
from invprob.grid import Grid
from invprob.linop import DataKind, LinearOperator
from invprob.operators.radar.geometry import LIGHT

__all__ = ["Radar"]

COARSE = 30  # wavelengths between voxels, beyond which millimetres were given as metres
SHARPER = 1.5  # energy that conjugated data bring into focus over that of the data themselves, beyond which it is told


class Radar(LinearOperator):
    """Echoes of a complex reflectivity x at the frequencies that are the data's first axis, in Born's approximation.

    The phase of an echo falls with frequency and way, e^(-i kappa R), the convention of waves e^(+i omega t); data of
    the other convention are conjugated. Lengths are in metres, frequencies in hertz.
    """

    data_kind: DataKind = "samples"
    view_axes = 1  # what no model explains, as of a pulse, is common to a frequency
    traceable = False

    frequencies: NDArray[np.float64]
    refractive_index: float
    spacing: tuple[float, ...]
    axes: tuple[NDArray[np.float64], ...]  # the places of the voxels along x, y and z

    @property
    def grid(self) -> Grid:
        """The distances between voxels, in metres."""
        return Grid(self.spacing, "m")

    @property
    def range_ambiguity(self) -> float:
        """Return c / (2 n df), after which echoes repeat in range; infinite of one frequency."""
        if self.frequencies.size == 1:
            return float("inf")
        return float(LIGHT / (2 * self.refractive_index * np.diff(self.frequencies).min()))

    @abstractmethod
    def back_project(self, y: Tensor) -> Tensor:
        """Return sum e^(+i kappa way) y over all readings: the adjoint without amplitudes."""

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the back-projection of y, times the number that explains the readings that count best."""
        y = self.as_data(y)
        seen = y if weights is None else weights * self.fill(y, weights)
        return self.explaining(self.back_project(seen), y, weights)

    def explaining(self, image: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the image times the complex number, one per item, with which A x comes nearest to y."""
        y = self.as_data(y)
        echo, k = self(image), len(self.range_shape)
        seen = y if weights is None else weights * self.fill(y, weights)
        own = linalg.inner(echo, echo if weights is None else weights * echo, k)
        real, imag = linalg.inner(echo, seen, k), linalg.inner(1j * echo, seen, k)
        factor = torch.complex(linalg.ratio(real, own), linalg.ratio(imag, own))
        return linalg.per_item(factor, image, len(self.domain_shape)) * image

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what is odd: lengths, ambiguous ranges, one frequency, data that look conjugated."""
        found = []
        waves = min(self.spacing) * self.refractive_index * self.frequencies[-1] / LIGHT
        if waves > COARSE:
            found.append(f"voxels are {waves:.3g} wavelengths apart: check that lengths are given in metres")
        if self.frequencies.size == 1:
            found.append("there is one frequency: depths are told apart by the aperture alone")
        depth = self._range_extent()
        if depth > self.range_ambiguity:
            found.append(
                f"frequencies are so far apart that echoes repeat every {100 * self.range_ambiguity:.3g} cm in range, "
                f"and the image is {100 * depth:.3g} cm deep: only the aperture and a prior tell replicas apart"
            )
        if y is not None and bool(y.abs().any()) and self._conjugated(self.as_data(y)):
            found.append(
                "the data come into focus when they are conjugated: if they were measured with waves e^(-i omega t), "
                "give their conjugate"
            )
        return found

    def _conjugated(self, y: Tensor) -> bool:
        n = len(self.domain_shape)
        as_given, conjugated = (linalg.norm(self.adjoint(data), n) for data in (y, y.conj().resolve_conj()))
        return bool(conjugated**2 > SHARPER * as_given**2)

    @abstractmethod
    def _range_extent(self) -> float:
        """Return by how much the ways to the voxels differ, one way, in metres."""
