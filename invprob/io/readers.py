"""From a file to a scan: which reader takes it is decided by its content, never by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
from numpy.typing import ArrayLike

from invprob.errors import InputError, printable
from invprob.io import data_exchange, htc, invprob_file
from invprob.io.checks import check_file
from invprob.io.options import ScanOptions
from invprob.io.result_file import FORMAT as RESULT_FORMAT
from invprob.io.rings import without_rings
from invprob.io.safe_hdf5 import dataset_names, exists, open_hdf5, read_text
from invprob.scan import Scan

__all__ = ["READERS", "Reader", "load_scan", "reader_of"]


class Reader(NamedTuple):
    """A layout: its name, how to read it, how to read its middle row alone, and its main HDF5 dataset.

    `sample` returns a scan of the middle row with no care for the rotation axis, and the number of rows.
    """

    layout: str
    load: Callable[[Path, ScanOptions], Scan]
    sample: Callable[[Path, ScanOptions], tuple[Scan, int]]
    measurement: str | None


READERS = {
    "invprob-scan": Reader("invprob scan", invprob_file.load, invprob_file.sample, "data"),
    "data-exchange": Reader("Data Exchange", data_exchange.load, data_exchange.sample, data_exchange.DATA),
    "matlab": Reader("Helsinki Tomography Challenge 2022", htc.load, htc.sample, None),
}


def load_scan(
    path: str | os.PathLike[str],
    *,
    rows: slice | None = None,
    views: slice | None = None,
    angles: ArrayLike | None = None,
    angles_unit: str | None = None,
    pixel_size: float | None = None,
    axis: float | None = None,
    image_shape: tuple[int, int] | None = None,
    rings: bool | None = None,
) -> Scan:
    """Read a scan: Data Exchange HDF5, Helsinki Tomography Challenge 2022, or the project's own file.

    `rows` (detector rows, slices of the result) and `views` are all that is read of the data. `angles` (in
    `angles_unit`, "degrees" or "radians") replace those of the file; `angles_unit` alone replaces their unit.
    `pixel_size` is in mm; without one in the file or here, lengths are in pixels. `axis` is the detector
    column of the rotation axis, counted from 0 in bins; where the file needs one and none is given, it is
    found. `rings` takes away what every bin adds to all views (`invprob.io.rings`). Raises InputError, which names
    what is wrong and the command-line option that mends it.
    """
    options = ScanOptions(rows, views, angles, angles_unit, pixel_size, axis, image_shape, rings)
    path = Path(path)
    scan = reader_of(path).load(path, options)
    return without_rings(scan) if rings else scan


def reader_of(path: Path) -> Reader:
    """Return the reader for the content of `path`; InputError if there is none."""
    check_file(path)
    if h5py.is_hdf5(path) and not _starts_with(path, b"MATLAB"):
        return _hdf5_reader(path)
    if _starts_with(path, b"MATLAB"):
        return READERS["matlab"]
    if _starts_with(path, b"\x89HDF"):
        with open_hdf5(path):  # says what is wrong with it
            pass
    layouts = ", ".join(reader.layout for reader in READERS.values())
    raise InputError(f"{printable(path)} is not a scan this program can read: known are {layouts}")


def _hdf5_reader(path: Path) -> Reader:
    with open_hdf5(path) as file:
        name = read_text(file, "format")
        if name == invprob_file.FORMAT:
            return READERS["invprob-scan"]
        if name == RESULT_FORMAT:
            raise InputError(f"{printable(path)} is a result, not a scan: name the scan it was made from")
        if exists(file, "exchange"):
            return READERS["data-exchange"]
        held = ", ".join(printable(n, 80) for n in dataset_names(file)[:12]) or "no dataset"
    raise InputError(f"{printable(path)} holds neither exchange/data nor an invprob scan (it holds {held})")


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
