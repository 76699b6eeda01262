"""Phantoms of tissues: ellipses of one magnetisation and one pair of relaxation times each, seen at several times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from invprob.phantoms.ellipses import Ellipses

if TYPE_CHECKING:
    from invprob.phantoms.coil_maps import TrigonometricMaps

__all__ = ["Tissues", "vials"]

# magnetisation, T1 and T2 in ms, x, y, a, b, tilt in degrees: a body, and what lies in it
_VIALS = (
    (0.8, 1000.0, 80.0, 0.0, 0.0, 0.72, 0.86, 0.0),
    (1.0, 2500.0, 160.0, 0.0, 0.5, 0.2, 0.15, 0.0),
    (0.7, 600.0, 45.0, -0.4, 0.15, 0.17, 0.26, 20.0),
    (0.9, 1400.0, 110.0, 0.4, 0.15, 0.17, 0.26, -20.0),
    (0.6, 400.0, 30.0, 0.0, 0.05, 0.15, 0.17, 0.0),
    (0.9, 800.0, 60.0, -0.3, -0.4, 0.2, 0.17, 0.0),
    (0.5, 1800.0, 95.0, 0.3, -0.4, 0.19, 0.19, 0.0),
    (1.0, 300.0, 22.0, 0.0, -0.65, 0.12, 0.1, 0.0),
)


@dataclass(frozen=True, eq=False)
class Tissues:
    """A body, the first ellipse, and others inside it that do not touch each other, each of one tissue.

    Arguments:
        shapes: the ellipses; their values do not count.
        magnetisation: m of each, `(n,)`.
        t1, t2: relaxation times in ms, `(n,)`.
    """

    shapes: Ellipses
    magnetisation: Tensor
    t1: Tensor
    t2: Tensor

    def seen(self, signal: Tensor) -> Ellipses:
        """Return the ellipses under a signal per tissue, `(n,)`: an inner one replaces what the body gives."""
        inner = torch.cat([signal[:1], signal[1:] - signal[0]])
        return replace(self.shapes, values=inner)

    def images(self, signals: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return means over pixels of unit size, `(times, H, W)`, of the signals of each tissue, `(times, n)`."""
        return torch.stack([self.seen(signal).image(shape, dtype=torch.float64) for signal in signals])

    def kspace(
        self, signals: Tensor, omega: Tensor, shape: tuple[int, int], *, coils: TrigonometricMaps | None = None
    ) -> Tensor:
        """Return what `Ellipses.kspace` is of each time, `(times, [coils], ...)`, for signals `(times, n)`."""
        inner = torch.cat([signals[:, :1], signals[:, 1:] - signals[:, :1]], 1).to(torch.complex128)
        lead = () if coils is None else (len(coils),)
        total = torch.zeros(len(signals), *lead, *omega.shape[:-1], dtype=torch.complex128)
        for k, values in enumerate(inner.T):
            place = slice(k, k + 1)
            tables = self.shapes.centres[place], self.shapes.semi_axes[place], self.shapes.tilt[place]
            total += torch.tensordot(values, Ellipses(torch.ones(1), *tables).kspace(omega, shape, coils=coils), dims=0)
        return total

    def map(self, values: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the value, one per tissue, `(n,)`, at the middle of every pixel, 0 outside of the body."""
        found = torch.zeros(shape, dtype=torch.float64)
        for k, value in enumerate(values.tolist()):
            only = torch.zeros(len(values))
            only[k] = 1
            found = torch.where(replace(self.shapes, values=only).image(shape) > 0.5, value, found)
        return found


def vials(radius: float = 1.0) -> Tissues:
    """Return a body with seven vials in it: T2 from 22 to 160 ms, T1 from 300 to 2500 ms, magnetisation from 0.5 to 1.

    Arguments:
        radius: half the side of the square it lies in, a length.
    """
    table = torch.tensor(_VIALS, dtype=torch.float64)
    shapes = Ellipses(
        values=table[:, 0],
        centres=radius * table[:, 3:5],
        semi_axes=radius * table[:, 5:7],
        tilt=torch.deg2rad(table[:, 7]),
    )
    return Tissues(shapes, magnetisation=table[:, 0], t1=table[:, 1], t2=table[:, 2])
