"""The project's file of a result (`docs/file-format.md`): saved at once, described, and read again."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.certificate import Certificate
from invprob.errors import InputError, OutputError, printable
from invprob.grid import Grid, Units
from invprob.io.atomic import check_output
from invprob.io.attributes import check_format, read_json, write_array, write_attributes
from invprob.io.hdf5_writing import write_hdf5
from invprob.io.result_form import FORMAT, IMAGES, LIBVER, VERSION, annotate, write_maps
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_numbers, read_text
from invprob.io.sealing import check_seal
from invprob.judgement import statements
from invprob.linop.operator import Channels
from invprob.result import INCOMPLETE, MISSING, STATUS, ParameterMap, Result, current_versions, grid_of
from invprob.scan import Scan

__all__ = [
    "FORMAT",
    "Layout",
    "load_result",
    "read_certificate",
    "read_item_status",
    "read_layout",
    "read_mapping",
    "run_attributes",
    "save_result",
]

_SEALED = 3  # the version from which on a finished file has a digest
_OF_ITEMS = (*STATUS, MISSING)


def run_attributes(
    scan: Scan | None, settings: Mapping[str, Any] | None = None, command: str | None = None
) -> dict[str, Any]:
    """Return what a result says about where it lies and how it was made, for `ResultWriter(attributes=...)`."""
    attributes: dict[str, Any] = {
        "settings": dict(settings or {}),
        "command": command or "",
        "versions": dict(current_versions()),
    }
    if scan is not None:
        A = scan.operator
        attributes |= _place(len(A.domain_shape), grid_of(scan), A.channels, scan.units)
        attributes["provenance"] = scan.origin
    return attributes


def save_result(
    path: str | os.PathLike[str],
    result: Result,
    *,
    scan: Scan | None = None,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> None:
    """Write a result with its settings, history and certificate, what else it has: samples, spread, maps.

    Grid, units and origin are those of its `scan` if that is given, else what the result knows of them itself.
    Raises OutputError or ResourceError if it cannot be written, ValueError for samples or a spread of another shape and
    for a status that is not known.
    """
    for status in (result.status, *result.item_status):
        if status not in (*_OF_ITEMS, INCOMPLETE):
            raise ValueError(f"no status of a result is called {status!r}: known are {', '.join(_OF_ITEMS)}")
    result = result if scan is None else result.of_scan(scan)
    sources = [result.provenance["source"]] if "source" in result.provenance else []
    attributes = {
        "settings": dict(result.settings if settings is None else settings),
        "command": result.command if command is None else command,
        "versions": dict(result.versions or current_versions()),
        "provenance": dict(result.provenance),
        **_place(result.ndim, result.grid, result.channels, result.units),
    }
    attributes |= {"status": result.status, "seconds": result.seconds, "item_status": result.item_status}
    attributes |= {} if result.certificate is None else {"certificate": result.certificate.as_dict()}
    images = {name: t for name in IMAGES if (t := getattr(result, "x" if name == "image" else name)) is not None}
    for name, values in images.items():
        if values.shape[int(name == "samples") :] != result.x.shape:
            raise ValueError(f"{name} of shape {tuple(values.shape)} do not fit an image of {tuple(result.x.shape)}")
    if not result.x.numel():
        raise OutputError(f"{printable(path)}: an image of shape {tuple(result.x.shape)} is nothing to write")
    n_bytes = sum(t.numel() * t.element_size() for t in images.values())
    path = check_output(path, n_bytes, overwrite=overwrite, sources=sources)
    arrays = images | {"n_iter": result.n_iter} | {f"history/{name}": t for name, t in result.history.items()}
    write_hdf5(path, lambda file: _fill(file, attributes, arrays, result.maps), LIBVER, overwrite=overwrite)


def _fill(
    file: h5py.File, attributes: Mapping[str, Any], arrays: Mapping[str, Tensor], maps: Mapping[str, ParameterMap]
) -> None:
    write_attributes(file, {"format": FORMAT, "version": VERSION})
    annotate(file, attributes)
    for name, values in arrays.items():
        if values.numel():
            write_array(file, name, values)
    write_maps(file, maps)
    write_attributes(file, {"not_finite": int((~torch.isfinite(arrays["image"])).sum())})


def load_result(path: str | os.PathLike[str]) -> Result:
    """Read a result file, an unfinished one (`.partial`, status "incomplete") included; InputError if it is damaged."""
    with open_hdf5(path) as file:
        layout = read_layout(file)
        columns = find(file, "history") if exists(file, "history") else ()
        unfinished = layout.status == INCOMPLETE
        seconds, n_iter = _number(file, "seconds"), _optional(file, "n_iter")
        return Result(
            x=_read_unfinished(file, "image") if unfinished else _read_finished(file),
            status=layout.status,
            item_status=read_item_status(file),
            n_iter=torch.zeros(0, dtype=torch.int64) if n_iter is None else n_iter,
            seconds=math.nan if seconds is None else seconds,
            history={key: torch.from_numpy(read_array(file, f"history/{key}")) for key in columns},
            certificate=read_certificate(file),
            settings=read_mapping(file, "settings"),
            samples=_others(file, "samples", unfinished),
            spread=_others(file, "spread", unfinished),
            half_change=_others(file, "half_change", unfinished),
            maps=_maps(file),
            ndim=layout.ndim,
            grid=layout.grid,
            channels=layout.channels,
            units=layout.units,
            provenance=read_mapping(file, "provenance"),
            versions=read_mapping(file, "versions"),
            command=read_text(file, "command") or "",
        )


@dataclass(frozen=True)
class Layout:
    """How the image of a result file is to be read, without the image."""

    shape: tuple[int, ...]
    status: str
    ndim: int
    grid: Grid | None
    channels: Channels | None
    units: Units


def read_layout(file: h5py.File) -> Layout:
    """Read how the image of an open result file lies; InputError if the file is no result or damaged.

    Version 1 knew squares only, of `pixel_size`, and images of two axes.
    """
    version = check_format(file, FORMAT, VERSION)
    status = read_text(file, "status") or INCOMPLETE
    check_seal(file, required=version >= _SEALED and status != INCOMPLETE)
    shape = tuple(int(n) for n in dataset(file, "image").shape)
    units = {key: read_text(file, f"{key}_unit") for key in ("length", "image", "data")}
    known = Units(**{key: text for key, text in units.items() if text})
    ndim, pixel_size = _number(file, "ndim"), _number(file, "pixel_size")
    channels = read_text(file, "channels") or None
    try:
        axes = min(2, len(shape)) if ndim is None else int(ndim)
        spacing = read_numbers(file, "spacing")
        if spacing is None and "spacing" in file.attrs:
            raise ValueError("no numbers")
        given = () if pixel_size is None else (pixel_size,) * axes
        lengths = given if spacing is None else tuple(spacing.tolist())
        grid = Grid(lengths, known.length) if lengths else None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{printable(file.filename)}: ndim or spacing are damaged ({printable(error)})") from error
    fits = 1 <= axes <= len(shape) and (grid is None or grid.ndim <= axes)
    if not fits or channels not in (None, *get_args(Channels)):
        raise InputError(
            f"{printable(file.filename)}: {axes} axes of an item, a spacing of {0 if grid is None else grid.ndim} and "
            f"channels {printable(channels)} do not fit an image of {len(shape)} axes"
        )
    if status not in (*_OF_ITEMS, INCOMPLETE):
        raise _unknown_status(file, status)
    return Layout(shape, status, axes, grid, channels, known)  # type: ignore[arg-type]


def read_item_status(file: h5py.File) -> tuple[str, ...]:
    """Read the status of every item of an open result file; InputError for a word that is not known."""
    found = read_json(file, "item_status") or ()
    if not isinstance(found, list | tuple):
        raise _unknown_status(file, found)
    for status in found:
        if status not in _OF_ITEMS:
            raise _unknown_status(file, status)
    return tuple(found)


def read_mapping(file: h5py.File, key: str) -> dict[str, Any]:
    """Read names and values of an open result file, none if there are none; InputError for anything else."""
    found = read_json(file, key)
    if found is not None and not isinstance(found, dict):
        raise InputError(f"{printable(file.filename)}: {key} is damaged (no names and values): copy it again")
    return found or {}


def _unknown_status(file: h5py.File, status: object) -> InputError:
    where, known = printable(file.filename), ", ".join(_OF_ITEMS)
    return InputError(f"{where}: the status {printable(status)!r} is not known (known are {known}): update invprob")


def _place(ndim: int, grid: Grid | None, channels: Channels | None, units: Units) -> dict[str, Any]:
    """Return the attributes that say which axes make an item, where they lie, and in which units."""
    place: dict[str, Any] = {"ndim": ndim, **{f"{key}_unit": text for key, text in vars(units).items()}}
    if grid is not None:
        place["spacing"] = grid.spacing
    if grid is not None and grid.known:
        place["length_unit"] = grid.unit
    if channels is not None:
        place["channels"] = channels
    return place


def read_certificate(file: h5py.File) -> Certificate | None:
    """Read the certificate of an open result file, None if there is none; InputError for one that makes no sense."""
    plain = read_mapping(file, "certificate")
    if not plain:
        return None
    try:
        found = Certificate.from_dict(plain)
        statements(found.as_dict(), ())
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{printable(file.filename)}: the certificate is damaged ({printable(error)})") from error
    return found


def _read_finished(file: h5py.File) -> Tensor:
    """Read the image; InputError if it has more NaN than were written, as where HDF5 1.8 has lost a block."""
    image = torch.from_numpy(read_array(file, "image"))
    if int((~torch.isfinite(image)).sum()) != _number(file, "not_finite"):
        raise InputError(f"{printable(file.filename)} has lost part of its image: compute or copy it again")
    return image


def _read_unfinished(file: h5py.File, name: str) -> Tensor:
    """Read images slice by slice; what has not been written, or was being written when the program died, is NaN."""
    shape, dtype = dataset(file, name).shape, dataset(file, name).dtype
    images = torch.from_numpy(np.full(shape, np.nan, dtype))
    lead = (slice(None),) * (name == "samples")
    for i in range(shape[len(lead)]):
        place = (*lead, slice(i, i + 1))
        with suppress(InputError):
            images[place] = torch.from_numpy(read_array(file, name, place))
    return images


def _others(file: h5py.File, name: str, unfinished: bool) -> Tensor | None:
    return _read_unfinished(file, name) if unfinished and exists(file, name) else _optional(file, name)


def _optional(file: h5py.File, name: str) -> Tensor | None:
    return torch.from_numpy(read_array(file, name)) if exists(file, name) else None


def _maps(file: h5py.File) -> dict[str, ParameterMap]:
    found = {}
    for name in find(file, "maps") if exists(file, "maps") else ():
        path = f"maps/{name}"
        values, stored = torch.from_numpy(read_array(file, path)), dataset(file, path)
        found[name] = ParameterMap(values, read_text(stored, "unit") or "", bool(stored.attrs.get("of_image", False)))
    return found


def _number(file: h5py.File, key: str) -> float | None:
    values = read_numbers(file, key)
    return float(values[0]) if values is not None and values.size == 1 else None
