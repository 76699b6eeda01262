"""What the tomographic operators of the plane share: the grid, the detector, the rays and the projector."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.operators import joseph
from invprob.operators.fbp import ViewMap, filtered_backprojection

MAX_RAYS = 2**30


class PlanarCT(LinearOperator):
    """Line integrals of an image (H, W) along the rays of a line detector: y of shape `(angles, detectors)`.

    The image is centred on the rotation axis, row 0 at the top, x to the right, y up, angles counter-clockwise in
    radians. The axis projects to detector column `(detectors - 1) / 2 + axis_offset`. A pixel is interpolated
    linearly between its neighbours (Joseph 1982).
    """

    nonnegative = True
    traceable = False

    def __init__(
        self,
        image_shape: Sequence[int],
        angles: ArrayLike | Tensor,
        detectors: int,
        *,
        pixel_size: float,
        detector_size: float,
        axis_offset: float,
        dtype: torch.dtype,
    ) -> None:
        name = type(self).__name__
        self_angles = np.array(angles, dtype=np.float64)
        if self_angles.ndim != 1 or not self_angles.size or not np.isfinite(self_angles).all():
            raise ValueError(
                f"{name}: angles must be a list of finite numbers in radians, got shape {self_angles.shape} "
                f"with {np.count_nonzero(~np.isfinite(self_angles))} not finite"
            )
        if len(tuple(image_shape)) != 2:
            raise ValueError(f"{name}: image_shape must be (rows, columns), got {tuple(image_shape)}")
        if not 1 <= detectors or detectors * self_angles.size > MAX_RAYS:
            raise ValueError(
                f"{name}: {detectors} detectors x {self_angles.size} angles; at least 1 and at most {MAX_RAYS} rays"
            )
        for what, value in (("pixel_size", pixel_size), ("detector_size", detector_size)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}: {what} must be a positive length, got {value}")
        if not math.isfinite(axis_offset):
            raise ValueError(f"{name}: axis_offset must be finite (in bins), got {axis_offset}")
        super().__init__(image_shape, (self_angles.size, detectors), dtype=dtype)
        self.angles: NDArray[np.float64] = self_angles
        self.detectors = int(detectors)
        self.pixel_size = float(pixel_size)
        self.detector_size = float(detector_size)
        self.axis_offset = float(axis_offset)
        self._tables: dict[torch.dtype, joseph.RayTable] = {}

    @abstractmethod
    def rays(self) -> tuple[Tensor, Tensor]:
        """Return a point on each ray and its direction, both (angles, detectors, 2) as (x, y), float64."""

    @abstractmethod
    def view_map(self) -> ViewMap:
        """Return what filtered back-projection needs to know of the geometry."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, from which `type(A)(**config)` is the same operator."""
        return {
            "image_shape": self.domain_shape,
            "angles": self.angles,
            "detectors": self.detectors,
            "pixel_size": self.pixel_size,
            "detector_size": self.detector_size,
            "axis_offset": self.axis_offset,
        }

    @property
    def bins(self) -> NDArray[np.float64]:
        """Signed distance of each bin's centre from the axis' projection, in length units on the detector."""
        return (np.arange(self.detectors) - (self.detectors - 1) / 2 - self.axis_offset) * self.detector_size

    def direct(self, y: Tensor, *, window: str = "ramp") -> Tensor:
        """Return filtered back-projection (Kak & Slaney 1988, ch. 3) of y; `window` tapers the ramp filter.

        Half turn, full turn, short scan and arcs: every line that was measured twice counts half. Windows: ramp,
        shepp-logan, cosine, hamming, hann. Not differentiable: ValueError where a gradient would be lost.
        """
        if torch.is_grad_enabled() and y.requires_grad:
            raise ValueError(f"{type(self).__name__}.direct has no derivative: call it under torch.no_grad()")
        return self._on_arrays(
            self._admit_data(y),
            self.domain_shape,
            lambda items: filtered_backprojection(items, self.view_map(), window, torch.get_num_threads()),
        )

    def _forward(self, x: Tensor) -> Tensor:
        table, threads = self._table(), torch.get_num_threads()
        return self._on_arrays(x, self.range_shape, lambda items: joseph.project(items, table, threads))

    def _adjoint(self, y: Tensor) -> Tensor:
        table, threads = self._table(), torch.get_num_threads()
        return self._on_arrays(
            y, self.domain_shape, lambda items: joseph.backproject(items.reshape(len(items), -1), table, threads)
        )

    def _on_arrays(
        self, t: Tensor, shape_out: tuple[int, ...], function: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Tensor:
        """Run an array function on (items, *item); a complex item is two real ones."""
        if t.is_complex():
            both = self._on_arrays(torch.view_as_real(t).movedim(-1, 0), shape_out, function)
            return torch.complex(both[0], both[1])
        batch = t.shape[:-2]
        items = function(t.detach().cpu().reshape(-1, *t.shape[-2:]).numpy())
        return torch.from_numpy(items).to(t.device).reshape(*batch, *shape_out)

    def _table(self) -> joseph.RayTable:
        """Return the rays in our precision, worked out in float64 on first use."""
        if self.dtype not in self._tables:
            points, directions = self.rays()
            self._tables[self.dtype] = joseph.RayTable.build(
                points.numpy(),
                directions.numpy(),
                (self.domain_shape[0], self.domain_shape[1]),
                self.pixel_size,
                np.float32 if self.dtype == torch.float32 else np.float64,
            )
        return self._tables[self.dtype]

    def extra_repr(self) -> str:
        """Name the geometry and the back end."""
        (height, width), span = self.domain_shape, np.rad2deg(np.ptp(self.angles))
        return (
            f"{height} x {width} pixels of {self.pixel_size:g}, {self.angles.size} angles over {span:g} degrees, "
            f"{self.detectors} bins of {self.detector_size:g}, axis offset {self.axis_offset:g} bins; "
            f"Joseph, numba on {torch.get_num_threads()} threads, {str(self.dtype).removeprefix('torch.')}"
        )
