"""What is in a scan file, without reconstructing anything: the facts behind `invprob inspect`."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.io.options import ScanOptions, as_slice
from invprob.io.readers import Reader, reader_of
from invprob.io.safe_hdf5 import dataset, dataset_names, find, open_hdf5, read_array, read_text
from invprob.scan import Scan, Units

__all__ = ["AngleSummary", "DatasetSummary", "ScanSummary", "ValueSummary", "scan_summary"]

_BLOCK, _BUDGET = 2**26, 2**30  # bytes read at a time, and at most


@dataclass(frozen=True)
class DatasetSummary:
    """An array in the file; `unit` is empty where none is given."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str


@dataclass(frozen=True)
class AngleSummary:
    """The projection angles, in degrees."""

    count: int
    smallest: float
    largest: float
    repeated: int


@dataclass(frozen=True)
class ValueSummary:
    """The range of the finite values (magnitudes if complex), how many are not, how many were read."""

    smallest: float
    largest: float
    not_finite: int
    checked: int
    total: int


@dataclass(frozen=True)
class ScanSummary:
    """A scan file at a glance; `hints` are sentences on what is missing, wrong or doubtful.

    `geometry`, `units`, `angles` and `rows` describe the scan as `load_scan` would return it, with the
    rotation axis left open; they are None where it cannot be loaded. `values` are the stored ones, before any
    correction.
    """

    path: str
    layout: str
    size: int
    datasets: tuple[DatasetSummary, ...]
    values: ValueSummary | None
    rows: int | None
    geometry: str | None
    units: Units | None
    angles: AngleSummary | None
    hints: tuple[str, ...]


def scan_summary(
    path: str | os.PathLike[str], *, angles: ArrayLike | None = None, angles_unit: str | None = None
) -> ScanSummary:
    """Describe a scan file; of a large one every n-th view is looked at, a GiB in all.

    What keeps the file from being loaded is a hint, not an error; InputError only for a file that is no scan.
    """
    path = Path(path)
    reader = reader_of(path)
    datasets, values = _stored(path, reader.measurement) if reader.measurement else ((), None)
    scan, rows, hints = _sample(path, reader, ScanOptions(angles=angles, angles_unit=angles_unit))
    if scan is not None:
        values = values or _value_summary(scan.data.numpy(), scan.data.numel())
    return ScanSummary(
        path=str(path),
        layout=reader.layout,
        size=path.stat().st_size,
        datasets=datasets,
        values=values,
        rows=rows,
        geometry=repr(scan.operator) if scan else None,
        units=scan.units if scan else None,
        angles=_angle_summary(scan) if scan else None,
        hints=tuple(hints),
    )


def _sample(path: Path, reader: Reader, options: ScanOptions) -> tuple[Scan | None, int | None, list[str]]:
    """Return a scan of the middle row, the number of rows, and all that was said and found on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        try:
            scan, rows = reader.sample(path, options)
        except InputError as error:
            return None, None, [str(error)]
    hints = [str(warning.message) for warning in caught]
    A = scan.operator
    item = A.fill(scan.data, scan.weights).reshape(-1, *A.range_shape)[0]
    said = " ".join(hints)
    return scan, rows, hints + [doubt for doubt in A.doubts(item) if doubt not in said]


def _stored(path: Path, measurement: str) -> tuple[tuple[DatasetSummary, ...], ValueSummary | None]:
    """Describe the datasets of an HDF5 file, and the values of the measurement if they can be read."""
    with open_hdf5(path) as file:
        datasets = tuple(_dataset_summary(file, name) for name in dataset_names(file))
        try:
            source = dataset(file, measurement)
        except InputError:
            return datasets, None
        if not source.ndim:
            return datasets, None
        per_view = max(1, source.nbytes // source.shape[0])
        views = range(0, source.shape[0], -(-source.nbytes // _BUDGET))
        step = max(1, _BLOCK // per_view)
        blocks = (views[i : i + step] for i in range(0, len(views), step))
        parts = [_value_summary(read_array(file, measurement, (as_slice(b),)), source.size) for b in blocks]
    return datasets, _merged(parts)


def _value_summary(values: NDArray[Any], total: int) -> ValueSummary:
    magnitudes = np.abs(values) if np.iscomplexobj(values) else values
    finite = magnitudes[np.isfinite(magnitudes)]
    ends = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    return ValueSummary(*ends, not_finite=values.size - finite.size, checked=values.size, total=total)


def _merged(parts: list[ValueSummary]) -> ValueSummary:
    return ValueSummary(
        smallest=float(np.fmin.reduce([p.smallest for p in parts])),
        largest=float(np.fmax.reduce([p.largest for p in parts])),
        not_finite=sum(p.not_finite for p in parts),
        checked=sum(p.checked for p in parts),
        total=parts[0].total,
    )


def _angle_summary(scan: Scan) -> AngleSummary | None:
    angles = getattr(scan.operator, "angles", None)
    if not isinstance(angles, np.ndarray):
        return None
    degrees = np.rad2deg(angles)
    repeated = degrees.size - np.unique(angles).size
    return AngleSummary(degrees.size, float(degrees.min()), float(degrees.max()), repeated)


def _dataset_summary(file: h5py.File, name: str) -> DatasetSummary:
    data = find(file, name)
    try:
        dtype, unit = printable(data.dtype), read_text(data, "units") or ""
    except (InputError, TypeError):  # a type that numpy does not know, or a unit that is no text
        dtype, unit = "unknown", "unknown"
    return DatasetSummary(printable(name), data.shape or (), dtype, printable(unit))
