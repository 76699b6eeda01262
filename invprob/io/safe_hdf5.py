"""Open and read HDF5 files that somebody else wrote.

HDF5 follows references out of a file by design: external links, external storage and virtual datasets read
any file the user may read, and a file of a few bytes can declare petabytes. Here every component of a path is
looked at before it is opened, only plain numbers are read, and only what fits. All complaints are
`InputError`s.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.files import check_file
from invprob.machine import total_memory

__all__ = [
    "MAX_TEXT",
    "dataset",
    "dataset_names",
    "exists",
    "find",
    "link_of",
    "lock_free",
    "memory_limit",
    "names_in",
    "open_hdf5",
    "read_array",
    "read_numbers",
    "read_records",
    "read_string",
    "read_text",
    "records",
    "touch",
]

_MAX_LINKS = 16
_MAX_RANK = 6
_MAX_EXTENT = 2**31
_MAX_CHUNK = 2**30
# gzip reaches 1029:1 on zeros, so a high ratio alone is no crime; a high ratio and a large size is.
_BOMB_BYTES, _BOMB_RATIO = 2**26, 500
MAX_NUMBERS = 256  # bytes of an attribute of few numbers
MAX_TEXT = 2**16
_MAX_NAMES = 1000
# What libhdf5 and h5py bring themselves; any other filter would load a plug-in, that is, run code.
_FILTERS = (1, 2, 3, 4, 5, 6, 32000)  # gzip, shuffle, fletcher32, szip, nbit, scaleoffset, lzf
_COPY = "copy the values themselves into the file"
_REWRITE = "check how the file was written"
_FEWER = "read a part of it, by --rows or --views where the layout has them"
_NO_MEMORY = re.compile(r"alloc\w* failed|(unable to|can.?t|cannot) allocate", re.IGNORECASE)
_OWN_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError)


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; InputError if it is missing, something else, damaged or cut short."""
    path = Path(path)
    check_file(path)
    if not h5py.is_hdf5(path):
        raise InputError(f"{printable(path)} is not an HDF5 file: check which file was meant")
    try:
        file = lock_free(path, "r")
    except BlockingIOError as error:
        raise InputError(f"{printable(path)} is being written by another program: wait until it is done") from error
    except OSError as error:
        state = "cut short" if "truncated" in str(error) else "damaged"
        raise InputError(f"{printable(path)} is {state} ({_reason(error)}): copy it again from its source") from error
    with file:
        yield file


def lock_free(path: Path, mode: str, **options: Any) -> h5py.File:
    """Open a file with HDF5's lock, and without where the file system knows none, as network mounts may."""
    try:
        return h5py.File(path, mode, **options)
    except BlockingIOError:  # another program holds it
        raise
    except OSError as error:
        if "lock file" not in str(error):
            raise
    if mode == "x":
        path.unlink(missing_ok=True)  # of the attempt
    return h5py.File(path, mode, locking=False, **options)


def find(file: h5py.File, name: str) -> Any:
    """Return the object at the path `name`, whose every component must lie in this file."""
    where = _place(file, name)
    here, rest, links = file["/"], deque(_parts(name)), 0
    while rest:
        part = rest.popleft()
        link = link_of(here, part) if isinstance(here, h5py.Group) else None
        if link is None:
            raise _missing(file, name)
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MAX_LINKS:
                raise InputError(f"{where} leads through over {_MAX_LINKS} soft links, or in a circle: {_REWRITE}")
            here = file["/"] if link.path.startswith("/") else here
            rest.extendleft(reversed(_parts(link.path)))
        elif isinstance(link, h5py.HardLink):
            with _explained(where):
                here = here[part]
        else:
            target = f" to {printable(link.filename)}" if isinstance(link, h5py.ExternalLink) else ""
            raise InputError(f"{where} is an external link{target}, which is refused: {_COPY}")
    return here


