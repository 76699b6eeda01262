"""Parallel-beam tomography in the plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob.linop.kernel import on_both_parts
from invprob.operators.ct.consistency import sinogram_doubts
from invprob.operators.ct.fbp import ViewMap, filtered_lines
from invprob.operators.ct.fourier_slice import Response, Slices, SliceTransforms, by_view, convolved
from invprob.operators.ct.planar import PlanarCT
from invprob.operators.fourier.kernels import RecentKernels, stays

LARGE = 256  # pixels along either side, from which on a back-projection by slices is faster by two and more
PROJECTORS = ("auto", "joseph", "fourier")


class ParallelBeam(PlanarCT):
    """y(theta, s) = integral of x over the line x cos(theta) + y sin(theta) = s (Radon 1917).

    x of shape `(rows, columns)`, y of shape `(angles, detectors)`: line integrals through the middle of each bin, in
    units of x times a length. The image is centred on the rotation axis, row 0 at the top, x to the right, y up.

    Joseph's projector (1982) walks the rays, which read the pixels by linear interpolation between neighbours. The
    other one takes projections from the image's Fourier transform (Bracewell 1956) and is about as true to a detector;
    where that sees the whole image, A^T W A is one convolution, for weights that are the same along each view, and
    costs a small part of a projection whatever the number of views. It rings at edges that no pixel grid resolves, so
    that A(x) of x >= 0 may fall below zero by a little.

    Arguments:
        image_shape: (rows, columns) of the image.
        angles: one per view, `(angles,)`, in radians, counter-clockwise; in any order, over any arc.
        detectors: how many bins the detector has.
        pixel_size: side of the square pixels. All lengths are in one unit, which is yours to choose; with the default
            of 1 it is a pixel.
        detector_size: pitch of the bins, a length.
        axis_offset: in bins: the rotation axis projects to the column `(detectors - 1) / 2 + axis_offset`, by default
            the middle of the detector.
        projector: "joseph" or "fourier"; "auto" (the default) takes Joseph's to project and back-project, and Fourier
            slices for filtered back-projection of images of 256 pixels and more, which are the same and faster.
        backend: how Joseph's projector computes, never what. "rays" walks every ray; "copies" walks one of each set of
            mirrored rays through as many copies of the image; "matrix" keeps a sparse matrix; "auto" takes what is
            fastest: copies where they pay, and the matrix on an accelerator.
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
        projector: str = "auto",
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if projector not in PROJECTORS:
            raise ValueError(f"ParallelBeam: unknown projector {projector!r}; known: {', '.join(PROJECTORS)}")
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
        self.projector = projector
        self._recent = RecentKernels()
        self._check_meeting("detector_size and axis_offset")
        if self._by_slices:
            self.nonnegative, self.rings = False, True
            self.short_gram = self._slices(self.bins, "squares").covers

    @property
    def _by_slices(self) -> bool:
        return self.projector == "fourier"

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        found = super().config()
        return found if self.projector == "auto" else {**found, "projector": self.projector}

    def lines(self, rays: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return points on the rays of given numbers, view by view, and their directions, both (n, 2) as (x, y)."""
        view, place = np.divmod(rays, self.detectors)
        cos, sin, s = np.cos(self.angles)[view], np.sin(self.angles)[view], self.bins[place]
        return np.stack([s * cos, s * sin], axis=-1), np.stack([-sin, cos], axis=-1)

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

    # ---- by the Fourier slice theorem

    def _slices(self, bins: NDArray[np.float64], response: Response) -> Slices:
        shape = (self.domain_shape[0], self.domain_shape[1])
        return Slices(self.angles, float(bins[0]), len(bins), self.detector_size, shape, self.pixel_size, response)

    def _transforms(self) -> SliceTransforms:
        return self._cached("slices", lambda: SliceTransforms(self._slices(self.bins, "squares"), self.dtype))

    def _forward(self, x: Tensor) -> Tensor:
        return self._on_cpu(self._transforms().project, x) if self._by_slices else super()._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._on_cpu(self._transforms().backproject, y) if self._by_slices else super()._adjoint(y)

    def _on_cpu(self, function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        """Run a function of items on the CPU."""
        batch = t.shape[:-2]
        found = function(t.detach().cpu().reshape(batch.numel(), *t.shape[-2:]))
        return found.to(t.device).reshape(*batch, *found.shape[-2:])

    def _gram(self, x: Tensor) -> Tensor:
        if not self.short_gram:
            return super()._gram(x)
        one = torch.ones(self.angles.size)
        return self._convolved(x, self._cached("kernel", lambda: self._transforms().kernel(one).to(self.device)))

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        if not self.short_gram or not stays(weights):
            return super()._weighted_gram(x, weights)

        def compute() -> Tensor | None:
            per_view = by_view(weights, self.angles.size)
            return None if per_view is None else self._transforms().kernel(per_view).to(self.device)

        kernel = self._recent.get(weights, (self.dtype, self.device), compute)
        return super()._weighted_gram(x, weights) if kernel is None else self._convolved(x, kernel)

    def _convolved(self, x: Tensor, kernel: Tensor) -> Tensor:
        if x.is_complex():
            return on_both_parts(lambda t: convolved(t, kernel), x)
        return convolved(x, kernel)

    def _filtered_image(self, y: Tensor, window: str) -> Tensor:
        large = self.projector == "auto" and min(self.domain_shape) >= LARGE and self.device.type == "cpu"
        if not (self._by_slices or large):
            return super()._filtered_image(y, window)
        lines, first_bin = filtered_lines(y.cpu().numpy(), self.view_map(), window)
        bins = first_bin + self.detector_size * np.arange(lines.shape[-1], dtype=np.float64)
        slices = self._slices(bins, "linear")
        transforms = self._cached(f"filtered {len(bins)}", lambda: SliceTransforms(slices, self.dtype))
        share = self.detector_size / self.pixel_size**2  # what A^T has, and an interpolation has not
        return share * transforms.backproject(torch.from_numpy(lines)).to(y.device)

    def _how(self) -> str:
        """Say in a few words what computes, and how."""
        if not self._by_slices:
            return super()._how()
        short = "A^T A a convolution" if self.short_gram else "truncated views"
        return f"Fourier slices by FINUFFT, {short}"
