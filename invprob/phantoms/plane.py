"""A plane to paint regions on: distances with soft edges, and smooth random fields.

Lengths are in half sides of the shorter image edge; x to the right, y up, origin at the centre. A region is
the tensor of signed distances to its edge, negative inside, so that `maximum` intersects two regions and
adding a number shrinks one. Random fields draw a fixed count of numbers: one seed, one field at every
resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Plane", "random_field"]

_PERIOD = 2.5  # of random fields: beyond the square [-1, 1]^2, so that opposite sides do not match


@dataclass(frozen=True, eq=False)
class Plane:
    """Coordinates `x` and `y` of the pixels, of one shape, perhaps warped, and the pixel size."""

    x: Tensor
    y: Tensor
    pixel: float

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Plane:
        """Return the unwarped plane of an (H, W) image."""
        pixel = 2 / min(shape)
        rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
        y, x = torch.meshgrid(-pixel * rows, pixel * columns, indexing="ij")
        return cls(x, y, pixel)

    def warped(self, dx: Tensor, dy: Tensor) -> Plane:
        """Return the plane with displaced coordinates: regions painted on it are deformed."""
        return Plane(self.x + dx, self.y + dy, self.pixel)

    def where(self, mask: Tensor) -> Plane:
        """Return the plane of the pixels in `mask` alone, as a list of pixels."""
        return Plane(self.x[mask], self.y[mask], self.pixel)

    def ellipse(self, x: float, y: float, a: float, b: float, tilt: float = 0.0, power: float = 2.0) -> Tensor:
        """Region |u/a|^p + |v/b|^p < 1, its distance measured along the ray from the centre (x, y)."""
        cos, sin = math.cos(tilt), math.sin(tilt)
        px, py = self.x - x, self.y - y
        u, v = (px * cos + py * sin) / a, (py * cos - px * sin) / b
        rho = (u.abs().pow(power) + v.abs().pow(power)).pow(1 / power)
        tiny = 1e-6  # the ray has no direction at the centre: there the distance is -b
        return (rho - 1) * (torch.hypot(px, py) + tiny) / (rho + tiny / b)

    def segment(self, start: complex, end: complex, width: float) -> Tensor:
        """Region within `width` of the straight line between two points x + iy, half as wide at its end."""
        px, py = self.x - start.real, self.y - start.imag
        along = end - start
        t = ((px * along.real + py * along.imag) / abs(along) ** 2).clamp(0, 1)
        return torch.hypot(px - t * along.real, py - t * along.imag) - width * (1 - t / 2)

    def coverage(self, region: Tensor) -> Tensor:
        """Share of each pixel that lies in the region: a straight edge across the pixel."""
        return (0.5 - region / self.pixel).clamp(0, 1)


def random_field(plane: Plane, generator: torch.Generator, *, corner: float, slope: float, modes: int) -> Tensor:
    """Pixel averages of a stationary Gaussian field of mean 0 and variance 1, (H, W).

    A random Fourier series of the frequencies f with |f| <= `modes` cycles per 2.5 length units and the
    amplitude spectrum (1 + (|f| / corner)^2)^(-slope / 2). `plane` must be unwarped.
    """
    k = torch.arange(-modes, modes + 1, dtype=torch.float64)
    radius = torch.hypot(k[:, None], k)
    spectrum = (1 + (radius / corner).square()).pow(-slope / 2) * (radius > 0) * (radius <= modes)
    draws = torch.randn(radius.shape, dtype=torch.complex128, generator=generator, device=generator.device)
    coefficients = draws.to(k.device) * spectrum * (math.sqrt(2) / torch.linalg.vector_norm(spectrum))
    damping = torch.sinc(k * (plane.pixel / _PERIOD))  # the average of a wave over one pixel
    along_y, along_x = (
        torch.exp(2j * math.pi / _PERIOD * axis[:, None] * k) * damping for axis in (plane.y[:, 0], plane.x[0])
    )
    field: Tensor = along_y @ coefficients @ along_x.T
    return field.real
