"""The acquisitions of an ISMRM Raw Data file: records of a head, a trajectory and samples of variable length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.safe_hdf5 import exists, find, memory_limit, names_in, read_records, records

__all__ = ["Acquisitions", "flagged", "open_acquisitions"]

_FIELDS = (
    "flags",
    "number_of_samples",
    "active_channels",
    "discard_pre",
    "discard_post",
    "center_sample",
    "encoding_space_ref",
    "trajectory_dimensions",
    "sample_time_us",
    "idx",
)
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")


@dataclass(frozen=True, eq=False)
class Acquisitions:
    """The heads of all acquisitions, and their samples and positions, which are read when asked for."""

    source: h5py.Dataset
    heads: NDArray[Any]

    @cached_property
    def samples(self) -> list[NDArray[np.complex64]]:
        """The samples of every acquisition, `(coils, samples)`; InputError unless they are as many as the head says."""
        shapes = [(int(h["active_channels"]), int(h["number_of_samples"])) for h in self.heads]
        numbers = self._numbers("data", [(a, b, 2) for a, b in shapes], "complex samples")
        return [part.view(np.complex64)[..., 0] for part in numbers]

    @cached_property
    def positions(self) -> list[NDArray[np.float32]]:
        """Where the samples of every acquisition lie, `(samples, axes)`, x first; InputError as for the samples."""
        if h5py.check_vlen_dtype(self.source.dtype["traj"]) != np.float32:
            raise InputError(f"{printable(self.source.file.filename)}: the trajectory is not float32: write it anew")
        shapes = [(int(h["number_of_samples"]), int(h["trajectory_dimensions"])) for h in self.heads]
        return self._numbers("traj", shapes, "positions")

    def _numbers(self, field: str, shapes: Sequence[tuple[int, ...]], what: str) -> list[NDArray[np.float32]]:
        """Return a field of variable length of every record, in its shape.

        Read in blocks: one by one is twenty times slower. A record may point at any part of the file, and two at the
        same one, so that the size of a block is known only by that of the file.
        """
        found: list[NDArray[np.float32]] = []
        where = printable(self.source.file.filename)
        step = int(min(4096, max(1, memory_limit() // max(1, _file_size(self.source.file)))))
        for first in range(0, len(self.heads), step):
            for raw in read_records(self.source, slice(first, first + step), field):
                shape = shapes[len(found)]
                if raw.size != prod(shape):
                    raise InputError(
                        f"{where}: acquisition {len(found)} has {raw.size} numbers, and its head tells of "
                        f"{shape[0]} x {shape[1]} {what}: copy the file again"
                    )
                found.append(np.ascontiguousarray(raw, dtype=np.float32).reshape(shape))
        return found


def open_acquisitions(file: h5py.File, name: str) -> Acquisitions:
    """Return the acquisitions in the dataset `name`; InputError for records of another kind, or more than fit."""
    source = records(file, name, _expected)
    heads = read_records(source, slice(None), "head")
    where = printable(file.filename)
    numbers = 2 * heads["active_channels"].astype(np.int64) + heads["trajectory_dimensions"]
    declared = 4 * int((numbers * heads["number_of_samples"]).sum())
    if declared > _file_size(file):  # samples of variable length cannot be compressed
        raise InputError(f"{where}: acquisitions of {declared} bytes in a smaller file: copy the file again")
    if declared > memory_limit():
        raise InputError(f"{where}: acquisitions of {declared / 2**30:.1f} GiB are more than half of the memory")
    return Acquisitions(source, heads)


def flagged(heads: NDArray[Any], *numbers: int) -> NDArray[np.bool_]:
    """Return which heads have one of the flags, by the standard's numbers from 1."""
    bits = np.uint64(sum(1 << (number - 1) for number in numbers))
    return np.asarray((heads["flags"].astype(np.uint64) & bits) != 0)


def _expected(dtype: np.dtype[Any]) -> bool:
    """Return whether records are acquisitions: a head with the counters, and samples of float32."""
    if dtype.names is None or not {"head", "data", "traj"} <= set(dtype.names):
        return False
    head = dtype["head"]
    if head.names is None or not set(_FIELDS) <= set(head.names):
        return False
    counters = head["idx"]
    if counters.names is None or not set(COUNTERS) <= set(counters.names):
        return False
    numbers = [head[name] for name in _FIELDS if name != "idx"] + [counters[name] for name in COUNTERS]
    return all(number.kind in "iuf" for number in numbers) and h5py.check_vlen_dtype(dtype["data"]) == np.float32


def _file_size(file: h5py.File) -> int:
    return int(file.id.get_filesize())


def acquisition_group(file: h5py.File) -> str:
    """Return the name of the group with acquisitions; InputError if there is none, or several."""
    names = [name for name in names_in(file) if _is_group(file, name)]
    if len(names) != 1:
        held = ", ".join(printable(name, 80) for name in names)
        raise InputError(f"{printable(file.filename)} has {len(names)} data sets ({held}): copy one to its own file")
    return names[0]


def _is_group(file: h5py.File, name: str) -> bool:
    try:
        group = find(file, name)
    except InputError:
        return False
    return isinstance(group, h5py.Group) and exists(group, "xml")
