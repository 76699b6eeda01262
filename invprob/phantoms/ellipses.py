"""Phantoms made of ellipses, whose images and line integrals are known in closed form.

World coordinates: x to the right, y up, origin at the centre of the image, any length unit. Pixel
(row, col) of an (H, W) image is centred at x = (col - (W-1)/2) pixel_size, y = ((H-1)/2 - row) pixel_size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from invprob.phantoms.random import as_generator, uniform

if TYPE_CHECKING:
    from invprob.phantoms.coil_maps import TrigonometricMaps

__all__ = ["Ellipses", "random_ellipses", "shepp_logan"]


@dataclass(frozen=True, eq=False)
class Ellipses:
    """The function f(x, y) = sum of `values[k]` over the ellipses k that contain (x, y).

    x to the right, y up, in any length unit: that of the operators that measure it. All arguments are kept as real
    float64 tensors.

    Arguments:
        values: density of each ellipse, `(n,)`, per length unit if line integrals are to be dimensionless.
        centres: (x, y) of each, `(n, 2)`, lengths.
        semi_axes: half lengths (a, b) of each, `(n, 2)`, positive.
        tilt: angle from the x axis to the axis of a, `(n,)`, in radians, counter-clockwise.

    ValueError for shapes that do not fit, complex or non-finite entries, and semi-axes <= 0.
    """

    values: Tensor
    centres: Tensor
    semi_axes: Tensor
    tilt: Tensor

    def __post_init__(self) -> None:
        count = self.values.numel()
        expected = {"values": (count,), "centres": (count, 2), "semi_axes": (count, 2), "tilt": (count,)}
        for name, shape in expected.items():
            table: Tensor = getattr(self, name)
            if table.shape != shape:
                raise ValueError(
                    f"Ellipses: {name} has shape {tuple(table.shape)}, expected {shape} for {count} values"
                )
            if table.is_complex() or not bool(table.isfinite().all()):
                raise ValueError(f"Ellipses: {name} must be real and finite, got {table.tolist()}")
            object.__setattr__(self, name, table.to(torch.float64))
        if not bool((self.semi_axes > 0).all()):
            raise ValueError(
                f"Ellipses: semi_axes must be positive, got {self.semi_axes.tolist()}; drop empty ellipses"
            )

    def scaled(self, factor: float) -> Ellipses:
        """Return the phantom with all lengths multiplied by `factor` > 0 and the same values."""
        _require_positive("Ellipses.scaled", "factor", factor)
        return replace(self, centres=factor * self.centres, semi_axes=factor * self.semi_axes)

    def image(
        self,
        shape: tuple[int, int],
        *,
        pixel_size: float = 1.0,
        supersample: int = 8,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Return the (H, W) image whose pixels are the averages of f over their areas.

        The average is exact along x and the midpoint rule along y.

        Arguments:
            shape: (H, W); the origin is the middle of the image.
            pixel_size: side of a pixel, a length.
            supersample: lines per pixel along y.
            dtype: of the image; it is computed in float64.

        ValueError for a pixel size that is not positive, `supersample` < 1 or a `dtype` without fractions.
        """
        _require_positive("Ellipses.image", "pixel_size", pixel_size)
        if supersample < 1:
            raise ValueError(f"Ellipses.image: supersample must be at least 1, got {supersample}")
        if not dtype.is_floating_point:
            raise ValueError(f"Ellipses.image: dtype must be a real floating type, got {dtype}")
        height, width = shape
        depth = (torch.arange(height * supersample, dtype=torch.float64) + 0.5) / supersample
        y = pixel_size * (height / 2 - depth)
        lines, along_x = torch.stack([torch.zeros_like(y), y], dim=-1), y.new_tensor([1.0, 0.0])
        image = y.new_zeros(height, width)
        for ellipse in self._each():
            middle, half = ellipse.chord(lines, along_x)
            ends = torch.stack([middle - half, middle + half]) / pixel_size + width / 2
            left, right = ends.view(2, height, supersample)
            _paint(image, ellipse.value, left, right)
        return image.to(dtype)

    def line_integrals(self, points: Tensor, directions: Tensor) -> Tensor:
        """Return the exact integrals of f along the lines {p + t d}, in value times length units.

        An ellipse contributes value * |d| (t_out - t_in). float64, of the common shape of the arguments without the
        last axis.

        Arguments:
            points: p, a point (x, y) on each line, `(..., 2)`, real, lengths.
            directions: d, `(..., 2)`, real, of any length but 0; they broadcast against the points.

        ValueError where the last axis is not 2 or a direction is zero.
        """
        for name, vectors in (("points", points), ("directions", directions)):
            if vectors.shape[-1:] != (2,) or vectors.is_complex():
                raise ValueError(
                    f"Ellipses.line_integrals: {name} must be real of shape (..., 2), "
                    f"got {vectors.dtype} of shape {tuple(vectors.shape)}"
                )
        points, directions = points.to(torch.float64), directions.to(torch.float64)
        speed = torch.linalg.vector_norm(directions, dim=-1)
        if not bool((speed > 0).all()):
            raise ValueError("Ellipses.line_integrals: a direction is zero or not a number, so it spans no line")
        total = torch.zeros_like((points + directions)[..., 0])
        for ellipse in self._each():  # one by one: as many temporaries as rays, not rays x ellipses
            _, half = ellipse.chord(points, directions)
            total += 2 * ellipse.value * half * speed
        return total

    def strip_means(self, angles: Tensor, edges: Tensor) -> Tensor:
        """Return the means of parallel line integrals over strips, (angles, strips), in value times length units.

        Strip k at angle theta holds the lines x cos(theta) + y sin(theta) = s with edges[k] < s < edges[k + 1]. Exact:
        from the middle of its shadow, r wide to either side, up to t an ellipse has the area
        a b (asin(t / r) + t / r sqrt(1 - t^2 / r^2)). float64.

        Arguments:
            angles: theta, one per view, in radians, counter-clockwise.
            edges: where the strips begin and end, one more than strips, rising; lengths.

        ValueError for edges that do not rise.
        """
        theta, edges = angles.to(torch.float64)[:, None], edges.to(torch.float64)
        width = edges.diff()
        if edges.ndim != 1 or not bool((width > 0).all()):
            raise ValueError("Ellipses.strip_means: edges must be a list of positions that rise")
        total = torch.zeros(theta.shape[0], len(width), dtype=torch.float64)
        for ellipse in self._each():
            middle = ellipse.x * theta.cos() + ellipse.y * theta.sin()
            turned = theta - ellipse.tilt
            r = torch.hypot(ellipse.a * turned.cos(), ellipse.b * turned.sin())
            t = ((edges - middle) / r).clamp(-1, 1)
            area = ellipse.a * ellipse.b * (t.asin() + t * (1 - t * t).clamp(min=0).sqrt())
            total += ellipse.value * area.diff(dim=-1) / width
        return total

    def kspace(
        self,
        omega: Tensor,
        shape: tuple[int, int],
        *,
        pixel_size: float = 1.0,
        coils: TrigonometricMaps | None = None,
    ) -> Tensor:
        """Return what `NonCartesianMRI(shape, omega, maps)` would read of f itself, `([coils], ...)`, complex128.

        The spectrum of an ellipse of value v, centre (X, Y), semi-axes a, b and tilt t is
        v a b J1(2 pi q) / q exp(-2 pi i (kX X + kY Y)), q = hypot(a (kX cos t + kY sin t), b (-kX sin t + kY cos t)),
        and pi v a b at q = 0; the data are it over the root of the number of pixels. `image(shape, pixel_size)` is the
        image they belong to, with means over the pixels.

        Arguments:
            omega: positions (omega_y, omega_x), `(..., 2)`, in radians per pixel; `cartesian_positions` are those of
                `CartesianMRI`.
            shape: (H, W) of the image.
            pixel_size: side of a pixel, a length.
            coils: the maps, relative to the same image; None (the default) for one uniform coil.

        ValueError for positions of other than two axes and a pixel size that is not positive.
        """
        from invprob.phantoms.spectra import measured_spectrum

        _require_positive("Ellipses.kspace", "pixel_size", pixel_size)
        return measured_spectrum(self, omega, shape, pixel_size, coils)

    def _each(self) -> list[_Ellipse]:
        table = torch.cat([self.values[:, None], self.centres, self.semi_axes, self.tilt[:, None]], dim=1)
        return [_Ellipse(*row) for row in table.tolist()]


