"""Data Exchange, the HDF5 layout of synchrotron tomography (De Carlo et al. 2014, J. Synchr. Rad. 21, 1224).

`exchange/data` (theta, row, column) are counts, `exchange/data_white` and `exchange/data_dark` (exposure,
row, column) the open beam and the dark current, `exchange/theta` the angles with their unit as an attribute.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError, printable
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.options import Options, as_slice
from invprob.io.parallel_views import ACCEPTED, Source, axis_of, open_views
from invprob.io.rotation_axis import RotationAxis
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text

__all__ = ["READER", "find_axis", "open_exchange"]

LAYOUT = "Data Exchange"
DATA, WHITE, DARK, THETA = (f"exchange/{name}" for name in ("data", "data_white", "data_dark", "theta"))


class _Exchange(Source):
    """A file of this layout, opened anew for every reading."""

    layout = LAYOUT
    named = MappingProxyType({"data": DATA, "white": WHITE, "dark": DARK, "theta": THETA})

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_hdf5(path) as file:
            data = dataset(file, DATA)
            order = read_text(data, "axes")
            if data.ndim != 3 or (order and not order.lower().startswith("theta")):
                raise InputError(
                    f"{self.where}: {DATA} has shape {data.shape} and axes {printable(order or 'not named')}, "
                    "expected three axes theta:row:column: rewrite it in this order"
                )
            if data.dtype.kind == "c":
                raise InputError(f"{self.where}: {DATA} is complex, but counts are real: store their real part")
            self.shape = (data.shape[0], data.shape[1], data.shape[2])

    def counts(self, views: range, rows: range) -> NDArray[Any]:
        with open_hdf5(self.path) as file:
            return read_array(file, DATA, (as_slice(views), as_slice(rows)))

    def exposures(self, which: str, rows: range) -> NDArray[Any] | None:
        name = self.named[which]
        with open_hdf5(self.path) as file:
            if not exists(find(file, "exchange"), name.rpartition("/")[2]):
                return None
            field, (_, height, width) = dataset(file, name), self.shape
            if field.ndim not in (2, 3) or field.shape[-2:] != (height, width):
                raise InputError(
                    f"{self.where}: {name} has shape {field.shape}, and {DATA} of shape {self.shape} "
                    f"needs (exposures, {height}, {width}), or the last two for one: rewrite it in this shape"
                )
            if field.ndim == 2:
                return read_array(file, name, (as_slice(rows),))[None]
            return read_array(file, name, (slice(None), as_slice(rows)))

    def angles(self) -> tuple[NDArray[np.float64], str | None] | None:
        with open_hdf5(self.path) as file:
            if not exists(find(file, "exchange"), "theta"):
                return None
            return read_array(file, THETA), read_text(dataset(file, THETA), "units")


def open_exchange(path: Path, options: Options) -> Stack:
    """Open a file as rows of a parallel beam (`invprob.io.parallel_views`)."""
    return open_views(_Exchange(path), options)


def find_axis(
    path: str | os.PathLike[str],
    *,
    rows: slice | None = None,
    angles: ArrayLike | None = None,
    angles_unit: str | None = None,
) -> RotationAxis:
    """Find the rotation axis once for a file that is then read in chunks with `load_scan(..., axis=...)`.

    All views of the middle of `rows` are used.
    """
    options = {"rows": rows, "angles": angles, "angles_unit": angles_unit}
    return axis_of(_Exchange(Path(path)), {key: value for key, value in options.items() if value is not None})


def _recognises(probe: Probe) -> bool:
    return probe.hdf5 is not None and exists(probe.hdf5, "exchange")


READER = Reader(
    layout=LAYOUT,
    about="HDF5 with a group exchange: counts, flats, darks, angles",
    accepts=ACCEPTED,
    otherwise="it says nothing about counts of a parallel beam",
    recognises=_recognises,
    open=open_exchange,
    measurement=DATA,
)
