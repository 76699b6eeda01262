"""How strong the noise in data is, seen in the data alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.linalg import per_item
from invprob.linop.doors import takes_arrays

MEDIAN = 0.6744897501960817  # of |n| for a standard normal n
MEDIAN_COMPLEX = math.sqrt(math.log(2))  # of |n| for a circular normal n with E |n|^2 = 1
LONG = 16  # axes of fewer samples are too short to look for flat places along
FLAT, FEWEST = 0.2, 256  # the share of the image that counts as flat, and the number of places that a median needs


@takes_arrays
def estimate_noise(y: Tensor, ndim: int = 2) -> Tensor:
    """Return the standard deviation of white Gaussian noise in y per item, `(*batch,)`, in float64.

    It is median |L y| / (0.6745 |L|) for L = (1, -2, 1) along each of the `ndim` item axes, which neither a plane nor
    an edge along an axis survives (the filter of Immerkaer, Comput. Vis. Image Underst. 64, 1996; the median of Donoho
    & Johnstone, Biometrika 81, 1994), over the fifth of the image whose local means change least. For complex y it is
    that of circular noise, sqrt(E |n|^2). Too high where everything is texture; axes of fewer than three samples are
    not filtered; 0 for items of one sample. ValueError if y has fewer axes than an item.
    """
    if not 1 <= ndim <= y.ndim:
        raise ValueError(f"estimate_noise: ndim={ndim} item axes do not fit data of shape {tuple(y.shape)}")
    y = y.to(torch.complex128 if y.is_complex() else torch.float64)
    scale = y.abs().flatten(-ndim).amax(-1)
    y = y / per_item(torch.where(scale > 0, scale, 1.0), y, ndim)  # so that squares neither over- nor underflow
    noise, size = y, 1.0
    for axis in range(-ndim, 0):
        n = y.shape[axis] - 2
        if n > 0:
            noise = noise.narrow(axis, 0, n) - 2 * noise.narrow(axis, 1, n) + noise.narrow(axis, 2, n)
            size *= math.sqrt(6)
    if size == 1:
        noise = y - y.flatten(-ndim).mean(-1).reshape(y.shape[:-ndim] + (1,) * ndim)
    middle = _of_flat_places(noise.abs(), y, ndim).nanmedian(-1).values
    return scale * middle / (size * (MEDIAN_COMPLEX if y.is_complex() else MEDIAN))


def _of_flat_places(response: Tensor, y: Tensor, ndim: int) -> Tensor:
    """Return the filter's response per item, `(*batch, places)`, NaN where the image is not flat.

    Flat is judged by differences of the means of 5^d pixels around the neighbours of a place, which white noise makes
    independent of the filter's response, so that it does not choose its own quiet places. What is exactly constant was
    never measured and counts last.
    """
    axes = [axis for axis in range(-ndim, 0) if y.shape[axis] >= LONG]
    if not axes:
        return response.flatten(-ndim)
    means = y
    for axis in range(-ndim, 0):
        if axis in axes:
            n = means.shape[axis] - 4
            first, *rest = (means.narrow(axis, k, n) for k in range(5))
            means = sum(rest, start=first) / 5  # one after another, in the memory of two
            response = _inside(response, axis, 2)
        elif y.shape[axis] > 2:  # where the filter has taken the ends
            means = _inside(means, axis, 1)
    slope = torch.zeros_like(response)
    for axis in axes:
        across = means
        for other in axes:
            across = across if other == axis else _inside(across, other, 1)
        n = across.shape[axis] - 2
        slope = slope + (across.narrow(axis, 2, n) - across.narrow(axis, 0, n)).abs().square()
    slope = torch.where(slope > 0, slope, math.inf).flatten(-ndim)
    places = slope.shape[-1]
    limit = slope.kthvalue(min(places, max(FEWEST, int(FLAT * places))), dim=-1, keepdim=True).values
    return torch.where(slope <= limit, response.flatten(-ndim), math.nan)


def _inside(t: Tensor, axis: int, margin: int) -> Tensor:
    """Return t without `margin` samples at both ends of an axis."""
    return t.narrow(axis, margin, t.shape[axis] - 2 * margin)
