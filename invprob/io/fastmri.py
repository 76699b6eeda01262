"""fastMRI, the HDF5 layout of the data sets of NYU (Zbontar et al. 2018, arXiv:1811.08839).

`kspace` is (slice, [coil], read-out, phase encoding), `ismrmrd_header` an XML text; files of test sets hold the `mask`
of their phase encodings. The read-out is oversampled, and along the phase encoding there are columns that were never
measured, also in files that are called full.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.ismrmrd_header import MAX_HEADER, Encoding, parse_header
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import COILS, MASK, NOISE
from invprob.io.mri_scan import KSpace, as_samples, mask_of_file
from invprob.io.mri_stack import k_space_stack
from invprob.io.options import ROWS, Options, as_slice, selected
from invprob.io.read_out import without_oversampling
from invprob.io.safe_hdf5 import dataset, exists, open_hdf5, read_array, read_numbers, read_string, read_text

__all__ = ["READER", "open_fastmri"]

LAYOUT = "fastMRI"
_TOLD = ("acquisition", "acceleration", "num_low_frequency")  # never who the patient is


@dataclass(frozen=True)
class _FastMRI:
    """An opened file: its encoding, which columns were measured, and words on that."""

    path: Path
    encoding: Encoding
    columns: NDArray[np.bool_]
    told: dict[str, str]

    def load(self, rows: range | None) -> KSpace:
        """Read some slices, without what the read-out is oversampled."""
        with open_hdf5(self.path) as file:
            values = read_array(file, "kspace", (as_slice(rows or range(1)),))
        where = f"{printable(self.path)}: kspace"
        samples = as_samples(values, where)
        samples = samples[:, None] if samples.ndim == 3 else samples
        height = samples.shape[-2]
        size = round(height * self.encoding.share)
        told = dict(self.told)
        if size < height:
            samples = without_oversampling(samples, -2, size)
            told["read-out"] = f"cut from {height} to {size} pixels in the image: it is oversampled"
        measured = np.array(np.broadcast_to(self.columns, samples.shape[-2:]))
        return KSpace(samples, measured, 2, where, {"slice": rows or range(1)}, provenance=told)


def open_fastmri(path: Path, options: Options) -> Stack:
    """Open a file of slices, each an item with maps of its own."""
    where = printable(path)
    with open_hdf5(path) as file:
        kspace = dataset(file, "kspace")
        if kspace.ndim not in (3, 4):
            raise InputError(f"{where}: kspace has the shape {kspace.shape}, expected (slice, [coil], read-out, phase)")
        header = parse_header(read_string(file, "ismrmrd_header", MAX_HEADER), f"{where}: ismrmrd_header")
        count, width = kspace.shape[0], kspace.shape[-1]
        columns = _measured(header.encodings[0], width, where)
        if exists(file, "mask"):
            columns = columns & _given(read_array(file, "mask"), width, where)
        told = {name: printable(said) for name in _TOLD if (said := _said(file, name)) is not None}
    told["mask"] = f"{np.count_nonzero(columns)} of {width} phase encodings"
    if MASK.name in options and options[MASK.name] != "auto":
        columns = columns & mask_of_file(Path(options[MASK.name]), (width,))
        told["mask"] += f", {np.count_nonzero(columns)} of them by {printable(options[MASK.name])}"
    opened = _FastMRI(path, header.encodings[0], columns, told)
    rows = selected(options.get("rows"), count, ROWS.typed)
    return k_space_stack(path, LAYOUT, rows, opened.load, options)


def _said(file: h5py.File, name: str) -> object:
    """Return what an attribute says, a number or a text, None if there is none."""
    numbers = read_numbers(file, name)
    return read_text(file, name) if numbers is None else numbers.tolist()[0] if numbers.size == 1 else numbers.tolist()


def _measured(encoding: Encoding, width: int, where: str) -> NDArray[np.bool_]:
    """Return which columns were measured: as many as the counter of phase encodings has, about k = 0."""
    limit = encoding.limits.get("kspace_encoding_step_1")
    if encoding.encoded[1] != width or limit is None:
        raise InputError(
            f"{where}: kspace has {width} phase encodings, and its header {encoding.encoded[1]}"
            f"{' without limits' if limit is None else ''}: which ones were measured is not known"
        )
    first = width // 2 - limit.centre
    columns = np.arange(width)
    return np.asarray((columns >= first) & (columns <= first + limit.maximum))


def _given(mask: NDArray[Any], width: int, where: str) -> NDArray[np.bool_]:
    mask = np.ravel(mask)
    if mask.shape != (width,) or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{where}: mask has the shape {mask.shape}, expected {width} values of 0 and 1")
    return np.asarray(mask == 1)


def _recognises(probe: Probe) -> bool:
    file: h5py.File | None = probe.hdf5
    return file is not None and exists(file, "kspace") and exists(file, "ismrmrd_header")


READER = Reader(
    layout=LAYOUT,
    about="HDF5 with kspace and ismrmrd_header; slices are rows",
    accepts=(ROWS, MASK, COILS, NOISE),
    otherwise="the file says what its axes are",
    recognises=_recognises,
    open=open_fastmri,
    measurement="kspace",
)
