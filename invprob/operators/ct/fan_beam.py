"""Fan-beam tomography in the plane with a flat detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob.operators.ct.fbp import ViewMap
from invprob.operators.ct.geometry_checks import check_distances
from invprob.operators.ct.planar import PlanarCT


class FanBeam(PlanarCT):
    """y(theta, u) = integral of x over the line from the source to bin u of a flat detector.

    x of shape `(rows, columns)`, y of shape `(angles, detectors)`: line integrals through the middle of each bin, in
    units of x times a length. The image is centred on the rotation axis, row 0 at the top, x to the right, y up; the
    source stands at `source_distance * (sin theta, -cos theta)`, the detector opposite, along (cos theta, sin theta). A
    ray reads the pixels by linear interpolation between neighbours (Joseph 1982).

    Arguments:
        image_shape: (rows, columns) of the image.
        angles: one per view, `(angles,)`, in radians, counter-clockwise; in any order, over any arc.
        detectors: how many bins the detector has.
        source_distance: from the source to the axis, a length.
        detector_distance: from the axis to the detector, a length; 0 puts the detector on the axis.
        pixel_size: side of the square pixels. All lengths are in one unit, which is yours to choose; with the default
            of 1 it is a pixel.
        detector_size: pitch of the bins, a length on the detector, not at the axis.
        axis_offset: in bins: the rotation axis projects to the column `(detectors - 1) / 2 + axis_offset`, by default
            the middle of the detector.
        backend: how it computes, never what. "rays" walks every ray; "copies" walks one of each set of mirrored rays
            through as many copies of the image; "matrix" keeps a sparse matrix; "auto" takes what is fastest: copies
            where they pay, and the matrix on an accelerator.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for a geometry that cannot be, a source inside the image included.
    """

    reversible = False

    def __init__(
        self,
        image_shape: Sequence[int],
        angles: ArrayLike | Tensor,
        detectors: int,
        *,
        source_distance: float,
        detector_distance: float,
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
        radius = 0.5 * pixel_size * math.hypot(*self.domain_shape)
        if not radius < source_distance < math.inf:
            raise ValueError(
                f"FanBeam: the source at source_distance={source_distance} lies inside the image, whose corners "
                f"reach {radius:g} from the axis"
            )
        if not 0 <= detector_distance < math.inf:
            raise ValueError(f"FanBeam: detector_distance (axis to detector) must be >= 0, got {detector_distance}")
        self.source_distance = float(source_distance)
        self.detector_distance = float(detector_distance)
        check_distances("FanBeam", self.source_distance, self.detector_distance)
        self._check_meeting("the distances, detector_size and axis_offset")

    @property
    def magnification(self) -> float:
        """How much larger the axis' plane appears on the detector."""
        return (self.source_distance + self.detector_distance) / self.source_distance

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        distances = {"source_distance": self.source_distance, "detector_distance": self.detector_distance}
        return super().config() | distances

    def lines(self, rays: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return points on the rays of given numbers, view by view, and their directions, both (n, 2) as (x, y)."""
        view, place = np.divmod(rays, self.detectors)
        cos, sin, u = np.cos(self.angles)[view], np.sin(self.angles)[view], (self.bins / self.magnification)[place]
        # where the ray crosses the detector's parallel through the axis: near the image, so exact in its digits
        points = np.stack([u * cos, u * sin], axis=-1)
        return points, points - self.source_distance * np.stack([sin, -cos], axis=-1)

    def distance_from_axis(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far from the axis the rays through positions on the detector pass, signed like the positions."""
        found: NDArray[np.float64] = self.source_distance * np.sin(
            np.arctan(positions / self.magnification / self.source_distance)
        )
        return found

    def view_map(self) -> ViewMap:
        """Return what filtered back-projection needs to know of the geometry."""
        bins = self.bins / self.magnification
        return ViewMap(
            angles=self.angles,
            fan_angles=np.arctan2(bins, self.source_distance),
            bins=bins,
            bin_size=self.detector_size / self.magnification,
            source_distance=self.source_distance,
            image_shape=(self.domain_shape[0], self.domain_shape[1]),
            pixel_size=self.pixel_size,
        )

    def extra_repr(self) -> str:
        """Name the geometry and the back end."""
        return f"source at {self.source_distance:g}, detector at {self.detector_distance:g}, {super().extra_repr()}"
