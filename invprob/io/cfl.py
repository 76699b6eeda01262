"""BART's pair of files: a text `.hdr` with the sizes, and the numbers in `.cfl`, complex float32, little-endian.

Their first dimension runs fastest, so an array here has the sizes in the opposite order.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError, OutputError, printable
from invprob.files import check_file
from invprob.io.atomic import check_output, write_text, write_whole

__all__ = ["DIMENSIONS", "cfl_pair", "is_cfl", "read_cfl", "save_cfl"]

DIMENSIONS = 16  # there are at most so many
_HEAD = "# Dimensions"
_MOST_TEXT = 2**16  # bytes of a header: the history of commands may be long
_ITEM = 8  # bytes
# no measurement has so many orders of magnitude between its largest and its middle number, bytes in the wrong order do;
# so many numbers tell
_FAR, _LOOKED_AT = 15.0, 2**10


def cfl_pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the `.hdr` and the `.cfl` of a pair, by either name or by their common stem."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".hdr", ".cfl") else path
    return stem.parent / f"{stem.name}.hdr", stem.parent / f"{stem.name}.cfl"  # a folder may have no name


def is_cfl(path: Path, head: bytes) -> bool:
    """Return whether a file that begins with `head` is one of a pair, which the text of the header says."""
    if head.startswith(_HEAD.encode()):
        return True
    if path.suffix != ".cfl":
        return False
    header = cfl_pair(path)[0]
    if not header.is_file():
        return True  # reading it says which file is missing
    with header.open("rb") as stream:
        return stream.read(len(_HEAD)) == _HEAD.encode()


def read_cfl(path: str | os.PathLike[str]) -> NDArray[np.complex64]:
    """Return the array of a pair, its sizes in reverse and without BART's trailing ones, which are the first axes here.

    InputError for a header that is no such header, and for a number of values that is not what it says.
    """
    header, numbers = cfl_pair(path)
    check_file(header)
    check_file(numbers)
    sizes = _sizes(header)
    due, there = _ITEM * prod(sizes), numbers.stat().st_size
    if due != there:
        raise InputError(
            f"{printable(numbers)} has {there} bytes, and the sizes {' x '.join(map(str, sizes))} need {due}: "
            "copy it again"
        )
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    raw = np.memmap(numbers, dtype="<c8", mode="r", shape=tuple(reversed(sizes)))
    if _orders(raw) > _FAR > _orders(raw.view(">c8")):
        raise InputError(f"{printable(numbers)} has its bytes in the wrong order: write it as little-endian numbers")
    return np.ascontiguousarray(raw, dtype=np.complex64)


def save_cfl(path: str | os.PathLike[str], values: ArrayLike, *, overwrite: bool = False) -> None:
    """Write an array as a pair, its last axis as BART's first dimension; each file whole or not at all.

    Complex double becomes complex float. OutputError for more than 16 axes, an empty array, or a path that cannot be
    written; ResourceError if the disk is full.
    """
    array = np.asarray(values)
    if array.ndim > DIMENSIONS or not array.size:
        raise OutputError(f"{printable(path)}: a cfl file has 1 to {DIMENSIONS} dimensions, got {array.shape}")
    header, numbers = cfl_pair(path)
    sizes = [*reversed(array.shape), *(1,) * (DIMENSIONS - array.ndim)]
    check_output(header, 0, overwrite=overwrite)
    check_output(numbers, _ITEM * array.size, overwrite=overwrite)
    write_whole(numbers, np.ascontiguousarray(array, dtype="<c8").tofile, overwrite=overwrite)
    write_text(header, f"{_HEAD}\n{' '.join(map(str, sizes))}\n", overwrite=overwrite)


def _orders(values: NDArray[np.complex64]) -> float:
    """Return by how many orders of magnitude the largest of some numbers is above the middle one, beyond 0."""
    some = np.ascontiguousarray(values.reshape(-1)[:: max(1, values.size // _LOOKED_AT)])
    with np.errstate(invalid="ignore"):
        sizes = np.abs(np.stack([some.real, some.imag]).astype(np.float64))
    sizes = sizes[sizes != 0]
    if not sizes.size:
        return 0.0
    return float(np.log10(sizes.max() / np.median(sizes))) if np.isfinite(sizes).all() else np.inf


def _sizes(header: Path) -> list[int]:
    """Return the sizes under "# Dimensions"; all other sections, which may name other files, are passed over."""
    name = printable(header)
    if header.stat().st_size > _MOST_TEXT:
        raise InputError(f"{name} has over {_MOST_TEXT} bytes: a header is a short text, check how it was written")
    lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    if any(line.startswith("# SizesDimensions") for line in lines):
        raise InputError(f"{name} describes several arrays in one file: write each as a pair of its own")
    try:
        text = lines[lines.index(_HEAD) + 1]
    except (ValueError, IndexError):
        raise InputError(f"{name} has no line of sizes under {_HEAD!r}: check how it was written") from None
    words = text.split()
    if not 1 <= len(words) <= DIMENSIONS:
        raise InputError(f"{name} has {len(words)} sizes, and a cfl file 1 to {DIMENSIONS}: check how it was written")
    # digits alone: int() would take "1_0" and Arabic numerals, too
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 2**31 for word in words):
        raise InputError(f"{name} has the sizes {printable(text, 80)}, which must be positive whole numbers")
    return [int(word) for word in words]
