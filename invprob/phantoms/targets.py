"""Random targets of a radar: smooth bodies of magnitude up to 1 whose voxels scatter with independent phases."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from invprob.phantoms.random import as_generator, seeded, uniform

__all__ = ["CUBE", "SET_SIZES", "SPACING", "Split", "radar_target", "radar_targets", "target_hash", "target_magnitude"]

Split = Literal["train", "validation", "test"]
CUBE, SPACING = (25, 25, 49), (0.0125, 0.0125, 0.00625)  # voxels and metres of Oral & Oktem 2024
SET_SIZES: dict[Split, int] = {"train": 800, "validation": 100, "test": 100}
_MOST = 15  # anchors of a body
_FAINT = 0.02  # magnitudes below this are none


def radar_target(
    generator: int | torch.Generator,
    shape: Sequence[int] = CUBE,
    spacing: Sequence[float] = SPACING,
) -> Tensor:
    """Return s = m e^(i phase), `shape` complex64: `target_magnitude` and independent uniform phases.

    Extended targets whose surface is rough on the scale of the wavelength scatter so (Oral & Oktem 2024).
    """
    generator = as_generator(generator)
    magnitude = target_magnitude(generator, shape, spacing)
    phase = uniform(generator, 0, 2 * math.pi, *shape)
    return torch.polar(magnitude.double(), phase).to(torch.complex64)


def target_magnitude(
    generator: int | torch.Generator,
    shape: Sequence[int] = CUBE,
    spacing: Sequence[float] = SPACING,
) -> Tensor:
    """Return a body of magnitudes, `shape` float32, flat near 1 inside and 0 outside, soft over a voxel or two.

    m = sigmoid(b (g / max g - t)) of a sum g of 1 to 15 Gaussian blobs of random width and tilt, near one another;
    values below 0.02 become 0 and the largest 1. A seed shows the same body at every resolution of a cube. Lengths
    are relative to the shortest edge: the blobs have standard deviations of 0.03 to 0.1 of it, 9 to 30 mm of 0.3 m.

    Arguments:
        generator: a seed or a generator, which is advanced.
        shape: voxels along x, y and z.
        spacing: between them, in any unit.

    ValueError for other than three axes.
    """
    if len(shape) != 3 or len(spacing) != 3 or min(shape) < 1:
        raise ValueError(f"target_magnitude: shape and spacing are those of three axes, got {shape} and {spacing}")
    generator = as_generator(generator)
    edges = torch.tensor([n * h for n, h in zip(shape, spacing, strict=True)], dtype=torch.float64)
    edges = edges / edges.min()
    count = int(torch.randint(1, _MOST + 1, (), generator=generator))
    middle = edges * uniform(generator, -0.3, 0.3, 3)
    reach = uniform(generator, 0.08, 0.2)
    anchors = middle + reach * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    anchors = torch.minimum(torch.maximum(anchors, -edges / 2), edges / 2)
    heights = uniform(generator, 0.5, 1, count)
    widths = uniform(generator, 0.03, 0.1, count, 3)
    tilts = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)).Q
    threshold, steepness = uniform(generator, 0.25, 0.5), uniform(generator, 15, 40)
    axes = [e * ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5) for n, e in zip(shape, edges, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    field = torch.zeros(tuple(shape), dtype=torch.float64)
    for anchor, height, width, tilt in zip(anchors, heights, widths, tilts, strict=True):
        along = (places - anchor) @ tilt / width
        field += height * torch.exp(-0.5 * along.square().sum(-1))
    body = torch.sigmoid(steepness * (field / field.max() - threshold))
    body = torch.where(body < _FAINT, 0.0, body)
    return (body / body.max()).float()


def radar_targets(split: Split, count: int | None = None, first: int = 0) -> Tensor:
    """Return `count` targets of a split from the number `first` on, (count, 25, 25, 49) complex64; by default all.

    Every (split, number) has its own seed, so that splits never meet and any part can be made by itself. ValueError
    for numbers that a split does not have.
    """
    size = SET_SIZES[split]
    count = size - first if count is None else count
    if not 0 <= first <= first + count <= size:
        raise ValueError(f"radar_targets: {split} has the numbers 0 to {size - 1}, got {first} to {first + count - 1}")
    return torch.stack([radar_target(seeded("radar", split, first + k)) for k in range(count)])


def target_hash(targets: Tensor) -> str:
    """Return the SHA-256 of magnitudes and phases in steps of 1/1000, which rounding on another machine leaves alone.

    Phases count where there is a magnitude, as cosines and sines have no seam.
    """
    parts = (1000 * torch.view_as_real(targets.to(torch.complex64))).round().to(torch.int16)
    return hashlib.sha256(parts.contiguous().numpy().tobytes()).hexdigest()
