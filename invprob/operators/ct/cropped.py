"""Does the image end where the data still show matter?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["cropping_doubts"]

# Rules of thumb, not measured: they lead to hints, never to errors.
_VISIBLE = 0.05  # of the peak: more than a bad flat field
_MOST = 0.01  # share of all attenuation that rays beside the image may show


def cropping_doubts(A: PlanarCT, sinogram: NDArray[np.float64]) -> list[str]:
    """Return a sentence if line integrals of one item are large on rays that pass beside the image.

    What lies outside of a convex image casts a shadow beside that of the image in some view.
    """
    height, width = A.domain_shape
    beside = np.empty(A.range_shape, dtype=bool)
    for views, points, directions in A.rays_by_views():
        (x, y), (u, v) = (np.moveaxis(t, -1, 0) for t in (points, directions))
        shadow = 0.5 * A.pixel_size * (width * np.abs(v) + height * np.abs(u) + np.hypot(u, v))
        beside[views] = np.abs(y * u - x * v) > shadow
    loud = np.abs(sinogram) > _VISIBLE * float(np.quantile(sinogram, 0.99))
    total = float(sinogram.sum())  # noise cancels in sums
    share = float(sinogram[beside & loud].sum()) / total if total > 0 else 0.0
    if share <= _MOST:
        return []
    return [
        f"the image of {height} x {width} pixels crops the object: {share:.0%} of the attenuation lies on rays that "
        "pass beside it, and bends the values inside: give a larger image_shape"
    ]
