"""Which input was it? Digests to recognise files and geometries by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from invprob.files import files_of, is_series

__all__ = ["digest_of", "fingerprint"]

_WHOLE = 2**28  # bytes hashed in full, about 0.3 s
_END = 2**20
_PART = 2**12  # bytes at either end of each file of a series


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return "sha256:..." of the content, or of size, first and last MiB ("sha256-ends:...") above 256 MiB.

    Of a folder or a pattern: "sha256-files:..." of the names, the sizes and both ends of its files. The answer is
    remembered as long as size, modification time and the file itself stay: a large file is read in many pieces.
    """
    if is_series(Path(path)):
        return _of_files(tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files_of(path)))
    state = os.stat(path)
    return _digest(Path(path), state.st_size, (state.st_mtime_ns, state.st_ino))


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


@lru_cache(maxsize=16)
def _digest(path: Path, size: int, _state: tuple[int, int]) -> str:
    with path.open("rb") as stream:
        if size <= _WHOLE:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        digest = hashlib.sha256(f"{size}:".encode() + stream.read(_END))
        stream.seek(-_END, os.SEEK_END)
        digest.update(stream.read())
        return f"sha256-ends:{digest.hexdigest()}"


@lru_cache(maxsize=16)
def _of_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(_PART))
            stream.seek(max(0, size - _PART))
            digest.update(stream.read())
    return f"sha256-files:{digest.hexdigest()}"
