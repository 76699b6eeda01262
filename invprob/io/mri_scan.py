"""From k-space in arrays to a scan: what was measured, coil maps from its middle, the noise that it shows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.errors import InputError, InputWarning, printable
from invprob.io.cfl import is_cfl, read_cfl
from invprob.io.checks import refuse_where, sound_geometry
from invprob.io.mri_options import COILS, FRAMES, NOISE
from invprob.io.npy import MAGIC, read_npy
from invprob.io.options import Options, as_slice
from invprob.io.receiver import Receiver, calibrated
from invprob.operators import CartesianMRI
from invprob.operators.mri.calibration import calibrate
from invprob.scan import Scan

__all__ = [
    "KSpace",
    "array_of_file",
    "as_samples",
    "cartesian_scan",
    "frames_of",
    "maps_of_file",
    "mask_of_file",
    "noise_of",
    "not_zero",
    "of_cfl",
    "with_frames",
]

_SPACE = ("z", "y", "x")


@dataclass(frozen=True, eq=False)
class KSpace:
    """Cartesian k-space as a file holds it.

    Arguments:
        samples: `(*batch, [frames], coils, *grid)`, complex64.
        measured: which positions of the grid are readings, booleans `(*batch, [frames], *grid)` or `grid`.
        ndim: how many axes the grid has, the last ones.
        where: the file and the array, for messages.
        batch: the indices in the file along the axes in front of the coils, by the names of these axes.
        noise: sigma of the samples where the file tells it.
        counts: how many readings a sample is the mean of, `(*batch, [frames], *grid)`, where not one alone.
        calibration: samples and where they are, shaped as `samples` and `measured`, from which maps come instead.
        provenance: texts by name.
        frames: the name of the axis before the coils along which images are one item; "" where there is none.
    """

    samples: NDArray[np.complex64]
    measured: NDArray[np.bool_]
    ndim: int
    where: str
    batch: Mapping[str, range] = field(default_factory=dict)
    noise: float | None = None
    counts: NDArray[np.float32] | None = None
    calibration: tuple[NDArray[np.complex64], NDArray[np.bool_]] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    frames: str = ""

    @property
    def times(self) -> int:
        """How many frames an item has."""
        return int(self.samples.shape[-self.ndim - 2]) if self.frames else 1

    @property
    def lead(self) -> tuple[int, ...]:
        """The shape of the batch."""
        return self.samples.shape[: -self.ndim - 1 - bool(self.frames)]

    @property
    def coils(self) -> int:
        """How many coils there are."""
        return int(self.samples.shape[-self.ndim - 1])

    @property
    def grid(self) -> tuple[int, ...]:
        """The axes of k-space."""
        return self.samples.shape[-self.ndim :]

    def part(self, rows: range) -> KSpace:
        """Return some rows, by their indices in the file, of samples that hold all of it."""
        some, calibration, first = as_slice(rows), self.calibration, next(iter(self.batch))
        return replace(
            self,
            samples=self.samples[some],
            measured=self.measured[some],
            batch=dict(self.batch) | {first: rows},
            counts=None if self.counts is None else self.counts[some],
            calibration=None if calibration is None else (calibration[0][some], calibration[1][some]),
        )


def frames_of(options: Options, names: Iterable[str], where: str) -> str:
    """Return the axis along which images are one item, "" for none; InputError unless the file has it."""
    asked, known = str(options.get(FRAMES.name, "")), list(names)
    if asked and asked not in known:
        has = f"has {', '.join(known)}" if known else "holds a single image"
        raise InputError(f"{where} has no axis {printable(asked, 40)!r} of several images for {FRAMES.typed}: it {has}")
    return asked


def with_frames(kspace: KSpace, name: str) -> KSpace:
    """Return k-space whose images along an axis of the batch, by its name, are one item; as it is for ""."""
    if not name:
        return kspace
    axis, last = list(kspace.batch).index(name), len(kspace.batch) - 1

    def moved(part: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.moveaxis(part, axis, last))

    own = kspace.calibration
    return replace(
        kspace,
        samples=moved(kspace.samples),
        measured=moved(kspace.measured) if kspace.measured.ndim > kspace.ndim else kspace.measured,
        batch={other: extent for other, extent in kspace.batch.items() if other != name},
        counts=None if kspace.counts is None else moved(kspace.counts),
        calibration=None if own is None else (moved(own[0]), moved(own[1])),
        frames=name,
    )


def as_samples(values: NDArray[Any], where: str) -> NDArray[np.complex64]:
    """Return k-space in complex64; InputError for real numbers, and for those beyond its range."""
    if values.dtype.kind != "c":
        raise InputError(f"{where} has the type {values.dtype}, and k-space is complex: check which array was meant")
    with np.errstate(over="ignore"):
        samples = np.ascontiguousarray(values, dtype=np.complex64)
    if values.dtype.itemsize > 8 and np.count_nonzero(np.isfinite(values) & ~np.isfinite(samples)):
        raise InputError(f"{where} has values beyond 3.4e38: divide them by a constant")
    return samples


def not_zero(samples: NDArray[np.complex64], ndim: int) -> NDArray[np.bool_]:
    """Return which positions of the grid are not zero in some coil, `(*batch, *grid)`: files tell no more."""
    return np.asarray((samples != 0).any(-ndim - 1))


def array_of_file(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file or of a cfl pair; InputError for anything else."""
    return read_cfl(path) if of_cfl(path) else read_npy(path)


