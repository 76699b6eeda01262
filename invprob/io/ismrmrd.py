"""ISMRM Raw Data in HDF5 (Inati et al., Magn. Reson. Med. 77, 2017): acquisitions put into k-space.

Cartesian ones lie by their counters of phase encodings from the centre that the header names, and by their centre
sample along the read-out; those of one place are averaged. Others lie where their own trajectory says, whose unit the
standard leaves open (`invprob.io.off_grid`). Contrasts, slices, repetitions, phases and sets are items of their own.
Acquisitions of noise give the covariance of the coils, by which they are made white.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.acquisitions import acquisition_group, flagged, open_acquisitions
from invprob.io.imaging import BOTH, CALIBRATION, Imaging, ReadOut, imaging_of, items_of
from invprob.io.ismrmrd_header import MAX_HEADER, Encoding, Limit, parse_header
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import COILS, CONJUGATE, FRAMES, NOISE, OFF_THE_GRID, refuse_off_grid
from invprob.io.mri_scan import KSpace, frames_of, with_frames
from invprob.io.mri_stack import k_space_stack, off_grid_stack
from invprob.io.off_grid_acquisitions import along_trajectory
from invprob.io.options import ROWS, Options, rows_of
from invprob.io.read_out import without_oversampling
from invprob.io.safe_hdf5 import exists, find, memory_limit, open_hdf5, read_string

__all__ = ["READER", "open_ismrmrd"]

LAYOUT = "ISMRMRD"


@dataclass(frozen=True, eq=False)
class _Places:
    """Where acquisitions go: item, phase encodings and first sample of each, and what k-space is like."""

    batch: Mapping[str, range]
    grid: tuple[int, ...]
    index: tuple[NDArray[np.int64], ...]  # along (*batch, *phase encodings), for every acquisition
    begin: NDArray[np.int64]


def open_ismrmrd(path: Path, options: Options) -> Stack:
    """Open a file with one data set of acquisitions."""
    where = printable(path)
    with open_hdf5(path) as file:
        group = acquisition_group(file)
        header = parse_header(read_string(file, f"{group}/xml", MAX_HEADER), f"{where}: {group}/xml")
        imaging = imaging_of(open_acquisitions(file, f"{group}/data"), header, options, where)
        if imaging.encoding.trajectory == "cartesian":
            refuse_off_grid(options, because="the acquisitions are Cartesian")
            kspace = _assembled(imaging, where)
            kspace = with_frames(kspace, frames_of(options, kspace.batch, where))
        else:
            return off_grid_stack(path, LAYOUT, along_trajectory(imaging, where), options)
    rows = rows_of(options, len(kspace.samples) if kspace.batch else None)

    def load(some: range | None) -> KSpace:
        return kspace if some is None else kspace.part(some)

    return k_space_stack(path, LAYOUT, rows, load, options)


def _assembled(imaging: Imaging, where: str) -> KSpace:
    """Return the Cartesian k-space of all acquisitions that are of the image or of its calibration."""
    encoding, told = imaging.encoding, dict(imaging.told)
    readouts = [imaging.read_out(int(i)) for i in imaging.indices]
    places = _places(imaging.heads, readouts, encoding, where)
    samples, counts = _placed(readouts, places, where)
    measured = counts > 0
    calibration = _calibration(imaging, places, where)
    size, whole = round(places.grid[-1] * encoding.share), places.grid[-1]
    full = bool((measured.all(-1) == measured.any(-1)).all())
    if size < whole and full:
        samples = without_oversampling(samples, -1, size)
        measured, counts = measured[..., :size], counts[..., :size]
        if calibration is not None:
            calibration = without_oversampling(calibration[0], -1, size), calibration[1][..., :size]
        told["read-out"] = f"cut from {whole} to {size} pixels in the image: it is oversampled"
    averaged = counts if counts.max() > 1 else None
    if averaged is not None:
        told["averages"] = f"up to {int(counts.max())} readings of a place, which count as many times"
    d = len(places.grid)
    return KSpace(samples, measured, d, where, places.batch, imaging.noise, averaged, calibration, told)


def _places(heads: NDArray[Any], readouts: Sequence[ReadOut], encoding: Encoding, where: str) -> _Places:
    """Return where acquisitions go; InputError for one that lies outside k-space."""
    width, height, depth = encoding.encoded
    grid = (height, width) if depth == 1 else (depth, height, width)
    batch = items_of(heads)
    index = [heads["idx"][name].astype(np.int64) for name in batch]
    for axis, n in enumerate(grid[:-1]):
        step = len(grid) - 1 - axis
        limit = encoding.limits.get(f"kspace_encoding_step_{step}", Limit(centre=n // 2))
        at = heads["idx"][f"kspace_encode_step_{step}"].astype(np.int64) - limit.centre + n // 2
        _refuse_outside((at < 0) | (at >= n), f"{where}: along phase encoding {step} of {n}")
        index.append(at)
    begin = np.array([width // 2 - one.centre for one in readouts])
    ends = begin + np.array([one.samples.shape[1] for one in readouts])
    _refuse_outside((begin < 0) | (ends > width), f"{where}: along the read-out of {width}")
    return _Places(batch, grid, tuple(index), begin)


def _refuse_outside(outside: NDArray[np.bool_], where: str) -> None:
    if outside.any():
        first = int(np.argmax(outside))
        raise InputError(
            f"{where} samples {np.count_nonzero(outside)} of {outside.size} acquisitions of the image lie outside, "
            f"the first being number {first}: the header's matrix or centre is wrong"
        )


def _placed(
    readouts: Sequence[ReadOut], places: _Places, where: str
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return the mean of what was read at every place, `(*batch, coils, *grid)`, and how many readings that are."""
    coils = {one.samples.shape[0] for one in readouts}
    if len(coils) > 1:
        raise InputError(f"{where}: acquisitions of {sorted(coils)} coils in one image: check how it was written")
    lead = tuple(len(indices) for indices in places.batch.values())
    shape = (*lead, *places.grid, *coils)
    if 8 * prod(shape) > memory_limit():
        raise InputError(f"{where}: k-space of {8 * prod(shape) / 2**30:.1f} GiB is more than half of the memory")
    total, counts = np.zeros(shape, np.complex64), np.zeros(shape[:-1], np.float32)
    for i, samples in enumerate(one.samples for one in readouts):
        first = int(places.begin[i])
        at: Any = (*(int(axis[i]) for axis in places.index), slice(first, first + samples.shape[1]))
        total[at] += samples.T
        counts[at] += 1
    lines = counts.any(-1).sum(tuple(range(len(lead), counts.ndim - 1)))
    if lines.ndim and lines.min() == 0:
        empty = np.unravel_index(int(np.argmin(lines)), lines.shape)
        words = ", ".join(f"{name} {i}" for name, i in zip(places.batch, empty, strict=True))
        raise InputError(
            f"{where}: {words} has no acquisition, and others have {int(lines.max())}: the file is incomplete"
        )
    total /= np.maximum(counts, 1)[..., None]
    return np.ascontiguousarray(np.moveaxis(total, -1, len(lead))), counts


def _calibration(
    imaging: Imaging, places: _Places, where: str
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]] | None:
    """Return the k-space of the acquisitions for calibration, where there are some that are of no image."""
    heads = imaging.acquisitions.heads
    if not (imaging.usable & flagged(heads, CALIBRATION)).any():
        return None
    chosen = np.flatnonzero(imaging.usable & flagged(heads, CALIBRATION, BOTH))
    readouts = [imaging.read_out(int(i)) for i in chosen]
    own = _places(heads[chosen], readouts, imaging.encoding, where)
    if own.batch != places.batch:
        return None
    samples, counts = _placed(readouts, own, where)
    return samples, counts > 0


def _recognises(probe: Probe) -> bool:
    file = probe.hdf5
    if file is None:
        return False
    try:
        return exists(find(file, acquisition_group(file)), "data")
    except InputError:
        return False


READER = Reader(
    layout=LAYOUT,
    about="HDF5 with acquisitions and an XML header; slices, contrasts and repetitions are rows",
    accepts=(ROWS, COILS, NOISE, CONJUGATE, FRAMES, *OFF_THE_GRID),
    otherwise="the header says what the data are",
    recognises=_recognises,
    open=open_ismrmrd,
)