def exists(group: h5py.Group, key: str) -> bool:
    """Return whether `group` has a link `key`, without following it (as `key in group` would)."""
    return link_of(group, key) is not None


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset `name` after checking that it is safe to read: storage, dtype and size."""
    found, where = find(file, name), _place(file, name)
    if not isinstance(found, h5py.Dataset):
        raise _missing(file, name)
    with _explained(where):
        _check_storage(found, where)
        _check_dtype(found.dtype, where)
        _check_size(found, where)
    return found


def read_array(file: h5py.File, name: str, selection: tuple[slice, ...] = ()) -> NDArray[Any]:
    """Read the dataset `name`, or `selection` of it, as a contiguous array in native byte order."""
    source, where = dataset(file, name), _place(file, name)
    shape = [len(range(*s.indices(n))) for s, n in zip(selection, source.shape, strict=False)]
    needed = math.prod([*shape, *source.shape[len(shape) :]]) * source.dtype.itemsize / 2**30
    limit = memory_limit() / 2**30
    if needed > limit:
        raise InputError(f"{where} needs {needed:.1f} GiB, and the machine has {2 * limit:.1f}: {_FEWER}")
    with _explained(where):
        array = np.asarray(source[selection], order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def memory_limit() -> int:
    """Return the bytes that an array may take: half of the memory of the machine, or of the container it runs in."""
    return total_memory() // 2


def read_string(file: h5py.File, name: str, limit: int = MAX_TEXT) -> bytes:
    """Return the dataset `name`, a single text of at most `limit` bytes."""
    found, where = find(file, name), _place(file, name)
    if not isinstance(found, h5py.Dataset):
        raise _missing(file, name)
    with _explained(where):
        _check_storage(found, where)
        if h5py.check_string_dtype(found.dtype) is None or found.shape is None or math.prod(found.shape) != 1:
            raise InputError(f"{where} is not a single text: {_REWRITE}")
        if found.dtype.kind == "S" and found.dtype.itemsize > limit:
            raise InputError(f"{where} has over {limit} bytes: {_REWRITE}")
        value = np.ravel(found[()])[0]
    text = value.encode() if isinstance(value, str) else bytes(value)
    if len(text) > limit:
        raise InputError(f"{where} has over {limit} bytes: {_REWRITE}")
    return text


def records(file: h5py.File, name: str, expected: Callable[[np.dtype[Any]], bool]) -> h5py.Dataset:
    """Return the dataset `name`, a list of records whose type is as `expected`, after checking storage and size."""
    found, where = find(file, name), _place(file, name)
    if not isinstance(found, h5py.Dataset):
        raise _missing(file, name)
    with _explained(where):
        _check_storage(found, where)
        _check_size(found, where)
        if len(found.shape) != 1 or not expected(found.dtype):
            raise InputError(f"{where} of shape {found.shape} holds other records than expected: {_REWRITE}")
    return found


def read_records(source: h5py.Dataset, selection: slice, field: str) -> NDArray[Any]:
    """Return one field of some of the `records`."""
    with _explained(_place(source.file, source.name)):
        return np.asarray(source.fields(field)[selection])


def read_text(owner: Any, key: str, limit: int = MAX_TEXT) -> str | None:
    """Return the text attribute `key` of a group or dataset, None if there is none; at most `limit` bytes."""
    where = _place(owner.file, f"{owner.name}@{key}")
    with _explained(where):
        if key not in owner.attrs:
            return None
        if owner.attrs.get_id(key).get_storage_size() > limit:
            raise InputError(f"{where} has over {limit} bytes: {_REWRITE}")
        value = owner.attrs[key]
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str) or len(value) > limit:
        raise InputError(f"{where} is not a short text: {_REWRITE}")
    return str(value)


def read_numbers(owner: Any, key: str) -> NDArray[np.float64] | None:
    """Return the attribute `key` as a few numbers `(n,)`, None if there is none or it is something else."""
    where = _place(owner.file, f"{owner.name}@{key}")
    with _explained(where):
        if key not in owner.attrs:
            return None
        if owner.attrs.get_id(key).get_storage_size() > MAX_NUMBERS:
            raise InputError(f"{where} has over {MAX_NUMBERS} bytes: {_REWRITE}")
        values = np.atleast_1d(np.asarray(owner.attrs[key]))
    return values.astype(np.float64) if values.ndim == 1 and values.dtype.kind in "iuf" else None


def dataset_names(file: h5py.File) -> list[str]:
    """Return the paths of the datasets of the file, breadth first, links not followed.

    This is for messages and overviews: it stops at about 1000, and what is damaged is passed over.
    """
    names: list[str] = []
    groups, seen = deque([("", file["/"])]), {file["/"]}
    while groups and len(names) + len(seen) < _MAX_NAMES:
        prefix, group = groups.popleft()
        for key, child in _children(group):
            if isinstance(child, h5py.Dataset):
                names.append(prefix + key)
            elif isinstance(child, h5py.Group) and child not in seen:
                seen.add(child)  # equal for two names of one group, so a cycle of hard links ends here
                groups.append((f"{prefix}{key}/", child))
    return names


def touch(file: h5py.File) -> None:
    """Read what a file holds, texts and records too, of large datasets the beginning; complaints are passed over.

    But for MemoryError, also where HDF5 gives it another name.
    """
    for name in dataset_names(file):
        with suppress(InputError, *_OWN_ERRORS), _short_of_memory():
            data, where = find(file, name), _place(file, name)
            _check_storage(data, where)
            _check_size(data, where)
            first = data.chunks[0] if data.chunks else 1
            whole = math.prod(data.shape) * data.dtype.itemsize <= _BOMB_BYTES
            np.asarray(data[() if whole else slice(first)])
            for key in islice(data.attrs, _MAX_NAMES):
                read_text(data, key)


@contextmanager
def _short_of_memory() -> Iterator[None]:
    """Raise MemoryError where HDF5 says in words that it got none."""
    try:
        yield
    except OSError as error:
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise


def names_in(group: h5py.Group) -> Iterator[str]:
    """Yield the names directly in a group, the first 1000; a damaged one ends where HDF5 can list no more."""
    with suppress(*_OWN_ERRORS):
        yield from islice(group, _MAX_NAMES)


def _children(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Yield what lies directly in a group."""
    for key in names_in(group):
        if isinstance(link_of(group, key), h5py.HardLink):
            with suppress(*_OWN_ERRORS):
                yield key, group[key]


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def link_of(group: h5py.Group, key: str) -> Any:
    """Return the link itself, unfollowed; None if there is none, an `object` if it is of no known kind."""
    try:
        return group.get(key, getlink=True)
    except _OWN_ERRORS:  # a user-defined link, or a damaged one
        return object()


