"""Data Exchange, the HDF5 layout of synchrotron tomography (De Carlo et al. 2014, J. Synchr. Rad. 21, 1224).

`exchange/data` (theta, row, column) are counts, `exchange/data_white` and `exchange/data_dark` (exposure,
row, column) the open beam and the dark current, `exchange/theta` the angles with their unit as an attribute.
Only the selected views and rows are read.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.io.checks import angles_in_radians, check_angles, folded, refuse_where, sound_geometry
from invprob.io.dead_detector import dead_pixels, dead_words, filled, weights_of
from invprob.io.digest import fingerprint
from invprob.io.flat_field import MIN_TRANSMISSION, line_integrals, mean_field
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.options import (
    ANGLES,
    ANGLES_UNIT,
    AXIS,
    IMAGE_PIXEL_SIZE,
    IMAGE_SHAPE,
    PIXEL_SIZE,
    RINGS,
    ROWS,
    VALUES,
    VIEWS,
    Options,
    as_slice,
    in_words,
    selected,
)
from invprob.io.rotation_axis import RotationAxis, find_rotation_axis
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.operators import ParallelBeam
from invprob.scan import Scan, Units

__all__ = ["READER", "find_axis", "open_exchange"]

LAYOUT = "Data Exchange"
DATA, WHITE, DARK, THETA = (f"exchange/{name}" for name in ("data", "data_white", "data_dark", "theta"))
_DIFFERING = {WHITE: 0.1, DARK: 1.0}  # of the mean: by how much the levels of exposures may differ; a rule of thumb
_CORRECTIONS = {
    "counts": "-ln((data - dark) / (white - dark)) with mean fields",
    "transmission": "-ln(data)",
    "integrals": "none: the file holds line integrals",
}
_OTHER_VIEWS = "repair them, or leave them out with --rows or --views"
_OTHER_ANGLES = "leave these views out with --views, or give all angles with --angles"
_WIDER = 1.05  # times the detector: a field of view that is less wider than that is an axis a little off the middle
_AXIS_ROWS = 5  # rows in the middle that the rotation axis is sought in


@dataclass(frozen=True)
class _Views:
    """What is wanted: indices of views, rows and columns, and all angles of the file in radians."""

    views: range
    rows: range
    columns: range
    angles: NDArray[np.float64]


@dataclass(frozen=True)
class _Axis:
    """The column of the rotation axis, how it is known, and why it could not be found."""

    column: float
    known: str
    obstacle: str | None = None


@dataclass(frozen=True)
class _Exchange:
    """An opened file, and how its rows become scans."""

    path: Path
    digest: str
    wanted: _Views
    axis: _Axis
    options: Options

    def read(self, rows: range | None) -> Scan:
        """Read line integrals `(rows, views, columns)` as a parallel-beam scan, the rows being the batch."""
        wanted = self.wanted if rows is None else replace(self.wanted, rows=rows)
        check_angles(wanted.angles[wanted.views], wanted.views, f"{printable(self.path)}: {THETA}", _OTHER_ANGLES)
        with open_hdf5(self.path) as file:
            integrals, clamped, dead = _corrected(file, wanted, _counts(file, wanted), self.options)
        if dead.any():
            warnings.warn(f"{printable(self.path)}: {dead_words(dead)}", InputWarning, stacklevel=2)
        size = "given" if "pixel_size" in self.options else "unknown: lengths are in pixels"
        provenance = {
            "source": str(self.path),
            "digest": self.digest,
            "reader": LAYOUT,
            "rows": in_words(wanted.rows),
            "views": in_words(wanted.views),
            "correction": _CORRECTIONS[self.options.get("values", "counts")],
            "clamped": f"{clamped} of {integrals.size} transmissions raised to {MIN_TRANSMISSION:.3g}",
            "axis": f"column {self.axis.column:.2f}, {self.axis.known}",
            "pixel_size": size,
        }
        units = Units.attenuation("mm" if "pixel_size" in self.options else "pixel")
        weights = weights_of(dead, len(wanted.views))
        return Scan(self.operator, torch.from_numpy(integrals), weights=weights, units=units, provenance=provenance)

    @cached_property
    def operator(self) -> ParallelBeam:
        """One for all rows, so that its tables and norms are computed once."""
        with sound_geometry(printable(self.path)):
            shape = self.options.get("image_shape")
            return self._beam(shape or (self._width,) * 2)

    @property
    def _width(self) -> int:
        """As many pixels as bins; more where a full turn about an axis far off the middle has a wider field of view."""
        one = self._beam((1, 1))
        width = math.ceil(2 * one.field_of_view() / one.pixel_size - 1e-6)
        return width if width > _WIDER * one.detectors else one.detectors

    def _beam(self, shape: tuple[int, int]) -> ParallelBeam:
        columns, size = len(self.wanted.columns), self.options.get("pixel_size", 1.0)
        return ParallelBeam(
            shape,
            folded(self.wanted.angles[self.wanted.views]),
            columns,
            pixel_size=self.options.get("image_pixel_size", size),
            detector_size=size,
            axis_offset=self.axis.column - (columns - 1) / 2,
        )


def open_exchange(path: Path, options: Options) -> Stack:
    """Open a file as rows of a parallel beam.

    Without the option `axis` the rotation axis is sought in all views of the middle rows; value and uncertainty go to
    the provenance. Where it cannot be found, rows can be looked at, about the middle of the detector.
    """
    if options.get("values", "counts") not in _CORRECTIONS:
        raise InputError(f"values must be one of {', '.join(_CORRECTIONS)}, got {options['values']!r}")
    with open_hdf5(path) as file:
        wanted = _wanted(file, options)
        axis, found = _axis(file, wanted, options)
    exchange = _Exchange(path, fingerprint(path), wanted, axis, options)
    return Stack(path, LAYOUT, wanted.rows, exchange.read, found, axis.obstacle)


def _axis(file: h5py.File, wanted: _Views, options: Options) -> tuple[_Axis, dict[str, str]]:
    """Return the axis, and words on it if it is not given."""
    if "axis" in options:
        return _Axis(float(options["axis"]), "given"), {}
    try:
        axis = _find_axis(file, wanted, options)
    except InputError as error:
        middle = (len(wanted.columns) - 1) / 2
        return _Axis(middle, "not found", str(error)), {"axis": "not found"}
    words = f"+- {axis.uncertainty:.2f}"
    return _Axis(axis.column, f"found {words}"), {"axis": f"column {axis.column:.2f} {words}, found in the data"}


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
    with open_hdf5(path) as file:
        given = {key: value for key, value in options.items() if value is not None}
        return _find_axis(file, _wanted(file, given), given)


def _wanted(file: h5py.File, options: Options) -> _Views:
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
        selected(options.get("views"), data.shape[0], "--views"),
        selected(options.get("rows"), data.shape[1], "--rows"),
    )
    return _Views(views, rows, range(data.shape[2]), angles)


def _angles(file: h5py.File, options: Options) -> NDArray[np.float64]:
    """Return all angles in radians, from the options or else the file; the user's unit counts more."""
    if "angles" in options:
        return angles_in_radians(np.ravel(options["angles"]), options.get("angles_unit"), "the given angles")
    if not exists(find(file, "exchange"), "theta"):
        raise InputError(
            f"{printable(file.filename)} holds no angles ({THETA}): "
            "give them with --angles FIRST:LAST:COUNT and --angles-unit degrees"
        )
    unit = options.get("angles_unit") or read_text(dataset(file, THETA), "units")
    where = f"{printable(file.filename)}: the angles in {THETA}"
    return angles_in_radians(np.ravel(read_array(file, THETA)), unit, where)


