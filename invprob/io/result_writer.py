"""Writes the project's file of a result (`docs/file-format.md`) block by block, safe against crashes.

While it grows the file is called `<name>.partial`. Every block is flushed, so a killed run leaves all blocks
it reported, the rest reading as NaN (never as zeros that look like an image); only a complete file gets its
name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.errors import OutputError, ResourceError, printable
from invprob.io.atomic import check_output, commit, partial_path
from invprob.io.attributes import chunk_shape, write_array, write_attributes, write_json
from invprob.io.safe_hdf5 import lock_free
from invprob.result import ParameterMap

__all__ = ["FORMAT", "JSON_NAMES", "VERSION", "ResultWriter"]

FORMAT, VERSION = "invprob-result", 2
JSON_NAMES = ("settings", "versions", "provenance", "certificate", "item_status")
# From version 1.10 on a file open when its program was killed is refused until `h5clear` is run on it.
_LIBVER = ("v108", "v108")


class ResultWriter:
    """Writes an image of `shape` block by block along its first axis; a context manager.

    Constructing it raises OutputError or ResourceError if the result could not be written (see
    `check_output`), or if an unfinished result lies at `<path>.partial` and `overwrite` is False; so do that
    before the computation. `dtype` is what the image is expected to be, for which space is claimed; the file takes
    the dtype of the blocks, whatever it is. Left by an exception, the context keeps the partial file if a block was
    written. `sources` are the input files.
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
        self._expected = _numpy_dtype(dtype)
        n_bytes = int(np.prod(self.shape)) * self._expected.itemsize
        self.path = check_output(path, n_bytes, overwrite=overwrite, sources=sources)
        self._attributes = dict(attributes or {})
        self._written = np.zeros(self.shape[0], dtype=bool)
        self._not_finite = 0
        _clear_partial(partial_path(self.path), overwrite)

    def __enter__(self) -> Self:
        self._file = lock_free(partial_path(self.path), "x", libver=_LIBVER)
        try:
            write_attributes(self._file, {"format": FORMAT, "version": VERSION, "status": "incomplete"})
            self.annotate(self._attributes)
            self._allocate("image", self.shape, self._expected)
            self._file.flush()
        except (OSError, RuntimeError) as error:
            self._file.close()
            partial_path(self.path).unlink()
            reason = printable(error)
            raise ResourceError(f"{printable(self.path)} could not be allocated ({reason}): make room") from error
        return self

    def write(
        self,
        start: int,
        images: Tensor,
        *,
        spread: Tensor | None = None,
        samples: Tensor | None = None,
        half_change: Tensor | None = None,
        maps: Mapping[str, ParameterMap] | None = None,
    ) -> None:
        """Write `images` from index `start` of the first axis on; when this returns they are safe.

        So are their `spread` and `half_change`, of the same shape, their `samples`, of the same shape behind a leading
        axis, and their `maps`, which a single item has as a whole.
        """
        stop = start + len(images)
        fits = all(
            tuple(t.shape[lead : lead + 1]) == (len(images),) and tuple(t.shape[lead + 1 :]) == self.shape[1:]
            for t, lead in ((images, 0), (spread, 0), (half_change, 0), (samples, 1))
            if t is not None
        )
        if start < 0 or stop > self.shape[0] or not fits:
            raise ValueError(f"images of shape {tuple(images.shape)} at {start} do not fit a result of {self.shape}")
        try:
            self._put("image", images, (slice(start, stop),))
            if spread is not None:
                self._put("spread", spread, (slice(start, stop),))
            if half_change is not None:
                self._put("half_change", half_change, (slice(start, stop),))
            if samples is not None:
                self._put("samples", samples, (slice(None), slice(start, stop)))
            for name, found in (maps or {}).items():
                self._put_map(f"maps/{name}", found, slice(start, stop))
            self._file.flush()
        except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
            raise self._full_disk(error) from error
        self._written[start:stop] = True
        self._not_finite += int((~torch.isfinite(images)).sum())

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Write attributes of the result: texts, numbers, and JSON for the names the format keeps as JSON."""
        for key, value in attributes.items():
            if key in JSON_NAMES:
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

    def _put(self, name: str, values: Tensor, place: tuple[slice, ...]) -> None:
        """Write values to where they belong, in a kind that holds them and all before."""
        array = values.numpy(force=True)
        room = self._room(name, array.dtype, array.shape[: len(place) - 1])
        room[place] = array.astype(room.dtype, copy=False)

    def _put_map(self, name: str, found: ParameterMap, rows: slice) -> None:
        """Write the rows of a map, or the only one where the file holds a single item."""
        values = found.values.numpy(force=True)
        single = self._attributes.get("ndim", len(self.shape)) == len(self.shape)
        if name not in self._file:
            shape = values.shape if single else (self.shape[0], *values.shape[1:])
            self._allocate(name, shape, values.dtype, alone=int(not single))
            write_attributes(self._file[name], {"unit": found.unit, "of_image": found.of_image})
        self._file[name][() if single else rows] = values

    def _room(self, name: str, due: np.dtype[Any], lead: tuple[int, ...]) -> h5py.Dataset:
        """Return where to write images, made as they come: complex ones are kept where real ones were expected."""
        if name not in self._file:
            return self._allocate(name, (*lead, *self.shape), due)
        found = self._file[name]
        if not self._written.any():
            if due == found.dtype:
                return found
            del self._file[name]  # its space is used again
            return self._allocate(name, (*lead, *self.shape), due)
        due = np.promote_types(found.dtype, due)
        return found if due == found.dtype else self._widened(name, due, len(lead))

    def _widened(self, name: str, dtype: np.dtype[Any], lead: int) -> h5py.Dataset:
        """Return an array of another kind with what has been written of the old one."""
        self._file.move(name, "narrow")
        narrow = self._file["narrow"]
        wide = self._allocate(name, narrow.shape, dtype)
        for i in np.flatnonzero(self._written):
            place = (slice(None),) * lead + (i,)
            wide[place] = narrow[place].astype(dtype)
        del self._file["narrow"]
        return wide

    def _allocate(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], alone: int | None = None
    ) -> h5py.Dataset:
        """Create an array full of NaN, with all its space and metadata; indices of `alone` axes share no chunk."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        # one chunk belongs to one slice, so that a block touches no other's
        alone = len(shape) - len(self.shape) + (len(self.shape) > 2) if alone is None else alone
        return self._file.create_dataset(
            name,
            shape,
            dtype,
            chunks=(1,) * alone + chunk_shape(shape[alone:], dtype.itemsize),
            fletcher32=True,
            fillvalue=dtype.type(np.nan),
            dcpl=properties,
        )

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


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    found: np.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    return found


def _clear_partial(partial: Path, overwrite: bool) -> None:
    """Make room for the partial file; OutputError if it is in use, or is there and `overwrite` is False."""
    if not os.path.lexists(partial):
        return
    name = printable(partial)
    if _in_use(partial):
        raise OutputError(f"{name} is being written by another run: choose another name for the result")
    if not overwrite:
        raise OutputError(f"{name} is left from an interrupted run: move it away, or add --overwrite")
    partial.unlink()


def _in_use(path: Path) -> bool:
    """Return whether another process holds HDF5's lock on a file."""
    if path.is_symlink():
        return False  # not ours, and opening it might touch a stranger's file
    try:
        with lock_free(path, "r+"):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # torn by a crash, so nobody is at it
