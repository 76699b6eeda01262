"""What is in a scan file, without reconstructing anything: the facts behind `invprob inspect`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.files import files_of
from invprob.io.layout import Reader, Stack
from invprob.io.options import Options, as_slice
from invprob.io.readers import accepted_options, opened, reader_of
from invprob.io.safe_hdf5 import dataset, dataset_names, find, open_hdf5, read_array, read_text
from invprob.likelihood import Gaussian
from invprob.scan import Scan, Units

__all__ = [
    "AngleSummary",
    "DatasetSummary",
    "ScanSummary",
    "ValueSummary",
    "noise_in_words",
    "scan_summary",
    "stored_values",
]

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

    `geometry`, `units`, `noise`, `angles` and `rows` describe the scan as `load_scan` would return it; they are None
    where not even a row of it can be read. `found` holds what was found in the data, in words by what it is. `values`
    are the stored ones, before any correction.
    """

    path: str
    layout: str
    size: int
    datasets: tuple[DatasetSummary, ...]
    values: ValueSummary | None
    rows: int | None
    geometry: str | None
    found: Mapping[str, str]
    units: Units | None
    noise: str | None
    angles: AngleSummary | None
    hints: tuple[str, ...]


def scan_summary(path: str | os.PathLike[str], **options: Any) -> ScanSummary:
    """Describe a scan file, read with the options of `load_scan`; of a large one every n-th view is looked at.

    What keeps the file from being loaded is a hint, not an error; InputError only for a file that is no scan, or an
    option that does not go with its layout.
    """
    path = Path(path)
    reader = reader_of(path)
    accepted = accepted_options(reader, options)
    datasets, values = _stored(path, reader)
    stack, hints = _look(path, reader, accepted)
    scan = stack.sample if stack else None
    return ScanSummary(
        path=str(path),
        layout=reader.layout,
        size=sum(file.stat().st_size for file in files_of(path)),
        datasets=datasets,
        values=_of_scan(scan) if values is None and scan else values,
        rows=len(stack) if stack else None,
        geometry=repr(scan.operator) if scan else None,
        found=stack.found if stack else {},
        units=scan.units if scan else None,
        noise=noise_in_words(scan) if scan else None,
        angles=_angle_summary(scan) if scan else None,
        hints=tuple(hints),
    )


def noise_in_words(scan: Scan) -> str:
    """Return what is known of the noise: its level, or the likelihood that brings it along."""
    likelihood = scan.likelihood
    if likelihood.counted:
        return f"that of counts: {likelihood.in_words()}"
    if scan.noise is None:
        level = "not known (no estimate in the file)"
    else:
        low, high = (f"{float(end):.4g}" for end in torch.as_tensor(scan.noise).aminmax())
        level = f"standard deviation {low if low == high else f'{low} to {high}'}, from the file"
    return level if isinstance(likelihood, Gaussian) else f"{level}; likelihood {likelihood.in_words()}"


def stored_values(stack: Stack) -> ValueSummary:
    """Return the range of the values in an opened file, before any correction, as far as they are stored as such."""
    return _stored(stack.path, reader_of(stack.path))[1] or _of_scan(stack.sample)


def _look(path: Path, reader: Reader, accepted: Options) -> tuple[Stack | None, list[str]]:
    """Return the opened file, None if not even a row of it can be read, and what is wrong or doubtful about it."""
    try:
        stack = opened(path, reader, accepted)
        return stack, [*([stack.obstacle] if stack.obstacle else []), *stack.doubts()]
    except InputError as error:
        return None, [str(error)]


def _stored(path: Path, reader: Reader) -> tuple[tuple[DatasetSummary, ...], ValueSummary | None]:
    """Describe the datasets of an HDF5 file, and the values of the measurement if they can be read."""
    measurement = reader.measurement
    if measurement is None:
        return (), None
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


def _of_scan(scan: Scan) -> ValueSummary:
    return _value_summary(scan.data.numpy(), scan.data.numel())


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
