"""ISMRM Raw Data in HDF5 (Inati et al., Magn. Reson. Med. 77, 2017): acquisitions put into Cartesian k-space.

Acquisitions lie by their counters of phase encodings from the centre that the header names, and by their centre sample
along the read-out; those of one place are averaged. Contrasts, slices, repetitions, phases and sets are items of
their own. Acquisitions of noise give the covariance of the coils, by which they are made white.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.acquisitions import Acquisitions, acquisition_group, flagged, open_acquisitions
from invprob.io.checks import sound_geometry
from invprob.io.ismrmrd_header import MAX_HEADER, Encoding, Header, Limit, parse_header
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import COILS, CONJUGATE, FRAMES, NOISE
from invprob.io.mri_scan import KSpace, frames_of, k_space_stack, with_frames
from invprob.io.options import ROWS, Options, as_slice, selected
from invprob.io.read_out import without_oversampling
from invprob.io.safe_hdf5 import exists, memory_limit, open_hdf5, read_string
from invprob.operators.mri.coil_mixing import SAMPLES_PER_COIL, CoilMixing, noise_covariance, whitening

__all__ = ["READER", "open_ismrmrd"]

LAYOUT = "ISMRMRD"
# flags of acquisitions by the numbers of the standard, from 1
_NOISE, _CALIBRATION, _BOTH, _REVERSE = 19, 20, 21, 22
_NO_IMAGE = (_NOISE, 23, 24, 26, 27, 28, 29, 30, 31)  # noise, navigators, corrections, feedback, dummies, stabilisation
_ITEMS = ("contrast", "slice", "repetition", "phase", "set")


@dataclass(frozen=True, eq=False)
class _Places:
    """Where acquisitions go: item, phase encodings and first sample of each, and what k-space is like."""

    batch: Mapping[str, range]
    grid: tuple[int, ...]
    index: tuple[NDArray[np.int64], ...]  # along (*batch, *phase encodings), for every acquisition
    begin: NDArray[np.int64]


def open_ismrmrd(path: Path, options: Options) -> Stack:
    """Open a file with one data set of Cartesian acquisitions."""
    where = printable(path)
    with open_hdf5(path) as file:
        group = acquisition_group(file)
        header = parse_header(read_string(file, f"{group}/xml", MAX_HEADER), f"{where}: {group}/xml")
        encoding = header.encodings[0]
        if encoding.trajectory != "cartesian":
            raise InputError(
                f"{where}: acquisitions along a {printable(encoding.trajectory, 40) or 'nameless'} trajectory: "
                "of this layout only Cartesian ones are read"
            )
        acquisitions = open_acquisitions(file, f"{group}/data")
        kspace = _assembled(acquisitions, header, options, where)
        kspace = with_frames(kspace, frames_of(options, kspace.batch, where))
    first = next(iter(kspace.batch), None)
    rows = selected(options.get("rows"), kspace.samples.shape[0], ROWS.typed) if first else None
    if first is None and "rows" in options:
        ROWS.refuse(because="the file holds a single item")

    def load(some: range | None) -> KSpace:
        return kspace if some is None or first is None else _part(kspace, first, some)

    return k_space_stack(path, LAYOUT, rows, load, options)


def _part(kspace: KSpace, first: str, rows: range) -> KSpace:
    some = as_slice(rows)
    calibration = kspace.calibration
    return replace(
        kspace,
        samples=kspace.samples[some],
        measured=kspace.measured[some],
        batch=dict(kspace.batch) | {first: rows},
        counts=None if kspace.counts is None else kspace.counts[some],
        calibration=None if calibration is None else (calibration[0][some], calibration[1][some]),
    )


def _assembled(acquisitions: Acquisitions, header: Header, options: Options, where: str) -> KSpace:
    """Return the k-space of all acquisitions that are of the image or of its calibration."""
    heads, encoding = acquisitions.heads, header.encodings[0]
    usable = ~flagged(heads, *_NO_IMAGE) & (heads["encoding_space_ref"] == 0)
    imaging = np.flatnonzero(usable & ~flagged(heads, _CALIBRATION))
    if not imaging.size:
        raise InputError(f"{where} has no acquisition of an image among {len(heads)}: check how it was written")
    told = {"acquisitions": f"{imaging.size} of {len(heads)}"}
    white, words = _whitening(acquisitions, imaging, header)
    conjugate = options.get(CONJUGATE.name, "siemens" in header.vendor.lower())
    if conjugate:
        given = CONJUGATE.name in options
        told["conjugated"] = (
            "as asked for" if given else f"data of {header.vendor} assume the other sign of the transform"
        )
    readouts = [_read_out(acquisitions, int(i), white, conjugate) for i in imaging]
    places = _places(heads[imaging], readouts, encoding, where)
    samples, counts = _placed(readouts, places, where)
    measured = counts > 0
    calibration = _calibration(acquisitions, usable, places, encoding, white, conjugate, where)
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
    noise = 1.0 if white is not None else None
    d = len(places.grid)
    return KSpace(samples, measured, d, where, places.batch, noise, averaged, calibration, told | words)


def _whitening(
    acquisitions: Acquisitions, imaging: NDArray[np.int64], header: Header
) -> tuple[CoilMixing | None, dict[str, str]]:
    """Return what makes the coils white by the acquisitions of noise, and words on it; None without enough of them."""
    heads = acquisitions.heads
    noisy = np.flatnonzero(flagged(heads, _NOISE))
    coils = int(heads["active_channels"][imaging[0]])
    parts = [acquisitions.samples[int(i)] for i in noisy if heads["active_channels"][i] == coils]
    count = sum(part.shape[1] for part in parts)
    if not count:
        return None, {}
    if count < SAMPLES_PER_COIL * coils:
        return None, {"whitening": f"none: {count} samples of noise are too few for {coils} coils"}
    dwell = [float(heads["sample_time_us"][i]) for i in (imaging[0], noisy[0])]
    known = all(time > 0 for time in dwell)
    ratio = (header.noise_bandwidth or 1.0) * (dwell[0] / dwell[1] if known else 1.0)
    psi = noise_covariance(torch.from_numpy(np.concatenate(parts, axis=1)))
    with sound_geometry("the acquisitions of noise"):
        return whitening(psi, ratio), {"whitening": f"by {count} samples of noise, variance ratio {ratio:.4g}"}


def _read_out(
    acquisitions: Acquisitions, i: int, white: CoilMixing | None, conjugate: bool
) -> tuple[NDArray[np.complex64], int]:
    """Return the samples of one acquisition, `(coils, samples)`, and which of them is k = 0."""
    head, samples = acquisitions.heads[i], acquisitions.samples[i]
    centre, n = int(head["center_sample"]), samples.shape[1]
    if flagged(head, _REVERSE):
        samples, centre = samples[:, ::-1], n - 1 - centre
        before, after = int(head["discard_post"]), int(head["discard_pre"])
    else:
        before, after = int(head["discard_pre"]), int(head["discard_post"])
    samples = samples[:, before : n - after]
    samples = samples.conj() if conjugate else samples
    if white is not None:
        samples = white(torch.from_numpy(np.ascontiguousarray(samples)), 1).numpy()
    return samples, centre - before


def _places(
    heads: NDArray[Any], readouts: list[tuple[NDArray[np.complex64], int]], encoding: Encoding, where: str
) -> _Places:
    """Return where acquisitions go; InputError for one that lies outside k-space."""
    width, height, depth = encoding.encoded
    grid = (height, width) if depth == 1 else (depth, height, width)
    batch = {name: range(int(heads["idx"][name].max()) + 1) for name in _ITEMS}
    batch = {name: indices for name, indices in batch.items() if len(indices) > 1}
    index = [heads["idx"][name].astype(np.int64) for name in batch]
    for axis, n in enumerate(grid[:-1]):
        step = len(grid) - 1 - axis
        limit = encoding.limits.get(f"kspace_encoding_step_{step}", Limit(centre=n // 2))
        at = heads["idx"][f"kspace_encode_step_{step}"].astype(np.int64) - limit.centre + n // 2
        _refuse_outside((at < 0) | (at >= n), f"{where}: along phase encoding {step} of {n}")
        index.append(at)
    begin = np.array([width // 2 - centre for _, centre in readouts])
    ends = begin + np.array([samples.shape[1] for samples, _ in readouts])
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
    readouts: list[tuple[NDArray[np.complex64], int]], places: _Places, where: str
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return the mean of what was read at every place, `(*batch, coils, *grid)`, and how many readings that are."""
    coils = {samples.shape[0] for samples, _ in readouts}
    if len(coils) > 1:
        raise InputError(f"{where}: acquisitions of {sorted(coils)} coils in one image: check how it was written")
    lead = tuple(len(indices) for indices in places.batch.values())
    shape = (*lead, *places.grid, *coils)
    if 8 * prod(shape) > memory_limit():
        raise InputError(f"{where}: k-space of {8 * prod(shape) / 2**30:.1f} GiB is more than half of the memory")
    total, counts = np.zeros(shape, np.complex64), np.zeros(shape[:-1], np.float32)
    for i, (samples, _) in enumerate(readouts):
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
    acquisitions: Acquisitions,
    usable: NDArray[np.bool_],
    imaging: _Places,
    encoding: Encoding,
    white: CoilMixing | None,
    conjugate: bool,
    where: str,
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]] | None:
    """Return the k-space of the acquisitions for calibration, where there are some that are of no image."""
    heads = acquisitions.heads
    if not (usable & flagged(heads, _CALIBRATION)).any():
        return None
    chosen = np.flatnonzero(usable & flagged(heads, _CALIBRATION, _BOTH))
    readouts = [_read_out(acquisitions, int(i), white, conjugate) for i in chosen]
    places = _places(heads[chosen], readouts, encoding, where)
    if places.batch != imaging.batch:
        return None
    samples, counts = _placed(readouts, places, where)
    return samples, counts > 0


def _recognises(probe: Probe) -> bool:
    file = probe.hdf5
    if file is None:
        return False
    try:
        return exists(file[acquisition_group(file)], "data")
    except InputError:
        return False


READER = Reader(
    layout=LAYOUT,
    about="HDF5 with acquisitions and an XML header; slices, contrasts and repetitions are rows",
    accepts=(ROWS, COILS, NOISE, CONJUGATE, FRAMES),
    otherwise="the header says what the data are",
    recognises=_recognises,
    open=open_ismrmrd,
)
