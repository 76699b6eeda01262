"""The items of a file of k-space, on a grid or off it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from invprob.io.digest import fingerprint
from invprob.io.layout import Stack
from invprob.io.mri_scan import KSpace, cartesian_scan, frames_of
from invprob.io.off_grid import OffGrid, off_grid_scan
from invprob.io.options import Options, in_words, rows_of
from invprob.scan import Scan

__all__ = ["k_space_stack", "off_grid_stack"]


def k_space_stack(
    path: Path, layout: str, rows: range | None, load: Callable[[range | None], KSpace | OffGrid], options: Options
) -> Stack:
    """Return the stack of a file whose k-space `load` reads, for some rows or the single item."""

    def read(some: range | None) -> Scan:
        found = load(some)
        scan = cartesian_scan(found, options) if isinstance(found, KSpace) else off_grid_scan(found, options)
        told = {"source": str(path), "digest": fingerprint(path), "reader": layout}
        told |= {} if some is None else {"rows": in_words(some)}
        return replace(scan, provenance=told | dict(scan.provenance))

    return Stack(path, layout, rows, read)


def off_grid_stack(path: Path, layout: str, whole: OffGrid, options: Options) -> Stack:
    """Return the stack of a file whose samples off the grid are all at hand; rows are along the first axis."""
    whole = whole.with_frames(frames_of(options, whole.batch, whole.where))
    rows = rows_of(options, len(whole.samples) if whole.batch else None)

    def load(some: range | None) -> OffGrid:
        return whole if some is None else whole.part(some)

    return k_space_stack(path, layout, rows, load, options)
