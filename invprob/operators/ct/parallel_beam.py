"""Parallel-beam tomography in the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.operators.ct.consistency import sinogram_doubts
from invprob.operators.ct.fbp import ViewMap
from invprob.operators.ct.planar import PlanarCT


class ParallelBeam(PlanarCT):
    """y(theta, s) = integral of x over the line x cos(theta) + y sin(theta) = s (Radon 1917).

    `pixel_size` and `detector_size` in one length unit; see `PlanarCT` for the conventions. ValueError for a
    geometry that cannot be.
    """

    reversible = True

    def __init__(
        self,
        image_shape: Sequence[int],
        angles: ArrayLike | Tensor,
        detectors: int,
        *,
        pixel_size: float = 1.0,
        detector_size: float = 1.0,
        axis_offset: float = 0.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            image_shape,
            angles,
            detectors,
            pixel_size=pixel_size,
            detector_size=detector_size,
            axis_offset=axis_offset,
            backend=backend,
            dtype=dtype,
        )

    def rays(self) -> tuple[Tensor, Tensor]:
        """Return a point on each ray and its direction, both (angles, detectors, 2) as (x, y), float64."""
        cos, sin = np.cos(self.angles)[:, None], np.sin(self.angles)[:, None]
        points = np.stack([self.bins * cos, self.bins * sin], axis=-1)
        directions = np.stack(np.broadcast_arrays(-sin, cos, self.bins)[:2], axis=-1)
        return torch.from_numpy(points), torch.from_numpy(directions.copy())

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what the views leave out or repeat, and which conditions of line integrals the data break."""
        broken = [] if y is None else sinogram_doubts(y.real.numpy(force=True), self.angles)
        return [*super().doubts(y), *broken]

    def view_map(self) -> ViewMap:
        """Return what filtered back-projection needs to know of the geometry."""
        return ViewMap(
            angles=self.angles,
            fan_angles=np.zeros(self.detectors),
            bins=self.bins,
            bin_size=self.detector_size,
            source_distance=None,
            image_shape=(self.domain_shape[0], self.domain_shape[1]),
            pixel_size=self.pixel_size,
        )