def _check_storage(data: h5py.Dataset, where: str) -> None:
    if data.external:
        raise InputError(f"{where} keeps its values in the file {printable(data.external[0][0])}: {_COPY}")
    if data.is_virtual:
        source = next((s.file_name for s in data.virtual_sources()), "")
        missing = "" if (Path(data.file.filename).parent / source).is_file() else ", which is missing"
        raise InputError(f"{where} is a virtual dataset made of {printable(source)}{missing}: {_COPY}")
    properties = data.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code, _, _, label = properties.get_filter(i)
        if code not in _FILTERS:
            plugin = printable(label.decode(errors="replace"))
            raise InputError(f"{where} needs the plug-in {plugin} ({code}): run h5repack -f GZIP=4 on the file")


def _check_dtype(dtype: np.dtype[Any], where: str) -> None:
    plain = dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8) or dtype in ("c8", "c16")
    enum = dtype.kind in "iu" and h5py.check_enum_dtype(dtype) is not None
    if enum or not plain:
        label = "enum" if enum else printable(dtype)
        raise InputError(f"{where} has the type {label}, which is not supported: store plain numbers")


def _check_size(data: h5py.Dataset, where: str) -> None:
    if data.shape is None or 0 in data.shape:
        raise InputError(f"{where} is empty (shape {data.shape}): {_REWRITE}")
    if len(data.shape) > _MAX_RANK or max(data.shape, default=0) > _MAX_EXTENT:
        raise InputError(f"{where} of shape {data.shape} has over {_MAX_RANK} axes, or one beyond 2^31: {_REWRITE}")
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK:  # it is read as a whole
        raise InputError(f"{where} has chunks {data.chunks} of over 1 GiB: make them smaller with h5repack -l")
    stored, declared = data.id.get_storage_size(), math.prod(data.shape) * data.dtype.itemsize
    if declared > _BOMB_BYTES and declared > _BOMB_RATIO * stored:
        raise InputError(f"{where} declares {declared / 2**30:.1f} GiB, but stores {stored} bytes: {_REWRITE}")


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into an InputError with a place."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{where} does not fit into memory: {_FEWER}") from error
    except _OWN_ERRORS as error:
        raise InputError(f"{where} cannot be read ({_reason(error)}): copy the file again") from error


def _missing(file: h5py.File, name: str) -> InputError:
    known = dataset_names(file)
    near = difflib.get_close_matches(name.strip("/"), known, n=1)
    hint = f"; did you mean {printable(near[0])}?" if near else ""
    held = ", ".join(printable(n, 80) for n in known[:12]) or "no dataset"
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return InputError(f"{printable(file.filename)} holds no {printable(name)}{hint} (it holds {held}{more})")


def _place(file: h5py.File, name: str) -> str:
    return f"{printable(file.filename)}: {printable(name)}"


def _reason(error: BaseException) -> str:
    """Return the inner words of an HDF5 error: "truncated file" of "Unable to open file (truncated file)"."""
    text = str(error)
    return printable(text[text.find("(") + 1 :].rstrip(")'\""), 120)
