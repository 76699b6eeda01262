"""A target on a turntable before one antenna, a bare matrix of MATLAB of which the user says what was measured.

Phases count from the axis of the table: the echo of a point there is the same at every frequency and angle.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.constants import c

from invprob.errors import InputError, printable
from invprob.io.checks import angles_in_radians, check_angles, no_reading, refuse_where, sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.matlab import load_variables
from invprob.io.options import (
    ANGLES,
    ANGLES_UNIT,
    DISTANCE,
    FREQUENCIES,
    IMAGE_PIXEL_SIZE,
    IMAGE_SHAPE,
    Option,
    Options,
)
from invprob.operators import NearFieldMIMO, turntable
from invprob.scan import Scan

__all__ = ["READER", "open_turntable"]

LAYOUT = "turntable radar, MATLAB"
_BENT = 0.01  # radians by which waves may be no plane ones at the corners, where no distance is told
_LARGEST = 1e5  # metres of an image: beyond, hertz were given as gigahertz
_FARTHEST = 1e10  # waves: beyond, double precision has no phase left
_IMAGE_SHAPE = (128, 128)
_NUMBERS = (
    "double",
    "single",
    "sparse",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


def open_turntable(path: Path, options: Options) -> Stack:
    """Open a matrix of echoes (frequencies, angles): a single plane."""
    return Stack(path, LAYOUT, None, lambda _: _read(path, options))


def _read(path: Path, options: Options) -> Scan:
    """Read echoes, means over neighbours where these differ by no more than the image can tell."""
    name, echoes = read_matrix(path)
    where = f"{printable(path)}: {name}"
    hertz, turns = _measured(echoes, options, where)
    steps, wavelength = (_step(hertz), _step(turns)), 2 * c / float(hertz[0] + hertz[-1])
    shape = options.get(IMAGE_SHAPE.name, _IMAGE_SHAPE)
    if len(shape) != 2:
        raise InputError(f"{where}: {IMAGE_SHAPE.typed} names {len(shape)} sides, but the image is a plane: give two")
    height, width = shape
    pixel = options.get(IMAGE_PIXEL_SIZE.name, _half_resolution(wavelength, steps, echoes.shape))
    size = pixel * math.hypot(height, width)  # what would lie further away comes back within the image
    farthest = _FARTHEST * wavelength
    distance = options.get(DISTANCE.name, min(math.pi * size**2 / (2 * wavelength * _BENT), farthest))
    if not wavelength <= size <= _LARGEST or distance > farthest:
        raise InputError(
            f"{where}: waves of {wavelength:.3g} m do not go with an image of {size:.3g} m and an antenna at "
            f"{distance:g} m: give frequencies in hertz (gigahertz times 1e9), and lengths in metres"
        )
    if distance < size:
        raise InputError(
            f"{where}: an antenna {distance:g} m from the axis is too near for an image {size:.3g} m from corner to "
            f"corner: mend {DISTANCE.typed}, or choose a smaller {IMAGE_SHAPE.typed} or {IMAGE_PIXEL_SIZE.typed}"
        )
    joined = _neighbours(hertz, c / (2 * steps[0] * size)), _neighbours(turns, wavelength / (2 * steps[1] * size))
    data = echoes.reshape(len(hertz) // joined[0], joined[0], -1, joined[1]).mean((1, 3))
    with sound_geometry(where):
        operator = _table((width, height), pixel, (hertz, turns), joined, distance)
    provenance = {
        "source": str(path),
        "digest": fingerprint(path),
        "reader": LAYOUT,
        "correction": f"means over {joined[0]} frequencies by {joined[1]} angles",
        "phases": "relative to the axis of the turntable",
    }
    return Scan(operator, torch.from_numpy(data).to(torch.complex64), provenance=provenance)


def _measured(echoes: NDArray[Any], options: Options, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies in hertz and the angles in radians of echoes that can be an image."""
    if echoes.dtype.kind != "c":
        raise InputError(f"{where} holds real numbers {echoes.shape}: echoes of a radar are complex")
    hertz = _along(options, FREQUENCIES, len(echoes), where, "rows, frequencies in hertz")
    degrees = _along(options, ANGLES, echoes.shape[1], where, "columns, angles of the table")
    turns = angles_in_radians(degrees, options.get(ANGLES_UNIT.name), f"{where}: the angles")
    axes = {"frequency": range(len(hertz)), "angle": range(len(turns))}
    unknown = f"{where}: the frequencies are NaN or infinite"
    refuse_where(
        ~np.isfinite(hertz), {"frequency": axes["frequency"]}, unknown, f"give others with {FREQUENCIES.typed}"
    )
    check_angles(turns, axes["angle"], where, f"give others with {ANGLES.typed}")
    refuse_where(no_reading(echoes), axes, f"{where} is NaN, infinite or above 3e38", "copy it again")
    if min(echoes.shape) < 2:
        raise InputError(f"{where} has the shape {echoes.shape}: an image needs several frequencies and angles")
    if not (0 < hertz[0] < hertz[-1] < math.inf and 0 < abs(turns[-1] - turns[0]) < math.inf):
        raise InputError(f"{where}: frequencies must be positive and ascend, and angles differ: correct or sort them")
    return hertz, turns


