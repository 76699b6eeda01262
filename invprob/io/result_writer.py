"""Writes the project's file of a result (`docs/file-format.md`) block by block, safe against crashes.

While it grows the file is called `<name>.partial`, and `<name>.journal` beside it tells what is done. All space is
claimed before the first block. HDF5 never touches the file itself: its metadata are written once, when the file is
made, and only values go to their places afterwards, so that a crash at any moment leaves a file that opens, with all
blocks that were reported; the rest cannot be read (their checksums do not fit) and never looks like an image. The
journal holds the metadata, too, and a checksum of every block, from which `resume` goes on. Only a complete file gets
its name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.errors import OutputError, ResourceError, printable
from invprob.io.atomic import check_output, check_room, commit, create_beside, partial_path, sync_folder
from invprob.io.attributes import write_array, write_attributes, write_json
from invprob.io.journal import Journal, journal_path
from invprob.io.room import Chunks, claim, exact_chunk, mark, packed, sync_values, unpacked, write_runs
from invprob.io.sealing import chunk_sums, places, reader, seal
from invprob.io.shielded import ShieldedFile
from invprob.result import ParameterMap

__all__ = ["FORMAT", "IMAGES", "LIBVER", "VERSION", "Block", "ResultWriter", "annotate", "unfinished", "write_maps"]

FORMAT, VERSION = "invprob-result", 3
JSON_NAMES = ("settings", "versions", "provenance", "certificate", "item_status")
IMAGES = ("image", "spread", "half_change", "samples")
# From version 1.10 on a file open when its program was killed is refused until `h5clear` is run on it.
LIBVER = ("v108", "v108")


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of a result, and what its writer had to tell of them.

    Arguments:
        final: whether they need not be done again.
    """

    start: int
    stop: int
    final: bool
    facts: Mapping[str, Any]


