"""`invprob show`: pictures, other formats and the page of a result that is there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invprob.cli.console import fact
from invprob.cli.errors import UsageError, of_usage
from invprob.cli.options import check_kinds
from invprob.files import check_file

if TYPE_CHECKING:
    from invprob.report.picture import Part
    from invprob.result import Result

__all__ = ["show_result"]


def show_result(
    file: Annotated[Path, typer.Argument(help="A result that `invprob reconstruct` wrote.")],
    png: Annotated[Path | None, typer.Option(help="A picture; without any output FILE.png here.")] = None,
    tiff: Annotated[Path | None, typer.Option(help="All of it as 32-bit TIFF.")] = None,
    npy: Annotated[Path | None, typer.Option(help="All of it as a NumPy array.")] = None,
    report: Annotated[Path | None, typer.Option(help="The page; with --scan also of data and truth.")] = None,
    scan: Annotated[Path | None, typer.Option(help="The scan it was made from, for the page.")] = None,
    slice_: Annotated[
        int | None,
        typer.Option("--slice", metavar="NUMBER", help="Which row or slice, from 0; default the middle one."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="BLACK:WHITE", help="The values shown as black and white.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="real|magnitude|phase|dB", help="Part of a complex image.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Write a picture, TIFF, NumPy array or the page of a result, as was forgotten when it was made."""
    del debug
    check_kinds({"--png": png, "--tiff": tiff, "--npy": npy, "--report": report})
    shown = _window(window)
    if part not in (None, "real", "magnitude", "phase", "dB"):
        raise UsageError(f"--part {part} is none of real, magnitude, phase and dB")
    check_file(file)  # before torch is loaded
    if scan is not None:
        check_file(scan)
    if not any((png, tiff, npy, report)):
        png = Path(f"{file.stem}.png")

    from invprob.io import load_result, load_scan, save_npy, save_tiff
    from invprob.report import save_report, show

    whole = load_result(file)
    with of_usage():
        result = whole if slice_ is None else _slice(whole, slice_)
        fact("result", repr(result))
        if png is not None:
            chosen: Part | None = part  # type: ignore[assignment]
            picture = show(result, part=chosen, window=shown)
            picture.save(png, overwrite=overwrite)
            fact("", f"{png} (picture, black {picture.low:.4g} to white {picture.high:.4g})")
        if tiff is not None:
            save_tiff(tiff, result.x, grid=result.grid, units=result.units, overwrite=overwrite)
            fact("", f"{tiff} (TIFF)")
        if npy is not None:
            save_npy(npy, result.x, overwrite=overwrite)
            fact("", f"{npy} (NumPy array)")
        if report is not None:
            save_report(report, result, None if scan is None else load_scan(scan), overwrite=overwrite)
            fact("", f"{report} (page with everything)")
    return 0


def _window(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--window {text} is not BLACK:WHITE, as in 0:0.04") from None
    if not low < high:
        raise UsageError(f"--window {text} must run from black to white: give the smaller value first")
    return low, high


def _slice(result: Result, index: int) -> Result:
    """Return one row of a stack, or one slice of a volume."""
    rows = result.x.ndim > result.ndim
    count = result.x.shape[0] if rows else result.x.shape[-3] if result.space == 3 else 0
    if not 0 <= index < count:
        there = f"there are {count}, counted from 0" if count else "the result is a single picture: leave it out"
        raise UsageError(f"--slice {index}: {there}")
    if rows:
        return result.row(index)
    one = result.x.narrow(-3, index, 1)
    return replace(result, x=one, samples=None, spread=None, half_change=None)
