"""Which edges of an image the views of an arc do not tell of: those that no ray runs along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invprob.operators.ct.coverage import is_limited

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["unseen_edges"]

_BESIDE = np.deg2rad(3.0)  # from the nearest ray, at which an edge is still seen: a rule of thumb
_FAINT = 0.05  # of the largest slope: less is no edge
_SMOOTH = 3  # times that each pixel is averaged with its neighbours
_VIEWS = 180  # are enough to tell how an arc lies


def unseen_edges(A: PlanarCT, x: Tensor) -> Tensor | None:
    """Return the slopes of smoothed images `(*batch, H, W)`, per pixel, where no ray runs along the edge, 0 elsewhere.

    A sinogram tells of an edge, in the sense of its singularities, by the rays along it alone (Quinto 1993). None where
    the views leave out no direction.
    """
    if not is_limited(A):
        return None
    values = x.abs().double() if x.is_complex() else x.double()
    if min(A.domain_shape) < 2 * _SMOOTH:
        return torch.zeros_like(x.real)
    down, right = torch.gradient(_smooth(values), dim=(-2, -1))
    slope = torch.hypot(right, down)
    most = slope.flatten(-2).amax(-1)[..., None, None]
    at = (slope > _FAINT * most).nonzero(as_tuple=True)
    across = torch.atan2(-down[at], right[at])
    hidden = _nearest(A, at[-2], at[-1], across) > _BESIDE
    found = torch.zeros_like(slope)
    found[at] = torch.where(hidden, slope[at], 0.0)
    return found.to(x.real.dtype)


def _smooth(values: Tensor) -> Tensor:
    """Return images averaged over neighbours: the edge of a pixel alone runs along an axis or a diagonal."""
    flat = values.reshape(-1, 1, *values.shape[-2:])
    for _ in range(_SMOOTH):
        flat = avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=False)
    return flat.reshape(values.shape)


def _nearest(A: PlanarCT, row: Tensor, column: Tensor, across: Tensor) -> Tensor:
    """Return how far the direction across an edge is from being at right angles to some ray through its pixel."""
    height, width = A.domain_shape
    x, y = (column - (width - 1) / 2) * A.pixel_size, ((height - 1) / 2 - row) * A.pixel_size
    distance = A.view_map().source_distance
    least = torch.full_like(across, torch.pi)
    for angle in A.angles[:: max(1, len(A.angles) // _VIEWS)]:
        turn = torch.full_like(across, angle)
        if distance is not None:
            turn = torch.atan2(y + distance * np.cos(angle), x - distance * np.sin(angle)) - torch.pi / 2
        off = (across - turn).remainder(torch.pi)
        least = torch.minimum(least, torch.minimum(off, torch.pi - off))
    return least
