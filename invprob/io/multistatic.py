"""Multistatic radar in text files, the layout of MERIT (O'Loughlin et al. 2018): one file of signals, three beside it.

Signals are complex numbers "a+bi", frequencies down and channels across; beside them lie `frequencies.csv` in hertz,
`antenna_locations.csv` in metres and `channel_names.csv`, the transmitter and the receiver of each channel from 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.files import check_file
from invprob.io.checks import no_reading, refuse_where, sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.options import MEDIUM, REFERENCE, Options
from invprob.operators import NearFieldMIMO
from invprob.scan import Scan

__all__ = ["READER", "open_multistatic"]

LAYOUT = "multistatic radar, MERIT"
PERMITTIVITY, STEP = 8.0, 2.5e-3  # of the medium and of the grid in metres: MERIT's own example
FARTHEST = 1.0  # metres that the grid may reach: a volume of 200 million voxels
_COMPLEX = re.compile(rb"\s*[-+]?[\d.]+(e[-+]?\d+)?[-+][\d.]+(e[-+]?\d+)?[ij]\s*,", re.IGNORECASE)


def open_multistatic(path: Path, options: Options) -> Stack:
    """Open a file of signals: a single volume over the box of the antennas, from z = 0 up, every 2.5 mm."""
    return Stack(path, LAYOUT, None, lambda _: _read(path, options))


def _read(path: Path, options: Options) -> Scan:
    signals = _numbers(path, np.complex128)
    reference = options.get("reference")
    if reference is not None:
        other = _numbers(Path(reference), np.complex128)
        if other.shape != signals.shape:
            raise InputError(f"{printable(reference)} has signals {other.shape}, {printable(path)} {signals.shape}")
        signals = signals - other
    beside = {name: path.with_name(f"{name}.csv") for name in ("antenna_locations", "channel_names", "frequencies")}
    places, names, frequencies = (_numbers(file, np.float64) for file in beside.values())
    _check_columns(beside["antenna_locations"], places, 3, "x, y and z of each antenna in metres")
    _check_columns(beside["channel_names"], names, 2, "the transmitter and the receiver of each channel")
    if not (names == names.round()).all():
        raise InputError(f"{printable(beside['channel_names'])} must hold whole numbers, from 1: copy it again")
    if signals.shape != (frequencies.size, len(names)):
        raise InputError(
            f"{printable(path)}: signals {signals.shape} do not fit {frequencies.size} frequencies and "
            f"{len(names)} channels: check the files beside it"
        )
    axes = {"frequency": range(len(signals)), "channel": range(len(names))}
    refuse_where(no_reading(signals), axes, f"{printable(path)}: the signals are NaN or infinite", "copy it again")
    reach = np.abs(places).max()
    if not reach <= FARTHEST:
        raise InputError(
            f"{printable(beside['antenna_locations'])} has antennas {reach:.3g} m away, and the grid reaches as far at "
            f"{1e3 * STEP:g} mm: give metres, or build the operator in Python on a grid of your own"
        )
    reach = np.abs(places[:, :2]).max()
    across, up = np.arange(-reach, reach + STEP, STEP), np.arange(0, places[:, 2].max() + STEP, STEP)
    permittivity = options.get("permittivity", PERMITTIVITY)
    with sound_geometry(printable(path)):
        operator = NearFieldMIMO(
            (across, across, up),
            places,
            places,
            frequencies.ravel(),
            names.astype(np.int64) - 1,
            refractive_index=permittivity**0.5,
        )
    provenance = {
        "source": str(path),
        "digest": fingerprint(path),
        "reader": LAYOUT,
        "correction": "none" if reference is None else f"{Path(reference).name} taken off",
        "medium": f"relative permittivity {permittivity:g}",
    }
    data = torch.from_numpy(signals).to(torch.complex64)
    return Scan(operator, data, provenance=provenance)


def _check_columns(path: Path, table: NDArray[Any], columns: int, what: str) -> None:
    if table.ndim != 2 or table.shape[1] != columns or not len(table):
        raise InputError(f"{printable(path)} has the shape {table.shape}: rows must be {what}")


def _numbers(path: Path, dtype: type) -> NDArray[Any]:
    """Return the numbers of a text file; InputError naming the file for what holds none, or others than asked for."""
    check_file(path)
    try:
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").split()]
        found = np.array([[_number(cell) for cell in row] for row in rows])
        if np.iscomplexobj(found) and not np.issubdtype(dtype, np.complexfloating):
            raise ValueError("some are complex")
        return found.astype(dtype)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{printable(path)} is no table of numbers ({printable(error)}): copy it again") from error


def _number(cell: str) -> complex | float:
    return complex(cell.replace("i", "j")) if cell[-1:] in "ij" else float(cell)


def _recognises(probe: Probe) -> bool:
    return _COMPLEX.match(probe.head) is not None


READER = Reader(
    layout=LAYOUT,
    about="text files of complex signals, antenna locations, channels and frequencies",
    accepts=(REFERENCE, MEDIUM),
    otherwise="the files hold their own geometry",
    recognises=_recognises,
    open=open_multistatic,
)
