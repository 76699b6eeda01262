"""What is checked of a radar's geometry: frequencies, places of antennas, the axes of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import c as LIGHT
from torch import Tensor

__all__ = [
    "LIGHT",
    "Pairs",
    "check_wavelength",
    "even_axis",
    "frequencies_in_hertz",
    "full_spacing",
    "pairs_of",
    "places",
    "wavenumbers",
]

Array = NDArray[np.float64]
Pairs = Literal["all", "monostatic"] | ArrayLike
UNEVEN = 1e-4  # of the spacing: how far a voxel may lie off its place
LONGEST = 1e3  # wavelengths relative to the way from antenna to voxel: beyond, hertz were given as gigahertz


def plain(values: ArrayLike | Tensor) -> Array:
    """Return values as a float64 array."""
    given = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return np.array(given, dtype=np.float64)


def frequencies_in_hertz(owner: object, frequencies: ArrayLike | Tensor) -> Array:
    """Return the frequencies, ascending; ValueError for others."""
    name, f = type(owner).__name__, np.atleast_1d(plain(frequencies))
    if f.ndim != 1 or not f.size or not np.isfinite(f).all():
        raise ValueError(f"{name}: frequencies must be a list of finite numbers in hertz, got shape {f.shape}")
    if f.min() <= 0:
        raise ValueError(f"{name}: frequencies must be positive, got {f.min():g} Hz: take data at positive ones alone")
    if (np.diff(f) <= 0).any():
        k = int(np.argmax(np.diff(f) <= 0))
        raise ValueError(
            f"{name}: frequencies must ascend, got {f[k + 1]:g} after {f[k]:g} Hz: "
            "sort them, and the data along their first axis in the same way"
        )
    return f


def check_wavelength(owner: object, frequencies: Array, longest_way: float) -> None:
    """Raise ValueError where wavelengths are out of all proportion to the scene: hertz given as gigahertz."""
    if LIGHT / frequencies[-1] > LONGEST * longest_way:
        raise ValueError(
            f"{type(owner).__name__}: frequencies up to {frequencies[-1]:g} Hz have waves of "
            f"{LIGHT / frequencies[-1]:.3g} m in a scene of {longest_way:.3g} m: give hertz and metres "
            f"(gigahertz times 1e9)"
        )


def places(owner: object, name: str, given: ArrayLike | Tensor) -> Array:
    """Return positions (count, 3) in metres; ValueError for others."""
    p = plain(given)
    if p.ndim != 2 or p.shape[1] != 3 or not len(p) or not np.isfinite(p).all():
        raise ValueError(f"{type(owner).__name__}: {name} must be finite positions (count, 3), got shape {p.shape}")
    return p


def even_axis(owner: object, name: str, given: ArrayLike | Tensor) -> tuple[Array, float | None]:
    """Return the places of voxels along an axis and their spacing, None of a single one; ValueError unless even."""
    a = np.atleast_1d(plain(given))
    if a.ndim != 1 or not a.size or not np.isfinite(a).all():
        raise ValueError(f"{type(owner).__name__}: the axis {name} must hold finite places, got shape {a.shape}")
    if a.size == 1:
        return a, None
    spacing = (a[-1] - a[0]) / (a.size - 1)
    if spacing <= 0 or np.abs(np.diff(a) - spacing).max() > UNEVEN * spacing:
        raise ValueError(f"{type(owner).__name__}: the axis {name} must ascend in even steps")
    return a, float(spacing)


def full_spacing(spacings: Sequence[float | None], otherwise: float) -> tuple[float, ...]:
    """Return the spacings with the smallest known one for an axis of a single voxel, `otherwise` if none is."""
    least = min((h for h in spacings if h is not None), default=otherwise)
    return tuple(least if h is None else h for h in spacings)


def wavenumbers(frequencies: Array, refractive_index: float) -> Array:
    """Return 2 pi f n / c in 1/m."""
    k: Array = 2 * np.pi * frequencies * refractive_index / LIGHT
    return k


def pairs_of(given: Pairs, transmitters: int, receivers: int) -> NDArray[np.int64] | None:
    """Return the list of pairs, None for all; ValueError for those that do not exist or come twice."""
    if isinstance(given, str):
        if given == "all":
            return None
        if given != "monostatic":
            raise ValueError(f"NearFieldMIMO: pairs must be 'all', 'monostatic' or a list of (t, r), got {given!r}")
        if transmitters != receivers:
            raise ValueError(f"NearFieldMIMO: monostatic with {transmitters} transmitters and {receivers} receivers")
        return np.stack([np.arange(transmitters)] * 2, -1)
    pairs = np.asarray(given)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(f"NearFieldMIMO: pairs must be whole numbers (P, 2), got {pairs.dtype} {pairs.shape}")
    for t, r in pairs.tolist():
        if not (0 <= t < transmitters and 0 <= r < receivers):
            raise ValueError(
                f"NearFieldMIMO: the pair ({t}, {r}) does not exist: transmitters are 0 to {transmitters - 1}, "
                f"receivers 0 to {receivers - 1}"
            )
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise ValueError("NearFieldMIMO: a pair comes twice: average its readings first")
    return pairs.astype(np.int64)
