"""Data Exchange, the HDF5 layout of synchrotron tomography (De Carlo et al. 2014, J. Synchr. Rad. 21, 1224).

`exchange/data` (theta, row, column) are counts, `exchange/data_white` and `exchange/data_dark` (exposure,
row, column) the open beam and the dark current, `exchange/theta` the angles with their unit as an attribute.
Only the selected views and rows are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError, printable
from invprob.io.checks import angles_in_radians, check_angles, sound_geometry
from invprob.io.fingerprint import fingerprint
from invprob.io.flat_field import MIN_TRANSMISSION, line_integrals
from invprob.io.options import ScanOptions, as_slice, selected
from invprob.io.rotation_axis import RotationAxis, find_rotation_axis
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.operators import ParallelBeam
from invprob.scan import Scan, Units

__all__ = ["DATA", "find_axis", "load", "sample"]

DATA, WHITE, DARK, THETA = (f"exchange/{name}" for name in ("data", "data_white", "data_dark", "theta"))
_AXIS_ROWS = 5  # rows in the middle that the rotation axis is sought in


@dataclass(frozen=True)
class _Views:
    """What is wanted: indices of views, rows and columns, and all angles of the file in radians."""

    views: range
    rows: range
    columns: range
    angles: NDArray[np.float64]


def load(path: Path, options: ScanOptions) -> Scan:
    """Read line integrals `(rows, views, columns)` as a parallel-beam scan, its rows being the batch.

    Without `options.axis` the rotation axis is sought in all views of the middle rows; value and uncertainty
    go to the provenance.
    """
    with open_hdf5(path) as file:
        wanted = _wanted(file, options)
        found = _find_axis(file, wanted) if options.axis is None else None
        integrals, clamped = _corrected(file, wanted, _counts(file, wanted))
    column = float(options.axis or 0.0) if found is None else found.column
    provenance = {
        "source": str(path),
        "digest": fingerprint(path),
        "reader": "Data Exchange",
        "rows": _words(wanted.rows),
        "views": _words(wanted.views),
        "correction": "-ln((data - dark) / (white - dark)) with mean fields",
        "clamped": f"{clamped} of {integrals.size} transmissions raised to {MIN_TRANSMISSION:.3g}",
        "axis": f"column {column:.2f}, " + (f"found +- {found.uncertainty:.2f}" if found else "given"),
        "pixel_size": "unknown: lengths are in pixels" if options.pixel_size is None else "given",
    }
    return Scan(
        _parallel_beam(wanted, column, options, printable(path)),
        torch.from_numpy(integrals),
        units=Units.attenuation("pixel" if options.pixel_size is None else "mm"),
        provenance=provenance,
    )


def sample(path: Path, options: ScanOptions) -> tuple[Scan, int]:
    """Return the middle row, about an axis at column 0, and the number of rows."""
    with open_hdf5(path) as file:
        shape = dataset(file, DATA).shape
    rows = shape[1] if len(shape) == 3 else 1
    return load(path, replace(options, rows=slice(rows // 2, rows // 2 + 1), axis=0.0)), rows


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
    with open_hdf5(path) as file:
        return _find_axis(file, _wanted(file, ScanOptions(rows=rows, angles=angles, angles_unit=angles_unit)))


def _parallel_beam(wanted: _Views, axis: float, options: ScanOptions, where: str) -> ParallelBeam:
    theta, columns = wanted.angles[wanted.views], len(wanted.columns)
    check_angles(theta, wanted.views, f"{where}: {THETA}")
    size = 1.0 if options.pixel_size is None else options.pixel_size
    with sound_geometry(where):
        return ParallelBeam(
            options.image_shape or (columns, columns),
            theta,
            columns,
            pixel_size=size,
            detector_size=size,
            axis_offset=axis - (columns - 1) / 2,
        )


def _wanted(file: h5py.File, options: ScanOptions) -> _Views:
    where = printable(file.filename)
    data = dataset(file, DATA)
    order = read_text(data, "axes")
    if data.ndim != 3 or (order and not order.lower().startswith("theta")):
        raise InputError(
            f"{where}: {DATA} has shape {data.shape} and axes {printable(order or 'not named')}, "
            "expected three axes theta:row:column: rewrite it in this order"
        )
    if data.dtype.kind == "c":
        raise InputError(f"{where}: {DATA} is complex, but counts are real: store their real part")
    angles = _angles(file, options)
    if angles.size != data.shape[0]:
        raise InputError(
            f"{where}: {angles.size} angles for {DATA} of shape {data.shape}, whose first axis is taken "
            "as the views: give one angle per view with --angles"
        )
    views, rows = (
        selected(options.views, data.shape[0], "--views"),
        selected(options.rows, data.shape[1], "--rows"),
    )
    return _Views(views, rows, range(data.shape[2]), angles)


def _angles(file: h5py.File, options: ScanOptions) -> NDArray[np.float64]:
    """Return all angles in radians, from the options or else the file; the user's unit counts more."""
    if options.angles is not None:
        return angles_in_radians(np.ravel(options.angles), options.angles_unit, "the given angles")
    if not exists(find(file, "exchange"), "theta"):
        raise InputError(
            f"{printable(file.filename)} holds no angles ({THETA}): "
            "give them with --angles FIRST:LAST:COUNT and --angles-unit degrees"
        )
    unit = options.angles_unit or read_text(dataset(file, THETA), "units")
    where = f"{printable(file.filename)}: the angles in {THETA}"
    return angles_in_radians(np.ravel(read_array(file, THETA)), unit, where)


