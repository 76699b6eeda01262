"""K-space as a plain array of NumPy, of which the user says what its axes are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import AXES, COILS, FRAMES, MASK, NOISE, OFF_THE_GRID, TRAJECTORY, refuse_off_grid
from invprob.io.mri_scan import KSpace, as_samples, frames_of, mask_of_file, not_zero
from invprob.io.mri_stack import k_space_stack, off_grid_stack
from invprob.io.npy import MAGIC, read_npy
from invprob.io.off_grid import OffGrid, along, trajectory_of_file
from invprob.io.options import ROWS, Options, as_slice, rows_of

__all__ = ["READER", "open_numpy"]

LAYOUT = "NumPy array of k-space"
_SPACE, _BATCH = ("z", "y", "x"), ("slice", "frame", "echo")


def open_numpy(path: Path, options: Options) -> Stack:
    """Open a `.npy` file of k-space, centred axes; slices, frames and echoes are items of their own.

    The axis that the option `frames` names is part of each item.

    What was measured is what the option `mask` says: a file of 0 and 1 that broadcasts against the axes of space, or
    "auto", the default, where any coil is not 0. With the option `trajectory` samples lie where that file says, whose
    axes are those of the array but for coils and items, and one for the positions.
    """
    array = read_npy(path)
    if TRAJECTORY.name in options:
        return _along_trajectory(path, array, options)
    refuse_off_grid(options, because=f"it goes with {TRAJECTORY.typed}=FILE")
    names = _names(array, options, printable(path))
    several = [name for name, n in zip(names, array.shape, strict=True) if name in _BATCH and n > 1]
    frames = frames_of(options, several, printable(path))
    batch = [name for name in _BATCH if name in names and name != frames]
    space = [name for name in _SPACE if name in names]
    inner = [name for name in (frames, "coil") if name in names]
    order = [names.index(name) for name in (*batch, *inner, *space)]
    ordered = array.transpose(order)
    if "coil" not in names:
        ordered = np.expand_dims(ordered, -len(space) - 1)
    rows = rows_of(options, len(ordered) if batch else None, "array")

    def load(some: range | None) -> KSpace:
        samples = as_samples(ordered if some is None else ordered[as_slice(some)], printable(path))
        mask = options.get("mask", "auto")
        measured = (
            not_zero(samples, len(space)) if mask == "auto" else mask_of_file(Path(mask), samples.shape[-len(space) :])
        )
        extents = {name: range(n) for name, n in zip(batch, samples.shape, strict=False)}
        told = "where any coil is not 0" if mask == "auto" else f"as {printable(mask)} says"
        return KSpace(
            samples,
            measured,
            len(space),
            printable(path),
            extents if some is None else extents | {batch[0]: some},
            provenance={"axes": ", ".join(names), "mask": told},
            frames=frames,
        )

    return k_space_stack(path, LAYOUT, rows, load, options)


def _along_trajectory(path: Path, array: NDArray[Any], options: Options) -> Stack:
    """Open samples off the grid, whose trajectory has the axes of the array without coils and items."""
    where, file = printable(path), Path(options[TRAJECTORY.name])
    if MASK.name in options:
        MASK.refuse(because="every sample along a trajectory was measured")
    names = options.get("axes", ("shot", "sample") if array.ndim == 2 else ("sample",))
    if len(names) != array.ndim or "sample" not in names or set(names) & set(_SPACE):
        raise InputError(
            f"{where} has the axes {array.shape}, of which {AXES.typed} names {', '.join(names)}: along a trajectory "
            f"they are those of {AXES.typed}=coil,shot,sample, or whatever they are from first to last"
        )
    batch = [name for name in _BATCH if name in names]
    inner = [name for name in ("shot", "sample") if name in names]
    order = [names.index(name) for name in (*batch, "coil", *inner) if name in names]
    samples = as_samples(array, where).transpose(order)
    samples = samples if "coil" in names else np.expand_dims(samples, len(batch))
    shape = (*samples.shape[: len(batch)], *samples.shape[len(batch) + 1 :])
    k, unit = trajectory_of_file(file)
    whole = OffGrid(
        samples,
        along(k if unit else _in_order(k, names, inner), shape, printable(file)),
        where,
        {name: range(n) for name, n in zip(batch, shape, strict=False)},
        unit,
        provenance={"axes": ", ".join(names), "sampled": f"as {printable(file)} says"},
    )
    return off_grid_stack(path, LAYOUT, whole, options)


def _in_order(k: NDArray[Any], names: Sequence[str], inner: Sequence[str]) -> NDArray[Any]:
    """Return a trajectory, whose axes are in the order of the file, with those of items first, then shots, samples."""
    several = k.ndim - 1 > len(inner)  # items have trajectories of their own
    kept = [name for name in names if name in inner or (several and name in _BATCH)]
    if len(kept) != k.ndim - 1:
        return k
    wanted = [name for name in (*_BATCH, *inner) if name in kept]
    return k.transpose(*(kept.index(name) for name in wanted), -1)


def _names(array: NDArray[Any], options: Options, where: str) -> tuple[str, ...]:
    """Return the names of the axes; those of a single picture alone go without saying."""
    names = options.get("axes")
    if names is None:
        if array.ndim != 2:
            raise InputError(
                f"{where} has the axes {array.shape}, and does not say what they are: add --read axes=coil,y,x, or "
                "whatever they are from first to last"
            )
        return ("y", "x")
    if len(names) != array.ndim:
        raise InputError(f"{where} has {array.ndim} axes {array.shape}, but {AXES.typed} names {', '.join(names)}")
    if {"shot", "sample"} & set(names):
        raise InputError(f"{where}: samples along a trajectory need {TRAJECTORY.typed}=FILE, which says where they lie")
    if not {"y", "x"} <= set(names):
        raise InputError(
            f"{where}: {AXES.typed}={','.join(names)} lacks y or x: k-space has two or three axes of space"
        )
    return tuple(names)


def _recognises(probe: Probe) -> bool:
    return probe.head.startswith(MAGIC)


READER = Reader(
    layout=LAYOUT,
    about="a complex array in .npy, with --read axes=coil,y,x, or axes=coil,shot,sample and trajectory=FILE",
    accepts=(ROWS, AXES, MASK, COILS, NOISE, FRAMES, TRAJECTORY, *OFF_THE_GRID),
    otherwise="an array holds nothing but k-space",
    recognises=_recognises,
    open=open_numpy,
)
