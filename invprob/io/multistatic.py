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
from invprob.io.checks import sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.options import MEDIUM, REFERENCE, Options
from invprob.operators import NearFieldMIMO
from invprob.scan import Scan

__all__ = ["READER", "open_multistatic"]

LAYOUT = "multistatic radar, MERIT"
PERMITTIVITY, STEP = 8.0, 2.5e-3  # of the medium and of the grid in metres: MERIT's own example
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
    places, names, frequencies = (
        _numbers(path.with_name(f"{name}.csv"), np.float64)
        for name in ("antenna_locations", "channel_names", "frequencies")
    )
    if signals.shape != (frequencies.size, len(names)):
        raise InputError(
            f"{printable(path)}: signals {signals.shape} do not fit {frequencies.size} frequencies and "
            f"{len(names)} channels: check the files beside it"
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


def _numbers(path: Path, dtype: type) -> NDArray[Any]:
    """Return the numbers of a text file; InputError naming the file for what holds none."""
    check_file(path)
    try:
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").split()]
        return np.array([[_number(cell) for cell in row] for row in rows]).astype(dtype)
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
