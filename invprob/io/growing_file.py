"""A file of HDF5 that grows row by row, and opens after a crash at any moment.

All space is claimed before the first row. HDF5 never touches the file itself: its metadata are made once, in memory;
the values of a chunk go to their place directly, with the checksum that HDF5 looks for (Fletcher-32), so that what has
no values yet fails it and never looks like an image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import product
from typing import Any, Self

import h5py
import numpy as np

from invprob.io.fletcher import fletcher32
from invprob.io.result_form import IMAGES, LIBVER, annotate
from invprob.io.room import Chunks, claim, exact_chunk, mark, packed, sync_values, unpacked, write_runs
from invprob.io.sealing import chunk_sums, places, reader, seal
from invprob.io.shielded import ShieldedFile, put

__all__ = ["GrowingFile", "Kinds", "not_finite"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
Kinds = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]  # by the array its leading axes, and its dtype


class GrowingFile:
    """Arrays of the shape of one image each, perhaps behind leading axes, in the file behind an open descriptor.

    `begun` makes one, and `taken_up` goes on with one, by its `layout` (JSON). `hdf5` is how HDF5 sees it.

    Arguments:
        descriptor: open for reading and writing.
        shape: that of the image; `put` writes rows of its first axis.
        by_row: whether a chunk belongs to one row, so that rows touch no others; a single item is written at once.
    """

    hdf5: h5py.File
    layout: Mapping[str, Any]

    def __init__(self, descriptor: int, shape: tuple[int, ...], *, by_row: bool, size: int = 0) -> None:
        self.descriptor, self._shape, self._by_row = descriptor, shape, by_row
        self._shield = ShieldedFile(descriptor, held=True, size=size)
        self._claimed = size
        self._chunks: Chunks = {}

    @classmethod
    def begun(
        cls, descriptor: int, shape: tuple[int, ...], kinds: Kinds, attributes: Mapping[str, Any], *, by_row: bool
    ) -> Self:
        """Return a file with room for arrays; OSError if there is none."""
        made = cls(descriptor, shape, by_row=by_row)
        made.hdf5 = h5py.File(made._shield, "w", libver=LIBVER)
        annotate(made.hdf5, attributes)
        made._chunks = {name: made._allocate(name, lead, dtype) for name, (lead, dtype) in kinds.items()}
        made.hdf5.close()
        runs, made._claimed = made._shield.runs(), made._shield.size
        made.layout = {"size": made._claimed, "runs": packed(runs)}
        made.hdf5 = h5py.File(made._shield, "r+", libver=LIBVER, rdcc_nbytes=0)  # as in `taken_up`
        claim(descriptor, 0, made._claimed)
        write_runs(descriptor, runs)
        mark(descriptor, made._chunks)
        return made

    @classmethod
    def taken_up(cls, descriptor: int, shape: tuple[int, ...], layout: Mapping[str, Any], *, by_row: bool) -> Self:
        """Return the file as it was begun, with all values that it has got since."""
        made = cls._known(descriptor, shape, layout, by_row=by_row)
        claim(descriptor, 0, made._claimed)
        os.ftruncate(descriptor, made._claimed)
        write_runs(descriptor, unpacked(layout["runs"]))
        return made

    @classmethod
    def _known(cls, descriptor: int, shape: tuple[int, ...], layout: Mapping[str, Any], *, by_row: bool) -> Self:
        """Return the file as its layout says; nothing is written."""
        made = cls(descriptor, shape, by_row=by_row, size=layout["size"])
        made.layout = layout
        made._shield.hold(unpacked(layout["runs"]))
        made.hdf5 = h5py.File(made._shield, "r+", libver=LIBVER, rdcc_nbytes=0)
        made._chunks = {name: places(data) for name, data in made.datasets()}
        return made

    @classmethod
    def is_of(cls, descriptor: int, layout: Mapping[str, Any], blocks: Iterable[tuple[int, int, str]]) -> bool:
        """Return whether a file has this layout and has got one of some blocks: start, stop and digest (`sums`).

        No tag is written into it to know it by: the finished file would be another one than that of a run without a
        fall. What it was begun with tells as well, until HDF5 has written more, which it does behind a block alone.
        """
        runs = unpacked(layout["runs"])
        if os.fstat(descriptor).st_size < layout["size"] or os.pread(descriptor, len(_SIGNATURE), 0) != _SIGNATURE:
            return False
        if all(os.pread(descriptor, len(part), at) == part for at, part in runs):
            return True
        with suppress(OSError, RuntimeError):
            made = cls._known(descriptor, (), layout, by_row=False)
            image = made.hdf5["image"]
            made._shape, made._by_row = image.shape, image.chunks[0] == 1  # else the one block is all of it
            found = any(made.sums(start, stop) == sums for start, stop, sums in blocks)
            made.hdf5.close()
            return found
        return False

    def datasets(self) -> Iterator[tuple[str, h5py.Dataset]]:
        """Yield the arrays by name."""
        for name in IMAGES:
            if name in self.hdf5:
                yield name, self.hdf5[name]

    @cached_property
    def kinds(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """The leading axes and the dtype of each array, which no write changes."""
        return {name: (data.shape[: data.ndim - len(self._shape)], data.dtype) for name, data in self.datasets()}

    def put(self, arrays: Mapping[str, np.ndarray[Any, Any]], start: int, stop: int) -> None:
        """Write rows `start` to `stop`, NaN for arrays that are not given; `sync` brings them to the disk."""
        for name, (lead, dtype) in self.kinds.items():
            shape = (*lead, stop - start, *self._shape[1:])
            values = arrays[name] if name in arrays else np.broadcast_to(np.array(np.nan, dtype), shape)
            self._put_chunks(name, np.ascontiguousarray(values, dtype), start, stop)

    def read(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return rows of an array; OSError where they have no values, or damaged ones."""
        data = self.hdf5[name]
        rows: np.ndarray[Any, Any] = data[(slice(None),) * (data.ndim - len(self._shape)) + (slice(start, stop),)]
        return rows

    def verified(self, start: int, stop: int, sums: str) -> np.ndarray[Any, Any] | None:
        """Return how many values of each row's image are not finite, None if some rows are not those of this digest."""
        counts = np.zeros(stop - start, dtype=np.int64)
        try:
            for (a, b), (name, _) in product(self._pieces(range(start, stop)), self.datasets()):
                values = self.read(name, a, b)  # by their checksums
                if name == "image":
                    counts[a - start : b - start] = not_finite(values)
            return counts if sums == self.sums(start, stop) else None
        except (OSError, RuntimeError):
            return None

    def copy_from(self, before: Self, rows: Sequence[int]) -> None:
        """Take over rows of a file with other arrays, or arrays of other dtypes."""
        held, kinds = before.kinds, self.kinds
        for start, stop in self._pieces(rows):
            values = {name: before.read(name, start, stop) for name in held}
            self.put(
                {n: np.broadcast_to(v, (*kinds[n][0], *v.shape[len(held[n][0]) :])) for n, v in values.items()},
                start,
                stop,
            )

    def sums(self, start: int, stop: int) -> str:
        """Return a digest of the checksums of all chunks of some rows, as they are on the disk."""
        found = hashlib.sha256()
        for name in sorted(self._chunks):
            found.update(chunk_sums(reader(self.descriptor), *self._places(name, start, stop)))
        return found.hexdigest()

    def sync(self) -> None:
        """Bring the values to the disk."""
        sync_values(self.descriptor)

    def seal(self) -> None:
        """Write the digest of all that is in the file."""
        self.hdf5.flush()
        seal(self.hdf5, self._shield.read_at)

    def write_metadata(self) -> None:
        """Bring what HDF5 says to the disk, at the end; first its room is claimed: a full disk changes nothing."""
        self.hdf5.close()
        size = self._shield.size
        claim(self.descriptor, self._claimed, size - self._claimed)
        write_runs(self.descriptor, list(reversed(self._shield.runs())))
        os.ftruncate(self.descriptor, size)
        os.fsync(self.descriptor)

    def close(self) -> None:
        """Let go of the file, as it is."""
        with suppress(OSError, RuntimeError, ValueError):
            self.hdf5.close()
        os.close(self.descriptor)

    def _allocate(self, name: str, lead: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray[Any, Any], int]:
        """Create an array with all its space and metadata, and return where its chunks are."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        shape = (*lead, *self._shape)
        alone = len(lead) + self._by_row
        chunks = (1,) * alone + exact_chunk(shape[alone:], dtype.itemsize)
        nothing = dtype.type(np.nan)
        with self._shield.filling(int(np.prod(chunks)) * dtype.itemsize + 4, nothing.tobytes()):
            data = self.hdf5.create_dataset(
                name, shape, dtype, chunks=chunks, fletcher32=True, fillvalue=nothing, dcpl=properties
            )
            self.hdf5.flush()
        return places(data)

    def _put_chunks(self, name: str, values: np.ndarray[Any, Any], start: int, stop: int) -> None:
        """Write values chunk by chunk: each is a whole run of them, as `exact_chunk` cuts one axis only."""
        offsets, size = self._places(name, start, stop)
        for at, chunk in zip(offsets.ravel().tolist(), values.reshape(offsets.size, -1), strict=True):
            put(self.descriptor, at, chunk.view(np.uint8).data)
            put(self.descriptor, at + size - 4, fletcher32(chunk).to_bytes(4, "little"))

    def _pieces(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Return some rows as pieces of whole chunks, small ones where there can be."""
        return [(i, i + 1) for i in rows] if self._by_row else [(0, self._shape[0])] * bool(rows)

    def _places(self, name: str, start: int, stop: int) -> tuple[np.ndarray[Any, Any], int]:
        offsets, size = self._chunks[name]
        lead = (slice(None),) * (offsets.ndim - len(self._shape))
        return offsets[(*lead, slice(start, stop) if self._by_row else slice(None))], size


def not_finite(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how many values of each image are NaN or infinite; a finite sum has none, and is found faster."""
    with np.errstate(all="ignore"):
        if np.isfinite(images.sum()):
            return np.zeros(len(images), dtype=np.int64)
    return np.asarray((~np.isfinite(images)).reshape(len(images), -1).sum(axis=1))
