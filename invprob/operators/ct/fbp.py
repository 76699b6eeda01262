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

from invprob.operators.ct.arcs import Arcs, find_arcs
from invprob.threads import jit, share

Array = NDArray[Any]
# Rules of thumb: a full turn seen by a centred detector depends on neither.
FEATHER = math.radians(10)  # width over which the ends of an arc fade where lines were measured twice
EDGE = 0.1  # of the detector: width over which its edges fade likewise

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
    filtered, first_bin = filtered_lines(sinograms, views, window)
    return _backproject(filtered, views, first_bin, threads)


def filtered_lines(sinograms: Array, views: ViewMap, window: str) -> tuple[Array, float]:
    """Return what is back-projected, (items, angles, wider bins), and where the first bin of it lies."""
    weights = line_weights(views.angles, views.fan_angles, views.bins) * np.cos(views.fan_angles)
    weighted, first_bin = widened(sinograms * weights.astype(sinograms.dtype), views)
    return ramp_filter(weighted, views.bin_size, window), first_bin


def widened(sinograms: Array, views: ViewMap) -> tuple[Array, float]:
    """Return the bins with zeros beside the shorter side of the detector, and where the first of them lies.

    What the ramp filter makes of a line reaches to both sides of it, and a displaced detector sees the object beyond
    its shorter side, up to its longer one, in the opposite views.
    """
    sides = np.array([-views.bins[0], views.bins[-1]])
    radius = 0.5 * views.pixel_size * math.hypot(*views.image_shape)
    source = views.source_distance
    image = radius if source is None else radius * source / math.sqrt(source**2 - radius**2)
    missing = np.ceil((min(float(sides.max()), image) - sides) / views.bin_size - 1e-6)
    before, after = (max(0, int(n)) for n in missing)
    padding = [(0, 0)] * (sinograms.ndim - 1) + [(before, after)]
    return np.pad(sinograms, padding), float(views.bins[0]) - before * views.bin_size


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


def line_weights(angles: Array, fan_angles: Array, bins: Array | None = None) -> Array:
    """Return d(angle) per view times the share of each ray in its line, (angles, bins).

    A line met from both sides is shared as c / (c + c'), with c fading out at the ends of the arc (Noo, Defrise,
    Clackdoyle & Kudo 2002) and at the edges of the detector, whose `bins` lie at signed distances from the axis
    (displaced detectors: Wang 2002); without them it reaches as far to either side. A full turn gives 1/2, a half turn
    of parallel beams 1, and so does what a displaced detector sees in one of two opposite views only.
    """
    arcs = find_arcs(angles)
    in_arc = _arc_confidence(arcs)
    opposite = np.mod(angles[:, None] + np.pi - 2 * fan_angles, 2 * np.pi)
    own, other = in_arc(np.mod(angles, 2 * np.pi))[:, None], in_arc(opposite)
    if bins is not None:
        in_detector = _bin_confidence(bins)
        own, other = own * in_detector(bins), other * in_detector(-bins)
    weights: Array = arcs.widths()[:, None] * own / (own + other)
    return weights


def _arc_confidence(arcs: Arcs) -> Callable[[Array], Array]:
    """Return c(angle): 1 inside the measured arcs, fading to almost nothing at their ends, 0 outside."""
    breaks, usual = np.flatnonzero(arcs.missing), arcs.usual
    if not breaks.size:
        return np.ones_like
    starts, ends = arcs.angles[(breaks + 1) % len(arcs.gaps)], arcs.angles[breaks]

    def confidence(angle: Array) -> Array:
        total = np.zeros_like(angle)
        for begin, end in zip(starts, np.roll(ends, -1), strict=True):
            length = np.mod(end - begin, 2 * np.pi)
            into = np.mod(angle - begin + usual / 2, 2 * np.pi) - usual / 2
            edge = np.minimum(into, length - into) + usual / 2
            total = np.where(edge > 0, _fading(edge / min(FEATHER, max(length / 2, usual))), total)
        return total

    return confidence


def _bin_confidence(bins: Array) -> Callable[[Array], Array]:
    """Return c(position): 1 inside the detector, fading to almost nothing at its edges, 0 outside."""
    bin_size = (bins[-1] - bins[0]) / max(1, len(bins) - 1) or 1.0
    left, right = bins[0] - bin_size / 2, bins[-1] + bin_size / 2

    def confidence(position: Array) -> Array:
        edge = np.minimum(position - left, right - position)
        faded: Array = np.where(edge > 0, _fading(edge / (EDGE * (right - left))), 0.0)
        return faded

    return confidence


def _fading(edge: Array) -> Array:
    """Return 1 from `edge` 1 on and almost nothing at 0, where a line is better taken from its other side."""
    faded: Array = np.maximum(np.sin(np.pi / 2 * np.clip(edge, 0, 1)) ** 2, 1e-6)
    return faded


def _backproject(filtered: Array, views: ViewMap, first_bin: float, threads: int) -> Array:
    """Sum over the views what each pixel sees, linearly interpolated; a fan also weighs by (D / distance)^2."""
    height, width = views.image_shape
    cos, sin = np.cos(views.angles), np.sin(views.angles)
    real = filtered.dtype.type
    # along the detector: numerator a_0 + a_c column + a_r row, in bins; depth b_0 + b_c column + b_r row, in D
    step = views.pixel_size / views.bin_size
    origin = -first_bin / views.bin_size
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
