"""The project's own file of a scan (`docs/file-format.md`): data, registered geometry, units, origin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob import registry
from invprob.errors import InputError, OutputError, printable
from invprob.io.atomic import check_output
from invprob.io.attributes import check_format, read_json, read_units, write_array, write_attributes, write_json
from invprob.io.digest import fingerprint
from invprob.io.hdf5_writing import write_hdf5
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.likelihood_group import read_likelihood, write_likelihood
from invprob.io.options import RINGS, ROWS, VIEWS, Options, as_slice, in_words, rows_of, selected
from invprob.io.safe_hdf5 import MAX_TEXT, dataset, exists, find, open_hdf5, read_array, read_text
from invprob.io.scan_form import FORMAT, LAYOUT, SEALED, VERSION
from invprob.io.sealing import check_seal
from invprob.linop import LinearOperator
from invprob.linop.lifted import Lifted
from invprob.scan import Scan

if TYPE_CHECKING:
    from invprob.linop import Operator

__all__ = ["READER", "open_scan", "save_scan", "unlifted"]

_LIBVER = ("v110", "v110")
_OF_A_FILE = ("source", "digest", "reader", "rows", "views")  # what a provenance says about the file that was read
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def save_scan(path: str | os.PathLike[str], scan: Scan, *, overwrite: bool = False) -> None:
    """Write `scan` to `path`, whole or not at all.

    Raises OutputError if its operator is not registered (a file names only registered things), if its provenance has
    a name or a text that a file cannot hold, or if the path cannot be written, ResourceError if the disk is full.
    """
    A, lifts = unlifted(scan.operator)
    name = registry.name_of(registry.OPERATORS, type(A))
    if name is None:
        raise OutputError(
            f"a scan with a {type(A).__name__} cannot be saved, for this operator is not registered: "
            f"files know {', '.join(registry.OPERATORS)}; keep the scan in Python"
        )
    if not scan.data.numel():
        raise OutputError(f"{printable(path)}: a scan with data of shape {tuple(scan.data.shape)} is empty")
    _check_provenance(scan.provenance, printable(path))
    tensors = [t for t in (scan.data, scan.truth, scan.weights) if t is not None]
    n_bytes = sum(t.numel() * t.element_size() for t in tensors)
    path = check_output(path, n_bytes, overwrite=overwrite)
    write_hdf5(path, lambda file: _fill(file, scan, A, name, lifts), _LIBVER, overwrite=overwrite)


def open_scan(path: Path, options: Options) -> Stack:
    """Open a scan; the option `rows` selects along the first batch axis, `views` along the angles."""
    with open_hdf5(path) as file:
        check_seal(file, required=check_format(file, FORMAT, VERSION) >= SEALED)
        cls, config = _read_operator(file)
        if "views" in options and read_json(find(file, "operator"), "lift"):
            VIEWS.refuse(because="the file holds channels of one item, whose views belong together")
        config, views = _select_views(cls, config, options)
        operator = _lifted(_build(cls, config, printable(path)), file)
        n_batch = max(0, dataset(file, "data").ndim - len(operator.range_shape))
        rows = _select_rows(file, n_batch, options)
    about = {"source": str(path), "digest": fingerprint(path), "reader": FORMAT}
    about |= {} if views is None else {"views": in_words(views)}

    def read(some: range | None) -> Scan:
        told = {"rows": in_words(some)} if some is not None and "rows" in options else {}
        return _read(path, about | told, operator, n_batch, some, slice(None) if views is None else as_slice(views))

    return Stack(path, LAYOUT, rows, read)


def _read(
    path: Path, about: Mapping[str, str], operator: Operator, n_batch: int, some: range | None, views: slice
) -> Scan:
    """Read some rows; the operator is one for all of them, so that its tables and norms are computed once."""
    rows = () if some is None else (as_slice(some),)
    items = rows + (slice(None),) * (n_batch - len(rows))
    with open_hdf5(path) as file:
        data = torch.from_numpy(read_array(file, "data", (*items, views)))
        truth = torch.from_numpy(read_array(file, "truth", rows)) if exists(file, "truth") else None
        noise = _read_noise(file, rows)
        weights = _read_weights(file, items, views)
        likelihood = read_likelihood(file, items, views)
        units = read_units(file)
        provenance = _read_provenance(file) | dict(about)
    try:
        return Scan(
            operator,
            data,
            noise,
            truth,
            weights=weights,
            likelihood=likelihood,
            units=units,
            provenance=provenance,
        )
    except ValueError as error:
        raise InputError(f"{printable(path)}: {error}") from error


def _fill(file: h5py.File, scan: Scan, A: Operator, name: str, lifts: list[dict[str, Any]]) -> None:
    write_attributes(file, {"format": FORMAT, "version": VERSION})
    group = file.create_group("operator")
    if lifts:
        write_json(group, "lift", lifts)
    write_attributes(group, {"name": name, "precision": str(A.dtype).removeprefix("torch.")})
    plain = {}
    for key, value in cast("Any", A).config().items():
        if isinstance(value, np.ndarray | Tensor):
            write_array(group, key, value)
        else:
            plain[key] = value
    write_json(group, "config", plain)
    write_array(file, "data", scan.data)
    if scan.truth is not None:
        write_array(file, "truth", scan.truth)
    if scan.weights is not None:
        write_array(file, "weights", scan.weights)
    write_likelihood(file, scan.likelihood)
    if scan.noise is not None:
        write_array(file, "noise", torch.as_tensor(scan.noise, dtype=torch.float64))
    write_attributes(file.create_group("units"), asdict(scan.units))
    told = {str(key): str(text) for key, text in scan.provenance.items()}
    write_attributes(file.create_group("provenance"), told)


def unlifted(A: Operator) -> tuple[Operator, list[dict[str, Any]]]:
    """Return the operator inside, and what it was lifted over, from the inside out."""
    lifts: list[dict[str, Any]] = []
    while isinstance(A, Lifted):
        lifts.insert(0, {"shape": A.extra, "channels": A.channels, "spacing": A.spacing})
        A = A.inner
    return A, lifts


def _lifted(A: Operator, file: h5py.File) -> Operator:
    """Return the operator lifted as the file says."""
    found = read_json(find(file, "operator"), "lift")
    where = f"{printable(file.filename)}: operator@lift"
    for lift in found if isinstance(found, list) else []:
        if not isinstance(lift, dict) or not isinstance(A, LinearOperator):
            raise InputError(f"{where} says nothing that can be understood: save the scan again")
        try:
            A = A.lift(lift["shape"], channels=lift.get("channels"), spacing=lift.get("spacing"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} does not fit the geometry ({printable(error)}): save the scan again") from error
    return A


def _read_operator(file: h5py.File) -> tuple[type[Operator], dict[str, Any]]:
    """Return the operator's class, by its registered name only, and the arguments to build it with."""
    group = find(file, "operator")
    name = read_text(group, "name") or ""
    try:
        cls: type[Operator] = registry.load(registry.OPERATORS, name)
    except ValueError as error:
        raise InputError(f"{printable(file.filename)}: operator {printable(error)}: update invprob") from error
    plain = read_json(group, "config")
    if not isinstance(plain, dict):
        raise InputError(f"{printable(file.filename)} holds no geometry (operator@config): save the scan again")
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    arrays = {key: read_array(file, f"operator/{key}") for key in group}
    precision = _PRECISIONS.get(read_text(group, "precision") or "", torch.float32)
    return cls, config | arrays | {"dtype": precision}


