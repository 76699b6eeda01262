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
    Phase,
    PixelSize,
    Read,
    Rows,
    Views,
)
from invprob.cli.reading import reading_options
from invprob.files import check_source

if TYPE_CHECKING:
    from invprob.io.stored import ScanSummary, ValueSummary

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
    phase_retrieval: Phase = None,
    blur: Blur = None,
    mask: Mask = None,
    factor: Factor = None,
    noise: Noise = None,
    doubts: Annotated[
        bool, typer.Option("--doubts", help="Also of our own scans: what geometry and data say against each other.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Say what is in a scan or a result, in which units, and what is doubtful about it.

    A file of invprob's own tells at once. What is doubtful about a scan takes its operator, hence seconds: --doubts,
    or invprob check.
    """
    del debug
    check_source(file)  # before torch is loaded

    from invprob.io.result_form import FORMAT as RESULT
    from invprob.io.scan_form import FORMAT as SCAN

    flags = {"views": views, "rows": rows, "angles": angles, "angles_unit": angles_unit, "pixel_size": pixel_size}
    flags |= {"axis": axis, "image_shape": image_shape, "flats": flats, "darks": darks}
    flags |= {"phase_retrieval": phase_retrieval}
    options = reading_options(read, **flags, blur=blur, mask=mask, factor=factor, noise=noise)
    form = _own_format(file)
    if form == RESULT:
        if options:
            raise UsageError(f"leave out {', '.join(options)}: a result is read as it is")
        from invprob.cli.result_description import describe_result

        describe_result(file)
    elif form == SCAN and not options and not doubts:
        from invprob.io.stored import own_summary

        _describe(own_summary(file))
        say(f"What is doubtful about it: invprob inspect {file} --doubts")
    else:
        from invprob.io.summary import scan_summary

        summary = scan_summary(file, **options)
        _describe(summary)
        if not summary.hints:
            say("Nothing in it looks doubtful.")
    return 0


def _own_format(path: Path) -> str | None:
    """Return the name of the format that an HDF5 file says it has, None where it says nothing."""
    if not path.is_file():
        return None
    import h5py

    from invprob.io.safe_hdf5 import open_hdf5, read_text

    if not h5py.is_hdf5(path):
        return None
    with open_hdf5(path) as file:
        return read_text(file, "format")


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


def _values(values: ValueSummary) -> str:
    share = "all" if values.checked == values.total else f"{values.checked} of {values.total}"
    bad = f"{values.not_finite} NaN or infinite" if values.not_finite else "none NaN or infinite"
    return f"{values.smallest:.6g} to {values.largest:.6g}, {bad} ({share} looked at)"
