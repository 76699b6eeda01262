"""The project's file of a result (`docs/file-format.md`): saved at once, described, and read again."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.certificate import Certificate
from invprob.errors import InputError, OutputError, printable
from invprob.grid import Channels, Grid, Units
from invprob.io.atomic import check_output
from invprob.io.attributes import write_array, write_attributes
from invprob.io.hdf5_writing import write_hdf5
from invprob.io.result_form import FORMAT, IMAGES, LIBVER, VERSION, annotate, write_maps
from invprob.io.result_layout import (
    damaged_certificate,
    read_certificate,
    read_item_status,
    read_layout,
    read_mapping,
    read_number,
)
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.result import ParameterMap, Result, current_versions, grid_of
from invprob.scan import Scan
from invprob.status import INCOMPLETE, OF_ITEMS

__all__ = ["load_result", "run_attributes", "save_result"]


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
        if status not in (*OF_ITEMS, INCOMPLETE):
            raise ValueError(f"no status of a result is called {status!r}: known are {', '.join(OF_ITEMS)}")
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
        seconds, n_iter = read_number(file, "seconds"), _optional(file, "n_iter")
        return Result(
            x=_read_unfinished(file, "image") if unfinished else _read_finished(file),
            status=layout.status,
            item_status=read_item_status(file),
            n_iter=torch.zeros(0, dtype=torch.int64) if n_iter is None else n_iter,
            seconds=math.nan if seconds is None else seconds,
            history={key: torch.from_numpy(read_array(file, f"history/{key}")) for key in columns},
            certificate=_certificate(file),
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
    plain = read_certificate(file)
    try:
        return Certificate.from_dict(plain) if plain else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise damaged_certificate(file, error) from error


def _read_finished(file: h5py.File) -> Tensor:
    """Read the image; InputError if it has more NaN than were written, as where HDF5 1.8 has lost a block."""
    image = torch.from_numpy(read_array(file, "image"))
    if int((~torch.isfinite(image)).sum()) != read_number(file, "not_finite"):
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