def _build(cls: type[Operator], config: Mapping[str, Any], where: str) -> Operator:
    try:
        return cls(**config)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: the stored geometry is no {cls.__name__} ({printable(error)})") from error


def _select_views(cls: type[Operator], config: dict[str, Any], options: Options) -> tuple[dict[str, Any], range | None]:
    """Return the operator's arguments for the selected views, and their indices, None if none were selected."""
    if "views" not in options:
        return config, None
    if "angles" not in config:
        VIEWS.refuse(because=f"a {cls.__name__} has no views")
    views = selected(options["views"], len(config["angles"]), VIEWS.typed)
    return config | {"angles": config["angles"][as_slice(views)]}, views


def _select_rows(file: h5py.File, n_batch: int, options: Options) -> range | None:
    """Return the selection of the first batch axis, None for a single item."""
    return rows_of(options, dataset(file, "data").shape[0] if n_batch else None)


def _read_noise(file: h5py.File, rows: tuple[slice, ...]) -> float | Tensor | None:
    if not exists(file, "noise"):
        return None
    per_item = dataset(file, "noise").ndim > 0
    noise = read_array(file, "noise", rows if per_item else ())
    return torch.from_numpy(noise) if per_item else float(noise)


def _read_weights(file: h5py.File, items: tuple[slice, ...], views: slice) -> Tensor | None:
    """Read weights for each item, or those all items share."""
    if not exists(file, "weights"):
        return None
    shared = dataset(file, "weights").ndim < dataset(file, "data").ndim
    return torch.from_numpy(read_array(file, "weights", (views,) if shared else (*items, views)))


def _read_provenance(file: h5py.File) -> dict[str, str]:
    """Return the stored origin; what describes the file the scan was made from is called original_*."""
    group = find(file, "provenance")
    stored = {printable(key): read_text(group, key) or "" for key in group.attrs}
    return {f"original_{key}" if key in _OF_A_FILE else key: text for key, text in stored.items()}


def _check_provenance(provenance: Mapping[str, str], where: str) -> None:
    """Raise OutputError for what would not come back from a file."""
    for key, text in provenance.items():
        if not str(key) or "\0" in str(key):
            raise OutputError(f"{where}: the provenance has an entry with the name {key!r}: give it a name")
        size = len(str(text).encode())
        if size > MAX_TEXT:
            raise OutputError(
                f"{where}: the provenance {printable(key)!r} has {size} bytes, more than {MAX_TEXT}: shorten it"
            )


def _recognises(probe: Probe) -> bool:
    return probe.hdf5 is not None and read_text(probe.hdf5, "format") == FORMAT


READER = Reader(
    layout=LAYOUT,
    about="HDF5 written by invprob; see docs/file-format.md",
    accepts=(ROWS, VIEWS, RINGS),
    otherwise="the file holds its own geometry",
    recognises=_recognises,
    open=open_scan,
    measurement="data",
)
