"""Checks that several readers share; each raises InputError or warns with InputWarning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, InputWarning, printable

__all__ = [
    "angle_doubts",
    "angles_in_radians",
    "called_degrees",
    "check_angles",
    "folded",
    "no_reading",
    "refuse_where",
    "sound_geometry",
]

_FEW, _NEAR = 10, 0.005  # angles that tell nothing of their unit; how near to pi degrees, relatively, is no chance
_RADIANS = {
    **dict.fromkeys(("degrees", "degree", "deg", "°"), np.pi / 180),
    **dict.fromkeys(("radians", "radian", "rad"), 1.0),
}


def refuse_where(bad: NDArray[np.bool_], axes: Mapping[str, range], problem: str, remedy: str) -> None:
    """Raise InputError with count and first place if anything in `bad` is true.

    `axes` names the axes of `bad` and maps its indices to those of the file.
    """
    if not bad.any():
        return
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    place = ", ".join(f"{axis} {indices[int(i)]}" for (axis, indices), i in zip(axes.items(), first, strict=True))
    raise InputError(f"{problem} in {int(bad.sum())} of {bad.size} places, first at {place}: {remedy}")


def no_reading(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are NaN, infinite, or beyond what single precision holds."""
    if values.dtype.kind in "biu":
        return np.zeros(values.shape, dtype=bool)
    single = np.complex64 if values.dtype.kind == "c" else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        return ~np.isfinite(values.astype(single, copy=False))


def angles_in_radians(values: NDArray[Any], unit: str | None, where: str) -> NDArray[np.float64]:
    """Convert projection angles to radians; the unit is never guessed."""
    if unit is None:
        raise InputError(f"{where} have no unit: add --angles-unit degrees or --angles-unit radians")
    if unit.strip().lower() not in _RADIANS:
        raise InputError(f"{where} have the unknown unit '{printable(unit)}': add --angles-unit degrees or radians")
    return np.asarray(values, dtype=np.float64) * _RADIANS[unit.strip().lower()]


def folded(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles in radians, those of an object that turned on for more than two turns without the whole turns."""
    return np.mod(angles, 2 * np.pi) if angles.size and np.abs(angles).max() > 4 * np.pi else angles


def check_angles(angles: NDArray[np.float64], views: range, where: str, remedy: str) -> None:
    """Refuse angles (radians) that are not finite, with a remedy; warn of a doubtful unit, or of views taken twice."""
    refuse_where(~np.isfinite(angles), {"view": views}, f"{where}: the angles are NaN or infinite", remedy)
    for doubt in angle_doubts(angles):
        warnings.warn(f"{where}: {doubt}", InputWarning, stacklevel=2)


def called_degrees(angles: NDArray[np.float64]) -> bool:
    """Return whether angles span pi or 2 pi degrees, as radians of half a turn or of a full one do by a wrong unit."""
    if angles.size <= _FEW:
        return False
    span = np.rad2deg(np.ptp(angles))
    steps = (angles.size - 1) / angles.size  # the last view may close the turn, or be one step before that
    return any(abs(span - turn * part) < _NEAR * turn for turn in (np.pi, 2 * np.pi) for part in (1.0, steps))


@contextmanager
def sound_geometry(where: str) -> Iterator[None]:
    """Turn an operator's complaint about its arguments into an InputError with a place."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {printable(error, 1000)}") from error


def angle_doubts(angles: NDArray[np.float64]) -> list[str]:
    """Return what is doubtful about angles in radians, as sentences."""
    doubts = []
    span = float(np.ptp(angles)) if angles.size else 0.0
    if angles.size and np.abs(angles).max() > 4 * np.pi:
        doubts.append(f"the angles reach {np.rad2deg(np.abs(angles).max()):.6g} degrees: is the unit degrees instead?")
    if angles.size > _FEW and (span < np.deg2rad(0.1) or called_degrees(angles)):
        doubts.append(f"{angles.size} angles span only {np.rad2deg(span):.2g} degrees: is the unit radians instead?")
    repeated = angles.size - np.unique(angles).size
    if repeated:
        doubts.append(f"{repeated} of {angles.size} angles occur more than once: these directions count more")
    return doubts