class _Ellipse(NamedTuple):
    """One ellipse as plain numbers, which serve tensors on every device."""

    value: float
    x: float
    y: float
    a: float
    b: float
    tilt: float

    def chord(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and half width of the range of t where p + t d is inside; half width 0 for a miss."""
        u, v = self._to_unit_disc(points[..., 0] - self.x, points[..., 1] - self.y)
        du, dv = self._to_unit_disc(directions[..., 0], directions[..., 1])
        squared = du * du + dv * dv
        # |d|^2 - (p x d)^2 equals the discriminant (p . d)^2 - |d|^2 (|p|^2 - 1), but does not cancel for
        # a source far away.
        discriminant = squared - (u * dv - v * du).square()
        return -(u * du + v * dv) / squared, discriminant.clamp(min=0).sqrt() / squared

    def _to_unit_disc(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return (x * cos + y * sin) / self.a, (y * cos - x * sin) / self.b


def _paint(image: Tensor, value: float, left: Tensor, right: Tensor) -> None:
    """Add to each pixel `value` times its share of the chords [left, right], (H, lines) in pixel widths."""
    hit = right > left
    if not bool(hit.any()):
        return
    first, last = float(left[hit].min()), float(right[hit].max())
    columns = slice(max(math.floor(first), 0), max(math.ceil(last), 0))
    rows = hit.any(dim=1)
    edge = torch.arange(image.shape[1], dtype=image.dtype)[columns]
    share = image.new_zeros(int(rows.sum()), len(edge))
    for start, stop in zip(left[rows].T, right[rows].T, strict=True):  # one line per pixel row at a time
        share += (torch.minimum(stop[:, None], edge + 1) - torch.maximum(start[:, None], edge)).clamp(min=0)
    image[rows, columns] += value / left.shape[1] * share


# value (original), value (modified), x, y, a, b, tilt in degrees
_SHEPP_LOGAN = (
    (2.0, 1.0, 0.0, 0.0, 0.69, 0.92, 0.0),
    (-0.98, -0.8, 0.0, -0.0184, 0.6624, 0.874, 0.0),
    (-0.02, -0.2, 0.22, 0.0, 0.11, 0.31, -18.0),
    (-0.02, -0.2, -0.22, 0.0, 0.16, 0.41, 18.0),
    (0.01, 0.1, 0.0, 0.35, 0.21, 0.25, 0.0),
    (0.01, 0.1, 0.0, 0.1, 0.046, 0.046, 0.0),
    (0.01, 0.1, 0.0, -0.1, 0.046, 0.046, 0.0),
    (0.01, 0.1, -0.08, -0.605, 0.046, 0.023, 0.0),
    (0.01, 0.1, 0.0, -0.606, 0.023, 0.023, 0.0),
    (0.01, 0.1, 0.06, -0.605, 0.023, 0.046, 0.0),
)


def shepp_logan(radius: float = 1.0, *, modified: bool = True) -> Ellipses:
    """Return the Shepp-Logan head phantom in the square [-radius, radius]^2, nose up.

    Arguments:
        radius: half the side of the square, a length; the values do not depend on it.
        modified: take the intensities with visible contrast in [0, 1] (Toft 1996, The Radon Transform, PhD thesis,
            DTU), else the original ones, skull 2.0 and brain 1.02.

    ValueError for a radius that is not positive. Source: Shepp and Logan (1974), IEEE Trans. Nucl. Sci. 21(3).
    """
    _require_positive("shepp_logan", "radius", radius)
    table = torch.tensor(_SHEPP_LOGAN, dtype=torch.float64)
    return Ellipses(
        values=table[:, 1 if modified else 0],
        centres=radius * table[:, 2:4],
        semi_axes=radius * table[:, 4:6],
        tilt=torch.deg2rad(table[:, 6]),
    )


def random_ellipses(radius: float, generator: int | torch.Generator, count: int = 10) -> Ellipses:
    """Return a random body of value about 0.5 with `count` - 1 lighter and darker ellipses inside it.

    f >= 0 everywhere, as the darker ones together take at most 0.8 of the body's value.

    Arguments:
        radius: of the disc around the origin in which the body lies, a length.
        generator: a generator, or a seed.
        count: how many ellipses, the body included.

    ValueError for radius <= 0 or count < 1.
    """
    _require_positive("random_ellipses", "radius", radius)
    if count < 1:
        raise ValueError(f"random_ellipses: count must be at least 1 (the body), got {count}")
    generator = as_generator(generator)
    inner = count - 1
    axes = radius * uniform(generator, 0.6, 0.9, 2)
    tilt = uniform(generator, -0.3, 0.3)
    value = uniform(generator, 0.4, 0.6)

    # In the frame where the body is the unit disc, a disc of radius `size` holds the inner ellipse.
    size = uniform(generator, 0.05, 0.4, inner)
    distance = (0.95 - size) * uniform(generator, 0.0, 1.0, inner).sqrt()
    angle = uniform(generator, -math.pi, math.pi, inner)
    offset = axes * torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)
    rotation = torch.stack([torch.stack([tilt.cos(), -tilt.sin()]), torch.stack([tilt.sin(), tilt.cos()])])
    ratio = torch.stack([torch.ones_like(size), uniform(generator, 0.4, 1.0, inner)], dim=-1)

    contrast = uniform(generator, -0.5, 0.5, inner)
    darkness = -contrast.clamp(max=0).sum()
    contrast = torch.where(contrast < 0, contrast * (0.8 / darkness.clamp(min=0.8)), contrast)
    return Ellipses(
        values=torch.cat([value[None], value * contrast]),
        centres=torch.cat([torch.zeros_like(axes)[None], offset @ rotation.T]),
        semi_axes=torch.cat([axes[None], axes.min() * size[:, None] * ratio]),
        tilt=torch.cat([tilt[None], uniform(generator, -math.pi, math.pi, inner)]),
    )


def _require_positive(where: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{where}: {name} must be a finite number > 0, got {value}")
