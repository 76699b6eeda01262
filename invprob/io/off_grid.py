"""From samples along a trajectory to a scan: where they lie, in which unit, and the pixels that this makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.errors import InputError, printable
from invprob.io.checks import refuse_where, sound_geometry
from invprob.io.mri_options import COILS, MATRIX, TRAJECTORY_UNIT
from invprob.io.mri_scan import array_of_file, maps_of_file, noise_of, of_cfl
from invprob.io.options import IMAGE_PIXEL_SIZE, IMAGE_SHAPE, Options, as_slice
from invprob.io.receiver import with_coil_maps
from invprob.operators import NonCartesianMRI
from invprob.operators.mri.trajectory import COVERED, SLACK, radians_per_pixel
from invprob.scan import Scan

__all__ = ["OffGrid", "along", "off_grid_scan", "trajectory_of_file"]

OF_CFL = "cycles/fov"  # the unit of a trajectory in a cfl pair


@dataclass(frozen=True, eq=False)
class OffGrid:
    """K-space along a trajectory as a file holds it.

    Arguments:
        samples: `(*batch, [frames], coils, *samples)`, complex64; a read-out runs along the last axis.
        positions: `(*batch, [frames], *samples, d)`, the last axis in the order of the image's, (ky, kx).
        where: the file and the array, for messages.
        batch: the indices in the file along the axes in front of the coils, by the names of these axes.
        unit: of the positions, where the layout has one.
        matrix: the pixels of the field of view that the samples were taken for, where the file tells.
        pixel_size: their sides in metres, where the file tells.
        noise: sigma of the samples where the file tells it.
        provenance: texts by name.
        frames: the name of the axis before the coils along which images are one item; "" where there is none.
    """

    samples: NDArray[np.complex64]
    positions: NDArray[Any]
    where: str
    batch: Mapping[str, range] = field(default_factory=dict)
    unit: str | None = None
    matrix: tuple[int, ...] | None = None
    pixel_size: tuple[float, ...] | None = None
    noise: float | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    frames: str = ""

    @property
    def coil_axis(self) -> int:
        """The axis of the samples along which the coils are."""
        return len(self.batch) + bool(self.frames)

    def with_frames(self, name: str) -> OffGrid:
        """Return k-space whose images along an axis of the batch, by its name, are one item; as it is for ""."""
        if not name:
            return self
        axis, last = list(self.batch).index(name), len(self.batch) - 1
        return replace(
            self,
            samples=np.moveaxis(self.samples, axis, last),
            positions=np.moveaxis(self.positions, axis, last),
            batch={other: extent for other, extent in self.batch.items() if other != name},
            frames=name,
        )

    def part(self, rows: range) -> OffGrid:
        """Return some rows, by their indices in the file, of samples that hold all of it."""
        some, first = as_slice(rows), next(iter(self.batch))
        batch = dict(self.batch) | {first: rows}
        return replace(self, samples=self.samples[some], positions=self.positions[some], batch=batch)


def trajectory_of_file(path: Path) -> tuple[NDArray[Any], str | None]:
    """Return positions `(..., d)` in the order of the image's axes, and their unit where the layout has one.

    A `.npy` file holds them as they are. A cfl pair has (x, y, z) along its first dimension as real parts, in cycles
    per field of view; z is left out where it is 0.
    """
    array, where = array_of_file(path), printable(path)
    if not of_cfl(path):
        if array.dtype.kind not in "iuf" or array.shape[-1] not in (2, 3):
            raise InputError(
                f"{where} is {array.dtype} of shape {array.shape}, and a trajectory is real, (..., 2) or (..., 3): "
                "stack its parts along the last axis, (ky, kx)"
            )
        return np.asarray(array, np.float64), None
    if array.shape[-1] != 3 or np.count_nonzero(array.imag):
        raise InputError(
            f"{where} has {array.shape[-1]} along dimension 0{' or imaginary parts' if array.imag.any() else ''}: "
            "a trajectory has 3, x, y and z, and is real"
        )
    positions = np.asarray(array.real[..., ::-1], np.float64)
    return (positions if positions[..., 0].any() else positions[..., 1:]), OF_CFL


def along(positions: NDArray[Any], samples: tuple[int, ...], where: str) -> NDArray[Any]:
    """Return positions for all samples of a shape, `(*samples, d)`; InputError where they do not fit."""
    due = (*samples, positions.shape[-1])
    lead = positions.ndim - 1
    fits = lead <= len(samples) and all(
        n in (1, m) for n, m in zip(positions.shape[-2::-1], samples[::-1], strict=False)
    )
    if not fits or positions.shape[lead - 1] != samples[-1]:
        raise InputError(
            f"{where} is a trajectory of shape {positions.shape}, and the samples need {due}: check the file, and the "
            "order of its axes"
        )
    return np.broadcast_to(positions, due)


def off_grid_scan(found: OffGrid, options: Options) -> Scan:
    """Return the scan of samples along a trajectory, with coil maps from the option `coils`, or else from the data.

    The unit of the trajectory is that of the layout or the one given, and never guessed. The pixels are those given,
    else those of the file; of a trajectory in cycles per field of view as many as it reaches.

    InputError for readings that are not finite, a trajectory without a unit or beyond what it allows, items with
    trajectories of their own, and where maps are neither given nor to be had from the data.
    """
    _check_readings(found)
    k = _one_trajectory(found)
    omega, shape, words = _on_pixels(found, k, options)
    coils = found.samples.shape[found.coil_axis]
    sigma, of_noise = noise_of(options, found.noise)
    maps: Tensor | int | None = coils if coils > 1 else None
    if COILS.name in options:
        path = Path(options[COILS.name])
        maps, words = maps_of_file(path, coils, shape), words | {"coil maps": f"those of {printable(path)}"}
    y = torch.from_numpy(np.ascontiguousarray(found.samples))
    y = y.squeeze(found.coil_axis) if maps is None else y
    frames = k.shape[0] if found.frames else 1
    if found.frames and frames == 1:
        y, omega = y.squeeze(len(found.batch)), omega[0]
    with sound_geometry(found.where):
        A = NonCartesianMRI(shape, omega, maps, frames=frames)
        return with_coil_maps(Scan(A, y, sigma, provenance=dict(found.provenance) | words | of_noise))


def _check_readings(found: OffGrid) -> None:
    if not found.samples.any():
        raise InputError(f"{found.where} is zero everywhere: nothing was measured")
    names = [*found.batch, *([found.frames] if found.frames else []), "coil"]
    inner = found.samples.shape[len(names) :]
    names += ["sample"] if len(inner) == 1 else [*(f"shot axis {i}" for i in range(len(inner) - 2)), "shot", "sample"]
    extents = [*found.batch.values(), *map(range, found.samples.shape[len(found.batch) :])]
    refuse_where(
        ~np.isfinite(found.samples),
        dict(zip(names, extents, strict=True)),
        f"{found.where} is NaN or infinite",
        "leave these samples out of the data and of the trajectory",
    )


def _one_trajectory(found: OffGrid) -> NDArray[Any]:
    """Return the trajectory `([frames], *samples, d)` that all items share; InputError for others, and NaN."""
    bad = int(np.count_nonzero(~np.isfinite(found.positions).all(-1)))
    if bad:
        count = found.positions[..., 0].size
        raise InputError(f"{found.where}: {bad} of {count} positions of the trajectory are NaN or infinite")
    lead = len(found.batch)
    items = found.positions.reshape(-1, *found.positions.shape[lead:])
    if not (items == items[:1]).all():
        axes = ", ".join(found.batch)
        raise InputError(
            f"{found.where}: the items along {axes} have trajectories of their own: read one, --rows 0:1, or make them "
            f"frames of one item, --read frames={next(iter(found.batch))}"
        )
    return np.asarray(items[0])


def _on_pixels(found: OffGrid, k: NDArray[Any], options: Options) -> tuple[Tensor, tuple[int, ...], dict[str, str]]:
    """Return positions in radians per pixel, the shape of the image, and words on where both come from."""
    where, d = found.where, k.shape[-1]
    reach = np.abs(k).reshape(-1, d).max(0)
    matrix, given = options.get(MATRIX.name, found.matrix), options.get(IMAGE_SHAPE.name)
    unit = options.get(TRAJECTORY_UNIT.name, found.unit)
    if unit is None:
        raise InputError(
            f"{where}: the trajectory reaches {_listed(reach)}, and nothing says in which unit: add "
            f"{TRAJECTORY_UNIT.typed}=UNIT, of which {_fitting(reach, matrix or given)} would fit"
        )
    told = {"trajectory": f"in {unit}, as {'given' if TRAJECTORY_UNIT.name in options else 'the layout has it'}"}
    if unit == "cycles/fov" and matrix is None:
        matrix = given or _reached(reach)
        told["matrix"] = f"{_pixels(matrix)}, {'that of the image' if given else 'which the trajectory reaches'}"
    shape = given or matrix
    if shape is None:
        raise InputError(f"{where}: nothing says how many pixels the image has: add --image-shape HxW")
    size = found.pixel_size
    if IMAGE_PIXEL_SIZE.name in options:
        size = (options[IMAGE_PIXEL_SIZE.name] / 1000,) * d
    if unit in ("1/m", "rad/m") and size is None:
        raise InputError(f"{where}: a trajectory in {unit} needs the side of a pixel: add {IMAGE_PIXEL_SIZE.typed}=MM")
    if {len(sizes) for sizes in (shape, matrix or shape)} != {d}:
        raise InputError(
            f"{where}: positions of {d} axes, and an image of {_pixels(shape)} pixels: mind {MATRIX.typed}"
        )
    omega = radians_per_pixel(k, unit, matrix=matrix, pixel_size=size)
    share = float(omega.abs().max()) / math.pi
    if share > 1 + SLACK:
        raise InputError(
            f"{where}: in {unit} the trajectory, which reaches {_listed(reach)}, leads {share:.3g} times as far as "
            f"{_pixels(shape)} pixels allow: {_fitting(reach, matrix or shape)} would fit, {TRAJECTORY_UNIT.typed}=UNIT"
        )
    return omega, tuple(shape), told


def _reached(reach: NDArray[Any]) -> tuple[int, ...]:
    """Return the fewest pixels, an even number, whose band holds a trajectory in cycles per field of view.

    The two axes of a plane have equally many, so that their pixels have equal sides in a square field of view.
    """
    plane = max(2, 2 * math.ceil(float(reach[-2:].max()) - SLACK))
    return (*(max(2, 2 * math.ceil(float(r) - SLACK)) for r in reach[:-2]), plane, plane)


def _fitting(reach: NDArray[Any], matrix: tuple[int, ...] | None) -> str:
    """Return the units in which a trajectory covers most of the band and does not leave it."""
    shares = {"cycles/pixel": 2 * reach.max(), "rad/pixel": reach.max() / math.pi}
    if matrix is not None and len(matrix) == len(reach):
        shares["cycles/fov"] = (2 * reach / np.array(matrix)).max()
    names = [unit for unit, share in shares.items() if COVERED <= share <= 1 + SLACK]
    return " or ".join(names or (["cycles/fov"] if matrix is None and reach.max() > math.pi else ["1/m or rad/m"]))


def _listed(reach: NDArray[Any]) -> str:
    return " x ".join(f"{r:.4g}" for r in reach)


def _pixels(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
