"""`invprob simulate`: a scan of a phantom, with the truth beside it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from invprob.cli import parse
from invprob.cli.errors import UsageError
from invprob.cli.options import check_kinds

__all__ = ["Geometry", "Phantom", "simulate"]


class Phantom(StrEnum):
    """What can be scanned."""

    SHEPP_LOGAN = "shepp-logan"
    ELLIPSES = "ellipses"
    ORGAN = "organ"


class Geometry(StrEnum):
    """How it can be scanned."""

    PARALLEL = "parallel"
    FAN = "fan"


def simulate(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="The HDF5 file to write.")],
    phantom: Annotated[Phantom, typer.Option(help="What is scanned.")] = Phantom.SHEPP_LOGAN,
    geometry: Annotated[Geometry, typer.Option(help="Parallel or fan beam.")] = Geometry.PARALLEL,
    size: Annotated[int, typer.Option(min=8, max=2048, help="Pixels along each side of the image.")] = 256,
    views: Annotated[int, typer.Option(min=1, help="Projections.")] = 180,
    arc: Annotated[
        float | None,
        typer.Option(parser=parse.positive, metavar="DEG", help="Degrees covered; default 180, for the fan beam 360."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(min=0, metavar="PERCENT", help="Gaussian, of the largest value; default 1, unless --photons."),
    ] = None,
    photons: Annotated[
        float | None,
        typer.Option(parser=parse.positive, metavar="NUMBER", help="Photons per bin without the object, counted."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For the noise and for random phantoms.")] = 0,
    rows: Annotated[int, typer.Option(min=0, help="A stack of as many rows; 0 for a single image.")] = 0,
    thin: Annotated[
        bool, typer.Option("--thin", help="Read a line through the middle of each bin, as no detector does.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Scan a phantom of 256 mm and save data, geometry and truth.

    Readings are means over the bins of the detector: exact for the ellipses, of a finer image for the organ, so
    that no reconstruction can profit from its own errors. Attenuation is in 1/mm, 0.02 being that of water.
    """
    del debug
    if noise is not None and photons is not None:
        raise UsageError("--noise and --photons exclude each other: leave one out")
    check_kinds({"OUTPUT": output})

    from invprob.cli.console import fact
    from invprob.cli.scanner import Scanner
    from invprob.io import save_scan
    from invprob.io.atomic import check_output

    scanner = Scanner(phantom, geometry, size, views, arc or (360.0 if geometry is Geometry.FAN else 180.0), seed, thin)
    check_output(output, scanner.n_bytes(max(1, rows)), overwrite=overwrite)
    percent = 1.0 if noise is None and photons is None else noise
    scan = scanner.scan(rows, percent=percent or None, photons=photons, command=context.obj)
    save_scan(output, scan, overwrite=overwrite)
    fact("phantom", f"{phantom}, seed {seed}" + (f", {rows} rows" if rows else ""))
    fact("geometry", repr(scan.operator))
    fact("noise", scan.provenance["noise"])
    fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}")
    fact("scan", str(output))
    return 0
