"""A file as HDF5 sees it, which never fails in its sight: its errors are told afterwards, and its metadata may wait.

HDF5 has no way back from a write that fails: it keeps what it could not write, fails again on closing, and may end the
process with a segmentation fault. Here every write seems to succeed; `check` raises what went wrong in truth.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

__all__ = ["Run", "ShieldedFile", "put"]

Run = tuple[int, bytes]  # bytes at an offset

_PAGE = 4096


class ShieldedFile:
    """What `h5py.File` takes in place of a name: an open descriptor, behind which the disk may be full.

    Arguments:
        descriptor: open for reading and writing; it stays the caller's.
        held: whether all that is written stays in memory, to be written by `runs`.
        size: of what is there already.
    """

    def __init__(self, descriptor: int, *, held: bool = False, size: int = 0) -> None:
        self.size = size
        self._descriptor, self._held, self._at = descriptor, held, 0
        self._pages: dict[int, bytearray] = {}
        self._known: dict[int, bytearray] = {}  # which bytes of a page are held
        self._fill: tuple[int, bytes] | None = None
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first OSError that has been kept from HDF5, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    @contextmanager
    def filling(self, size: int, head: bytes) -> Iterator[None]:
        """Drop what is written in pieces of `size` bytes that begin with `head`: the values of an array without any."""
        self._fill = (size, head)
        try:
            yield
        finally:
            self._fill = None

    def runs(self) -> list[Run]:
        """Return all that is held, by offset."""
        found: list[tuple[int, bytearray]] = []
        for number in sorted(self._pages):
            known = np.frombuffer(self._known[number], np.uint8)
            edges = np.flatnonzero(np.diff(known, prepend=0, append=0))
            for start, stop in edges.reshape(-1, 2).tolist():
                at, part = number * _PAGE + start, self._pages[number][start:stop]
                if found and found[-1][0] + len(found[-1][1]) == at:
                    found[-1][1].extend(part)
                else:
                    found.append((at, part))
        return [(at, bytes(part)) for at, part in found]

    def hold(self, runs: list[Run]) -> None:
        """Take what another file held for its own."""
        for at, part in runs:
            self._keep(at, memoryview(part))

    def read_at(self, at: int, n: int) -> bytes:
        """Read bytes from an offset on."""
        self._at = at
        return self.read(n)

    # --- what h5py calls ---

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def write(self, data: memoryview) -> int:
        """Write, or seem to."""
        at, n = self._at, len(data)
        if self._fill is None or n != self._fill[0] or bytes(data[: len(self._fill[1])]) != self._fill[1]:
            if self._held:
                self._keep(at, data)
            elif self._error is None:
                try:
                    put(self._descriptor, at, data)
                except OSError as error:
                    self._error = error
        self._at += n
        self.size = max(self.size, self._at)
        return n

    def readinto(self, target: memoryview) -> int:
        """Read; what is neither held nor on the disk is zero."""
        at, n = self._at, min(len(target), max(0, self.size - self._at))
        data = bytearray(n)
        with suppress(OSError):  # HDF5 notices by its checksums
            raw = os.pread(self._descriptor, n, at)
            data[: len(raw)] = raw
        for number in range(at // _PAGE, (at + n + _PAGE - 1) // _PAGE) if self._pages else ():
            if number in self._pages:
                self._lay_over(data, at, number)
        target[:n] = data
        self._at += n
        return n

    def read(self, n: int = -1) -> bytes:
        """Read bytes."""
        data = bytearray(max(0, self.size - self._at) if n < 0 else n)
        return bytes(data[: self.readinto(memoryview(data))])

    def truncate(self, size: int | None = None) -> int:
        """Set the size, on the disk where nothing is held."""
        self.size = self._at if size is None else size
        if not self._held:
            try:
                os.ftruncate(self._descriptor, self.size)
            except OSError as error:
                self._error = self._error or error
        return self.size

    def flush(self) -> None:
        """Do nothing: whoever needs it on the disk calls fsync."""

    def _keep(self, at: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            number, start = divmod(at + done, _PAGE)
            n = min(_PAGE - start, len(data) - done)
            page = self._pages.setdefault(number, bytearray(_PAGE))
            page[start : start + n] = data[done : done + n]
            self._known.setdefault(number, bytearray(_PAGE))[start : start + n] = b"\1" * n
            done += n

    def _lay_over(self, data: bytearray, at: int, number: int) -> None:
        first, last = max(at, number * _PAGE), min(at + len(data), (number + 1) * _PAGE)
        inside, here = slice(first - number * _PAGE, last - number * _PAGE), slice(first - at, last - at)
        held, known = (np.frombuffer(pages[number], np.uint8)[inside] for pages in (self._pages, self._known))
        np.copyto(np.frombuffer(data, np.uint8)[here], held, where=known.astype(bool))


def put(descriptor: int, at: int, data: memoryview | bytes) -> None:
    """Write all of some bytes at an offset; OSError if the disk takes only a part."""
    view = memoryview(data)
    while view:
        n = os.pwrite(descriptor, view, at)
        if not n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, at = view[n:], at + n