def of_cfl(path: Path) -> bool:
    """Return whether a path that holds no `.npy` file names a cfl pair."""
    head = b""
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(16)
    return not head.startswith(MAGIC) and (is_cfl(path, head) or not path.suffix)


def mask_of_file(path: Path, grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of 0 and 1 for the grid; a single axis means lines along the last one."""
    mask, where = np.asarray(array_of_file(path)), printable(path)
    wrong = ~((mask == 0) | (mask == 1))
    if wrong.any():
        raise InputError(
            f"{where} holds {np.count_nonzero(wrong)} values that are neither 0 nor 1, such as {mask[wrong][0]:.6g}: "
            "a mask says which samples were measured"
        )
    fits = mask.ndim <= len(grid) and all(n in (1, m) for n, m in zip(mask.shape[::-1], grid[::-1], strict=False))
    if not fits or prod(mask.shape) == 1:
        raise InputError(f"{where} is a mask of shape {mask.shape}, and k-space has {grid}: check the file")
    return np.array(np.broadcast_to(mask == 1, grid))


def maps_of_file(path: Path, coils: int, image_shape: tuple[int, ...]) -> Tensor:
    """Return the coil maps `(coils, *image_shape)` of a file; axes of size 1 count for nothing."""
    maps, due = as_samples(array_of_file(path), printable(path)), (coils, *image_shape)
    if [n for n in maps.shape if n > 1] != [n for n in due if n > 1] or maps.size != prod(due):
        raise InputError(f"{printable(path)} holds maps of shape {maps.shape}, and k-space needs {due}: check the file")
    return torch.from_numpy(maps.reshape(due).copy())


def cartesian_scan(kspace: KSpace, options: Options) -> Scan:
    """Return the scan of k-space, with coil maps from the option `coils`, or else calibrated for every item.

    InputError for readings that are not finite, an item of which nothing was measured, and where maps are neither given
    nor to be had from the middle of k-space.
    """
    d, measured = kspace.ndim, _mask(kspace)
    seen = np.expand_dims(np.broadcast_to(measured, _without_coils(kspace)), -d - 1)
    _check_readings(kspace, seen)
    y = torch.from_numpy(np.where(seen, kspace.samples, 0))
    receiver = _receiver(kspace, y, torch.from_numpy(seen.copy()), options)
    with sound_geometry(kspace.where):
        operator = CartesianMRI(
            measured, receiver.maps, image_shape=kspace.grid, sets=receiver.sets, frames=kspace.times
        )
    share = {"measured": f"{np.count_nonzero(measured)} of {measured.size} positions of k-space"}
    y = y.squeeze(-d - 1) if receiver.maps is None else y
    return Scan(
        operator,
        y,
        receiver.noise,
        weights=_weights(kspace, y),
        provenance=dict(kspace.provenance) | share | dict(receiver.words),
    )


def _without_coils(kspace: KSpace) -> tuple[int, ...]:
    return (*kspace.samples.shape[: -kspace.ndim - 1], *kspace.grid)


def _mask(kspace: KSpace) -> NDArray[np.bool_]:
    """Return the mask `(*batch, [frames], *grid)`, without the batch where it is the same for all items."""
    measured = np.broadcast_to(kspace.measured, _without_coils(kspace))
    first = measured.reshape(-1, *measured.shape[len(kspace.lead) :])[0]
    return np.array(first if (measured == first).all() else measured)


def _check_readings(kspace: KSpace, seen: NDArray[np.bool_]) -> None:
    """Refuse readings that are not finite or nothing but zeros, and warn of what is left out."""
    if not seen.any():
        raise InputError(f"{kspace.where} is zero everywhere: nothing was measured")
    names = [*kspace.batch, *([kspace.frames] if kspace.frames else []), "coil", *_SPACE[3 - kspace.ndim :]]
    extents = [*kspace.batch.values(), *map(range, kspace.samples.shape[len(kspace.batch) :])]
    refuse_where(
        ~np.isfinite(kspace.samples) & seen,
        dict(zip(names, extents, strict=True)),
        f"{kspace.where} is NaN or infinite",
        "set these samples of all coils to 0, which is how files say that nothing was measured",
    )
    lost = np.count_nonzero(~seen & (kspace.samples != 0))
    if lost:
        warnings.warn(
            f"{kspace.where}: {lost} of {seen.size * kspace.coils} samples are not 0 where the mask says that nothing "
            "was measured: left out",
            InputWarning,
            stacklevel=3,
        )


def _weights(kspace: KSpace, y: Tensor) -> Tensor | None:
    """Return how many readings a sample is the mean of, in the shape of the data."""
    if kspace.counts is None:
        return None
    counts = torch.from_numpy(kspace.counts)
    return (counts.unsqueeze(-kspace.ndim - 1) if y.ndim > counts.ndim else counts).expand(y.shape)


def noise_of(options: Options, measured: float | None) -> tuple[float | None, dict[str, str]]:
    """Return the noise level that was given, else the one that the file tells of, with words on it."""
    sigma = options.get(NOISE.name, measured)
    return sigma, (
        {} if sigma is None else {"noise": f"sigma {sigma:.4g}, {'given' if NOISE.name in options else 'measured'}"}
    )


def _receiver(kspace: KSpace, y: Tensor, seen: Tensor, options: Options) -> Receiver:
    sigma, words = noise_of(options, kspace.noise)
    if COILS.name in options:
        path = Path(options[COILS.name])
        maps = maps_of_file(path, kspace.coils, kspace.grid)
        return Receiver(maps, 1, sigma, words | {"coil maps": f"those of {printable(path)}"})
    if kspace.coils == 1:
        return Receiver(None, 1, sigma, words)
    if kspace.calibration is not None:
        y, seen = (torch.from_numpy(np.ascontiguousarray(part)) for part in kspace.calibration)
    frames = (kspace.times,) if kspace.frames else ()
    items = y.reshape(-1, *frames, *y.shape[-kspace.ndim - 1 :])
    masks = seen.reshape(-1, *frames, *kspace.grid)
    sets = 1 if frames else None  # frames share their maps, of which there is one set then
    with sound_geometry(kspace.where):
        blind = [CartesianMRI(mask, kspace.coils, image_shape=kspace.grid, frames=kspace.times) for mask in masks]
        found = [calibrate(item, A, sets=sets) for item, A in zip(items, blind, strict=True)]
    return calibrated(found, kspace.lead, sigma, words)
