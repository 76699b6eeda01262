"""`invprob simulate`: a scan of a phantom, with the truth beside it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from invprob.cli import parse
from invprob.cli.errors import UsageError, of_usage
from invprob.cli.options import SEEDS, check_kinds

if TYPE_CHECKING:
    from invprob.scan import Scan

__all__ = ["Geometry", "Phantom", "simulate"]


class Phantom(StrEnum):
    """What can be scanned, and in words what it is."""

    about: str

    def __new__(cls, name: str, about: str) -> Self:
        """Let a member be its name."""
        member = str.__new__(cls, name)
        member._value_, member.about = name, about
        return member

    SHEPP_LOGAN = "shepp-logan", "the head of Shepp and Logan (1974), in the version with visible contrast"
    ELLIPSES = "ellipses", "a random body of ellipses"
    ORGAN = "organ", "a random, textured slice of a chest or an abdomen"
    RADAR_TARGET = "radar-target", "a random extended target, rough on the scale of a radar's wavelength"


class Geometry(StrEnum):
    """How it can be scanned."""

    PARALLEL = "parallel"
    FAN = "fan"
    CARTESIAN = "cartesian"
    RADIAL = "radial"
    SPIRAL = "spiral"
    X_ARRAY = "x-array"


_TURNS = 720.0  # degrees, as many as an operator takes
_LOUD, _FEW, _MANY, _CLEAR = 1e6, 1e-3, 1e18, 200.0  # percent, photons, decibels: what single precision can still hold
MRI = (Geometry.CARTESIAN, Geometry.RADIAL, Geometry.SPIRAL)


def simulate(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="The HDF5 file to write.")],
    phantom: Annotated[Phantom, typer.Option(help="What is scanned.")] = Phantom.SHEPP_LOGAN,
    geometry: Annotated[Geometry, typer.Option(help="A beam of CT, MRI, or a radar.")] = Geometry.PARALLEL,
    size: Annotated[int, typer.Option(min=8, max=2048, help="Pixels along each side of the image.")] = 256,
    views: Annotated[int, typer.Option(min=1, help="Projections; spokes or interleaves.")] = 180,
    arc: Annotated[
        float | None,
        typer.Option(
            parser=parse.between(0, _TURNS), metavar="DEG", help="Degrees covered; default 180, for the fan beam 360."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=_LOUD,
            metavar="PERCENT",
            help="Gaussian, of the largest value; default 1, for MRI 0.1, unless --photons.",
        ),
    ] = None,
    photons: Annotated[
        float | None,
        typer.Option(
            parser=parse.between(_FEW, _MANY), metavar="NUMBER", help="Photons per bin without the object, counted."
        ),
    ] = None,
    coils: Annotated[int, typer.Option(min=1, max=256, help="Coils of an MRI scanner.")] = 8,
    acceleration: Annotated[
        float,
        typer.Option(parser=parse.positive, metavar="R", help="Measure one in R lines, for --geometry cartesian."),
    ] = 4.0,
    echoes: Annotated[
        str | None, typer.Option(metavar="MS,MS,...", help="Tissues of known T2 at these echo times, for t2-map.")
    ] = None,
    frequencies: Annotated[int | None, typer.Option(min=1, help="Of the radar, from 4 to 16 GHz; default 10.")] = None,
    snr: Annotated[
        float | None,
        typer.Option(
            min=-_CLEAR,
            max=_CLEAR,
            metavar="DB",
            help="Mean power of the radar's data over that of noise; default 30.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS, help="For the noise and for random phantoms.")] = 0,
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
    MRI reads the exact k-space of ellipses under coils, in pixels, of a complex object.
    """
    del debug
    if noise is not None and photons is not None:
        raise UsageError("--noise and --photons exclude each other: leave one out")
    check_kinds({"OUTPUT": output})

    if geometry in MRI and (photons is not None or arc is not None or thin or phantom is Phantom.ORGAN):
        raise UsageError("MRI scans ellipses and counts nothing: leave out --photons, --arc, --thin and the organ")

    if geometry is Geometry.CARTESIAN and acceleration > size:
        raise UsageError(f"--acceleration {acceleration:g} leaves none of {size} lines: give at most {size}")

    if echoes and (geometry is not Geometry.CARTESIAN or rows or phantom is not Phantom.SHEPP_LOGAN):
        raise UsageError("--echoes scans vials on lines: add --geometry cartesian, leave out --phantom and --rows")
    echo_times = parse.times(echoes, "--echoes") if echoes else ()

    of_radar = (phantom is Phantom.RADAR_TARGET, geometry is Geometry.X_ARRAY)
    if any(of_radar) != all(of_radar):
        raise UsageError("--phantom radar-target and --geometry x-array go together: give both")
    if (frequencies is not None or snr is not None) and not all(of_radar):
        raise UsageError("--frequencies and --snr are for --geometry x-array")
    if all(of_radar) and (noise is not None or photons is not None or rows or arc is not None or thin):
        raise UsageError("--geometry x-array takes --frequencies, --snr and --seed, and one volume of 25 x 25 x 49")

    from invprob.cli.magnet import Magnet
    from invprob.cli.scanner import Scanner
    from invprob.io import save_scan
    from invprob.io.atomic import check_output

    build: Magnet | Scanner
    with of_usage():
        if all(of_radar):
            from invprob.cli.radar_scanner import scan_target

            check_output(output, 2**20, overwrite=overwrite)
            scan = scan_target(frequencies or 10, 30.0 if snr is None else snr, seed, command=context.obj)
        elif geometry in MRI:
            build = Magnet(phantom, geometry, size, coils, acceleration, views, seed, echo_times)
            check_output(output, build.n_bytes(max(1, rows)), overwrite=overwrite)
            scan = build.scan(rows, percent=(0.1 if noise is None else noise) or None, command=context.obj)
        else:
            whole = 360.0 if geometry is Geometry.FAN else 180.0
            build = Scanner(phantom, geometry, size, views, arc or whole, seed, thin)
            check_output(output, build.n_bytes(max(1, rows)), overwrite=overwrite)
            percent = 1.0 if noise is None and photons is None else noise
            scan = build.scan(rows, percent=percent or None, photons=photons, command=context.obj)
    save_scan(output, scan, overwrite=overwrite)
    _tell(scan, f"{'vials' if echoes else phantom}, seed {seed}" + (f", {rows} rows" if rows else ""), output)
    return 0


def _tell(scan: Scan, phantom: str, output: Path) -> None:
    from invprob.cli.console import fact

    fact("phantom", phantom)
    fact("geometry", repr(scan.operator))
    fact("noise", scan.provenance["noise"])
    fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}")
    fact("scan", str(output))
