"""Rows of a parallel beam out of counts, fields and angles, wherever these come from.

Only the selected views and rows are read. Every layout of such scans is a `Source`.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.io.checks import angles_in_radians, check_angles, folded, no_reading, refuse_where, sound_geometry
from invprob.io.dead_detector import dead_pixels, dead_words
from invprob.io.digest import fingerprint
from invprob.io.flat_field import MIN_TRANSMISSION, line_integrals, mean_field
from invprob.io.layout import Stack
from invprob.io.missing_readings import HINT, filled, lost_readings, weights_of
from invprob.io.options import (
    ANGLES,
    ANGLES_UNIT,
    AXIS,
    IMAGE_PIXEL_SIZE,
    IMAGE_SHAPE,
    MISSING,
    PAD,
    PHASE,
    PIXEL_SIZE,
    RINGS,
    ROWS,
    VALUES,
    VIEWS,
    Options,
    in_words,
    selected,
)
from invprob.io.phase_retrieval import PhaseRetrieval, retrieval_of
from invprob.io.rotation_axis import RotationAxis, find_rotation_axis
from invprob.operators import ParallelBeam
from invprob.scan import Scan, Units

__all__ = ["ACCEPTED", "Source", "axis_of", "open_views"]

_GEOMETRY = (ANGLES, ANGLES_UNIT, PIXEL_SIZE, AXIS, IMAGE_SHAPE, IMAGE_PIXEL_SIZE)
ACCEPTED = (ROWS, VIEWS, *_GEOMETRY, RINGS, VALUES, MISSING, PHASE, PAD)
_DIFFERING = {"white": 0.1, "dark": 1.0}  # of the mean: by how much the levels of exposures may differ; a rule of thumb
_CORRECTIONS = {
    "counts": "-ln((data - dark) / (white - dark)) with mean fields",
    "transmission": "-ln(data)",
    "integrals": "none: the file holds line integrals",
}
_OTHER_VIEWS = f"repair them, leave them out with --rows or --views, {HINT}"
_OTHER_ANGLES = "leave these views out with --views, or give all angles with --angles"
_WIDER = 1.05  # times the detector: a field of view that is less wider than that is an axis a little off the middle
_AXIS_ROWS = 5  # rows in the middle that the rotation axis is sought in


class Source(ABC):
    """Where counts come from: `(views, rows, columns)` with what there is of open beam, dark current and angles.

    `layout` names it; `named` says how a user calls the counts ("data"), the fields ("white", "dark") and the angles
    ("theta") of it; `remedy` is what to do where the open beam is missing, besides saying what the data are;
    `extents` are rows and columns of the file, where they are not counted from 0.
    """

    layout: ClassVar[str]
    named: Mapping[str, str]
    remedy: str = ""
    path: Path
    shape: tuple[int, int, int]

    @property
    def where(self) -> str:
        """The path, as a message names it."""
        return printable(self.path)

    @abstractmethod
    def counts(self, views: range, rows: range) -> NDArray[Any]:
        """Return what is stored for some views and rows, `(views, rows, columns)`."""

    @abstractmethod
    def exposures(self, which: str, rows: range) -> NDArray[Any] | None:
        """Return exposures `(exposures, rows, columns)` of the field "white" or "dark", None where there is none."""

    @abstractmethod
    def angles(self) -> tuple[NDArray[np.float64], str | None] | None:
        """Return the angles of all views with their unit, None where there are none."""

    def pixel_size(self) -> float | None:
        """Return the side of a detector pixel in mm, where it is known."""
        return None

    def distance(self) -> float | None:
        """Return how far the detector lies behind the object in mm, where it is known."""
        return None

    def energy(self) -> float | None:
        """Return the energy of the photons in keV, where it is known."""
        return None


@dataclass(frozen=True)
class _Wanted:
    """Indices of views, rows and columns, and all angles of the source in radians."""

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
class _Views:
    """A source, and how its rows become scans."""

    source: Source
    wanted: _Wanted
    axis: _Axis
    options: Options
    digest: str = field(default="", compare=False)

    def read(self, rows: range | None) -> Scan:
        """Read line integrals `(rows, views, columns)` as a parallel-beam scan, the rows being the batch."""
        source, wanted = self.source, self.wanted if rows is None else replace(self.wanted, rows=rows)
        where = f"{source.where}: {source.named['theta']}"
        check_angles(wanted.angles[wanted.views], wanted.views, where, _OTHER_ANGLES)
        wide = replace(wanted, rows=_around(wanted.rows, source.shape[1], self.phase.margin)) if self.phase else wanted
        counts = source.counts(wide.views, wide.rows)
        own = [wide.rows.index(row) for row in wanted.rows]
        integrals, clamped, dead, lost = _corrected(source, wide, counts, self.options, self.phase)
        if wide is not wanted:
            integrals, dead, lost = np.ascontiguousarray(integrals[own]), dead[own], lost[own]
        if dead.any():
            warnings.warn(f"{source.where}: {dead_words(dead)}", InputWarning, stacklevel=2)
        provenance = {
            "source": str(source.path),
            "digest": self.digest,
            "reader": source.layout,
            "rows": in_words(wanted.rows),
            "views": in_words(wanted.views),
            "correction": _CORRECTIONS[self.options.get("values", "counts")],
            "clamped": f"{clamped} of {integrals.size} transmissions raised to {MIN_TRANSMISSION:.3g}",
            "axis": f"column {self.axis.column:.2f}, {self.axis.known}",
            "pixel_size": self._size_in_words,
            **({"phase": self.phase.words} if self.phase else {}),
            **({"pad": f"{self._pad} bins without a reading at both ends"} if self._pad else {}),
            **({"missing": self.options[MISSING.name]} if MISSING.name in self.options else {}),
        }
        units = Units.attenuation("pixel" if self._pixel_size is None else "mm")
        gone = np.broadcast_to(dead[:, None] | (lost & (self.options.get(MISSING.name) == "mask")), integrals.shape)
        if self._pad:
            beside = [(0, 0), (0, 0), (self._pad, self._pad)]
            integrals, gone = np.pad(integrals, beside), np.pad(gone, beside, constant_values=True)
        weights = weights_of(gone)
        return Scan(
            self.operator,
            torch.from_numpy(np.require(integrals, requirements="W")),
            weights=weights,
            units=units,
            provenance=provenance,
        )

    @cached_property
    def operator(self) -> ParallelBeam:
        """One for all rows, so that its tables and norms are computed once."""
        with sound_geometry(self.source.where):
            shape = self.options.get("image_shape")
            return self._beam(shape or (self._width,) * 2)

    @cached_property
    def phase(self) -> PhaseRetrieval | None:
        """The filter that takes the fringes of edges away, where it is asked for."""
        source, given = self.source, self.options.get(PHASE.name)
        if given is None:
            return None
        return retrieval_of(given, source.where, self._pixel_size, source.distance(), source.energy())

    @cached_property
    def _pixel_size(self) -> float | None:
        return float(self.options["pixel_size"]) if "pixel_size" in self.options else self.source.pixel_size()

    @property
    def _pad(self) -> int:
        return int(self.options.get(PAD.name, 0))

    @property
    def _size_in_words(self) -> str:
        if "pixel_size" in self.options:
            return "given"
        return "unknown: lengths are in pixels" if self._pixel_size is None else "from the file"

    @property
    def _width(self) -> int:
        """As many pixels as bins; more where a full turn about an axis far off the middle has a wider field of view."""
        one = self._beam((1, 1))
        width = math.ceil(2 * one.field_of_view() / one.pixel_size - 1e-6)
        return width if width > _WIDER * one.detectors else one.detectors

    def _beam(self, shape: tuple[int, int]) -> ParallelBeam:
        columns, size = len(self.wanted.columns) + 2 * self._pad, self._pixel_size or 1.0
        return ParallelBeam(
            shape,
            folded(self.wanted.angles[self.wanted.views]),
            columns,
            pixel_size=self.options.get("image_pixel_size", size),
            detector_size=size,
            axis_offset=self.axis.column + self._pad - (columns - 1) / 2,
        )


def open_views(source: Source, options: Options) -> Stack:
    """Open a source as rows of a parallel beam.

    Without the option `axis` the rotation axis is sought in all views of the middle rows; value and uncertainty go to
    the provenance. Where it cannot be found, rows can be looked at, about the middle of the detector.
    """
    if options.get("values", "counts") not in _CORRECTIONS:
        raise InputError(f"values must be one of {', '.join(_CORRECTIONS)}, got {options['values']!r}")
    wanted = _wanted(source, options)
    axis, found = _axis(source, wanted, options)
    views = _Views(source, wanted, axis, options, fingerprint(source.path))
    found = found | ({"phase": views.phase.words} if views.phase else {})
    return Stack(source.path, source.layout, wanted.rows, views.read, found, axis.obstacle)


def axis_of(source: Source, options: Options) -> RotationAxis:
    """Return the rotation axis that the data tell; InputError where they do not."""
    return _find_axis(source, _wanted(source, options), options)


def _around(rows: range, count: int, margin: int) -> range:
    """Return the rows themselves, those between them, and a margin as far as there are some."""
    return range(max(0, rows[0] - margin), min(count, rows[-1] + margin + 1))


def _axis(source: Source, wanted: _Wanted, options: Options) -> tuple[_Axis, dict[str, str]]:
    """Return the axis, and words on it if it is not given."""
    if "axis" in options:
        return _Axis(float(options["axis"]), "given"), {}
    try:
        axis = _find_axis(source, wanted, options)
    except InputError as error:
        middle = (len(wanted.columns) - 1) / 2
        return _Axis(middle, "not found", str(error)), {"axis": "not found"}
    words = f"+- {axis.uncertainty:.2f}"
    return _Axis(axis.column, f"found {words}"), {"axis": f"column {axis.column:.2f} {words}, found in the data"}


def _wanted(source: Source, options: Options) -> _Wanted:
    angles, shape = _angles(source, options), source.shape
    if angles.size != shape[0]:
        raise InputError(
            f"{source.where}: {angles.size} angles for {source.named['data']} of shape {shape}, whose first axis is "
            "taken as the views: give one angle per view with --angles"
        )
    views, rows = (
        selected(options.get("views"), shape[0], "--views"),
        selected(options.get("rows"), shape[1], "--rows"),
    )
    return _Wanted(views, rows, range(shape[2]), angles)


def _angles(source: Source, options: Options) -> NDArray[np.float64]:
    """Return all angles in radians, from the options or else the source; the user's unit counts more."""
    if "angles" in options:
        return angles_in_radians(np.ravel(options["angles"]), options.get("angles_unit"), "the given angles")
    known = source.angles()
    if known is None:
        raise InputError(
            f"{source.where} holds no angles ({source.named['theta']}): "
            "give them with --angles FIRST:LAST:COUNT and --angles-unit degrees"
        )
    where = f"{source.where}: the angles in {source.named['theta']}"
    return angles_in_radians(np.ravel(known[0]), options.get("angles_unit") or known[1], where)


