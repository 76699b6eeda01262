"""Labels for the grey values of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu
from torch import Tensor

from invprob.linop.doors import takes_arrays

__all__ = ["MOST", "segment"]

MOST = 5  # classes: the search for their thresholds goes over all tuples of them
_BINS = {2: 256, 3: 256, 4: 128, 5: 64}  # of the histogram, fewer where there are more tuples


@takes_arrays
def segment(x: Tensor, classes: int, ndim: int = 2) -> Tensor:
    """Return labels 0 to classes - 1 of the pixels of every item, from dark to bright, uint8 of the shape of x.

    The thresholds are those of least variance within the classes (Otsu 1979; Liao, Chen & Chung 2001 of several), of
    the magnitude of complex images. An item of one value is all 0.

    ValueError for other than 2 to 5 classes, and for fewer different values than classes.
    """
    if not 2 <= classes <= MOST or int(classes) != classes:
        raise ValueError(f"segment: classes must be a whole number from 2 to {MOST}, got {classes}")
    values = (x.abs() if x.is_complex() else x).detach().cpu().double()
    flat = values.reshape(-1, *values.shape[values.ndim - ndim :]).numpy()
    labels = np.stack([_labels(item, classes) for item in flat]) if len(flat) else flat.astype(np.uint8)
    return torch.from_numpy(labels).reshape(x.shape).to(x.device)


def _labels(item: NDArray[np.float64], classes: int) -> NDArray[np.uint8]:
    if item.min() == item.max():
        return np.zeros(item.shape, dtype=np.uint8)
    if np.unique(item).size < classes:
        raise ValueError(f"segment: the image has fewer than {classes} different values")
    otsu: Any = threshold_multiotsu  # skimage has no types
    half_a_bin = 0.5 * (item.max() - item.min()) / _BINS[classes]
    thresholds = otsu(item, classes, nbins=_BINS[classes]) + half_a_bin  # from the middle of a bin to its end
    labels: NDArray[np.uint8] = np.digitize(item, thresholds, right=True).astype(np.uint8)
    return labels
