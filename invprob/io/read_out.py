"""Fully sampled read-outs: what is oversampled is cut in the image, where nothing but empty space is lost."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["without_oversampling"]


def without_oversampling(samples: NDArray[np.complex64], axis: int, size: int) -> NDArray[np.complex64]:
    """Return k-space of the middle `size` pixels along one axis, which must be sampled fully.

    By the centred orthonormal transform, a cut and the transform of the part: white noise stays white and keeps its
    level, pixels keep their values.
    """
    n = samples.shape[axis]
    image = scipy.fft.fftshift(scipy.fft.ifft(scipy.fft.ifftshift(samples, axis), axis=axis, norm="ortho"), axis)
    first = n // 2 - size // 2
    part = np.take(image, range(first, first + size), axis=axis)
    spectrum = scipy.fft.fftshift(scipy.fft.fft(scipy.fft.ifftshift(part, axis), axis=axis, norm="ortho"), axis)
    return np.ascontiguousarray(spectrum, dtype=np.complex64)
