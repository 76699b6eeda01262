"""Rings: what a bin of the detector adds to every view, because its gain was not what the flat field said.

A gain that is wrong by a factor adds its logarithm to all line integrals of the bin: a stripe in the sinogram, a ring
in the image. The object moves across the bins, the stripe does not. After each bin's values are sorted, neighbouring
bins look alike even where the object is not, so that what a stripe adds stands out from a median across the bins (Vo,
Atwood & Drakopoulos 2018, Opt. Express 26, 28396, algorithm 3). They replace the values by that median, which also
takes partial stripes, and some sharpness; here only one offset per bin is taken away, the median of the differences.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, signal

from invprob.errors import InputError
from invprob.likelihood import Transmission
from invprob.scan import Scan

__all__ = ["ring_offsets", "without_rings"]

WIDTH = 7  # bins of the median: stripes up to half of it are found; fine structure of the object suffers from more
SMOOTHING = 5  # bins over which the median is fitted by parabolas: its own noise would leave rings


def ring_offsets(sinograms: NDArray[Any]) -> NDArray[np.float64]:
    """Return what each bin adds to all views, `(..., bins)`, for line integrals `(..., views, bins)`."""
    *stack, views, bins = sinograms.shape
    offsets = [_of_one(sinogram) for sinogram in sinograms.reshape(-1, views, bins)]
    return np.stack(offsets).reshape(*stack, bins)


def without_rings(scan: Scan) -> Scan:
    """Return the scan with the offset of every bin taken away, each row and each detector row on its own.

    Counts behind an absorber stay what they are: the offset c of their logarithm makes the blank counts exp(-c) times
    what they were. InputError for a scan without views, with complex data, or with other counts.
    """
    A, data = scan.operator, scan.data
    shape, angles = A.range_shape, getattr(A, "angles", None)
    if not isinstance(angles, np.ndarray) or len(shape) not in (2, 3) or shape[0] != angles.size or data.is_complex():
        raise InputError(
            f"leave out --rings: a {type(A).__name__} with {data.dtype} data has no bins seen by all views"
        )
    likelihood, views = scan.likelihood, -len(shape)
    if likelihood.counted and not isinstance(likelihood, Transmission):
        raise InputError(f"leave out --rings: a gain is a factor on counts ({likelihood.name}), no offset")
    integrals, weights = scan.estimate()
    offsets = ring_offsets(A.fill(integrals, weights).movedim(views, -2).numpy())
    found = torch.from_numpy(offsets).unsqueeze(views).to(integrals)
    told = f"what each bin adds to all views was taken away, as a median over {WIDTH} bins tells it"
    provenance = {**scan.provenance, "rings": told}
    if isinstance(likelihood, Transmission):
        blank = (torch.as_tensor(likelihood.blank).to(found) * (-found).exp()).expand(data.shape)
        return replace(scan, likelihood=replace(likelihood, blank=blank), provenance=provenance)
    return replace(scan, data=data - found, provenance=provenance)


def _of_one(sinogram: NDArray[Any]) -> NDArray[np.float64]:
    ranked = np.sort(np.asarray(sinogram, dtype=np.float64), axis=0)
    usual = ndimage.median_filter(ranked, size=(1, WIDTH), mode="nearest")
    usual = signal.savgol_filter(usual, SMOOTHING, polyorder=2, axis=1, mode="nearest")
    offsets: NDArray[np.float64] = np.median(ranked - usual, axis=0)
    return offsets
