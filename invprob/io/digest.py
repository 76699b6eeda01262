"""Which input was it? Digests to recognise files and geometries by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from invprob.files import files_of, is_series
from invprob.io.cfl import cfl_pair

__all__ = ["Seen", "digest_of", "fingerprint", "named"]

_WHOLE = 2**28  # bytes hashed in full, about 0.3 s
_END = 2**20
_BLOCKS, _BLOCK = 64, 2**16  # between the ends
_PART = 2**12  # bytes at either end of each file of a series

State = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Seen:
    """What a file, or the files that one name stands for, were when they were looked at.

    Arguments:
        digest: their fingerprint.
        state: name, size, time of modification and number on its disk of each.
    """

    path: Path
    digest: str
    state: State

    @classmethod
    def now(cls, path: str | os.PathLike[str]) -> Self:
        """Look at it; OSError if it is not there."""
        return cls(Path(path), fingerprint(path), _state(path))

    def is_same(self) -> bool:
        """Return whether it is what it was; a file that was written anew is only if all of it is known to be equal."""
        if _state(self.path) == self.state:
            return True
        return self.digest.startswith("sha256:") and fingerprint(self.path) == self.digest


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return "sha256:..." of the content; above 256 MiB "sha256-blocks:..." of size, both ends and some blocks.

    Of BART's pair by any of its names: "sha256-pair:..." of the fingerprints of both. Of a folder or a pattern:
    "sha256-files:..." of the names, the sizes and both ends of its files. The answer is remembered as long as size,
    modification time and the file itself stay: a large file is read in many pieces.
    """
    if is_series(Path(path)):
        return _of_files(_state(path))
    found = [_digest(*told) for told in _state(path)]
    return found[0] if len(found) == 1 else f"sha256-pair:{hashlib.sha256(':'.join(found).encode()).hexdigest()}"


def named(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files that one name stands for: those of a series, both of BART's pair, or the one."""
    if is_series(Path(path)):
        return files_of(path)
    pair = cfl_pair(path)
    return pair if all(file.is_file() for file in pair) else (Path(path),)


def digest_of(value: Any) -> str:
    """Return "sha256:..." of mappings, sequences, arrays, texts and numbers, single ones to nine digits."""
    found = hashlib.sha256()
    for piece in _pieces(value):
        found.update(b"%d:" % len(piece) + piece)
    return f"sha256:{found.hexdigest()}"


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        yield b"mapping %d" % len(value)
        for key in sorted(value):
            yield str(key).encode()
            yield from _pieces(value[key])
    elif isinstance(value, list | tuple):
        yield b"sequence %d" % len(value)
        for part in value:
            yield from _pieces(part)
    elif getattr(value, "shape", ()):
        array = value.numpy(force=True) if hasattr(value, "numpy") else value
        yield f"{array.dtype.str} {array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, float):  # found in data, perhaps, whose sums depend on the number of threads
        yield f"{value:.9g}".encode()
    else:
        yield str(value).encode("utf-8", "surrogateescape")


def _state(path: str | os.PathLike[str]) -> State:
    return tuple(map(_told, named(path)))


def _told(file: Path) -> tuple[str, int, int, int]:
    state = file.stat()
    return str(file), state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=16)
def _digest(file: str, size: int, _time: int, _number: int) -> str:
    with open(file, "rb") as stream:
        if size <= _WHOLE:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        digest = hashlib.sha256(f"{size}:".encode() + stream.read(_END))
        for i in range(1, _BLOCKS + 1):
            stream.seek(size * i // (_BLOCKS + 1))
            digest.update(stream.read(_BLOCK))
        stream.seek(-_END, os.SEEK_END)
        digest.update(stream.read())
        return f"sha256-blocks:{digest.hexdigest()}"


@lru_cache(maxsize=16)
def _of_files(files: State) -> str:
    digest = hashlib.sha256()
    for name, size, *_ in files:
        path = Path(name)
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(_PART))
            stream.seek(max(0, size - _PART))
            digest.update(stream.read())
    return f"sha256-files:{digest.hexdigest()}"
