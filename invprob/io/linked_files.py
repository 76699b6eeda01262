"""Datasets that lie in other files: followed where the user says so, and only to files beside the one that was named.

Beamlines write a file of links: external ones, or virtual datasets, which HDF5 would follow to any file that the user
may read, and fill with zeros where the target is missing. Here every target must exist, be HDF5 and lie in the folder
of the file that was named, or below it, wherever links of the file system lead.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.safe_hdf5 import dataset, find, link_of, memory_limit, open_hdf5, read_array

__all__ = ["located", "looked_at", "read_linked"]

_MOST = 16  # links in a row
_ALLOW = "allow it with --read linked=true"


def located(path: Path, name: str, linked: bool, root: Path | None = None, depth: int = 0) -> tuple[Path, str]:
    """Return the file and the path in it where the object `name` lies, behind soft and external links.

    InputError for what is missing, for too many links, and for external ones unless `linked`, or out of the folder.
    """
    root = path.parent if root is None else root
    if depth > _MOST:
        raise InputError(
            f"{printable(path)}: {printable(name)} leads through over {_MOST} links: check how it was written"
        )
    parts = [part for part in name.split("/") if part not in ("", ".")]
    with open_hdf5(path) as file:
        here = file["/"]
        for i, part in enumerate(parts):
            link = link_of(here, part) if isinstance(here, h5py.Group) else None
            rest = "/".join(parts[i + 1 :])
            if isinstance(link, h5py.ExternalLink):
                if not linked:
                    where = f"{printable(path)}: {printable(name)}"
                    raise InputError(f"{where} lies in the file {printable(link.filename)}: {_ALLOW}")
                target = _beside(path, link.filename, root)
                return located(target, f"{link.path}/{rest}", linked, root, depth + 1)
            if isinstance(link, h5py.SoftLink):
                before = "" if link.path.startswith("/") else "/".join(parts[:i])
                return located(path, f"{before}/{link.path}/{rest}", linked, root, depth + 1)
            here = find(file, "/".join(parts[: i + 1]))  # which says what is wrong with it
    return path, "/".join(parts)


def looked_at(place: tuple[Path, str], linked: bool, root: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of a dataset that is safe to read; a virtual one where `linked`, its sources being so."""
    path, name = place
    with open_hdf5(path) as file:
        found = find(file, name)
        if not (isinstance(found, h5py.Dataset) and found.is_virtual):
            found = dataset(file, name)
            return tuple(found.shape), found.dtype
        where = f"{printable(path)}: {printable(name)}"
        if not linked:
            raise InputError(f"{where} is a virtual dataset, made of other files: {_ALLOW}")
        sources = {(source.file_name, source.dset_name) for source in found.virtual_sources()}
        shape, dtype = tuple(found.shape), found.dtype
        if dtype.kind not in "biuf" or not shape or 0 in shape:
            raise InputError(f"{where} has shape {shape} and type {printable(dtype)}: store plain numbers")
    for name_of_file, inner in sources:
        source = path if name_of_file == "." else _beside(path, name_of_file, root)
        with open_hdf5(source) as file:
            if dataset(file, inner).dtype != dtype:
                raise InputError(
                    f"{where} changes the type of {printable(inner)} in {printable(source)}: copy the values"
                )
    return shape, dtype


def read_linked(place: tuple[Path, str], selection: tuple[slice, ...]) -> NDArray[Any]:
    """Read a part of a dataset that `looked_at` has passed."""
    path, name = place
    with open_hdf5(path) as file:
        found = find(file, name)
        if not found.is_virtual:
            return read_array(file, name, selection)
        shape = [len(range(*s.indices(n))) for s, n in zip(selection, found.shape, strict=False)]
        needed = math.prod([*shape, *found.shape[len(shape) :]]) * found.dtype.itemsize
        if needed > memory_limit():
            raise InputError(f"{printable(path)} needs {needed / 2**30:.1f} GiB: read a part, by --rows or --views")
        try:
            array = np.asarray(found[selection], order="C")
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            raise InputError(f"{printable(path)}: {printable(name)} cannot be read: copy its sources again") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _beside(path: Path, target: str, root: Path) -> Path:
    """Return the file that a link names, if it lies in the folder `root` or below."""
    found = path.parent / target
    if "%" in target or not found.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{printable(path)} links to {printable(target)}, out of its folder, which is refused: copy it there"
        )
    if not found.is_file():
        raise InputError(f"{printable(path)} links to {printable(target)}, which is missing: copy it there, too")
    return found
