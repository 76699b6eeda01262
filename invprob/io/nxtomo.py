"""NXtomo, the NeXus layout of tomography (Koennecke et al. 2015, J. Appl. Cryst. 48, 301; definition NXtomo).

In an entry, or a subentry of it: `instrument/detector/data` (frame, row, column), `image_key` of the frames, 0 for
projections, 1 for the open beam, 2 for the dark current, 3 for what is invalid, and `sample/rotation_angle` of all
frames; `data` may hold links to each. Pixel sizes are those of the detector group, where their unit is known; so is its
`distance`, and `beam/incident_energy` of the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.linked_files import located, looked_at, read_linked
from invprob.io.options import ENTRY, LINKED, Options, as_slice
from invprob.io.parallel_views import ACCEPTED, Source, open_views
from invprob.io.safe_hdf5 import dataset_names, exists, find, open_hdf5, read_array, read_text

__all__ = ["READER", "open_nxtomo"]

LAYOUT = "NXtomo"
_PROJECTION, _FIELDS = 0, {"white": 1, "dark": 2}
_KEY = "image_key"
_MILLIMETRES = {"m": 1e3, "metre": 1e3, "meter": 1e3, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "nm": 1e-6}
_KEV = {"kev": 1.0, "ev": 1e-3, "mev": 1e3}


class _Frames(Source):
    """The frames of one entry, sorted by their keys."""

    layout = LAYOUT
    remedy = "where the flats are of another file, correct the counts by them, and "

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        linked = bool(options.get("linked", False))
        with open_hdf5(path) as file:
            entries = _entries(file)
        base = _chosen(entries, options.get("entry"), self.where)
        detector = entries[base]
        self._base, self._detector = base, detector
        near = (f"{detector}/data", f"{base}/data/data")
        self._data = _first(path, near, linked)
        self._angles = _first(path, (f"{base}/sample/rotation_angle", f"{base}/data/rotation_angle"), linked)
        keys = _first(path, (f"{detector}/{_KEY}",), linked)
        self.named = {
            "data": self._data[1],
            "white": f"{_KEY} 1",
            "dark": f"{_KEY} 2",
            "theta": self._angles[1] if self._angles else "sample/rotation_angle",
        }
        shape, dtype = looked_at(self._data, linked, path.parent)
        if len(shape) != 3 or dtype.kind == "c":
            raise InputError(
                f"{self.where}: {self.named['data']} of shape {shape} is no stack of frames (frame, row, column)"
            )
        with open_hdf5(keys[0]) as file:
            found = read_array(file, keys[1]).ravel()
        if found.size != shape[0]:
            raise InputError(f"{self.where}: {found.size} values of {_KEY} for {shape[0]} frames: write one for each")
        self._keys = found
        self.shape = (int((found == _PROJECTION).sum()), shape[1], shape[2])
        if not self.shape[0]:
            raise InputError(f"{self.where}: no frame is a projection ({_KEY} 0): check how the file was written")

    def counts(self, views: range, rows: range) -> NDArray[Any]:
        return self._read(self._projections[views.start : views.stop : views.step], rows)

    def exposures(self, which: str, rows: range) -> NDArray[Any] | None:
        frames = np.flatnonzero(self._keys == _FIELDS[which])
        return self._read(frames, rows) if frames.size else None

    def angles(self) -> tuple[NDArray[np.float64], str | None] | None:
        path, name = self._angles
        with open_hdf5(path) as file:
            angles, unit = read_array(file, name).ravel(), read_text(find(file, name), "units")
        if angles.size == self.shape[0]:  # of the projections alone
            return angles, unit
        if angles.size != self._keys.size:
            raise InputError(
                f"{self.where}: {angles.size} angles in {name} for {self._keys.size} frames: give --angles"
            )
        return angles[self._projections], unit

    def pixel_size(self) -> float | None:
        return self._quantity(self._detector, "x_pixel_size", _MILLIMETRES)

    def distance(self) -> float | None:
        return self._quantity(self._detector, "distance", _MILLIMETRES)

    def energy(self) -> float | None:
        groups = (f"{self._base}/{group}" for group in ("sample/beam", "instrument/beam", "beam"))
        known = (self._quantity(group, "incident_energy", _KEV) for group in groups)
        return next((value for value in known if value is not None), None)

    def _quantity(self, group: str, name: str, units: Mapping[str, float]) -> float | None:
        """Return a number in the unit that `units` count by, None where it is not there, or its unit is not known."""
        with open_hdf5(self.path) as file:
            try:
                there = exists(find(file, group), name)
            except InputError:  # no such group, or not in this file
                return None
            if not there:
                return None
            value = float(np.ravel(read_array(file, f"{group}/{name}"))[0])
            unit = (read_text(find(file, f"{group}/{name}"), "units") or "").strip().lower()
        return value * units[unit] if unit in units and 0 < value < np.inf else None

    @cached_property
    def _projections(self) -> NDArray[np.intp]:
        return np.flatnonzero(self._keys == _PROJECTION)

    def _read(self, frames: NDArray[np.intp], rows: range) -> NDArray[Any]:
        """Read frames in runs of equal steps, as HDF5 does best."""
        across, parts, start = as_slice(rows), [], 0
        while start < len(frames):
            step = int(frames[start + 1] - frames[start]) if start + 1 < len(frames) else 1
            stop = start + 1
            while stop < len(frames) and frames[stop] - frames[stop - 1] == step:
                stop += 1
            run = slice(int(frames[start]), int(frames[stop - 1]) + 1, step)
            parts.append(read_linked(self._data, (run, across)))
            start = stop
        return np.concatenate(parts)


def open_nxtomo(path: Path, options: Options) -> Stack:
    """Open a file as rows of a parallel beam (`invprob.io.parallel_views`)."""
    return open_views(_Frames(path, options), options)


def _entries(file: h5py.File) -> dict[str, str]:
    """Return the entries that are scans of this layout, by the path of each the path of its detector."""
    found: dict[str, str] = {}
    for name in dataset_names(file):
        parts = name.split("/")
        if parts[-1] == _KEY and len(parts) >= 3 and parts[-3] == "instrument":
            found.setdefault("/".join(parts[:-3]), "/".join(parts[:-1]))
    return found


def _chosen(entries: dict[str, str], wanted: str | None, where: str) -> str:
    if not entries:  # whose names could be listed a moment ago
        raise InputError(f"{where} is damaged: copy it again from its source")
    names = ", ".join(printable(name) for name in entries)
    if wanted is None and len(entries) > 1:
        raise InputError(f"{where} holds {len(entries)} scans, {names}: say which by --read entry=NAME")
    if wanted is None:
        return next(iter(entries))
    if wanted.strip("/") not in entries:
        raise InputError(
            f"{where} holds no scan {printable(wanted)}, but {names}: give one of them by --read entry=NAME"
        )
    return wanted.strip("/")


def _first(path: Path, names: tuple[str, ...], linked: bool) -> tuple[Path, str]:
    """Return the place of the first of `names` that the file has; InputError if it has none."""
    with open_hdf5(path) as file:
        for name in names:
            group, _, last = name.rpartition("/")
            try:
                there = exists(find(file, group), last)
            except InputError:  # the group itself is not there, or not here
                continue
            if there:
                return located(path, name, linked)
    return located(path, names[0], linked)  # which says that it is missing


def _recognises(probe: Probe) -> bool:
    return probe.hdf5 is not None and bool(_entries(probe.hdf5))


READER = Reader(
    layout=LAYOUT,
    about="NeXus HDF5 with image_key and rotation_angle, as Diamond, ESRF and others write it",
    accepts=(*ACCEPTED, ENTRY, LINKED),
    otherwise="it says nothing about frames of a parallel beam",
    recognises=_recognises,
    open=open_nxtomo,
)