def _corrected(
    source: Source,
    wanted: _Wanted,
    counts: NDArray[Any],
    options: Options,
    phase: PhaseRetrieval | None = None,
) -> tuple[NDArray[np.float32], int, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the wanted line integrals (rows, views, columns), the clamped count, dead pixels and lost readings."""
    white, dark = _fields(source, wanted, options)
    dead = dead_pixels(white, dark, counts)
    white, dark = np.where(dead, 1.0, white), np.where(dead, 0.0, dark)
    counts = np.where(dead, 1, counts) if dead.any() else counts
    axes = {"view": wanted.views, "row": wanted.rows, "column": wanted.columns}
    where = f"{source.where}: {source.named['data']}"
    lost = lost_readings(counts, options, where)
    counts = np.where(lost, white, counts) if lost.any() else counts

    def retrieved(transmission: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = filled(transmission.swapaxes(0, 1), dead[:, None] | lost.swapaxes(0, 1)).swapaxes(0, 1)
        return whole if phase is None else phase.retrieved(whole)

    if options.get("values") == "integrals":
        refuse_where(no_reading(counts), axes, f"{where}: the values are NaN or infinite", _OTHER_VIEWS)
        integrals, clamped = np.asarray(counts, dtype=np.float32), 0
        integrals = integrals if phase is None else -np.log(np.maximum(retrieved(np.exp(-integrals)), MIN_TRANSMISSION))
    else:
        integrals, clamped = line_integrals(counts, white, dark, axes, where, retrieved if phase else None)
    lost = lost.swapaxes(0, 1)
    return filled(np.ascontiguousarray(integrals.swapaxes(0, 1)), dead[:, None] | lost), clamped, dead, lost


def _fields(source: Source, wanted: _Wanted, options: Options) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the open beam and the dark current (rows, columns) of the wanted rows; 1 and 0 for what is no count."""
    shape = (len(wanted.rows), len(wanted.columns))
    if options.get("values", "counts") != "counts":
        return np.ones(shape), np.zeros(shape)
    white = _mean_field(source, "white", wanted)
    if white is None:
        data = source.named["data"]
        raise InputError(
            f"{source.where} holds no open-beam field ({source.named['white']}), without which counts are no line "
            f"integrals: {source.remedy}say what is in {data} by {VALUES.typed}=integrals, or {VALUES.typed}="
            "transmission for counts divided by the open beam"
        )
    dark = _mean_field(source, "dark", wanted)
    if dark is not None:
        return white, dark
    warnings.warn(
        f"{source.where} holds no dark field ({source.named['dark']}): the dark current counts as 0",
        InputWarning,
        stacklevel=2,
    )
    return white, np.zeros(shape)


def _mean_field(source: Source, which: str, wanted: _Wanted) -> NDArray[np.float64] | None:
    """Return the mean exposure (rows, columns) of the wanted rows."""
    exposures, name = source.exposures(which, wanted.rows), source.named[which]
    if exposures is None:
        return None
    if len(exposures) == 1:
        return np.asarray(exposures[0], dtype=np.float64)
    mean, doubts = mean_field(exposures, name, _DIFFERING[which])
    for doubt in doubts:
        warnings.warn(f"{source.where}: {doubt}", InputWarning, stacklevel=2)
    return mean


def _find_axis(source: Source, wanted: _Wanted, options: Options) -> RotationAxis:
    """Find the axis in the middle rows and all sound views, those of a limited-angle selection included."""
    first = max(0, (len(wanted.rows) - _AXIS_ROWS) // 2)
    middle = wanted.rows[first : first + _AXIS_ROWS]
    everything = _Wanted(range(wanted.angles.size), middle, wanted.columns, wanted.angles)
    counts = source.counts(everything.views, middle)
    seen = np.isfinite(counts)
    whole = (seen | ~seen.any(axis=0)).all(axis=(1, 2))  # but for dead pixels
    sound = np.isfinite(wanted.angles) & (whole if options.get(MISSING.name, "refuse") == "refuse" else True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # reading the rows warns of the fields
        sinograms, *_ = _corrected(source, everything, counts[sound], options)
    try:
        return find_rotation_axis(sinograms, wanted.angles[sound])
    except InputError as error:
        raise InputError(f"{source.where}: {error}") from error
