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
    points, directions = (t.numpy() for t in A.rays())
    across = np.stack([-directions[..., 1], directions[..., 0]], axis=-1)
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    height, width = A.domain_shape
    shadow = 0.5 * A.pixel_size * (width * np.abs(across[..., 0]) + height * np.abs(across[..., 1]))
    beside = np.abs((points * across).sum(-1)) > shadow + 0.5 * A.pixel_size
    loud = np.abs(sinogram) > _VISIBLE * float(np.quantile(sinogram, 0.99))
    total = float(sinogram.sum())  # noise cancels in sums
    share = float(sinogram[beside & loud].sum()) / total if total > 0 else 0.0
    if share <= _MOST:
        return []
    return [
        f"the image of {height} x {width} pixels crops the object: {share:.0%} of the attenuation lies on rays that "
        "pass beside it, and bends the values inside: give a larger image_shape"
    ]
