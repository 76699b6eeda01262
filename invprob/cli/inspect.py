"""`invprob inspect`: what is in a file, and is it plausible."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invprob.cli import parse
from invprob.cli.console import fact, say, warn
from invprob.cli.errors import UsageError

if TYPE_CHECKING:
    from invprob.io import ScanSummary
    from invprob.io.options import ScanOptions
    from invprob.io.summary import ValueSummary

__all__ = ["inspect"]


def inspect(
    file: Annotated[Path, typer.Argument(help="A scan or a result.")],
    angles: Annotated[
        parse.AngleRange | None,
        typer.Option(parser=parse.angles, metavar="FIRST:LAST:COUNT", help="Angles to check instead of the file's."),
    ] = None,
    angles_unit: Annotated[str | None, typer.Option(metavar="deg|rad", help="Unit of the angles.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Say what is in a scan or a result, in which units, and what is doubtful about it."""
    del debug
    if angles is not None and angles_unit is None:
        raise UsageError("--angles needs a unit: add --angles-unit deg or --angles-unit rad")

    from invprob.cli.result_description import describe_result, is_result
    from invprob.cli.source import given
    from invprob.io import scan_summary
    from invprob.io.options import ScanOptions

    if is_result(file):
        describe_result(file)
    else:
        options = ScanOptions(angles=given(angles), angles_unit=angles_unit)
        summary = scan_summary(file, angles=options.angles, angles_unit=angles_unit)
        _describe(*_with_axis(summary, file, options))
    return 0


def _with_axis(summary: ScanSummary, file: Path, options: ScanOptions) -> tuple[ScanSummary, str]:
    """Return the summary and words on the rotation axis, which it leaves open where the file does not give it."""
    from dataclasses import replace

    from invprob.cli.source import DATA_EXCHANGE, Source
    from invprob.errors import InputError

    if summary.layout != DATA_EXCHANGE.layout or summary.geometry is None:
        return summary, ""
    try:
        source = Source.open(file, options)
    except InputError as error:
        return replace(summary, hints=(*summary.hints, str(error))), "not found"
    axis = f"column {source.axis.column:.2f} +- {source.axis.uncertainty:.2f}, found in the data" if source.axis else ""
    return replace(summary, geometry=repr(source.sample.operator)), axis


def _describe(summary: ScanSummary, axis: str) -> None:
    fact("scan", f"{summary.path} ({summary.layout}, {summary.size / 2**20:.3g} MiB)")
    for data in summary.datasets:
        unit = f", unit {data.unit}" if data.unit else ""
        fact("", f"{data.name}: {' x '.join(map(str, data.shape)) or 'one number'}, {data.dtype}{unit}")
    if summary.geometry is not None:
        fact("geometry", summary.geometry)
    if axis:
        fact("axis", axis)
    if summary.rows is not None and summary.rows > 1:
        fact("rows", str(summary.rows))
    if summary.angles is not None:
        a = summary.angles
        repeated = f", {a.repeated} of them repeated" if a.repeated else ""
        fact("angles", f"{a.count} from {a.smallest:.6g} to {a.largest:.6g} degrees{repeated}")
    if summary.units is not None:
        units = summary.units
        fact("units", f"lengths in {units.length}, image in {units.image}, data in {units.data}")
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