class ResultWriter:
    """Writes an image of `shape` block by block along its first axis; a context manager.

    Constructing it raises OutputError or ResourceError if the result could not be written (see
    `check_output`), or if an unfinished result is there and neither `overwrite` nor `resume` is True; so do that
    before the computation. `dtype` is what the image is expected to be, for which space is claimed; the file takes
    the dtype of the blocks, whatever it is. Left by an exception, the context keeps the partial file if a block was
    written. `sources` are the input files. Entered to `resume`, it goes on with the unfinished result, and `blocks` are
    those whose values are as they were written; OutputError names the entry of `identity`, what the result is made
    from, that differs.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        overwrite: bool = False,
        resume: bool = False,
        attributes: Mapping[str, Any] | None = None,
        sources: Iterable[str | os.PathLike[str]] = (),
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.shape = tuple(shape)
        if 0 in self.shape or not self.shape:
            raise OutputError(f"{printable(path)}: an image of shape {self.shape} is nothing to write")
        self._expected = _numpy_dtype(dtype)
        self._overwrite, self._resume = overwrite, resume
        self.path = check_output(path, 0, overwrite=overwrite, sources=sources)
        self._partial = partial_path(self.path)
        self._identity = dict(identity or {})
        begun = _check_unfinished(self.path, overwrite or resume)
        if begun is None or not resume:
            check_room(self.path, int(np.prod(self.shape)) * self._expected.itemsize)
        else:
            self._check_identity(begun)
        self._attributes = dict(attributes or {})
        self._written = np.zeros(self.shape[0], dtype=bool)
        self._not_finite = np.zeros(self.shape[0], dtype=np.int64)
        self.blocks: list[Block] = []

    def __enter__(self) -> Self:
        self._journal: Journal | None = None
        self._file: h5py.File | None = None
        self._descriptor, self._resumed = -1, False
        try:
            self._journal = Journal(self.path)
            if not (self._resume and self._go_on()):
                self._begin()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError | RuntimeError) and not isinstance(error, ResourceError):
                raise ResourceError(
                    f"{printable(self.path)} could not be allocated ({_reason(error)}): make room, or choose another "
                    "place"
                ) from error
            raise
        return self

    def write(
        self,
        start: int,
        images: Tensor,
        *,
        spread: Tensor | None = None,
        samples: Tensor | None = None,
        half_change: Tensor | None = None,
        facts: Mapping[str, Any] | None = None,
        final: bool = True,
    ) -> None:
        """Write `images` from index `start` of the first axis on; when this returns they are safe.

        So are their `spread` and `half_change`, of the same shape, and their `samples`, of the same shape behind a
        leading axis. `facts` (JSON) come back in `blocks` to whoever resumes, unless the block is not `final`.
        """
        stop = start + len(images)
        arrays = {"image": images, "spread": spread, "half_change": half_change, "samples": samples}
        given = {name: values for name, values in arrays.items() if values is not None}
        fits = all(
            tuple(t.shape[lead : lead + 1]) == (len(images),) and tuple(t.shape[lead + 1 :]) == self.shape[1:]
            for name, t in given.items()
            for lead in (int(name == "samples"),)
        )
        if start < 0 or stop > self.shape[0] or not fits:
            raise ValueError(f"images of shape {tuple(images.shape)} at {start} do not fit a result of {self.shape}")
        self._check_own()
        try:
            self._put(given, start, stop)
            self._add(Block(start, stop, final, dict(facts or {})))
            self._not_finite[start:stop] = _not_finite(images.numpy(force=True))
        except (OSError, RuntimeError) as error:
            raise self._full_disk(error) from error

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Note attributes of the result: texts, numbers, and JSON for the names the format keeps as JSON."""
        annotate(self._hdf5, attributes)

    def store(self, name: str, values: Any) -> None:
        """Note a small array beside the image, for instance `history/residual`; an empty one is left out."""
        if torch.as_tensor(values).numel():
            write_array(self._hdf5, name, values)

    def store_maps(self, maps: Mapping[str, ParameterMap]) -> None:
        """Note the maps of a single item, under their names."""
        write_maps(self._hdf5, maps)

    def read(self, start: int, stop: int) -> Tensor:
        """Return images that have been written."""
        return torch.from_numpy(self._hdf5["image"][start:stop])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._written.any():
            self._close()
        try:
            if kind is None and self._written.all():
                self._finish()
            elif self._written.any():
                with suppress(OSError, RuntimeError):  # a full disk has been reported by the write that met it
                    self._write_metadata()
        except (OSError, RuntimeError) as failure:
            raise self._full_disk(failure) from failure
        finally:
            self._close()
        if kind is None and not self._written.all():
            missing = int((~self._written).sum())
            raise OutputError(f"{printable(self.path)}: {missing} of {self.shape[0]} slices were never written")

    # --- the file ---

    @property
    def _hdf5(self) -> h5py.File:
        if self._file is None:
            raise ValueError("ResultWriter: the file is not open; use the writer in a `with` statement")
        return self._file

    @property
    def _log(self) -> Journal:
        if self._journal is None:
            raise ValueError("ResultWriter: the file is not open; use the writer in a `with` statement")
        return self._journal

    def _begin(self) -> None:
        """Start anew; what an earlier run left is ours, as its journal says."""
        log = self._log
        taken = OutputError(f"{printable(self._partial)} exists: move it away, or choose another name for the result")
        if len(log.entries) < 2 and os.path.lexists(self._partial):
            raise taken
        if log.latest("layout") is not None:
            self._partial.unlink(missing_ok=True)
        elif os.path.lexists(self._partial):
            raise taken
        self._remove_unnamed()
        log.clear()
        log.add({"begun": self._identity})
        self._lay_out({"image": ((), self._expected)})

    def _lay_out(self, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        """Make the file with room for these arrays, by name their leading axes and dtype, and all that is written."""
        log = self._log
        own, descriptor = create_beside(self.path)
        try:
            log.add({"making": own.name})
            shield = ShieldedFile(descriptor, held=True)
            file = h5py.File(shield, "w", libver=LIBVER)
            before, self._file = self._file, file
            write_attributes(file, {"format": FORMAT, "version": VERSION, "status": "incomplete"})
            self.annotate(self._attributes)
            chunks = {name: self._allocate(shield, name, lead, dtype) for name, (lead, dtype) in arrays.items()}
            file.close()
            runs, size = shield.runs(), shield.size
            self._file = file = h5py.File(shield, "r+", libver=LIBVER)  # as whoever goes on does: the same bytes
            claim(descriptor, 0, size)
            write_runs(descriptor, runs)
            mark(descriptor, chunks)
            moved = self._moved(before, file, chunks, descriptor)
            shield.check()
            os.fsync(descriptor)
            self._log.add({"layout": {"file": own.name, "size": size, "runs": packed(runs)}})
            for entry in moved:
                self._log.add({"block": entry})
            if self._descriptor >= 0:
                self._check_own()
                os.replace(own, self._partial)
                os.close(self._descriptor)
            else:
                commit(own, self._partial, overwrite=False)
            sync_folder(self._partial)
        except BaseException:
            os.close(descriptor)
            own.unlink(missing_ok=True)
            raise
        self._shield, self._descriptor, self._size, self._chunks = shield, descriptor, size, chunks

    def _allocate(
        self, shield: ShieldedFile, name: str, lead: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[np.ndarray[Any, Any], int]:
        """Create an array with all its space and metadata, and return where its chunks are."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        shape = (*lead, *self.shape)
        alone = len(lead) + self._by_row  # a chunk belongs to one row, so that a block touches no other's
        chunks = (1,) * alone + exact_chunk(shape[alone:], dtype.itemsize)
        nothing = dtype.type(np.nan)
        with shield.filling(int(np.prod(chunks)) * dtype.itemsize + 4, nothing.tobytes()):
            data = self._hdf5.create_dataset(
                name, shape, dtype, chunks=chunks, fletcher32=True, fillvalue=nothing, dcpl=properties
            )
            self._hdf5.flush()
        offsets, size = places(data)
        shield.add_chunks(iter(offsets.ravel().tolist()), size)
        return offsets, size

    @property
    def _by_row(self) -> bool:
        """Whether the first axis has chunks of its own."""
        return len(self.shape) > min(2, int(self._attributes.get("ndim", 2)))

    def _put(self, given: Mapping[str, Tensor], start: int, stop: int) -> None:
        """Write values to where they belong, in a kind that holds them and all before."""
        arrays = {name: values.numpy(force=True) for name, values in given.items()}
        due = {name: (a.shape[: a.ndim - len(self.shape)], a.dtype) for name, a in arrays.items()}
        held = {name: (d.shape[: d.ndim - len(self.shape)], d.dtype) for name, d in self._datasets()}
        if self._written.any():
            due = {
                name: (lead, np.promote_types(dtype, held[name][1]) if name in held else dtype)
                for name, (lead, dtype) in (held | due).items()
            }
        if any(held.get(name) != kind for name, kind in due.items()):
            self._lay_out(due)
        for name, array in arrays.items():
            room = self._hdf5[name]
            place = (slice(None),) * (array.ndim - len(self.shape)) + (slice(start, stop),)
            room[place] = array.astype(room.dtype, copy=False)
        for name, room in self._datasets():
            if name not in arrays:  # other blocks have it
                place = (slice(None),) * (room.ndim - len(self.shape)) + (slice(start, stop),)
                room[place] = np.full(_shape_at(room, place), np.nan, room.dtype)
        self._hdf5.flush()
        self._shield.check()
        sync_values(self._descriptor)

    def _add(self, block: Block) -> None:
        sums = self._sums(self._descriptor, self._chunks, block.start, block.stop)
        self._log.add(
            {"block": {"start": block.start, "stop": block.stop, "final": block.final, "sums": sums, **_kept(block)}}
        )
        self._written[block.start : block.stop] = True

    def _datasets(self) -> Iterator[tuple[str, h5py.Dataset]]:
        for name in IMAGES:
            if name in self._hdf5:
                yield name, self._hdf5[name]

    def _sums(self, descriptor: int, chunks: Chunks, a: int, b: int) -> str:
        """Return a digest of the checksums of all chunks of some rows."""
        found = hashlib.sha256()
        for name in sorted(chunks):
            offsets, size = chunks[name]
            lead = offsets.ndim - len(self.shape)
            rows = offsets[(slice(None),) * lead + (slice(a, b) if self._by_row else slice(None),)]
            found.update(chunk_sums(reader(descriptor), rows, size))
        return found.hexdigest()

    def _moved(self, before: h5py.File | None, now: h5py.File, chunks: Chunks, descriptor: int) -> list[dict[str, Any]]:
        """Copy what has been written to another layout, and return its blocks as the journal is to tell of them."""
        if before is None or not self._written.any():
            return []
        for name in chunks:
            lead = (slice(None),) * (now[name].ndim - len(self.shape))
            for i in np.flatnonzero(self._written):
                place = (*lead, slice(i, i + 1))
                old = before[name][place] if name in before else np.array(np.nan)
                now[name][place] = np.broadcast_to(old, _shape_at(now[name], place)).astype(now[name].dtype)
        now.flush()
        before.close()
        entries = list(self._log.since("layout", "block"))
        return [e | {"sums": self._sums(descriptor, chunks, e["start"], e["stop"])} for e in entries]

    # --- going on ---

    def _go_on(self) -> bool:
        """Take up an unfinished result; False if there is none."""
        log = self._log
        layout, begun = log.latest("layout"), log.latest("begun")
        if layout is None or begun is None:
            return False
        self._check_identity(begun)
        made = self._partial.with_name(layout["file"])
        if os.path.lexists(made):  # the run died before it could name it
            os.replace(made, self._partial)
        self._remove_unnamed()
        try:
            self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return False
        self._resumed = True
        self._size, runs = layout["size"], unpacked(layout["runs"])
        claim(self._descriptor, 0, self._size)
        os.ftruncate(self._descriptor, self._size)
        write_runs(self._descriptor, runs)
        self._shield = ShieldedFile(self._descriptor, held=True, size=self._size)
        self._shield.hold(runs)
        self._file = h5py.File(self._shield, "r+", libver=LIBVER)
        self._chunks = {name: places(data) for name, data in self._datasets()}
        for offsets, size in self._chunks.values():
            self._shield.add_chunks(iter(offsets.ravel().tolist()), size)
        for entry in log.since("layout", "block"):
            self._take(entry)
        return True

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Take over a block whose values are as they were written."""
        start, stop = entry["start"], entry["stop"]
        try:
            for i in range(start, stop):
                for name, data in self._datasets():
                    values = data[(slice(None),) * (data.ndim - len(self.shape)) + (slice(i, i + 1),)]
                    if name == "image":
                        self._not_finite[i] = (~np.isfinite(values)).sum()
            sound = entry["sums"] == self._sums(self._descriptor, self._chunks, start, stop)
        except (OSError, RuntimeError):
            sound = False
        if sound:
            self._written[start:stop] = True
            if entry["final"]:
                self.blocks.append(Block(start, stop, True, _unkept(entry)))

    def _check_identity(self, begun: Mapping[str, Any]) -> None:
        for key in dict.fromkeys([*begun, *self._identity]):
            before, now = begun.get(key), self._identity.get(key)
            if before != now:
                raise OutputError(
                    f"{printable(self.path)} was begun with {printable(key)} {_words(before)}, and now it is "
                    f"{_words(now)}: go on with what it was begun with, or start anew with --overwrite"
                )

    def _remove_unnamed(self) -> None:
        """Take away the files that an earlier run died over."""
        for entry in self._log.entries:
            name = entry.get("making") if isinstance(entry, dict) else None
            if isinstance(name, str) and name.endswith(".partial") and Path(name).name == name:
                self._partial.with_name(name).unlink(missing_ok=True)

    # --- the end ---

    def _finish(self) -> None:
        write_attributes(self._hdf5, {"not_finite": int(self._not_finite.sum())})
        self._hdf5.flush()
        seal(self._hdf5, self._shield.read_at)
        self._write_metadata()
        self._check_own()
        try:
            commit(self._partial, self.path, overwrite=self._overwrite)
        except OutputError as error:
            raise OutputError(
                f"{error}: the whole result is in {printable(self._partial)}; make way, and add --resume"
            ) from error
        self._log.remove()

    def _write_metadata(self) -> None:
        """Bring what HDF5 has to say to the disk; first its room is claimed, so that a full disk changes nothing."""
        self._hdf5.close()
        size = self._shield.size
        claim(self._descriptor, self._size, size - self._size)
        write_runs(self._descriptor, list(reversed(self._shield.runs())))
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def _check_own(self) -> None:
        """Raise OutputError if the name of the partial file has come to another one."""
        try:
            same = os.path.samestat(os.fstat(self._descriptor), os.lstat(self._partial))
        except OSError:
            same = False
        if not same:
            raise OutputError(
                f"{printable(self._partial)} has been moved or replaced while it was written: start again"
            )

    def _close(self) -> None:
        """Let go of everything; without a block the partial file goes, too."""
        if self._file is not None:
            with suppress(OSError, RuntimeError, ValueError):
                self._file.close()
        ours = self._descriptor >= 0
        if ours:
            with suppress(OSError):
                nothing = not self._written.any() and not self._resumed
                if nothing and os.path.samestat(os.fstat(self._descriptor), os.lstat(self._partial)):
                    self._partial.unlink()
            os.close(self._descriptor)
            self._descriptor = -1
        if self._journal is not None:
            with suppress(OSError):
                if not os.path.lexists(self._partial) or not (ours or self._journal.latest("layout")):
                    self._journal.remove()
            self._journal.close()
            self._journal = None

    def _full_disk(self, error: Exception) -> ResourceError:
        return ResourceError(
            f"{printable(self.path)} could not be written ({_reason(error)}): make room, and go on with --resume; "
            f"what was finished is in {printable(self._partial)}"
        )


def write_maps(file: h5py.File, maps: Mapping[str, ParameterMap]) -> None:
    """Write maps with their units into `maps/NAME`."""
    for name, found in maps.items():
        write_array(file, f"maps/{name}", found.values)
        write_attributes(file[f"maps/{name}"], {"unit": found.unit, "of_image": found.of_image})


def annotate(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Write attributes of a result: texts, numbers, and JSON for the names the format keeps as JSON."""
    for key, value in attributes.items():
        if key in JSON_NAMES:
            write_json(file, key, value)
        else:
            write_attributes(file, {key: value})


def unfinished(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """Return what the unfinished result at `path` was begun with (`ResultWriter(identity=...)`), None without one.

    OutputError if it is in use, or is no unfinished result.
    """
    return _check_unfinished(Path(path), may=True)


def _check_unfinished(path: Path, may: bool) -> Mapping[str, Any] | None:
    """Return what an unfinished result was begun with, None if there is none.

    OutputError if it is in use, is not of this program, or is there and `may` is False.
    """
    partial, name = partial_path(path), printable(partial_path(path))
    there = os.path.lexists(partial)
    if not os.path.lexists(journal_path(path)):
        if there:
            raise OutputError(f"{name} exists, and is no unfinished result: move it away, or choose another name")
        return None
    try:
        journal = Journal(path)
    except OSError as error:
        raise ResourceError(f"{printable(path)} could not be written ({_reason(error)}): make room") from error
    begun = journal.latest("begun")
    layout = journal.latest("layout")
    journal.close()
    if there and layout is None:
        raise OutputError(f"{name} exists, and is no unfinished result: move it away, or choose another name")
    if there and not may:
        raise OutputError(
            f"{name} is left from an interrupted run: add --resume to go on, or --overwrite to start anew"
        )
    return begun if layout is not None else None


def _not_finite(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how many values of each image are NaN or infinite; a finite sum has none, and is found faster."""
    with np.errstate(all="ignore"):
        if np.isfinite(images.sum()):
            return np.zeros(len(images), dtype=np.int64)
    return np.asarray((~np.isfinite(images)).reshape(len(images), -1).sum(axis=1))


def _shape_at(data: h5py.Dataset, place: tuple[slice, ...]) -> tuple[int, ...]:
    """Return the shape of a part of an array, without reading it."""
    part = tuple(len(range(*s.indices(n))) for s, n in zip(place, data.shape, strict=False))
    return part + tuple(data.shape[len(part) :])


def _kept(block: Block) -> dict[str, Any]:
    return {"facts": dict(block.facts)} if block.final else {}


def _unkept(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = entry.get("facts", {})
    return facts


def _reason(error: BaseException) -> str:
    return printable(getattr(error, "strerror", None) or error, 120)


def _words(value: Any) -> str:
    return "nothing" if value is None else printable(value, 120)


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    found: np.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    return found
