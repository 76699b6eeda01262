"""`invprob inspect`: what is in a file, and is it plausible."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invprob.cli.console import fact, say, warn
from invprob.cli.errors import UsageError
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
    PixelSize,
    Read,
    Rows,
    Views,
)
from invprob.files import check_source

if TYPE_CHECKING:
    from invprob.io import ScanSummary
    from invprob.io.summary import ValueSummary

__all__ = ["inspect"]


def inspect(
    file: Annotated[Path, typer.Argument(help="A scan, a picture, a folder of projections, or a result.")],
    read: Read = None,
    views: Views = None,
    rows: Rows = None,
    angles: Angles = None,
    angles_unit: AnglesUnit = None,
    pixel_size: PixelSize = None,
    axis: Axis = None,
    image_shape: ImageShape = None,
    flats: Flats = None,
    darks: Darks = None,
    blur: Blur = None,
    mask: Mask = None,
    factor: Factor = None,
    noise: Noise = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Say what is in a scan or a result, in which units, and what is doubtful about it."""
    del debug
    check_source(file)  # before torch is loaded

    from invprob.cli.reading import reading_options
    from invprob.cli.result_description import describe_result, is_result
    from invprob.io import scan_summary

    flags = {"views": views, "rows": rows, "angles": angles, "angles_unit": angles_unit, "pixel_size": pixel_size}
    flags |= {"axis": axis, "image_shape": image_shape, "flats": flats, "darks": darks}
    options = reading_options(read, **flags, blur=blur, mask=mask, factor=factor, noise=noise)
    if file.is_file() and is_result(file):
        if options:
            raise UsageError(f"leave out {', '.join(options)}: a result is read as it is")
        describe_result(file)
    else:
        _describe(scan_summary(file, **options))
    return 0


def _describe(summary: ScanSummary) -> None:
    fact("scan", f"{summary.path} ({summary.layout}, {summary.size / 2**20:.3g} MiB)")
    for data in summary.datasets:
        unit = f", unit {data.unit}" if data.unit else ""
        fact("", f"{data.name}: {' x '.join(map(str, data.shape)) or 'one number'}, {data.dtype}{unit}")
    if summary.geometry is not None:
        fact("geometry", summary.geometry)
    for what, words in summary.found.items():
        fact(what, words)
    if summary.rows is not None and summary.rows > 1:
        fact("rows", str(summary.rows))
    if summary.angles is not None:
        a = summary.angles
        repeated = f", {a.repeated} of them repeated" if a.repeated else ""
        fact("angles", f"{a.count} from {a.smallest:.6g} to {a.largest:.6g} degrees{repeated}")
    if summary.units is not None:
        units = summary.units
        fact("units", f"lengths in {units.length}, image in {units.image}, data in {units.data}")
    if summary.noise is not None:
        fact("noise", summary.noise)
    if summary.values is not None:
        fact("values", _values(summary.values))
    for hint in summary.hints:
        warn(hint)
    if not summary.hints:
        say("Nothing in it looks doubtful.")


def _values(values: ValueSummary) -> str:
    share = "all" if values.checked == values.total else f"{values.checked} of {values.total}"
    bad = f"{values.not_finite} NaN or infinite" if values.not_finite else "none NaN or infinite"
    return f"{values.smallest:.6g} to {values.largest:.6g}, {bad} ({share} looked at)"
