"""Where the pixels of an image lie: their spacing along every axis, and the unit it is in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["Grid"]

PIXEL = "pixel"


@dataclass(frozen=True)
class Grid:
    """The distance between neighbouring samples along each axis of space, the last ones of an image, and its unit.

    Channels, echoes and the like are no axes of space and have no entry. `unit` is text such as "mm"; "pixel" where no
    size is known. ValueError for spacings that are not positive and finite.
    """

    spacing: tuple[float, ...]
    unit: str = PIXEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", tuple(float(h) for h in self.spacing))
        if not self.spacing or not all(h > 0 and math.isfinite(h) for h in self.spacing):
            raise ValueError(f"Grid: spacing must hold positive, finite lengths, got {self.spacing}")

    @classmethod
    def of_pixels(cls, ndim: int) -> Grid:
        """Return the grid of `ndim` axes of which no size is known."""
        return cls((1.0,) * ndim)

    @property
    def ndim(self) -> int:
        """How many axes of space there are."""
        return len(self.spacing)

    @property
    def isotropic(self) -> bool:
        """Whether all axes have one spacing."""
        return all(math.isclose(h, self.spacing[0], rel_tol=1e-9) for h in self.spacing)

    @property
    def relative(self) -> tuple[float, ...]:
        """The spacings relative to the smallest one: 1 along every axis of a grid of squares or cubes."""
        least = min(self.spacing)
        return (1.0,) * self.ndim if self.isotropic else tuple(h / least for h in self.spacing)

    @property
    def known(self) -> bool:
        """Whether the sizes of the pixels are known, in a unit of length."""
        return self.unit != PIXEL

    def with_unit(self, unit: str) -> Grid:
        """Return the same spacings in a named unit."""
        return replace(self, unit=unit)

    def refined(self, factors: Sequence[float]) -> Grid:
        """Return the grid of an image with so many times more samples per axis on the same field of view."""
        return replace(self, spacing=tuple(h / f for h, f in zip(self.spacing, factors, strict=True)))
