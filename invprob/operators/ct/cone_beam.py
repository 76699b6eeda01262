"""Cone-beam tomography: a circular orbit and a flat detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob.grid import Grid
from invprob.linalg import Diagonal
from invprob.linop import Coarser, DataKind, LinearOperator
from invprob.linop.bases import Basis
from invprob.linop.kernel import on_both_parts
from invprob.linop.readings import interpolated
from invprob.operators.ct import cone_kernels
from invprob.operators.ct.blur_symbol import spectrum_of_blur
from invprob.operators.ct.fan_beam import FanBeam
from invprob.operators.ct.fdk import ConeMap, feldkamp
from invprob.operators.ct.geometry_checks import (
    check_distances,
    check_lengths,
    check_meeting,
    check_offsets,
    checked_angles,
)

MAX_RAYS = 2**32  # more is a slip, told before memory is touched: 16 GB of readings


class ConeBeam(LinearOperator):
    """y(theta, v, u) = integral of x over the line from the source to the detector's bin in row v and column u.

    x of shape `(slices, rows, columns)`, y of shape `(angles, detector rows, detector columns)`, in units of x times a
    length. In the plane all is as in `FanBeam`: row 0 at the top, x to the right, y up, the source at
    `source_distance * (sin theta, -cos theta)`, detector columns along (cos theta, sin theta). The z axis is the
    rotation axis: z grows with the slice and with the detector row, and z = 0, the plane of the source, lies in the
    middle of the slices. A ray reads the voxels by linear interpolation across the axis of the plane that it is
    steeper to (Joseph 1982).

    Arguments:
        volume_shape: (slices, rows, columns) of the volume.
        angles: one per view, `(angles,)`, in radians, counter-clockwise in the plane; in any order, over any arc.
        detector_shape: (rows, columns) of the detector.
        source_distance: from the source to the axis, a length.
        detector_distance: from the axis to the detector, a length.
        voxel_size: side of the cubic voxels. All lengths are in one unit, which is yours to choose; with the default
            of 1 it is a voxel.
        detector_size: pitch of the bins, or (row pitch, column pitch), a length on the detector, not at the axis.
        axis_offset: in bins: the axis projects to the column `(columns - 1) / 2 + axis_offset`.
        row_offset: in bins: the plane of the source meets the detector in the row `(rows - 1) / 2 + row_offset`.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for a geometry that cannot be: a source inside the cylinder around the volume, or rays steeper than 45
    degrees to the plane.
    """

    data_kind: DataKind = "views"
    view_axes = 1
    nonnegative = True
    traceable = False

    def __init__(
        self,
        volume_shape: Sequence[int],
        angles: ArrayLike | Tensor,
        detector_shape: Sequence[int],
        *,
        source_distance: float,
        detector_distance: float,
        voxel_size: float = 1.0,
        detector_size: float | Sequence[float] = 1.0,
        axis_offset: float = 0.0,
        row_offset: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        views = checked_angles("ConeBeam", angles)
        if len(tuple(volume_shape)) != 3:
            raise ValueError(f"ConeBeam: volume_shape must be (slices, rows, columns), got {tuple(volume_shape)}")
        bins = tuple(detector_shape)
        whole = len(bins) == 2 and all(n >= 1 and int(n) == n for n in bins)
        if not whole or math.prod(map(int, bins)) * views.size > MAX_RAYS:
            raise ValueError(
                f"ConeBeam: {bins} detector bins x {views.size} angles; detector_shape must be (rows, columns), whole "
                f"and at least 1, and there may be at most {MAX_RAYS} rays"
            )
        pitch = (detector_size, detector_size) if isinstance(detector_size, (int, float)) else tuple(detector_size)
        if len(pitch) != 2:
            raise ValueError(f"ConeBeam: detector_size must be one pitch or (row pitch, column pitch), got {pitch}")
        lengths = {"voxel_size": voxel_size, "detector_size": pitch[0], "detector_size (columns)": pitch[1]}
        check_lengths("ConeBeam", lengths)
        check_offsets("ConeBeam", {"axis_offset": axis_offset, "row_offset": row_offset})
        super().__init__(volume_shape, (views.size, int(bins[0]), int(bins[1])), dtype=dtype)
        self.angles: NDArray[np.float64] = views
        self.detector_shape = (int(bins[0]), int(bins[1]))
        self.voxel_size = float(voxel_size)
        self.detector_size = (float(pitch[0]), float(pitch[1]))
        self.axis_offset, self.row_offset = float(axis_offset), float(row_offset)
        self.source_distance, self.detector_distance = float(source_distance), float(detector_distance)
        self._check_distances()

    def _check_distances(self) -> None:
        radius = self._radius(self.domain_shape, self.voxel_size)
        if not radius < self.source_distance < math.inf:
            raise ValueError(
                f"ConeBeam: the source at source_distance={self.source_distance} lies inside the cylinder around the "
                f"volume, which reaches {radius:g} from the axis"
            )
        if not 0 <= self.detector_distance < math.inf:
            raise ValueError(
                f"ConeBeam: detector_distance (axis to detector) must be >= 0, got {self.detector_distance}"
            )
        check_distances("ConeBeam", self.source_distance, self.detector_distance)
        self.middle_plane()
        reach = 0.5 * self.voxel_size * self.domain_shape[0] / (1 - radius / self.source_distance)
        check_meeting("ConeBeam", reach, self.heights, self.voxel_size, "the distances, detector_size and row_offset")
        steepest = float(np.abs(self.heights).max()) / self.source_distance
        if steepest > 1:
            raise ValueError(
                f"ConeBeam: the outermost detector row is seen at {math.degrees(math.atan(steepest)):.3g} degrees to "
                "the plane of the source; at most 45 are computed: use fewer rows, or a longer distance"
            )

    @staticmethod
    def _radius(shape: Sequence[int], voxel_size: float) -> float:
        """Return how far a volume's corners reach from the axis."""
        return 0.5 * voxel_size * math.hypot(*shape[1:])

    @property
    def magnification(self) -> float:
        """How much larger the axis' plane appears on the detector."""
        return (self.source_distance + self.detector_distance) / self.source_distance

    @property
    def heights(self) -> NDArray[np.float64]:
        """Where the ray to each detector row's middle crosses the plane through the axis, in length units."""
        rows, pitch = self.detector_shape[0], self.detector_size[0]
        row = np.arange(rows, dtype=np.float64) - (rows - 1) / 2 - self.row_offset
        return row * pitch / self.magnification

    def middle_plane(self) -> FanBeam:
        """Return the fan beam of the plane of the source: the same geometry without its third dimension."""
        return FanBeam(
            self.domain_shape[1:],
            self.angles,
            self.detector_shape[1],
            source_distance=self.source_distance,
            detector_distance=self.detector_distance,
            pixel_size=self.voxel_size,
            detector_size=self.detector_size[1],
            axis_offset=self.axis_offset,
            dtype=self.dtype,
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {
            "volume_shape": self.domain_shape,
            "angles": self.angles,
            "detector_shape": self.detector_shape,
            "source_distance": self.source_distance,
            "detector_distance": self.detector_distance,
            "voxel_size": self.voxel_size,
            "detector_size": self.detector_size,
            "axis_offset": self.axis_offset,
            "row_offset": self.row_offset,
        }

    @property
    def grid(self) -> Grid:
        """The voxels, cubes of `voxel_size`."""
        return Grid((self.voxel_size,) * 3)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with readings of weight 0 interpolated along the detector's rows."""
        return interpolated(y, weights)

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what is doubtful about the plane of the source, and about the middle row of the data."""
        return self.middle_plane().doubts(None if y is None else y[:, self.detector_shape[0] // 2])

    def direct(self, y: Tensor, weights: Tensor | None = None, *, window: str = "ramp") -> Tensor:
        """Return the reconstruction of Feldkamp, Davis & Kress (J. Opt. Soc. Am. A 1, 1984); `window` tapers the ramp.

        Full turn, short scan and arcs: a line of the middle plane that was measured twice counts half. Windows: ramp,
        shepp-logan, cosine, hamming, hann. Readings of weight 0 are interpolated first. Not differentiable: ValueError
        where a gradient would be lost.
        """
        if torch.is_grad_enabled() and y.requires_grad:
            raise ValueError("ConeBeam.direct has no derivative: call it under torch.no_grad()")
        y, threads = self.fill(self.as_data(y), weights), torch.get_num_threads()
        row_size = self.detector_size[0] / self.magnification
        cone = ConeMap(self.middle_plane().view_map(), self.heights, row_size, self.domain_shape[0])

        def reconstruct(t: Tensor) -> Tensor:
            return self._on_items(
                t, self.domain_shape, lambda item: feldkamp(item, cone, window, threads), positive=False
            )

        return on_both_parts(reconstruct, y) if y.is_complex() else reconstruct(y)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the symbol of A^H A as if it blurred every voxel as it does the central one (`blur_symbol`)."""
        return spectrum_of_blur(self, basis)

    def coarser(self) -> Coarser | None:
        """Return the rays of 2 x 2 bins as one, on voxels twice the size.

        None for a detector of less than two bins along an axis, and where the wider grid of an odd size would reach
        the source.
        """
        rows, columns = (n // 2 for n in self.detector_shape)
        shape, voxel = [-(-n // 2) for n in self.domain_shape], 2 * self.voxel_size
        if not rows or not columns or self._radius(shape, voxel) >= self.source_distance:
            return None

        def offset(bins: int, axis_offset: float) -> float:
            axis = (bins - 1) / 2 + axis_offset
            return (axis - 0.5) / 2 - (bins // 2 - 1) / 2

        config = self.config() | {
            "volume_shape": shape,
            "detector_shape": (rows, columns),
            "voxel_size": voxel,
            "detector_size": [2 * pitch for pitch in self.detector_size],
            "axis_offset": offset(self.detector_shape[1], self.axis_offset),
            "row_offset": offset(self.detector_shape[0], self.row_offset),
        }
        coarse = ConeBeam(**config, dtype=self.dtype).to(self.device)

        def restrict(y: Tensor) -> Tensor:
            pairs = y[..., : 2 * rows, : 2 * columns].reshape(*y.shape[:-2], rows, 2, columns, 2)
            return pairs.mean((-3, -1))

        return Coarser(coarse, restrict, 4)

    def thinned(self) -> Coarser | None:
        """Return the scanner that takes every other view, in the order of the angles."""
        if self.angles.size < 4:
            return None
        kept = np.sort(np.argsort(self.angles, kind="stable")[::2])
        fewer = ConeBeam(**self.config() | {"angles": self.angles[kept]}, dtype=self.dtype).to(self.device)
        index = torch.from_numpy(kept).to(self.device)
        return Coarser(fewer, lambda y: y.index_select(-3, index.to(y.device)), 1)

    def finer(self, *, image: int = 1, bins: int = 1) -> ConeBeam:
        """Return the same scanner with every voxel cut into `image`^3 and every bin into `bins`^2."""
        rows, columns = self.detector_shape
        config = self.config() | {
            "volume_shape": tuple(image * n for n in self.domain_shape),
            "detector_shape": (bins * rows, bins * columns),
            "voxel_size": self.voxel_size / image,
            "detector_size": [pitch / bins for pitch in self.detector_size],
            "axis_offset": bins * self.axis_offset,
            "row_offset": bins * self.row_offset,
        }
        return ConeBeam(**config, dtype=self.dtype).to(self.device)

    def _forward(self, x: Tensor) -> Tensor:
        paths, threads = self._paths(), torch.get_num_threads()
        return self._on_items(x, self.range_shape, lambda item: cone_kernels.project(item, paths, threads))

    def _adjoint(self, y: Tensor) -> Tensor:
        paths, threads, shape = self._paths(), torch.get_num_threads(), self.domain_shape
        volume = (shape[0], shape[1], shape[2])
        return self._on_items(y, shape, lambda item: cone_kernels.backproject(item, paths, volume, threads))

    def _on_items(
        self,
        t: Tensor,
        shape_out: tuple[int, ...],
        function: Callable[[NDArray[Any]], NDArray[Any]],
        *,
        positive: bool = True,
    ) -> Tensor:
        """Run an array function on one item after the other; `positive` says that its matrix has no negative entry.

        The kernels' sums cancel to rounding where a ray meets nothing.
        """
        batch = t.shape[:-3]
        items = t.detach().cpu().reshape(batch.numel(), *t.shape[-3:]).contiguous().numpy()
        out = torch.empty(batch.numel(), *shape_out, dtype=t.dtype)
        for k, item in enumerate(items):
            out[k] = torch.from_numpy(function(item))
            if positive and item.min() >= 0:
                out[k].clamp_(min=0)  # a mean count below zero, by however little, has no likelihood
        return out.to(t.device).reshape(*batch, *shape_out)

    def _paths(self) -> cone_kernels.ColumnPaths:
        """Return the columns' paths, in float64 whatever our precision."""
        return self._cached("paths", self._make_paths)

    def _make_paths(self) -> cone_kernels.ColumnPaths:
        points, directions = self.middle_plane().rays()
        height, width = self.domain_shape[1:]
        heights = self.heights / self.voxel_size
        return cone_kernels.ColumnPaths.build(
            points.numpy(), directions.numpy(), heights, (height, width), self.voxel_size
        )

    def extra_repr(self) -> str:
        """Name the geometry and the back end."""
        voxels, bins = " x ".join(map(str, self.domain_shape)), " x ".join(map(str, self.detector_shape))
        pitch = " x ".join(f"{size:g}" for size in self.detector_size)
        return (
            f"source at {self.source_distance:g}, detector at {self.detector_distance:g}, {voxels} voxels of "
            f"{self.voxel_size:g}, {self.angles.size} angles over {np.rad2deg(np.ptp(self.angles)):g} degrees, {bins} "
            f"bins of {pitch}, axis offset {self.axis_offset:g} and row offset {self.row_offset:g} bins; "
            f"Joseph, numba on {torch.get_num_threads()} threads, {str(self.dtype).removeprefix('torch.')}"
        )
