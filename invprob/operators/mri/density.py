"""How densely a trajectory samples k-space: weights that make A^H W A about the identity at low frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import Voronoi, cKDTree
from torch import Tensor

from invprob.linop.operator import Shape
from invprob.operators.fourier.nufft import Transforms

STEPS = 10  # after which the image of a gridded phantom changes by less than 0.1 dB
EPS = 1e-8
SAME = 1e-9  # positions closer than this many radians are one


def pipe_menon(omega: Tensor, image_shape: Sequence[int]) -> Tensor:
    """Return w with w / (P w) = 1, about the area of k-space that belongs to each sample, `(frames, samples)` float64.

    w <- w / (P w) (Pipe & Menon, MRM 41, 1999), where P convolves with the spectrum of a triangle of the image's
    width, a squared sinc, which is nowhere negative: with the plain A A^H in its place the steps diverge. The scale is
    absolute: A^H W A is about the identity at low frequencies.

    Arguments:
        omega: positions in radians per pixel, `(frames, samples, d)`.
        image_shape: of the image.
    """
    sizes = tuple(image_shape)
    double = tuple(2 * n for n in sizes)
    triangle = torch.ones((), dtype=torch.float64)
    for axis, n in enumerate(sizes):
        sides = (1 - (torch.arange(2 * n, dtype=torch.float64) - n).abs() / n).clamp(min=0)
        triangle = triangle * sides.reshape(2 * n, *(1,) * (len(sizes) - axis - 1))
    triangle = triangle / math.prod(sizes)
    transforms = Transforms(omega.detach(), double, EPS, torch.float64)
    w = torch.ones(omega.shape[:2], dtype=torch.float64)
    for _ in range(STEPS):
        images = transforms.adjoint(w.to(torch.complex128).unsqueeze(-2))
        spread = transforms.forward(triangle * images).squeeze(-2).real
        w = w / torch.maximum(spread, w)  # the sample's own part alone is w: less is rounding
    return w


def voronoi(omega: Tensor, image_shape: Shape) -> Tensor:
    """Return w = prod(N) area / (2 pi)^2 with the area of each sample's Voronoi cell, `(frames, samples)` float64.

    Repeated positions share a cell; the border closes one local spacing outside the rim.

    Arguments:
        omega: positions in radians per pixel, `(frames, samples, 2)`.
        image_shape: of the image, two axes.

    ValueError for other than two axes or fewer than four different positions.
    """
    if omega.shape[-1] != 2:
        raise ValueError(f"voronoi: cells are known in the plane alone, got positions of {omega.shape[-1]} axes")
    scale = math.prod(image_shape) / (2 * math.pi) ** 2
    return torch.stack([torch.from_numpy(scale * _areas(frame.detach().numpy())) for frame in omega])


def _areas(points: NDArray[np.float64]) -> NDArray[np.float64]:
    _, first, which, repeats = np.unique(
        np.round(points / SAME), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    unique = points[first]
    if len(unique) < 4:
        raise ValueError(f"voronoi: {len(unique)} different positions span no area")
    ring = _ring(unique)
    cells = Voronoi(np.concatenate([unique, ring]))
    area = _polygon_areas(cells, len(unique))
    shared: NDArray[np.float64] = (area / repeats)[which.reshape(-1)]
    return shared


def _ring(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points around the rim, one local spacing outside it."""
    radius = np.hypot(*points.T)
    rim = points[radius >= radius.max() * 0.999] if radius.max() > 0 else points
    outer = float(radius.max())
    inward = points[radius < outer * 0.999]
    gap = float(np.median(cKDTree(inward).query(rim)[0])) if len(inward) else outer
    angles = np.linspace(0, 2 * np.pi, max(64, 4 * len(rim)), endpoint=False)
    ring: NDArray[np.float64] = (outer + gap) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return ring


def _polygon_areas(cells: Voronoi, count: int) -> NDArray[np.float64]:
    """Return the areas of the first cells, all at once by the cross products of their edges with their centres."""
    ridges = np.asarray(cells.ridge_vertices)
    owners = cells.ridge_points
    closed = (ridges >= 0).all(1)
    a, b = cells.vertices[ridges[closed, 0]], cells.vertices[ridges[closed, 1]]
    area = np.zeros(len(cells.points))
    for side in (0, 1):
        owner = owners[closed, side]
        p = cells.points[owner]
        cross = np.abs((a[:, 0] - p[:, 0]) * (b[:, 1] - p[:, 1]) - (a[:, 1] - p[:, 1]) * (b[:, 0] - p[:, 0])) / 2
        np.add.at(area, owner, cross)
    return area[:count]
