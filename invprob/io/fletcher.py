"""Fletcher-32, the checksum of HDF5's chunks, at the speed of memory."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["fletcher32"]

_WIDE = 1024  # words summed at a time: 2^10 of 16 bits fit into 32


def fletcher32(values: np.ndarray[Any, Any]) -> int:
    """Return s2 * 2^16 + s1 with s1 = sum_i w_i and s2 = sum_i (n - i) w_i modulo 2^16 - 1 over words of 16 bits.

    The words are those of a contiguous array, read as HDF5 does, the larger byte first: modulo
    2^16 - 1 the other order is a factor of 2^8. Of the two zeros of that arithmetic it has 2^16 - 1, and 0 where all
    words are 0 (Fletcher, 1982). ValueError for an odd number of bytes.
    """
    words = values.reshape(-1).view("<u2")
    n = len(words)
    tail = words[n - n % _WIDE :].astype(np.uint64)
    whole = words[: n - n % _WIDE].reshape(-1, _WIDE)
    rows = whole.sum(axis=1, dtype=np.uint32).astype(np.uint64)
    columns = whole.sum(axis=0, dtype=np.uint64 if len(whole) > 2**16 else np.uint32).astype(np.uint64)
    first = int(rows.sum()) + int(tail.sum())
    second = n * int(rows.sum()) - _WIDE * _moment(rows) - _moment(columns)
    second += len(tail) * int(tail.sum()) - _moment(tail)
    return _reduced(second) << 16 | _reduced(first)


def _moment(values: np.ndarray[Any, Any]) -> int:
    return int((values * np.arange(len(values), dtype=np.uint64)).sum())


def _reduced(total: int) -> int:
    return (256 * total - 1) % 65535 + 1 if total else 0
