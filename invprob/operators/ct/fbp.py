"""Filtered back-projection for parallel and fan beams over any arc of views (Kak & Slaney 1988, chapter 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from invprob.threads import jit, share

Array = NDArray[Any]
# Rules of thumb, not measured: a full turn with even steps depends on none of them.
GAP, ARC = 3.0, math.radians(10)  # a gap this many times the median step and this wide is an arc without views
FEATHER = math.radians(10)  # width over which the ends of an arc fade where lines were measured twice

WINDOWS: dict[str, Callable[[Array], Array]] = {  # of the frequency relative to Nyquist, 0..1
    "ramp": np.ones_like,
    "shepp-logan": lambda f: np.sinc(f / 2),
    "cosine": lambda f: np.cos(np.pi * f / 2),
    "hamming": lambda f: 0.54 + 0.46 * np.cos(np.pi * f),
    "hann": lambda f: 0.5 + 0.5 * np.cos(np.pi * f),
}


@dataclass(frozen=True)
class ViewMap:
    """A line geometry seen from the image: lengths at the rotation axis, fan angle per bin, parallel without source."""

    angles: Array
    fan_angles: Array
    bins: Array
    bin_size: float
    source_distance: float | None
    image_shape: tuple[int, int]
    pixel_size: float


def filtered_backprojection(sinograms: Array, views: ViewMap, window: str, threads: int) -> Array:
    """Return images (items, H, W) from line integrals (items, angles, bins)."""
    weights = line_weights(views.angles, views.fan_angles) * np.cos(views.fan_angles)
    filtered = ramp_filter(sinograms * weights.astype(sinograms.dtype), views.bin_size, window)
    return _backproject(filtered, views, threads)


def ramp_filter(sinograms: Array, bin_size: float, window: str = "ramp") -> Array:
    """Convolve along the bins with the band-limited ramp (Ramachandran & Lakshminarayanan 1971), padded with zeros.

    The kernel is sampled in space, h_0 = 1/4 and h_n = -1/(pi n)^2 for odd n (over bin_size), so that the mean of
    the image is right.
    """
    if window not in WINDOWS:
        raise ValueError(f"unknown filter window {window!r}; known: {', '.join(WINDOWS)}")
    bins = sinograms.shape[-1]
    size = fft.next_fast_len(2 * bins, real=True)
    n = np.minimum(np.arange(size), size - np.arange(size))
    with np.errstate(divide="ignore"):
        kernel = np.where(n % 2 == 1, -1.0 / (np.pi * n) ** 2, 0.0)
    kernel[0] = 0.25
    response = fft.rfft(kernel).real / bin_size * WINDOWS[window](np.linspace(0, 1, size // 2 + 1))
    spectrum = fft.rfft(sinograms, size, axis=-1) * response.astype(sinograms.dtype)
    filtered: Array = fft.irfft(spectrum, size, axis=-1)[..., :bins]
    return filtered


def line_weights(angles: Array, fan_angles: Array) -> Array:
    """Return d(angle) per view times the share of each ray in its line, (angles, bins).

    A line met from both sides is shared as c(a) / (c(a) + c(a')), c fading out at the ends of the arc (Noo,
    Defrise, Clackdoyle & Kudo 2002); a full turn gives 1/2, a half turn of parallel beams 1.
    """
    turn = 2 * np.pi
    wrapped = np.mod(angles, turn)
    order = np.argsort(wrapped, kind="stable")
    gaps = np.diff(wrapped[order], append=wrapped[order[0]] + turn)
    positive = gaps[gaps > 1e-9]
    usual = float(np.median(positive)) if positive.size > 1 else np.pi / max(1, angles.size)
    steps = np.where(_missing(gaps, usual), usual, gaps)  # a missing arc belongs to nobody
    width = np.empty(angles.size)
    width[order] = (steps + np.roll(steps, 1)) / 2
    confidence = _arc_confidence(wrapped[order], gaps, usual)
    opposite = angles[:, None] + np.pi - 2 * fan_angles[None, :]
    own = confidence(wrapped)[:, None]
    other = confidence(np.mod(opposite, turn))
    weights: Array = width[:, None] * own / (own + other)
    return weights


def _arc_confidence(sorted_angles: Array, gaps: Array, usual: float) -> Callable[[Array], Array]:
    """Return c(angle): 1 inside the measured arcs, fading to almost nothing at their ends, 0 outside."""
    breaks = np.flatnonzero(_missing(gaps, usual))
    if not breaks.size:
        return np.ones_like
    starts, ends = sorted_angles[(breaks + 1) % len(gaps)], sorted_angles[breaks]

    def confidence(angle: Array) -> Array:
        total = np.zeros_like(angle)
        for begin, end in zip(starts, np.roll(ends, -1), strict=True):
            length = np.mod(end - begin, 2 * np.pi)
            into = np.mod(angle - begin + usual / 2, 2 * np.pi) - usual / 2
            edge = np.minimum(into, length - into) + usual / 2
            fade = np.sin(np.pi / 2 * np.clip(edge / min(FEATHER, max(length / 2, usual)), 0, 1)) ** 2
            total = np.where(edge > 0, np.maximum(fade, 1e-6), total)
        return total

    return confidence


def _missing(gaps: Array, usual: float) -> Array:
    return gaps > max(GAP * usual, ARC)


def _backproject(filtered: Array, views: ViewMap, threads: int) -> Array:
    """Sum over the views what each pixel sees, linearly interpolated; a fan also weighs by (D / distance)^2."""
    height, width = views.image_shape
    cos, sin = np.cos(views.angles), np.sin(views.angles)
    real = filtered.dtype.type
    # along the detector: numerator a_0 + a_c column + a_r row, in bins; depth b_0 + b_c column + b_r row, in D
    step = views.pixel_size / views.bin_size
    origin = -views.bins[0] / views.bin_size
    numerator = np.stack([step * cos, -step * sin], axis=1)
    bend = np.zeros(2 * len(cos)).reshape(-1, 2)
    if views.source_distance is not None:
        bend = np.stack([-sin, -cos], axis=1) * views.pixel_size / views.source_distance
    padded = np.pad(filtered, ((0, 0), (0, 0), (1, 2)))
    images = np.zeros((len(filtered), height, width), filtered.dtype)
    work = partial(_gather_rows, images, padded, numerator.astype(real), bend.astype(real), real(origin))
    share(work, height, 1, threads)
    return images


@jit
def _gather_rows(
    images: Array, padded: Array, numerator: Array, bend: Array, origin: float, first: int, end: int
) -> None:
    """Fill the image rows first .. end of every item."""
    real = images.dtype.type
    items, height, width = images.shape
    last = real(padded.shape[2] - 2)
    x0 = real(width - 1) / real(2)
    for item in range(items):
        for row in range(first, end):
            y = real(row) - real(height - 1) / real(2)
            line = images[item, row]
            for view in range(padded.shape[1]):
                bins = padded[item, view]
                ac, ar, bc, br = numerator[view, 0], numerator[view, 1], bend[view, 0], bend[view, 1]
                for column in range(width):
                    x = real(column) - x0
                    depth = real(1) / (real(1) + bc * x + br * y)
                    p = min(max((ac * x + ar * y) * depth + origin + real(1), real(0)), last)
                    j = np.uint32(p)
                    left = bins[j]
                    line[column] += depth * depth * (left + (p - real(np.int32(p))) * (bins[j + 1] - left))
