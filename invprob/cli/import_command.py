"""`invprob import`: what others wrote as one file of this project, with the operator that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invprob.cli.console import fact
from invprob.cli.options import (
    Angles,
    AnglesUnit,
    Axis,
    Blur,
    Darks,
    Factor,
    Flats,
    ImageShape,
    Mask,
    Noise,
    Phase,
    PixelSize,
    Read,
    Rings,
    Rows,
    Views,
    check_kinds,
    named_after,
)
from invprob.cli.reading import reading_options
from invprob.files import check_source

__all__ = ["import_scan"]


def import_scan(
    source: Annotated[Path, typer.Argument(help="A picture, a folder of projections ('*.tif' in quotes), any scan.")],
    read: Read = None,
    views: Views = None,
    rows: Rows = None,
    angles: Angles = None,
    angles_unit: AnglesUnit = None,
    pixel_size: PixelSize = None,
    axis: Axis = None,
    image_shape: ImageShape = None,
    rings: Rings = False,
    flats: Flats = None,
    darks: Darks = None,
    phase_retrieval: Phase = None,
    blur: Blur = None,
    mask: Mask = None,
    factor: Factor = None,
    noise: Noise = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HDF5 file; default SOURCE.h5 here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Bring in a picture, projections or a scan of another layout as one HDF5 file.

    The file holds corrected data with geometry, units and origin, so that none of it has to be said again.
    `invprob reconstruct SOURCE` takes the same options and needs no file in between.
    """
    del debug
    check_kinds({"--output": output})
    check_source(source)  # before torch is loaded

    flags = {"views": views, "rows": rows, "angles": angles, "angles_unit": angles_unit, "pixel_size": pixel_size}
    flags |= {"axis": axis, "image_shape": image_shape, "rings": "true" if rings else None}
    flags |= {"flats": flats, "darks": darks, "blur": blur, "mask": mask, "factor": factor, "noise": noise}
    flags |= {"phase_retrieval": phase_retrieval}
    options = reading_options(read, **flags)

    from invprob.io import open_stack, save_scan
    from invprob.io.atomic import check_output
    from invprob.io.summary import noise_in_words

    target = output or Path(f"{named_after(source)}.h5")
    check_output(target, 0, overwrite=overwrite, sources=[source])
    stack = open_stack(source, **options)
    scan = stack.load()
    save_scan(target, scan, overwrite=overwrite)
    fact("source", f"{stack.path} ({stack.layout})")
    for what, words in stack.found.items():
        fact(what, words)
    fact("geometry", repr(scan.operator))
    if stack.rows is not None:
        fact("rows", str(len(stack)))
    fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}")
    fact("noise", noise_in_words(scan))
    fact("scan", str(target))
    return 0
