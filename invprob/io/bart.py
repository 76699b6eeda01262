"""K-space of the Berkeley Advanced Reconstruction Toolbox, a pair of files `.hdr` and `.cfl`.

Dimensions are those of BART: 0 to 2 are read-out and the two phase encodings, 3 the coils, 4 the sets of maps, of which
k-space has one; any other that is longer than 1 counts items of their own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from invprob.errors import InputError, printable
from invprob.io.cfl import is_cfl, read_cfl
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import COILS, FRAMES, NOISE
from invprob.io.mri_scan import KSpace, as_samples, frames_of, k_space_stack, not_zero
from invprob.io.options import ROWS, Options, as_slice, selected

__all__ = ["READER", "open_bart"]

LAYOUT = "BART"
_COIL, _MAPS = 3, 4
_NAMES = {5: "echo", 10: "frame", 13: "slice"}  # of dimensions; others go by their number


def open_bart(path: Path, options: Options) -> Stack:
    """Open Cartesian k-space; measured is what is not 0 in some coil, as BART has it."""
    array = read_cfl(path)
    sizes = [*array.shape[::-1], *(1,) * (_MAPS + 1 - array.ndim)]  # by BART's number
    where = printable(path)
    if sizes[_MAPS] > 1:
        raise InputError(f"{where} has {sizes[_MAPS]} along dimension 4, the sets of maps: these are maps, no k-space")
    space = [d for d in (2, 1, 0) if sizes[d] > 1]
    if len(space) < 2:
        raise InputError(f"{where} has the dimensions {sizes}, of which 0 to 2 hold no plane of k-space")
    batch = [d for d in range(len(sizes) - 1, _MAPS, -1) if sizes[d] > 1]
    kept = [sizes[d] for d in (*batch, _COIL, *space)]
    samples = as_samples(array.reshape(kept), where)
    names = [_NAMES.get(d, f"dimension {d}") for d in batch]
    frames = frames_of(options, names, where)
    if frames:
        samples = np.moveaxis(samples, names.index(frames), len(names) - 1)
        names.remove(frames)
    rows = selected(options.get("rows"), len(samples), ROWS.typed) if names else None
    if not names and "rows" in options:
        ROWS.refuse(because="the file holds a single item")

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


def _recognises(probe: Probe) -> bool:
    return is_cfl(probe.path, probe.head)


READER = Reader(
    layout=LAYOUT,
    about="a pair .hdr and .cfl, either of which may be named",
    accepts=(ROWS, COILS, NOISE, FRAMES),
    otherwise="the sizes in the file say what its axes are",
    recognises=_recognises,
    open=open_bart,
)
