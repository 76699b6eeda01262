"""A scan file as the command line reads it: looked at once, then row by row of a stack."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invprob.io import READERS, RotationAxis, find_axis, load_scan, open_hdf5
from invprob.io.options import ScanOptions, as_slice, selected
from invprob.io.readers import Reader, reader_of
from invprob.io.safe_hdf5 import dataset

if TYPE_CHECKING:
    from invprob.cli.parse import AngleRange, ImageShape
    from invprob.scan import Scan

__all__ = ["DATA_EXCHANGE", "Source", "given", "read_options"]

DATA_EXCHANGE = READERS["data-exchange"]


@dataclass(frozen=True)
class Source:
    """What is to be reconstructed: `sample` is one of the `rows`, which are None for a single image.

    `axis` is the rotation axis if it had to be found.
    """

    path: Path
    layout: str
    options: ScanOptions
    rows: range | None
    sample: Scan
    axis: RotationAxis | None

    @classmethod
    def open(cls, path: Path, options: ScanOptions) -> Source:
        """Look at a file: read one row and find the rotation axis where one is needed and none given.

        Raises InputError for what cannot be read.
        """
        reader, axis = reader_of(path), None
        if options.axis is None and reader is DATA_EXCHANGE:
            axis = find_axis(path, rows=options.rows, angles=options.angles, angles_unit=options.angles_unit)
            options = replace(options, axis=axis.column)
        with warnings.catch_warnings():  # reading the rows themselves will repeat them
            warnings.simplefilter("ignore")
            sample, rows = _look(path, reader, options)
        return cls(path, reader.layout, options, rows, sample, axis)

    def chunks(self, size: int) -> list[range | None]:
        """Return the rows in groups of at most `size`; [None] for a single image."""
        rows = self.rows
        return [None] if rows is None else [rows[i : i + size] for i in range(0, len(rows), size)]

    def load(self, rows: range | None) -> Scan:
        """Read some rows, or the single image."""
        options = self.options if rows is None else replace(self.options, rows=as_slice(rows))
        scan = load_scan(self.path, **_arguments(options))
        if self.axis is None:
            return scan
        found = f"column {self.axis.column:.2f}, found +- {self.axis.uncertainty:.2f}"
        return replace(scan, provenance={**scan.provenance, "axis": found})


def _look(path: Path, reader: Reader, options: ScanOptions) -> tuple[Scan, range | None]:
    """Return a scan of one wanted row and the indices of all of them, None for a single image."""
    shape = _stored_shape(path, reader)
    if reader is DATA_EXCHANGE and len(shape) == 3:
        rows = selected(options.rows, shape[1], "--rows")  # the others may be bad and need not be read
        first = replace(options, rows=slice(rows[0], rows[0] + 1))
        return reader.load(path, first), rows
    sample, count = reader.sample(path, replace(options, rows=None))
    return sample, selected(options.rows, count, "--rows") if sample.batch_shape else None


def _stored_shape(path: Path, reader: Reader) -> tuple[int, ...]:
    if reader.measurement is None:
        return ()
    with open_hdf5(path) as file:
        return dataset(file, reader.measurement).shape or ()


def read_options(
    rows: slice | None,
    views: slice | None,
    angles: AngleRange | None,
    angles_unit: str | None,
    pixel_size: float | None,
    axis: float | None,
    image_shape: ImageShape | None,
    rings: bool,
) -> ScanOptions:
    """Return the reader's options for what was typed."""
    return ScanOptions(
        rows=rows,
        views=views,
        angles=given(angles),
        angles_unit=angles_unit,
        pixel_size=pixel_size,
        axis=axis,
        image_shape=None if image_shape is None else (image_shape.height, image_shape.width),
        rings=rings or None,
    )


def given(angles: AngleRange | None) -> NDArray[np.float64] | None:
    """Return the angles that were typed, in their unit."""
    return None if angles is None else np.linspace(angles.first, angles.last, angles.count)


def _arguments(options: ScanOptions) -> Mapping[str, Any]:
    return {key: getattr(options, key) for key in ScanOptions.__dataclass_fields__}
