"""A simulated scanner: phantoms of 256 mm measured without an inverse crime."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from invprob.operators import FanBeam, ParallelBeam
from invprob.phantoms import (
    Ellipses,
    add_gaussian_noise,
    as_generator,
    detected,
    organ,
    poisson_transmission,
    random_ellipses,
    shepp_logan,
)
from invprob.scan import Scan, Units

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["Scanner"]

FIELD = 256.0  # mm along each side of the image
ATTENUATION = 0.04  # per mm where a phantom has the value 1; water, at one half, has 0.02
SOURCE, DETECTOR = 2 * FIELD, FIELD  # mm from the axis
FINEST = 2048  # pixels per side of the grid on which a painted phantom is measured: 4 times finer if that suffices


@dataclass(frozen=True)
class Scanner:
    """A phantom and a geometry by name, image pixels per side, views over `arc` degrees, a seed.

    `thin` reads single lines instead of means over the bins.
    """

    phantom: str
    geometry: str
    size: int
    views: int
    arc: float
    seed: int
    thin: bool = False

    @property
    def finer(self) -> int:
        """How many times finer than the image the grid of a painted phantom is."""
        return max(2, min(4, FINEST // self.size))

    def n_bytes(self, rows: int) -> int:
        """Return about how large the file will be."""
        return 4 * rows * (self.size**2 + 2 * self.size * self.views)

    def scan(self, rows: int, *, percent: float | None, photons: float | None, command: str) -> Scan:
        """Return a scan of `rows` phantoms (0: one, without a batch axis) with Gaussian noise or counted photons."""
        generator = as_generator(self.seed)
        A = self._operator()
        pairs = [self._measured(A, generator, photons is not None) for _ in range(max(1, rows))]
        clean, truth = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        data, sigma, words = _noisy(clean, percent, photons, generator)
        if not rows:
            data, truth, sigma = data[0], truth[0], None if sigma is None else sigma[0]
        provenance = {
            "command": command,
            "phantom": f"{self.phantom}, seed {self.seed}, {ATTENUATION:g} 1/mm at value 1",
            "measured": f"{self._how()}, {'single lines' if self.thin else 'means over the bins'}",
            "noise": words,
        }
        noise = float(sigma) if sigma is not None and not rows else sigma
        return Scan(A, data, noise, truth, units=Units.attenuation("mm"), provenance=provenance)

    def _how(self) -> str:
        return f"on a grid {self.finer} times finer" if self.phantom == "organ" else "line integrals of ellipses"

    def _measured(self, A: PlanarCT, generator: torch.Generator, counted: bool) -> tuple[Tensor, Tensor]:
        """Return what the detector reads without noise, and the image of pixel averages, both float32."""
        if self.phantom == "organ":
            fine = ATTENUATION * organ((self.finer * self.size,) * 2, generator)
            return detected(fine, A, counted=counted, thin=self.thin), F.avg_pool2d(fine[None], self.finer)[0]
        body = self._ellipses(generator)
        body = replace(body, values=ATTENUATION * body.values)
        image = body.image((self.size, self.size), pixel_size=A.pixel_size)
        return detected(body, A, counted=counted, thin=self.thin), image

    def _ellipses(self, generator: torch.Generator) -> Ellipses:
        return shepp_logan(FIELD / 2) if self.phantom == "shepp-logan" else random_ellipses(FIELD / 2, generator)

    def _operator(self) -> PlanarCT:
        """Return the geometry; the detector covers the corners of the image."""
        pixel = FIELD / self.size
        shape, angles = (self.size,) * 2, np.deg2rad(self.arc) * np.arange(self.views) / self.views
        corner = FIELD / math.sqrt(2)
        if self.geometry == "parallel":
            bins = 2 * math.ceil(corner / pixel)
            return ParallelBeam(shape, angles, bins, pixel_size=pixel, detector_size=pixel)
        pitch = pixel * (SOURCE + DETECTOR) / SOURCE
        reach = (SOURCE + DETECTOR) * math.tan(math.asin(corner / SOURCE))
        return FanBeam(
            shape,
            angles,
            2 * math.ceil(reach / pitch),
            pixel_size=pixel,
            detector_size=pitch,
            source_distance=SOURCE,
            detector_distance=DETECTOR,
        )


def _noisy(
    clean: Tensor, percent: float | None, photons: float | None, generator: torch.Generator
) -> tuple[Tensor, Tensor | None, str]:
    """Return the data, the standard deviation of their noise per row (None: no noise), and words for it."""
    if photons is not None:
        # the variance of -log N is 1 / N; what is known is its mean
        sigma = torch.sqrt((torch.exp(clean.double()) / photons).mean(dim=(-2, -1)))
        return poisson_transmission(clean, photons, generator), sigma, f"{photons:g} photons per bin, counted"
    if percent is None:
        return clean, None, "none"
    data, sigma = add_gaussian_noise(clean, percent / 100, generator)
    return data, sigma, f"Gaussian, {percent:g} % of the largest value"
