"""One digest over all of a file: every attribute, every small value, and the checksums of every chunk.

Fletcher-32 finds damage inside a chunk, unless chunk and checksum are lost together and read as zeros, which fit; and
it guards no attribute. The digest costs four bytes of reading per chunk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np

from invprob.errors import InputError, printable
from invprob.io.safe_hdf5 import read_text

__all__ = ["check_seal", "chunk_sums", "places", "reader", "seal", "unseal"]

Read = Callable[[int, int], bytes]  # so many bytes from an offset on

_KEY = "digest"
_CHECKSUM = 4  # bytes at the end of a chunk
_MOST_OBJECTS = 10_000


def seal(file: h5py.File, read: Read) -> None:
    """Write the digest of all that is in an open file, whose chunks `read` reads; it has been flushed."""
    unseal(file)
    text = _digest(file, read).encode()
    file.attrs.create(_KEY, np.array(text, dtype=h5py.string_dtype("utf-8", len(text))))


def unseal(file: h5py.File) -> None:
    """Take the digest away from a file that is going to change."""
    if _KEY in file.attrs:
        del file.attrs[_KEY]


def check_seal(file: h5py.File, *, required: bool) -> None:
    """Raise InputError if the content of a file is not what its digest says, or where a required one is missing."""
    where = printable(file.filename)
    told = read_text(file, _KEY)
    if told is None and not required:
        return
    try:
        with open(file.filename, "rb") as stream:
            same = told == _digest(file, reader(stream.fileno()))
    except (OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{where} is damaged ({printable(error, 120)}): copy it again from its source") from error
    if not same:
        raise InputError(
            f"{where} is damaged, or was changed by another program (it is not what its digest says): copy it again "
            "from its source, or write it anew"
        )


def places(data: h5py.Dataset) -> tuple[np.ndarray[Any, Any], int]:
    """Return where in the file the chunks of an array are, in the order of the array, and the bytes of each."""
    chunks = data.chunks
    grid = np.zeros([-(-n // c) for n, c in zip(data.shape, chunks, strict=True)], dtype=np.int64)
    sizes: set[int] = set()

    def note(chunk: Any) -> None:
        grid[tuple(o // c for o, c in zip(chunk.chunk_offset, chunks, strict=True))] = chunk.byte_offset
        sizes.add(chunk.size)

    data.id.chunk_iter(note)
    return grid, max(sizes, default=0)


def reader(descriptor: int) -> Read:
    """Return how to read from an open file."""
    return lambda at, n: os.pread(descriptor, n, at)


def chunk_sums(read: Read, offsets: np.ndarray[Any, Any], size: int) -> bytes:
    """Return the checksums of chunks, as they are on the disk."""
    ends = (offsets.ravel() + (size - _CHECKSUM)).tolist()
    return b"".join(read(end, _CHECKSUM) for end in ends)


def _digest(file: h5py.File, read: Read) -> str:
    found = hashlib.sha256()
    for piece in _pieces(file, read):
        found.update(b"%d:" % len(piece) + piece)
    return f"sha256:{found.hexdigest()}"


def _pieces(file: h5py.File, read: Read) -> Iterator[bytes]:
    """Yield what is digested, every object by its path."""
    waiting, count = [("/", file["/"])], 0
    while waiting:
        path, here = waiting.pop()
        count += 1
        if count > _MOST_OBJECTS:
            raise ValueError("more objects than a file of this program has")
        yield path.encode("utf-8", "surrogateescape")
        for key in sorted(here.attrs):
            if path != "/" or key != _KEY:
                yield from _attribute(here, key)
        if isinstance(here, h5py.Dataset):
            yield f"{here.dtype.str} {here.shape}".encode()
            if here.chunks is None:
                yield np.asarray(here[()]).tobytes()
            else:
                offsets, size = places(here)
                _check_reached(here, offsets)
                yield chunk_sums(read, offsets, size)
            continue
        for key in sorted(here, reverse=True):
            link = here.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError("a link that this program does not make")
            waiting.append((f"{path}{key}/", here[key]))


def _check_reached(data: h5py.Dataset, offsets: np.ndarray[Any, Any]) -> None:
    """Raise where a damaged index lists a chunk but does not lead to it, which would be read as zeros.

    The way is that of reading, into no room at all: a chunk that is found does not fit, which is a ValueError.
    """
    for place in zip(*np.nonzero(offsets), strict=True):
        corner = tuple(int(i) * c for i, c in zip(place, data.chunks, strict=True))
        with suppress(ValueError):
            data.id.read_direct_chunk(corner, out=bytearray())


def _attribute(owner: Any, key: str) -> Iterator[bytes]:
    identifier = owner.attrs.get_id(key)
    yield f"{key} {identifier.dtype.str} {identifier.shape}".encode("utf-8", "surrogateescape")
    values = np.empty(identifier.shape, dtype=identifier.dtype)
    identifier.read(values)
    yield values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode()  # not of this program
