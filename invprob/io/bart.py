"""K-space of the Berkeley Advanced Reconstruction Toolbox, a pair of files `.hdr` and `.cfl`.

Dimensions are those of BART: 0 to 2 are read-out and the two phase encodings, 3 the coils, 4 the sets of maps, of which
k-space has one; any other that is longer than 1 counts items of their own. Off the grid 1 is the read-out and 2 the
shots, and a pair of its own has the trajectory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.cfl import is_cfl, read_cfl
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import COILS, FRAMES, NOISE, OFF_THE_GRID, TRAJECTORY, refuse_off_grid
from invprob.io.mri_scan import KSpace, as_samples, frames_of, not_zero
from invprob.io.mri_stack import k_space_stack, off_grid_stack
from invprob.io.off_grid import OffGrid, along, trajectory_of_file
from invprob.io.options import ROWS, Options, as_slice, rows_of

__all__ = ["READER", "open_bart"]

LAYOUT = "BART"
_COIL, _MAPS = 3, 4
_NAMES = {5: "echo", 10: "frame", 13: "slice"}  # of dimensions; others go by their number


def open_bart(path: Path, options: Options) -> Stack:
    """Open k-space: Cartesian, of which measured is what is not 0 in some coil, or along the option `trajectory`."""
    array = read_cfl(path)
    sizes = [*array.shape[::-1], *(1,) * (_MAPS + 1 - array.ndim)]  # by BART's number
    where = printable(path)
    if sizes[_MAPS] > 1:
        raise InputError(f"{where} has {sizes[_MAPS]} along dimension 4, the sets of maps: these are maps, no k-space")
    batch = [d for d in range(len(sizes) - 1, _MAPS, -1) if sizes[d] > 1]
    if TRAJECTORY.name in options:
        return _along_trajectory(path, array, sizes, batch, options)
    refuse_off_grid(options, because=f"it goes with {TRAJECTORY.typed}=FILE")
    space = [d for d in (2, 1, 0) if sizes[d] > 1]
    if len(space) < 2:
        raise InputError(
            f"{where} has the dimensions {sizes}, of which 0 to 2 hold no plane of k-space: samples off the grid need "
            f"{TRAJECTORY.typed}=FILE"
        )
    kept = [sizes[d] for d in (*batch, _COIL, *space)]
    samples = as_samples(array.reshape(kept), where)
    names = [_NAMES.get(d, f"dimension {d}") for d in batch]
    frames = frames_of(options, names, where)
    if frames:
        samples = np.moveaxis(samples, names.index(frames), len(names) - 1)
        names.remove(frames)
    rows = rows_of(options, len(samples) if names else None)

    def load(some: range | None) -> KSpace:
        part = np.ascontiguousarray(samples if some is None else samples[as_slice(some)])
        extents = dict(zip(names, map(range, part.shape), strict=False))
        return KSpace(
            part,
            not_zero(part, len(space)),
            len(space),
            where,
            extents if some is None else extents | {names[0]: some},
            provenance={"mask": "where any coil is not 0"},
            frames=frames,
        )

    return k_space_stack(path, LAYOUT, rows, load, options)


def _along_trajectory(
    path: Path, array: NDArray[np.complex64], sizes: list[int], batch: list[int], options: Options
) -> Stack:
    """Open samples off the grid: dimension 0 is 1, 1 the read-out, 2 the spokes or interleaves."""
    where, file = printable(path), Path(options[TRAJECTORY.name])
    if sizes[0] > 1 or sizes[1] == 1:
        raise InputError(
            f"{where} has the dimensions {sizes}: samples along a trajectory have 1, the read-out, the shots, the coils"
        )
    inner = [sizes[d] for d in (2, 1) if d == 1 or sizes[d] > 1]
    lead = [sizes[d] for d in batch]
    k, unit = trajectory_of_file(file)
    # by BART's numbers, of which those of other items alone may be longer than 1 besides the first three
    own = {d: n for d, n in enumerate(reversed(k.shape[:-1]), start=1) if n > 1 and d > 2}
    if own and unit is not None:
        if not all(d in batch and own[d] == sizes[d] for d in own):
            raise InputError(f"{printable(file)} has the dimensions {own} beside the shots, and {where} {sizes}")
        k = k.reshape(*(own.get(d, 1) for d in batch), *inner, k.shape[-1])
    elif unit is not None:
        k = k.reshape(*[n for n in k.shape[:-1] if n > 1], k.shape[-1])
    names = [_NAMES.get(d, f"dimension {d}") for d in batch]
    whole = OffGrid(
        array.reshape(*lead, sizes[_COIL], *inner),
        along(k, (*lead, *inner), printable(file)),
        where,
        {name: range(n) for name, n in zip(names, lead, strict=True)},
        unit,
        provenance={"sampled": f"as {printable(file)} says"},
    )
    return off_grid_stack(path, LAYOUT, whole, options)


def _recognises(probe: Probe) -> bool:
    return is_cfl(probe.path, probe.head)


READER = Reader(
    layout=LAYOUT,
    about="a pair .hdr and .cfl, either of which may be named",
    accepts=(ROWS, COILS, NOISE, FRAMES, TRAJECTORY, *OFF_THE_GRID),
    otherwise="the sizes in the file say what its axes are",
    recognises=_recognises,
    open=open_bart,
)