def _counts(file: h5py.File, wanted: _Views) -> NDArray[Any]:
    return read_array(file, DATA, (as_slice(wanted.views), as_slice(wanted.rows)))


def _corrected(
    file: h5py.File, wanted: _Views, counts: NDArray[Any], options: Options
) -> tuple[NDArray[np.float32], int, NDArray[np.bool_]]:
    """Return the line integrals of the wanted part as (rows, views, columns), the clamped count, and dead pixels."""
    white, dark = _fields(file, wanted, options)
    dead = dead_pixels(white, dark, counts)
    white, dark = np.where(dead, 1.0, white), np.where(dead, 0.0, dark)
    counts = np.where(dead, 1, counts) if dead.any() else counts
    axes = {"view": wanted.views, "row": wanted.rows, "column": wanted.columns}
    where = f"{printable(file.filename)}: {DATA}"
    if options.get("values") == "integrals":
        refuse_where(~np.isfinite(counts), axes, f"{where}: the values are NaN or infinite", _OTHER_VIEWS)
        integrals, clamped = np.asarray(counts, dtype=np.float32), 0
    else:
        integrals, clamped = line_integrals(counts, white, dark, axes, where)
    return filled(np.ascontiguousarray(integrals.swapaxes(0, 1)), dead), clamped, dead