def _counts(file: h5py.File, wanted: _Views) -> NDArray[Any]:
    return read_array(file, DATA, (as_slice(wanted.views), as_slice(wanted.rows)))


def _corrected(file: h5py.File, wanted: _Views, counts: NDArray[Any]) -> tuple[NDArray[np.float32], int]:
    """Return the line integrals of the wanted part as (rows, views, columns), and the clamped count."""
    white, dark = (_mean_field(file, name, wanted) for name in (WHITE, DARK))
    axes = {"view": wanted.views, "row": wanted.rows, "column": wanted.columns}
    integrals, clamped = line_integrals(counts, white, dark, axes, f"{printable(file.filename)}: {DATA}")
    return np.ascontiguousarray(integrals.swapaxes(0, 1)), clamped


def _mean_field(file: h5py.File, name: str, wanted: _Views) -> NDArray[np.float64]:
    """Return the mean exposure (rows, columns) of the wanted rows."""
    field, data = dataset(file, name), dataset(file, DATA)
    if field.ndim != 3 or field.shape[1:] != data.shape[1:]:
        raise InputError(
            f"{printable(file.filename)}: {name} has shape {field.shape}, and {DATA} of shape {data.shape} "
            f"needs (exposures, {data.shape[1]}, {data.shape[2]}): rewrite it in this shape"
        )
    mean: NDArray[np.float64] = read_array(file, name, (slice(None), as_slice(wanted.rows))).mean(0, dtype=np.float64)
    return mean


def _find_axis(file: h5py.File, wanted: _Views) -> RotationAxis:
    """Find the axis in the middle rows and all sound views, those of a limited-angle selection included."""
    first = max(0, (len(wanted.rows) - _AXIS_ROWS) // 2)
    middle = wanted.rows[first : first + _AXIS_ROWS]
    everything = _Views(range(wanted.angles.size), middle, wanted.columns, wanted.angles)
    counts = _counts(file, everything)
    sound = np.isfinite(wanted.angles) & np.isfinite(counts).all(axis=(1, 2))
    sinograms, _ = _corrected(file, everything, counts[sound])
    try:
        return find_rotation_axis(sinograms, wanted.angles[sound])
    except InputError as error:
        raise InputError(f"{printable(file.filename)}: {error}") from error


def _words(indices: range) -> str:
    return f"{indices[0]} to {indices[-1]}" + (f" in steps of {indices.step}" if indices.step > 1 else "")
