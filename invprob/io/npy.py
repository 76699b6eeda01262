"""Arrays of NumPy in a file that somebody else wrote: numbers alone, no pickles, and no more than fits."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.files import check_file

__all__ = ["MAGIC", "read_npy"]

MAGIC = b"\x93NUMPY"
# what a damaged header makes numpy and the parser of Python raise
_DAMAGE = (ValueError, OSError, EOFError, SyntaxError, TokenError, MemoryError, OverflowError, TypeError, KeyError)


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array of a `.npy` file as it is stored, mapped and not read; InputError for anything else."""
    path, name = Path(path), printable(path)
    check_file(path)
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{name} is no .npy file: write it with numpy.save")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGE as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)}): write it again with numpy.save") from error
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16:
        raise InputError(f"{name} has the type {printable(array.dtype)}, which is not supported: store plain numbers")
    if not array.size or not array.ndim:
        raise InputError(f"{name} is empty (shape {array.shape}): check how the file was written")
    return array
