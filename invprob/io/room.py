"""Room on the disk that is claimed before there are values for it, and what lies around the values."""

from __future__ import annotations

import base64
import errno
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from invprob.io.shielded import Run, put

__all__ = ["Chunks", "claim", "exact_chunk", "mark", "packed", "sync_values", "unpacked", "write_runs"]

Chunks = Mapping[str, tuple[np.ndarray[Any, Any], int]]  # by the array where its chunks are, and the bytes of each

_CHUNK = 2**20
_NO_VALUES = b"\xa5\xa5\xa5\xa5"  # in place of the checksum of zeros, which is 0


def exact_chunk(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return a block that fills `shape` without a rest, of about a MiB where its first axis can be cut so.

    HDF5 has to read a chunk before it writes a part of one.
    """
    whole, n = math.prod(shape) * itemsize, shape[0] if shape else 1
    fewest = -(-whole // _CHUNK)
    parts = next((p for p in range(fewest, min(n, 8 * fewest) + 1) if n % p == 0), 1)
    return (n // parts, *shape[1:]) if shape else ()


def claim(descriptor: int, at: int, n_bytes: int) -> None:
    """Claim room on the disk; OSError if there is none."""
    if n_bytes <= 0:
        return
    try:
        os.posix_fallocate(descriptor, at, n_bytes)
    except AttributeError:  # not on every system
        os.ftruncate(descriptor, at + n_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, at + n_bytes)


def mark(descriptor: int, chunks: Chunks) -> None:
    """Let chunks without values fail their checksum."""
    for offsets, size in chunks.values():
        for at in offsets.ravel().tolist():
            put(descriptor, at + size - len(_NO_VALUES), _NO_VALUES)


def write_runs(descriptor: int, runs: Iterable[Run]) -> None:
    """Write bytes to their offsets."""
    for at, part in runs:
        put(descriptor, at, part)


def packed(runs: Iterable[Run]) -> list[tuple[int, str]]:
    """Return bytes at their offsets as JSON can hold them."""
    return [(at, base64.b85encode(zlib.compress(part, 1)).decode()) for at, part in runs]


def unpacked(runs: Iterable[tuple[int, str]]) -> list[Run]:
    """Return what was packed."""
    return [(at, zlib.decompress(base64.b85decode(text))) for at, text in runs]


def sync_values(descriptor: int) -> None:
    """Bring values to the disk that has room for them already."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
