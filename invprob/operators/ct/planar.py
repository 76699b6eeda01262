"""What the tomographic operators of the plane share: the grid, the detector, the rays and the projector."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob import processor
from invprob.grid import Grid
from invprob.linalg import Diagonal
from invprob.linop import Coarser, DataKind, LinearOperator, Place
from invprob.linop.bases import Basis
from invprob.linop.kernel import on_both_parts
from invprob.linop.readings import interpolated
from invprob.operators.ct import joseph
from invprob.operators.ct.blur_symbol import spectrum_of_blur
from invprob.operators.ct.coverage import coverage_doubts, field_of_view, is_truncated
from invprob.operators.ct.cropped import cropping_doubts
from invprob.operators.ct.fbp import ViewMap, filtered_backprojection
from invprob.operators.ct.geometry_checks import check_lengths, check_meeting, check_offsets, checked_angles
from invprob.operators.ct.hardened import hardening_doubts
from invprob.operators.ct.moments import moment_doubts
from invprob.operators.ct.outline import find_outline
from invprob.operators.ct.ray_matrix import RayMatrix
from invprob.operators.ct.ray_table import LANES, RayTable
from invprob.operators.ct.symmetry import Cover, Orbits, find_cover
from invprob.operators.ct.unseen import unseen_edges

MAX_RAYS = 2**28  # more is a slip, told before memory is touched: a table of so many rays takes 8 GB and more
RAY_BYTES = 96  # of a dozen numbers a ray, at most, that are made of its point and its direction
BACKENDS = ("auto", "rays", "copies", "matrix")
SAME_ANGLE = {torch.float32: 5e-7, torch.float64: 1e-13}  # radians: the rounding of angles handed over


class PlanarCT(LinearOperator):
    """What `ParallelBeam` and `FanBeam` share: line integrals of an image (H, W), y of shape `(angles, detectors)`.

    Their docstrings say what the arguments are, with the conventions of the geometry.
    """

    data_kind: DataKind = "views"
    view_axes = 1
    nonnegative = True
    traceable = False
    reversible: bool
    """Whether the ray (angle + pi, -s) is the ray (angle, s)."""

    def __init__(
        self,
        image_shape: Sequence[int],
        angles: ArrayLike | Tensor,
        detectors: int,
        *,
        pixel_size: float,
        detector_size: float,
        axis_offset: float,
        backend: str,
        dtype: torch.dtype,
    ) -> None:
        name = type(self).__name__
        views = checked_angles(name, angles)
        if len(tuple(image_shape)) != 2:
            raise ValueError(f"{name}: image_shape must be (rows, columns), got {tuple(image_shape)}")
        if not 1 <= detectors <= MAX_RAYS // views.size or int(detectors) != detectors:
            raise ValueError(
                f"{name}: {detectors} detectors x {views.size} angles; it takes whole detectors, at least 1 and at "
                f"most {MAX_RAYS} rays"
            )
        check_lengths(name, {"pixel_size": pixel_size, "detector_size": detector_size})
        check_offsets(name, {"axis_offset": axis_offset})
        if backend not in BACKENDS:
            raise ValueError(f"{name}: unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
        super().__init__(image_shape, (views.size, int(detectors)), dtype=dtype)
        self.angles: NDArray[np.float64] = views
        self.detectors = int(detectors)
        self.pixel_size = float(pixel_size)
        self.detector_size = float(detector_size)
        self.axis_offset = float(axis_offset)
        self.backend = backend

    @abstractmethod
    def lines(self, rays: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return points on the rays of given numbers, view by view, and their directions, both (n, 2) as (x, y)."""

    def rays(self) -> tuple[Tensor, Tensor]:
        """Return a point on each ray and its direction, both (angles, detectors, 2) as (x, y), float64."""
        points, directions = self.lines(np.arange(self.angles.size * self.detectors))
        shape = (*self.range_shape, 2)
        return torch.from_numpy(points.reshape(shape)), torch.from_numpy(directions.reshape(shape))

    def rays_by_views(self) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield a few views at a time, points on their rays and directions: what is made of them stays in the cache."""
        at_once = processor.pieces(RAY_BYTES * self.detectors, 0.5)
        for first in range(0, self.angles.size, at_once):
            views = slice(first, min(first + at_once, self.angles.size))
            points, directions = self.lines(np.arange(views.start * self.detectors, views.stop * self.detectors))
            shape = (-1, self.detectors, 2)
            yield views, points.reshape(shape), directions.reshape(shape)

    @abstractmethod
    def view_map(self) -> ViewMap:
        """Return what filtered back-projection needs to know of the geometry."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {
            "image_shape": self.domain_shape,
            "angles": self.angles,
            "detectors": self.detectors,
            "pixel_size": self.pixel_size,
            "detector_size": self.detector_size,
            "axis_offset": self.axis_offset,
        }

    def distance_from_axis(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far from the axis the rays through positions on the detector pass, signed like the positions."""
        return positions

    @property
    def bins(self) -> NDArray[np.float64]:
        """Signed distance of each bin's centre from the axis' projection, in length units on the detector."""
        column = np.arange(self.detectors, dtype=np.float64)
        return (column - (self.detectors - 1) / 2 - self.axis_offset) * self.detector_size

    def _check_meeting(self, what: str) -> None:
        """Raise ValueError unless a ray meets the image."""
        reach = 0.5 * self.pixel_size * math.hypot(*self.domain_shape)
        passing = self.distance_from_axis(self.bins)
        check_meeting(type(self).__name__, reach, passing, self.pixel_size, what)

    @property
    def grid(self) -> Grid:
        """The pixels, squares of `pixel_size`."""
        return Grid((self.pixel_size,) * 2)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with readings of weight 0 interpolated along the detector."""
        return interpolated(y, weights)

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what the views leave out or repeat, and what is unlike line integrals `(angles, detectors)`."""
        if y is None:
            return coverage_doubts(self)
        sinogram = y.real.double().numpy(force=True)
        found = [*coverage_doubts(self, sinogram), *cropping_doubts(self, sinogram)]
        if is_truncated(self, sinogram):
            return found
        return [*found, *moment_doubts(self, sinogram), *hardening_doubts(self, sinogram)]

    def outline(self, y: Tensor, shape: str) -> Place:
        """Return a disc, an ellipse or a convex region from the edges of the shadows (`find_outline`).

        It surely holds the object with twice its uncertainty and half a pixel more.
        """
        found = find_outline(self, y.double().numpy(force=True), shape)
        inside = found.mask(self, 2 * found.uncertainty + 0.5 * self.pixel_size)
        return Place(inside.to(y.device), found.mask(self).to(y.device), found.describe())

    def field_of_view(self) -> float:
        """Return the radius around the axis of what is seen over half a turn, of a full turn by either edge."""
        return field_of_view(self)

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Return the slopes of edges that no ray runs along (`unseen.py`); None where views leave out no direction."""
        return unseen_edges(self, x)

    def direct(self, y: Tensor, weights: Tensor | None = None, *, window: str = "ramp") -> Tensor:
        """Return filtered back-projection (Kak & Slaney 1988, ch. 3) of y; `window` tapers the ramp filter.

        Half turn, full turn, short scan and arcs: every line that was measured twice counts half. Windows: ramp,
        shepp-logan, cosine, hamming, hann. Readings of weight 0 are interpolated first. Not differentiable: ValueError
        where a gradient would be lost.
        """
        if torch.is_grad_enabled() and y.requires_grad:
            raise ValueError(f"{type(self).__name__}.direct has no derivative: call it under torch.no_grad()")
        y = self.fill(self.as_data(y), weights)

        def reconstruct(t: Tensor) -> Tensor:
            items = t.detach().reshape(t.shape[:-2].numel(), *t.shape[-2:])
            return self._filtered_image(items, window).reshape(*t.shape[:-2], *self.domain_shape)

        return on_both_parts(reconstruct, y) if y.is_complex() else reconstruct(y)

    def _filtered_image(self, y: Tensor, window: str) -> Tensor:
        """Return the filtered back-projections (items, H, W) of real data (items, angles, bins)."""
        views, threads = self.view_map(), torch.get_num_threads()
        return self._on_arrays(
            y, self.domain_shape, lambda items: filtered_backprojection(items, views, window, threads)
        )

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the symbol of A^H A as if it blurred every pixel as it does the central one (`blur_symbol`)."""
        return spectrum_of_blur(self, basis)

    def coarser(self) -> Coarser | None:
        """Return the same rays in pairs on pixels twice the size; None for a detector of less than two bins."""
        bins = self.detectors // 2
        if not bins:
            return None
        axis = (self.detectors - 1) / 2 + self.axis_offset
        height, width = self.domain_shape
        config = self.config() | {
            "image_shape": (-(-height // 2), -(-width // 2)),
            "detectors": bins,
            "pixel_size": 2 * self.pixel_size,
            "detector_size": 2 * self.detector_size,
            "axis_offset": (axis - 0.5) / 2 - (bins - 1) / 2,
        }
        coarse = type(self)(**config, backend=self.backend, dtype=self.dtype).to(self.device)

        def restrict(y: Tensor) -> Tensor:
            return y[..., : 2 * bins].reshape(*y.shape[:-1], bins, 2).mean(-1)

        return Coarser(coarse, restrict, 2)

    def thinned(self) -> Coarser | None:
        """Return the scanner that takes every other view, in the order of the angles."""
        if self.angles.size < 4:
            return None
        kept = np.sort(np.argsort(self.angles, kind="stable")[::2])
        config = self.config() | {"angles": self.angles[kept]}
        fewer = type(self)(**config, backend=self.backend, dtype=self.dtype).to(self.device)
        index = torch.from_numpy(kept).to(self.device)
        return Coarser(fewer, lambda y: y.index_select(-2, index.to(y.device)), 1)

    def finer(self, *, image: int = 1, bins: int = 1) -> Self:
        """Return the same scanner with every pixel cut into `image`^2 and every bin into `bins`, to simulate data."""
        config = self.config() | {
            "image_shape": tuple(image * n for n in self.domain_shape),
            "detectors": bins * self.detectors,
            "pixel_size": self.pixel_size / image,
            "detector_size": self.detector_size / bins,
            "axis_offset": bins * self.axis_offset,
        }
        return type(self)(**config, backend=self.backend, dtype=self.dtype).to(self.device)

    def _forward(self, x: Tensor) -> Tensor:
        if self._by_matrix:
            return self._matrix().project(x).reshape(*x.shape[:-2], *self.range_shape)
        return self._on_arrays(x, self.range_shape, lambda items: self._in_parts(joseph.project, items))

    def _adjoint(self, y: Tensor) -> Tensor:
        if self._by_matrix:
            return self._matrix().backproject(y).reshape(*y.shape[:-2], *self.domain_shape)
        count = self.angles.size * self.detectors
        return self._on_arrays(
            y, self.domain_shape, lambda items: self._in_parts(joseph.backproject, items.reshape(len(items), count))
        )

    def _in_parts(self, function: Callable[..., NDArray[Any]], items: NDArray[Any]) -> NDArray[Any]:
        """Run a projector on as many items as fill whole registers by themselves, and on the rest in copies."""
        threads = torch.get_num_threads()
        whole = len(items) // LANES * LANES if self.backend == "auto" and self._copies() > 1 else 0
        if not whole:
            return function(items, self._table(), threads)
        parts = [function(items[:whole], self._table_of_all(), threads)]
        if whole < len(items):
            parts.append(function(items[whole:], self._table(), threads))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _on_arrays(
        self, t: Tensor, shape_out: tuple[int, ...], function: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Tensor:
        """Run an array function on (items, *item)."""
        batch = t.shape[:-2]
        items = function(t.detach().cpu().reshape(batch.numel(), *t.shape[-2:]).numpy())
        return torch.from_numpy(items).to(t.device).reshape(*batch, *shape_out)

    @property
    def _by_matrix(self) -> bool:
        return self.backend == "matrix" or (self.backend == "auto" and self.device.type != "cpu")

    def _matrix(self) -> RayMatrix:
        return self._cached("matrix", lambda: RayMatrix.build(self._table(), self.device))

    def _table(self) -> RayTable:
        """Return the rays in our precision, worked out in float64 on first use."""
        return self._cached("rays", self._make_table)

    def _make_table(self) -> RayTable:
        return self._build(None if self.backend == "rays" else self._cover().orbits(), None)

    def _table_of_all(self) -> RayTable:
        """Return the table without copies; rays at 45 degrees step over the axis they step over in the copies."""
        return self._cached("all rays", lambda: self._build(None, self._table().steep()))

    def _build(self, orbits: Orbits | None, steep: NDArray[Any] | None) -> RayTable:
        shape, count = (self.domain_shape[0], self.domain_shape[1]), self.angles.size * self.detectors
        dtype = np.float32 if self.dtype == torch.float32 else np.float64
        return RayTable.build(self.lines, count, shape, self.pixel_size, dtype, orbits, steep)

    def _cover(self) -> Cover:
        """Return which views are walked for which others: cheap, unlike the table of the rays."""
        return self._cached(
            "cover",
            lambda: find_cover(
                self.angles,
                self.detectors,
                (self.domain_shape[0], self.domain_shape[1]),
                centred=self.axis_offset == 0,
                reversible=self.reversible,
                tolerance=SAME_ANGLE[self.dtype],
            ),
        )

    def _copies(self) -> int:
        return 1 if self.backend == "rays" else len(self._cover().turns)

    def _how(self) -> str:
        """Say in a few words how it computes."""
        copies = self._copies()
        at_once = f", {copies} mirrored copies at once" if copies > 1 else ""
        if self._by_matrix:
            return f"Joseph, sparse matrix{at_once} on {self.device}"
        return f"Joseph, numba on {torch.get_num_threads()} threads{at_once}"

    def extra_repr(self) -> str:
        """Name the geometry and the back end."""
        (height, width), span = self.domain_shape, np.rad2deg(np.ptp(self.angles))
        return (
            f"{height} x {width} pixels of {self.pixel_size:g}, {self.angles.size} angles over {span:g} degrees, "
            f"{self.detectors} bins of {self.detector_size:g}, axis offset {self.axis_offset:g} bins; "
            f"{self._how()}, {str(self.dtype).removeprefix('torch.')}"
        )
