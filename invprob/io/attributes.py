"""How the project's own HDF5 files hold arrays, texts and JSON, so that damage does not go unnoticed.

Tensors are known by what they answer: a file is described without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from invprob.errors import InputError, printable
from invprob.grid import Units
from invprob.io.safe_hdf5 import find, read_numbers, read_text

__all__ = [
    "check_format",
    "chunk_shape",
    "plain",
    "read_json",
    "read_units",
    "write_array",
    "write_attributes",
    "write_json",
]

# Ours may be long (a certificate with numbers per slice), a stranger's unit may not.
_MAX_JSON = 2**24
_CHUNK = 2**20


def read_units(file: h5py.File) -> Units:
    """Read the units of a scan of the project's own."""
    group = find(file, "units")
    return Units(**{key: read_text(group, key) or "1" for key in ("length", "image", "data")})


def write_attributes(owner: Any, attributes: Mapping[str, str | float | int]) -> None:
    """Write texts and numbers; texts at fixed length, inside the metadata that HDF5 guards by checksums."""
    for key, value in attributes.items():
        if isinstance(value, str):
            raw = value.encode() or b"\0"
            owner.attrs.create(key, np.array(raw, dtype=h5py.string_dtype("utf-8", len(raw))))
        else:
            owner.attrs[key] = value


def write_json(owner: Any, key: str, value: Any) -> None:
    """Write `value` as JSON; tensors and arrays become lists, anything else without a JSON form its text."""
    write_attributes(owner, {key: json.dumps(value, default=plain)})


def write_array(owner: Any, name: str, values: Any) -> None:
    """Write an array with checksums, which HDF5 has only for what is stored in chunks."""
    array = values.numpy(force=True) if hasattr(values, "numpy") else np.asarray(values)
    guarded = {"chunks": chunk_shape(array.shape, array.itemsize), "fletcher32": True} if array.shape else {}
    owner.create_dataset(name, data=array, **guarded)


def chunk_shape(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return a block of whole trailing axes, the last of them cut in equal parts, of at most a MiB."""
    room, chunk = max(1, _CHUNK // itemsize), []
    for n in reversed(shape):
        pieces = -(-n // min(n, room))
        chunk.append(-(-n // pieces))
        room = max(1, room // n)
    return tuple(reversed(chunk))


def read_json(owner: Any, key: str) -> Any:
    """Return the JSON attribute `key`, None if there is none; InputError if it is damaged."""
    text = read_text(owner, key, _MAX_JSON)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{printable(owner.file.filename)}: {printable(owner.name)}@{key}"
        raise InputError(f"{where} is damaged ({printable(error)}): copy the file again") from error


def check_format(file: h5py.File, name: str, version: int) -> int:
    """Return the version of a file; InputError unless it is of format `name` and no newer than `version`."""
    found = read_text(file, "format")
    if found != name:
        raise InputError(f"{printable(file.filename)} is of format {printable(found)}, expected {name}")
    told = read_numbers(file, "version")
    number = None if told is None or told.size != 1 or not np.isfinite(told[0]) else int(told[0])
    if number is None or not 1 <= number <= version:
        raise InputError(
            f"{printable(file.filename)}: {name} version {number}, and this program reads up to "
            f"{version}: update invprob"
        )
    return number


def plain(value: Any) -> Any:
    """Return what JSON holds in place of a value that it knows no form of."""
    return value.tolist() if hasattr(value, "tolist") else str(value).removeprefix("torch.")  # a dtype's name