def _half_resolution(wavelength: float, steps: tuple[float, float], shape: tuple[int, ...]) -> float:
    """Return half of what band and arc resolve, c / 2 B and lambda / (4 sin(arc / 2)), whichever is finer."""
    band, arc = (n * step for n, step in zip(shape, steps, strict=True))
    return float(min(c / (2 * band), wavelength / (4 * math.sin(min(arc, math.pi) / 2)))) / 2


def _table(
    shape: tuple[int, int],
    pixel: float,
    measured: tuple[NDArray[np.float64], NDArray[np.float64]],
    joined: tuple[int, int],
    distance: float,
) -> NearFieldMIMO:
    """Return the antenna that goes round a plane, in which a point at the axis echoes 1.

    The mean over n neighbours whose phases differ by u weakens an echo by sin(n u / 2) / (n sin(u / 2)).
    """
    hertz, turns = (values.reshape(-1, n).mean(1) for values, n in zip(measured, joined, strict=True))
    places = [pixel * (np.arange(n) - n // 2) for n in shape]
    antenna, weaker = turntable(turns, distance), None
    if joined != (1, 1):
        x, y = antenna[:, :2].T[..., None, None] / distance
        towards = x * places[0][:, None] + y * places[1]
        across = x * places[1] - y * places[0][:, None]
        apart = 4 * math.pi / c * np.array([_step(measured[0]), hertz.mean() * _step(measured[1])])
        weaker = _mean_of_phases(apart[0] * towards, joined[0]) * _mean_of_phases(apart[1] * across, joined[1])
    at_axis = 4 * math.pi * distance**2 * np.exp(4j * math.pi * hertz / c * distance)
    return NearFieldMIMO(
        (*places, [0.0]),
        antenna,
        None,
        hertz,
        "monostatic",
        tx_pattern=None if weaker is None else weaker[..., None],
        gain=at_axis[:, None],
    )


def _mean_of_phases(apart: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the mean of e^(i k u) over `count` values of k around 0."""
    total = np.zeros_like(apart)
    for k in range(count):
        total += np.cos((k - (count - 1) / 2) * apart)
    return total / count


def _along(options: Options, option: Option, count: int, where: str, what: str) -> NDArray[np.float64]:
    """Return what an option says of the rows or columns; InputError where it is not given, or of another number."""
    if option.name not in options:
        form = f"{option.typed}{' ' if option.flag else '='}FIRST:LAST:{count}"
        raise InputError(f"{where} is a bare matrix, and does not say what its {what} are: add {form}, or a file")
    values: NDArray[np.float64] = np.atleast_1d(np.asarray(options[option.name], dtype=np.float64))
    if values.shape != (count,):
        raise InputError(f"{where} has {count} {what}, but {option.typed} names {values.size}: give as many")
    return values


def _step(values: NDArray[np.float64]) -> float:
    return float(np.abs(values[-1] - values[0])) / (len(values) - 1)


def _neighbours(values: NDArray[np.float64], limit: float) -> int:
    """Return how many neighbours are joined: up to a limit, so that none is left over; 1 where they are not even."""
    steps = np.diff(values)
    if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0):
        return 1
    return max(n for n in range(1, len(values) + 1) if len(values) % n == 0 and n <= max(limit, 1))


def read_matrix(path: Path) -> tuple[str, NDArray[Any]]:
    """Return the name and the values of the only matrix of numbers in a MATLAB file; InputError if it is damaged."""
    name = _only_matrix(path)
    if name is None:
        raise InputError(f"{printable(path)} holds no single matrix of numbers: check the file")
    values = load_variables(path, [name])[name]
    if scipy.sparse.issparse(values):
        raise InputError(f"{printable(path)}: {name} is a sparse matrix: save it as a full one")
    return name, np.asarray(values)


def _only_matrix(path: Path) -> str | None:
    """Return the name of the one variable of a MATLAB file, if it is a matrix of numbers."""
    try:
        found = scipy.io.whosmat(path)
    except Exception:  # another reader says in words what is wrong with it
        return None
    if len(found) == 1 and len(found[0][1]) == 2 and found[0][2] in _NUMBERS and math.prod(found[0][1]) > 1:
        return str(found[0][0])
    return None


def _recognises(probe: Probe) -> bool:
    return probe.head.startswith(b"MATLAB") and b"MATLAB 7.3" not in probe.head and _only_matrix(probe.path) is not None


READER = Reader(
    layout=LAYOUT,
    about="MATLAB 5 or 7 with one complex matrix, with --read frequencies=FIRST:LAST:COUNT and --angles",
    accepts=(FREQUENCIES, ANGLES, ANGLES_UNIT, DISTANCE, IMAGE_SHAPE, IMAGE_PIXEL_SIZE),
    otherwise="the file holds one matrix of echoes alone",
    recognises=_recognises,
    open=open_turntable,
    parse=read_matrix,
)
