"""The options that commands share: what a reader can be told, and which file is which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from invprob.cli import parse
from invprob.cli.errors import UsageError
from invprob.errors import printable

__all__ = [
    "SEEDS",
    "Angles",
    "AnglesUnit",
    "Axis",
    "Blur",
    "Darks",
    "Factor",
    "Flats",
    "ImageShape",
    "Mask",
    "MaxMemory",
    "Noise",
    "Phase",
    "PixelSize",
    "Read",
    "Rings",
    "Rows",
    "Views",
    "check_kinds",
    "named_after",
]

SEEDS = 2**63 - 1  # the largest of the numbers that a generator can start from
_MOST_MEMORY = 1e9  # GiB, more than any machine has
_READING, _PICTURE = "Reading the scan", "Reading a picture"
# which option writes files of such a name
_KINDS = {
    **dict.fromkeys((".png",), "--png"),
    **dict.fromkeys((".tif", ".tiff"), "--tiff"),
    **dict.fromkeys((".npy",), "--npy"),
    **dict.fromkeys((".html", ".htm"), "--report"),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "--output"),
}
_OTHERS = {".jpg": "--png", ".jpeg": "--png", ".pdf": "--report", ".npz": "--npy", ".mat": "--npy"}  # none writes these

Read = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An option of the reader, as `invprob list` names them; repeatable. Those below are short for it.",
        rich_help_panel=_READING,
    ),
]
Views = Annotated[
    str | None, typer.Option(metavar="START:STOP:STEP", help="Views to use, from 0.", rich_help_panel=_READING)
]
Rows = Annotated[str | None, typer.Option(metavar="START:STOP", help="Detector rows to use.", rich_help_panel=_READING)]
Angles = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST:LAST:COUNT|FILE",
        help="Projection angles instead of the file's, the last included.",
        rich_help_panel=_READING,
    ),
]
AnglesUnit = Annotated[
    str | None,
    typer.Option(metavar="deg|rad", help="Unit of the angles, whatever the file says.", rich_help_panel=_READING),
]
PixelSize = Annotated[str | None, typer.Option(metavar="MM", help="Detector pixel in mm.", rich_help_panel=_READING)]
Axis = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Detector column of the rotation axis, from 0.", rich_help_panel=_READING),
]
ImageShape = Annotated[str | None, typer.Option(metavar="HxW", help="Pixels of the image.", rich_help_panel=_READING)]
Blur = Annotated[
    str | None,
    typer.Option(
        metavar="KERNEL",
        help="What blurred it: gaussian:1.5, disc:3, box:5, motion:9:30, or a PNG, .npy or .mat[:NUMBER from 0].",
        rich_help_panel=_PICTURE,
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Which pixels, or samples, are known: white.", rich_help_panel=_PICTURE),
]
Factor = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="Pixels of the image per pixel, to enlarge it.", rich_help_panel=_PICTURE),
]
Noise = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="Standard deviation of the noise, white being 1.", rich_help_panel=_PICTURE),
]
Flats = Annotated[
    str | None,
    typer.Option(metavar="FILES", help="Folder, pattern or file of the open beam.", rich_help_panel=_READING),
]
Darks = Annotated[str | None, typer.Option(metavar="FILES", help="The same without a beam.", rich_help_panel=_READING)]
Phase = Annotated[
    str | None,
    typer.Option(
        "--phase-retrieval",
        metavar="RATIO[:MM[:KEV]]",
        help="Take away the fringes of edges: delta/beta, distance, energy (Paganin).",
        rich_help_panel=_READING,
    ),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        parser=parse.between(0, _MOST_MEMORY), metavar="GB", help="Memory to use; default 60 % of what is free."
    ),
]
Rings = Annotated[
    bool, typer.Option("--rings", help="Take away what a bin adds to all views.", rich_help_panel=_READING)
]


def check_kinds(outputs: Mapping[str, Path | None]) -> None:
    """Raise UsageError for a file, by the option that names it, whose name says that it holds something else."""
    for option, path in outputs.items():
        suffix = "" if path is None else path.suffix.lower()
        writes = _KINDS.get(suffix) or _OTHERS.get(suffix)
        own = {"OUTPUT": "--output"}.get(option, option)
        if writes is None or _KINDS.get(suffix) == own:
            continue
        held = {"--output": "HDF5", "--png": "PNG", "--tiff": "TIFF", "--npy": "a NumPy array", "--report": "HTML"}
        way = f"{writes} writes such files" if suffix in _KINDS and writes in outputs else "choose another name"
        raise UsageError(f"{option} {printable(path)} would hold {held[own]}, which its name denies: {way}")


def named_after(source: Path) -> str:
    """Return what files made of a source are called: its name without the ending, of a pattern the folder's."""
    if any(sign in source.name for sign in "*?["):
        source = source.parent
    stem = source.stem if source.is_file() else source.resolve().name
    return stem if stem and not any(sign in stem for sign in "*?[") else "scan"
