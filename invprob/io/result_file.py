"""The project's file of a result (`docs/file-format.md`), written slice by slice and safe against crashes.

While it grows the file is called `<name>.partial`. Every block is flushed, so a killed run leaves all blocks
it reported, the rest reading as NaN (never as zeros that look like an image); only a complete file gets its
name.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.errors import InputError, OutputError, ResourceError, printable
from invprob.io.atomic import check_output, commit, partial_path
from invprob.io.attributes import (
    check_format,
    chunk_shape,
    read_json,
    write_array,
    write_attributes,
    write_json,
)
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.scan import Scan, Units

if TYPE_CHECKING:
    from invprob.loop import Result

__all__ = ["FORMAT", "ResultWriter", "StoredResult", "load_result", "run_attributes", "save_result"]

FORMAT, VERSION = "invprob-result", 1
# From version 1.10 on a file open when its program was killed is refused until `h5clear` is run on it.
_LIBVER = ("v108", "v108")
_JSON = ("settings", "versions", "provenance", "certificate", "item_status")


@dataclass(frozen=True, eq=False)
class StoredResult:
    """What a result file holds; parts that were not stored are empty or None.

    `pixel_size` is in `units.length`; `history` holds columns as `Result.history` does.
    """

    image: Tensor
    units: Units
    pixel_size: float | None
    status: str
    seconds: float | None
    n_iter: Tensor | None
    history: Mapping[str, Tensor]
    command: str
    item_status: Sequence[str]
    certificate: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    provenance: Mapping[str, str]


class ResultWriter:
    """Writes an image of `shape` block by block along its first axis; a context manager.

    Constructing it raises OutputError or ResourceError if the result could not be written (see
    `check_output`), or if an unfinished result lies at `<path>.partial` and `overwrite` is False; so do that
    before the computation. Left by an exception, the context keeps the partial file if a block was written.
    `sources` are the input files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        overwrite: bool = False,
        attributes: Mapping[str, Any] | None = None,
        sources: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.shape = tuple(shape)
        if 0 in self.shape or not self.shape:
            raise OutputError(f"{printable(path)}: an image of shape {self.shape} is nothing to write")
        self._dtype = torch.empty(0, dtype=dtype).numpy().dtype
        n_bytes = int(np.prod(self.shape)) * self._dtype.itemsize
        self.path = check_output(path, n_bytes, overwrite=overwrite, sources=sources)
        self._attributes = dict(attributes or {})
        self._written = np.zeros(self.shape[0], dtype=bool)
        self._not_finite = 0
        _clear_partial(partial_path(self.path), overwrite)

    def __enter__(self) -> Self:
        self._file = h5py.File(partial_path(self.path), "x", libver=_LIBVER)
        try:
            write_attributes(self._file, {"format": FORMAT, "version": VERSION, "status": "incomplete"})
            self.annotate(self._attributes)
            self._image = self._allocate()
            self._file.flush()
        except (OSError, RuntimeError) as error:
            self._file.close()
            partial_path(self.path).unlink()
            reason = printable(error)
            raise ResourceError(f"{printable(self.path)} could not be allocated ({reason}): make room") from error
        return self

    def _allocate(self) -> h5py.Dataset:
        """Create the image, full of NaN, with all its space and metadata."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        slices = len(self.shape) > 2  # one chunk belongs to one slice, so that a block touches no other's
        return self._file.create_dataset(
            "image",
            self.shape,
            self._dtype,
            chunks=(1,) * slices + chunk_shape(self.shape[slices:], self._dtype.itemsize),
            fletcher32=True,
            fillvalue=self._dtype.type(np.nan),
            dcpl=properties,
        )

    def write(self, start: int, images: Tensor) -> None:
        """Write `images` from index `start` of the first axis on; when this returns they are safe."""
        stop = start + len(images)
        if start < 0 or stop > self.shape[0] or tuple(images.shape[1:]) != self.shape[1:]:
            raise ValueError(f"images of shape {tuple(images.shape)} at {start} do not fit a result of {self.shape}")
        try:
            self._image[start:stop] = images.numpy(force=True)
            self._file.flush()
        except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
            raise self._full_disk(error) from error
        self._written[start:stop] = True
        self._not_finite += int((~torch.isfinite(images)).sum())

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Write attributes of the result: texts, numbers, and JSON for the names the format keeps as JSON."""
        for key, value in attributes.items():
            if key in _JSON:
                write_json(self._file, key, value)
            else:
                write_attributes(self._file, {key: value})

    def store(self, name: str, values: Any) -> None:
        """Write a small array beside the image, for instance `history/residual`; an empty one is left out."""
        if torch.as_tensor(values).numel():
            write_array(self._file, name, values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._written.all():
            self._finish()
            return
        with suppress(OSError, RuntimeError):  # a full disk has been reported by the write that met it
            self._file.close()
        if not self._written.any():
            partial_path(self.path).unlink(missing_ok=True)
        if kind is None:
            missing = int((~self._written).sum())
            raise OutputError(f"{printable(self.path)}: {missing} of {self.shape[0]} slices were never written")

    def _finish(self) -> None:
        try:
            write_attributes(self._file, {"not_finite": self._not_finite})
            self._file.close()
            commit(self.path)
        except (OSError, RuntimeError) as error:
            raise self._full_disk(error) from error

    def _full_disk(self, error: Exception) -> ResourceError:
        return ResourceError(
            f"{printable(self.path)} could not be written ({printable(error)}): is the disk full? "
            f"What was finished is in {printable(partial_path(self.path))}"
        )


def run_attributes(scan: Scan | None, settings: Mapping[str, Any] | None, command: str | None) -> dict[str, Any]:
    """Return what a result says about how it was made, for `ResultWriter(attributes=...)`."""
    attributes: dict[str, Any] = {
        "settings": dict(settings or {}),
        "command": command or "",
        "versions": _versions(),
    }
    if scan is not None:
        attributes |= {f"{key}_unit": unit for key, unit in vars(scan.units).items()}
        attributes["provenance"] = dict(scan.provenance)
        pixel_size = getattr(scan.operator, "pixel_size", None)
        if isinstance(pixel_size, int | float):
            attributes["pixel_size"] = float(pixel_size)
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
    """Write a result with its settings, history and certificate, and the units and origin of its `scan`."""
    attributes = run_attributes(scan, result.settings if settings is None else settings, command)
    sources = [scan.provenance["source"]] if scan and "source" in scan.provenance else []
    writer = ResultWriter(
        path, result.x.shape, result.x.dtype, overwrite=overwrite, attributes=attributes, sources=sources
    )
    with writer:
        writer.write(0, result.x)
        writer.store("n_iter", result.n_iter)
        for name, column in result.history.items():
            writer.store(f"history/{name}", column)
        outcome = {"item_status": result.item_status, "certificate": result.certificate.as_dict()}
        writer.annotate({"status": result.status, "seconds": result.seconds, **outcome})


def load_result(path: str | os.PathLike[str]) -> StoredResult:
    """Read a result file, an unfinished one (`.partial`, status "incomplete") included."""
    with open_hdf5(path) as file:
        check_format(file, FORMAT, VERSION)
        columns = find(file, "history") if exists(file, "history") else ()
        unit = {key: read_text(file, f"{key}_unit") for key in ("length", "image", "data")}
        status = read_text(file, "status") or "incomplete"
        image = _read_unfinished(file) if status == "incomplete" else _read_finished(file)
        return StoredResult(
            image=image,
            units=Units(**{key: text for key, text in unit.items() if text}),
            n_iter=torch.from_numpy(read_array(file, "n_iter")) if exists(file, "n_iter") else None,
            history={key: torch.from_numpy(read_array(file, f"history/{key}")) for key in columns},
            status=status,
            command=read_text(file, "command") or "",
            pixel_size=_number(file, "pixel_size"),
            seconds=_number(file, "seconds"),
            item_status=tuple(read_json(file, "item_status") or ()),
            certificate=read_json(file, "certificate") or {},
            settings=read_json(file, "settings") or {},
            versions=read_json(file, "versions") or {},
            provenance=read_json(file, "provenance") or {},
        )


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


def _number(file: h5py.File, key: str) -> float | None:
    value = file.attrs.get(key)
    return float(value) if isinstance(value, int | float | np.number) else None


def _clear_partial(partial: Path, overwrite: bool) -> None:
    """Make room for the partial file; OutputError if it is in use, or is there and `overwrite` is False."""
    if not os.path.lexists(partial):
        return
    name = printable(partial)
    if _in_use(partial):
        raise OutputError(f"{name} is being written by another run: choose another --output")
    if not overwrite:
        raise OutputError(f"{name} is left from an interrupted run: move it away, or add --overwrite")
    partial.unlink()


def _in_use(path: Path) -> bool:
    """Return whether another process holds HDF5's lock on a file."""
    if path.is_symlink():
        return False  # not ours, and opening it might touch a stranger's file
    try:
        with h5py.File(path, "r+"):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # torn by a crash, so nobody is at it


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("torch", "numpy", "invprob"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
