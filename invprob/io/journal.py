"""What a long run has done so far, line by line, beside the file that it writes: `<name>.journal`.

Every line carries its own checksum and is on the disk before the next one is begun, so that of a run that died all
lines but perhaps the last are there. The open journal is locked by the kernel, which forgets the lock with the process.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from invprob.errors import OutputError, printable
from invprob.io.atomic import FULL, sync_folder
from invprob.io.shielded import put

__all__ = ["FORMAT", "Journal", "journal_path"]

FORMAT = "invprob-journal-1"
_HEAD = 9  # of a line: eight digits and a space
_MOST = 2**30  # bytes of a journal


def journal_path(path: Path) -> Path:
    """Return where the journal of a result is."""
    return path.with_name(path.name + ".journal")


class Journal:
    """The journal of the result `path`, open and locked.

    OutputError if another run holds it, or if the name is taken by a file that is none, as an empty one is; OSError if
    the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = journal_path(path)
        self._descriptor, new = _opened(self.path)
        try:
            _lock(self._descriptor, self.path)
            raw = os.pread(self._descriptor, min(_MOST, os.fstat(self._descriptor).st_size), 0)
            self.entries, self._end = _entries(raw)
            torn = not self.entries and len(raw) >= _HEAD and _line(FORMAT).startswith(raw)
            if not (new or torn) and self.entries[:1] != [FORMAT]:
                raise OutputError(
                    f"{printable(self.path)} is no journal of this program: move it away, or choose another name"
                )
            os.ftruncate(self._descriptor, self._end)
            if not self.entries:
                self.add(FORMAT)
                sync_folder(self.path)
        except BaseException:
            if new:  # an empty one would be in the way of the next run
                self.remove()
            self.close()
            raise

    def add(self, entry: Any) -> None:
        """Append an entry, any JSON; when this returns it survives a power failure. OSError if the disk is full."""
        line = _line(entry)
        try:
            put(self._descriptor, self._end, line)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(line)
        self.entries.append(entry)

    def latest(self, key: str) -> Any:
        """Return the value of the last entry `{key: value}`, None if there is none."""
        found = (e[key] for e in reversed(self.entries) if isinstance(e, Mapping) and key in e)
        return next(found, None)

    def since(self, start: str, key: str) -> Iterator[Any]:
        """Yield the values of the entries `{key: value}` after the last `{start: ...}`."""
        firsts = [i for i, e in enumerate(self.entries) if isinstance(e, Mapping) and start in e]
        for entry in self.entries[firsts[-1] if firsts else 0 :]:
            if isinstance(entry, Mapping) and key in entry:
                yield entry[key]

    def clear(self) -> None:
        """Forget everything."""
        self.entries, self._end = [FORMAT], len(_line(FORMAT))
        os.ftruncate(self._descriptor, self._end)

    def remove(self) -> None:
        """Take the file away, unless another one has come to its name, and close it."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path)):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _opened(path: Path) -> tuple[int, bool]:
    """Return the descriptor of a file, and whether it was made: one that was there may be somebody's own, if empty."""
    flags = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
        return os.open(path, flags), False
    except OSError as error:
        if error.errno in FULL:
            raise
        raise OutputError(
            f"{printable(path)} cannot be a journal ({error.strerror}): choose another name for the result"
        ) from error


def _lock(descriptor: int, path: Path) -> None:
    """Take the lock; where the file system knows none, go on without."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    busy = OutputError(
        f"{printable(path)} is being written by another run: wait for it, or choose another name for the result"
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise busy from error
    except OSError:
        return
    try:
        still = os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        still = False
    if not still:  # the other run finished, and took its journal away, while this one opened it
        raise busy


def _line(entry: Any) -> bytes:
    text = json.dumps(entry).encode()
    return b"%08x " % zlib.crc32(text) + text + b"\n"


def _entries(raw: bytes) -> tuple[list[Any], int]:
    """Return the sound entries, and where the last of them ends."""
    entries, end = [], 0
    for line in raw.splitlines(keepends=True):
        text = line[_HEAD:-1]
        if not line.endswith(b"\n") or line[:_HEAD] != b"%08x " % zlib.crc32(text):
            break
        try:
            entries.append(json.loads(text))
        except (ValueError, RecursionError):
            break
        end += len(line)
    return entries, end
