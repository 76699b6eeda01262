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

    x of shape `(rows, columns)`, y of shape `(angles, detectors)`: line integrals through the middle of each bin, in
    units of x times a length. The image is centred on the rotation axis, row 0 at the top, x to the right, y up. A
    ray reads the pixels by linear interpolation between neighbours (Joseph 1982).

    Arguments:
        image_shape: (rows, columns) of the image.
        angles: one per view, `(angles,)`, in radians, counter-clockwise; in any order, over any arc.
        detectors: how many bins the detector has.
        pixel_size: side of the square pixels. All lengths are in one unit, which is yours to choose; with the default
            of 1 it is a pixel.
        detector_size: pitch of the bins, a length.
        axis_offset: in bins: the rotation axis projects to the column `(detectors - 1) / 2 + axis_offset`, by default
            the middle of the detector.
        backend: how it computes, never what. "rays" walks every ray; "copies" walks one of each set of mirrored rays
            through as many copies of the image; "matrix" keeps a sparse matrix; "auto" takes what is fastest: copies
            where they pay, and the matrix on an accelerator.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for a geometry that cannot be.
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
        self._check_meeting("detector_size and axis_offset")

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