def _fields(file: h5py.File, wanted: _Views, options: Options) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the open beam and the dark current (rows, columns) of the wanted rows; 1 and 0 for what is no count."""
    shape, held = (len(wanted.rows), len(wanted.columns)), find(file, "exchange")
    if options.get("values", "counts") != "counts":
        return np.ones(shape), np.zeros(shape)
    if not exists(held, "data_white"):
        raise InputError(
            f"{printable(file.filename)} holds no open-beam field ({WHITE}), without which counts are no line "
            f"integrals: say what {DATA} holds by {VALUES.typed}=integrals, or {VALUES.typed}=transmission for counts "
            "divided by the open beam"
        )
    white = _mean_field(file, WHITE, wanted)
    if exists(held, "data_dark"):
        return white, _mean_field(file, DARK, wanted)
    warnings.warn(
        f"{printable(file.filename)} holds no dark field ({DARK}): the dark current counts as 0",
        InputWarning,
        stacklevel=2,
    )
    return white, np.zeros(shape)


def _mean_field(file: h5py.File, name: str, wanted: _Views) -> NDArray[np.float64]:
    """Return the mean exposure (rows, columns) of the wanted rows."""
    field, data = dataset(file, name), dataset(file, DATA)
    if field.ndim not in (2, 3) or field.shape[-2:] != data.shape[1:]:
        raise InputError(
            f"{printable(file.filename)}: {name} has shape {field.shape}, and {DATA} of shape {data.shape} "
            f"needs (exposures, {data.shape[1]}, {data.shape[2]}), or the last two for one: rewrite it in this shape"
        )
    if field.ndim == 2:
        return read_array(file, name, (as_slice(wanted.rows),)).astype(np.float64)
    exposures = read_array(file, name, (slice(None), as_slice(wanted.rows)))
    mean, doubts = mean_field(exposures, name, _DIFFERING[name])
    for doubt in doubts:
        warnings.warn(f"{printable(file.filename)}: {doubt}", InputWarning, stacklevel=2)
    return mean


def _find_axis(file: h5py.File, wanted: _Views, options: Options) -> RotationAxis:
    """Find the axis in the middle rows and all sound views, those of a limited-angle selection included."""
    first = max(0, (len(wanted.rows) - _AXIS_ROWS) // 2)
    middle = wanted.rows[first : first + _AXIS_ROWS]
    everything = _Views(range(wanted.angles.size), middle, wanted.columns, wanted.angles)
    counts = _counts(file, everything)
    seen = np.isfinite(counts)
    sound = np.isfinite(wanted.angles) & (seen | ~seen.any(axis=0)).all(axis=(1, 2))  # but for dead pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # reading the rows warns of the fields
        sinograms, _, _ = _corrected(file, everything, counts[sound], options)
    try:
        return find_rotation_axis(sinograms, wanted.angles[sound])
    except InputError as error:
        raise InputError(f"{printable(file.filename)}: {error}") from error


def _recognises(probe: Probe) -> bool:
    return probe.hdf5 is not None and exists(probe.hdf5, "exchange")


READER = Reader(
    layout=LAYOUT,
    about="HDF5 with a group exchange: counts, flats, darks, angles",
    accepts=(ROWS, VIEWS, ANGLES, ANGLES_UNIT, PIXEL_SIZE, AXIS, IMAGE_SHAPE, IMAGE_PIXEL_SIZE, RINGS, VALUES),
    otherwise="it says nothing about counts of a parallel beam",
    recognises=_recognises,
    open=open_exchange,
    measurement=DATA,
)
