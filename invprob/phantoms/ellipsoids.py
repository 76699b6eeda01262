"""Random volumes made of ellipsoids."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.phantoms.ellipses import Ellipses, random_ellipses
from invprob.phantoms.random import as_generator, uniform

__all__ = ["random_ellipsoids"]

_LAYERS = 4  # planes whose mean is a slice


def random_ellipsoids(shape: tuple[int, int, int], generator: int | torch.Generator, *, count: int = 10) -> Tensor:
    """Return a body with `count` - 1 lighter and darker ellipsoids inside it, (slices, H, W) float32, voxel means.

    The plane through the middle is like `random_ellipses`, in a shorter edge of length 2; the third axes are vertical,
    and the body fills 0.8 to 0.95 of the volume's height. A seed shows the same body at every resolution. Values are
    >= 0. Raises `ValueError` for an empty volume and count < 1.
    """
    slices, height, width = shape
    if min(shape) < 1:
        raise ValueError(f"random_ellipsoids: shape must be (slices, H, W) with at least one voxel, got {tuple(shape)}")
    generator = as_generator(generator)
    flat = random_ellipses(0.95, generator, count)
    voxel = 2 / min(height, width)
    body = uniform(generator, 0.8, 0.95, 1) * slices * voxel / 2
    middle, reach = _heights(flat, generator)
    middle, reach = body * middle, body * reach
    z = voxel * (slices / 2 - (torch.arange(slices * _LAYERS, dtype=torch.float64) + 0.5) / _LAYERS)
    planes = [_cut(flat, (level - middle) / reach).image((height, width), pixel_size=voxel) for level in z]
    return torch.stack(planes).reshape(slices, _LAYERS, height, width).mean(1)


def _heights(flat: Ellipses, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the middles and half heights of ellipsoids, the body's being 0 and 1, so that all lie in the body.

    Where the body is the unit ball, an inner ellipsoid lies in a ball of radius `size`.
    """
    cos, sin = flat.tilt[0].cos(), flat.tilt[0].sin()
    turned = flat.centres @ torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    distance = torch.linalg.vector_norm(turned / flat.semi_axes[0], dim=-1)
    size = flat.semi_axes[:, 0] / flat.semi_axes[0].min()
    room = ((0.95 - size).square() - distance.square()).clamp(min=0).sqrt()
    middle, reach = room * uniform(generator, -1, 1, len(room)), size.clone()
    middle[0], reach[0] = 0, 1
    return middle, reach


def _cut(flat: Ellipses, height: Tensor) -> Ellipses:
    """Return the ellipses of a plane at a height relative to the middle and the half height of each ellipsoid."""
    share = (1 - height.square()).clamp(min=0).sqrt()
    hit = share > 0
    return Ellipses(flat.values[hit], flat.centres[hit], share[hit, None] * flat.semi_axes[hit], flat.tilt[hit])
