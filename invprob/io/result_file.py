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
from invprob.errors import InputError, printable
from invprob.grid import Grid, Units
from invprob.io.attributes import check_format, read_json
from invprob.io.result_writer import FORMAT, VERSION, ResultWriter
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.linop.operator import Channels
from invprob.result import INCOMPLETE, MISSING, STATUS, ParameterMap, Result, current_versions, grid_of
from invprob.scan import Scan

__all__ = ["FORMAT", "Layout", "load_result", "read_item_status", "read_layout", "run_attributes", "save_result"]

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
    x, samples, spread = result.x, result.samples, result.spread
    writer = ResultWriter(path, x.shape, x.dtype, overwrite=overwrite, attributes=attributes, sources=sources)
    with writer:
        writer.write(0, x, samples=samples, spread=spread, half_change=result.half_change, maps=result.maps)
        writer.store("n_iter", result.n_iter)
        for name, column in result.history.items():
            writer.store(f"history/{name}", column)
        checked = {} if result.certificate is None else {"certificate": result.certificate.as_dict()}
        writer.annotate({"status": result.status, "seconds": result.seconds, "item_status": result.item_status})
        writer.annotate(checked)


def load_result(path: str | os.PathLike[str]) -> Result:
    """Read a result file, an unfinished one (`.partial`, status "incomplete") included; InputError if it is damaged."""
    with open_hdf5(path) as file:
        layout = read_layout(file)
        columns = find(file, "history") if exists(file, "history") else ()
        unfinished = layout.status == INCOMPLETE
        seconds, n_iter = _number(file, "seconds"), _optional(file, "n_iter")
        return Result(
            x=_read_unfinished(file) if unfinished else _read_finished(file),
            status=layout.status,
            item_status=read_item_status(file),
            n_iter=torch.zeros(0, dtype=torch.int64) if n_iter is None else n_iter,
            seconds=math.nan if seconds is None else seconds,
            history={key: torch.from_numpy(read_array(file, f"history/{key}")) for key in columns},
            certificate=_certificate(file),
            settings=read_json(file, "settings") or {},
            samples=_optional(file, "samples"),
            spread=_optional(file, "spread"),
            half_change=_optional(file, "half_change"),
            maps=_maps(file),
            ndim=layout.ndim,
            grid=layout.grid,
            channels=layout.channels,
            units=layout.units,
            provenance=read_json(file, "provenance") or {},
            versions=read_json(file, "versions") or {},
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
    check_format(file, FORMAT, VERSION)
    shape = tuple(int(n) for n in dataset(file, "image").shape)
    units = {key: read_text(file, f"{key}_unit") for key in ("length", "image", "data")}
    known = Units(**{key: text for key, text in units.items() if text})
    ndim, pixel_size = _number(file, "ndim"), _number(file, "pixel_size")
    channels = read_text(file, "channels") or None
    try:
        axes = min(2, len(shape)) if ndim is None else int(ndim)
        spacing = file.attrs.get("spacing", () if pixel_size is None else (pixel_size,) * axes)
        lengths = tuple(float(h) for h in np.atleast_1d(spacing))
        grid = Grid(lengths, known.length) if lengths else None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{printable(file.filename)}: ndim or spacing are damaged ({printable(error)})") from error
    fits = 1 <= axes <= len(shape) and (grid is None or grid.ndim <= axes)
    if not fits or channels not in (None, *get_args(Channels)):
        raise InputError(
            f"{printable(file.filename)}: {axes} axes of an item, a spacing of {0 if grid is None else grid.ndim} and "
            f"channels {printable(channels)} do not fit an image of {len(shape)} axes"
        )
    status = read_text(file, "status") or INCOMPLETE
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


def _certificate(file: h5py.File) -> Certificate | None:
    plain = read_json(file, "certificate")
    if not plain:
        return None
    try:
        return Certificate.from_dict(plain)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{printable(file.filename)}: the certificate is damaged ({printable(error)})") from error


def _read_finished(file: h5py.File) -> Tensor:
    """Read the image; InputError if it has more NaN than were written, as where HDF5 1.8 has lost a block."""
    image = torch.from_numpy(read_array(file, "image"))
    if int((~torch.isfinite(image)).sum()) != _number(file, "not_finite"):
        raise InputError(f"{printable(file.filename)} has lost part of its image: compute or copy it again")
    return image


def _read_unfinished(file: h5py.File) -> Tensor:
    """Read the image slice by slice; the one that was being written when the program died stays NaN."""
    shape, dtype = dataset(file, "image").shape, dataset(file, "image").dtype
    image = torch.from_numpy(np.full(shape, np.nan, dtype))
    for i in range(shape[0]):
        with suppress(InputError):
            image[i] = torch.from_numpy(read_array(file, "image", (slice(i, i + 1),)))[0]
    return image


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
    value = file.attrs.get(key)
    return float(value) if isinstance(value, int | float | np.number) else None
