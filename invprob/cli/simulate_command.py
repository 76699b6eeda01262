"""`invprob simulate`: a scan of a phantom, with the truth beside it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invprob.cli import parse
from invprob.cli.errors import UsageError

if TYPE_CHECKING:
    from invprob.scan import Scan

__all__ = ["Geometry", "Phantom", "simulate"]


class Phantom(StrEnum):
    """What can be scanned."""

    SHEPP_LOGAN = "shepp-logan"
    ELLIPSES = "ellipses"
    ORGAN = "organ"
    RADAR_TARGET = "radar-target"


class Geometry(StrEnum):
    """How it can be scanned."""

    PARALLEL = "parallel"
    FAN = "fan"
    X_ARRAY = "x-array"


def simulate(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="The HDF5 file to write.")],
    phantom: Annotated[Phantom, typer.Option(help="What is scanned.")] = Phantom.SHEPP_LOGAN,
    geometry: Annotated[Geometry, typer.Option(help="A beam, or a radar for its target.")] = Geometry.PARALLEL,
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
    frequencies: Annotated[int | None, typer.Option(min=1, help="Of the radar, from 4 to 16 GHz; default 10.")] = None,
    snr: Annotated[
        float | None, typer.Option(metavar="DB", help="Mean power of the radar's data over that of noise; default 30.")
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

    of_radar = (phantom is Phantom.RADAR_TARGET, geometry is Geometry.X_ARRAY)
    if any(of_radar) != all(of_radar):
        raise UsageError("--phantom radar-target and --geometry x-array go together: give both")
    if (frequencies is not None or snr is not None) and not all(of_radar):
        raise UsageError("--frequencies and --snr are for --geometry x-array")
    if all(of_radar) and (noise is not None or photons is not None or rows or arc is not None or thin):
        raise UsageError("--geometry x-array takes --frequencies, --snr and --seed, and one volume of 25 x 25 x 49")

    from invprob.cli.scanner import Scanner
    from invprob.io import save_scan
    from invprob.io.atomic import check_output

    if all(of_radar):
        from invprob.cli.radar_scanner import scan_target

        check_output(output, 2**20, overwrite=overwrite)
        scan = scan_target(frequencies or 10, 30.0 if snr is None else snr, seed, command=context.obj)
        save_scan(output, scan, overwrite=overwrite)
        _tell(scan, f"{phantom}, seed {seed}", output)
        return 0
    scanner = Scanner(phantom, geometry, size, views, arc or (360.0 if geometry is Geometry.FAN else 180.0), seed, thin)
    check_output(output, scanner.n_bytes(max(1, rows)), overwrite=overwrite)
    percent = 1.0 if noise is None and photons is None else noise
    scan = scanner.scan(rows, percent=percent or None, photons=photons, command=context.obj)
    save_scan(output, scan, overwrite=overwrite)
    _tell(scan, f"{phantom}, seed {seed}" + (f", {rows} rows" if rows else ""), output)
    return 0


def _tell(scan: Scan, phantom: str, output: Path) -> None:
    from invprob.cli.console import fact

    fact("phantom", phantom)
    fact("geometry", repr(scan.operator))
    fact("noise", scan.provenance["noise"])
    fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}")
    fact("scan", str(output))
