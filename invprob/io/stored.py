"""What is stored in a file of a scan, told without torch: datasets, ranges of values, and the scans of our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob import registry
from invprob.errors import InputError, printable
from invprob.grid import Units
from invprob.io.attributes import check_format, read_json, read_units
from invprob.io.options import as_slice
from invprob.io.safe_hdf5 import dataset, dataset_names, exists, find, open_hdf5, read_array, read_text
from invprob.io.scan_form import FORMAT, LAYOUT, SEALED, VERSION
from invprob.io.sealing import check_seal

__all__ = [
    "AngleSummary",
    "DatasetSummary",
    "ScanSummary",
    "ValueSummary",
    "angle_summary",
    "level_in_words",
    "own_summary",
    "stored_datasets",
    "value_summary",
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


def own_summary(path: Path) -> ScanSummary:
    """Describe the project's own file of a scan by what stands in it, without building its operator.

    What geometry and data say against each other is for `invprob.io.scan_summary`. InputError for a file that is
    damaged, or newer than this program.
    """
    with open_hdf5(path) as file:
        check_seal(file, required=check_format(file, FORMAT, VERSION) >= SEALED)
        group = find(file, "operator")
        name = read_text(group, "name") or ""
        if name not in registry.OPERATORS:
            hint = registry.nearest(name, registry.OPERATORS)
            raise InputError(f"{printable(path)}: no operator is called {printable(name)!r}; {hint}: update invprob")
        angles = read_array(file, "operator/angles").ravel() if exists(group, "angles") else None
        geometry = f"{name} ({', '.join(_geometry(file))})"
        units = read_units(file)
        noise = _noise(file)
    datasets, values = stored_datasets(path, "data")
    return ScanSummary(
        path=str(path),
        layout=LAYOUT,
        size=path.stat().st_size,
        datasets=datasets,
        values=values,
        rows=None,
        geometry=geometry,
        found={},
        units=units,
        noise=noise,
        angles=None if angles is None else angle_summary(angles),
        hints=(),
    )


def _geometry(file: h5py.File) -> Iterator[str]:
    """Yield the arguments of the operator in words."""
    group = find(file, "operator")
    config, lifts = read_json(group, "config"), read_json(group, "lift") or []
    known = isinstance(lifts, list) and all(isinstance(lift, dict) and "shape" in lift for lift in lifts)
    if not isinstance(config, dict) or not known:
        raise InputError(f"{printable(file.filename)} holds no geometry that can be understood: save the scan again")
    for key, value in config.items():
        if value not in (None, [], 0.0):
            told = " x ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in _listed(value))
            yield f"{key.replace('_', ' ')} {printable(told)}"
    for key in group:
        yield f"{dataset(file, f'operator/{key}').size} {printable(key)}"
    for lift in lifts:
        count = " x ".join(map(str, _listed(lift["shape"])))
        yield f"for each of {printable(count)} {printable(lift.get('channels') or 'channels')}"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _noise(file: h5py.File) -> str:
    """Return in words what a file says of its noise."""
    likelihood = read_text(find(file, "likelihood"), "name") if exists(file, "likelihood") else None
    noise = read_array(file, "noise") if exists(file, "noise") else None
    level = None if likelihood and noise is None else level_in_words(noise)
    return "; ".join(filter(None, (level, f"likelihood {printable(likelihood)}" if likelihood else None)))


def level_in_words(noise: NDArray[Any] | None, told: str = "") -> str:
    """Return what is known of the noise: its standard deviation, of one item or of many, if there is any.

    Where it is from, the provenance of k-space tells together with the level: "sigma 0.1, given".
    """
    if noise is None:
        return "not known (no estimate in the file)"
    low, high = (f"{float(end):.4g}" for end in (noise.min(), noise.max()))
    level = low if low == high else f"{low} to {high}"
    same, _, origin = told.partition(", ")
    return f"standard deviation {level}, {origin if origin and same == f'sigma {level}' else 'from the file'}"


def angle_summary(angles: NDArray[np.float64]) -> AngleSummary:
    """Return how many projection angles there are and where they lie, those given being in radians."""
    degrees = np.rad2deg(angles)
    return AngleSummary(degrees.size, float(degrees.min()), float(degrees.max()), degrees.size - np.unique(angles).size)


def stored_datasets(path: Path, measurement: str | None) -> tuple[tuple[DatasetSummary, ...], ValueSummary | None]:
    """Describe the datasets of an HDF5 file, and the values of its `measurement` if they can be read."""
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
        parts = [value_summary(read_array(file, measurement, (as_slice(b),)), source.size) for b in blocks]
    return datasets, _merged(parts)


def value_summary(values: NDArray[Any], total: int) -> ValueSummary:
    """Return the range of some of `total` values, and how many of them are not finite."""
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


def _dataset_summary(file: h5py.File, name: str) -> DatasetSummary:
    data = find(file, name)
    try:
        dtype, unit = printable(data.dtype), read_text(data, "units") or ""
    except (InputError, TypeError):  # a type that numpy does not know, or a unit that is no text
        dtype, unit = "unknown", "unknown"
    return DatasetSummary(printable(name), data.shape or (), dtype, printable(unit))
