"""`invprob reconstruct` with several methods, or with several values of one setting, side by side on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.cli import console
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.trials import Trial
from invprob.errors import InputError
from invprob.io import open_stack
from invprob.io.atomic import PAGE, check_output, write_whole
from invprob.judgement import statements, verdict
from invprob.methods import followed

if TYPE_CHECKING:
    from invprob.result import Result
    from invprob.scan import Scan

__all__ = ["compare"]


def compare(
    path: Path, trials: Sequence[Trial], report: Path, png: Path | None, *, overwrite: bool, command: str
) -> int:
    """Reconstruct the middle row, or the single item, once for every trial, and write the page and the strip."""
    from invprob.report.comparison import save_comparison, strip_of

    for output in (report, png):
        if output is not None:
            check_output(output, PAGE, overwrite=overwrite, sources=[path])
    results: dict[str, Result] = {}
    scan: Scan | None = None
    options: Mapping[str, Any] | None = None
    for trial in trials:
        if scan is None or trial.options != options:
            stack = open_stack(path, **trial.options)
            stack.check()
            scan, options = stack.sample, trial.options
        results[trial.title] = _one(trial, scan)
    if scan is None:
        raise UsageError("there is nothing to compare")
    save_comparison(report, results, scan, overwrite=overwrite, command=command)
    console.fact("result", f"{report} (page, side by side)")
    if png is not None:
        picture = strip_of(results)
        write_whole(png, lambda partial: picture.save(partial, format="PNG"), overwrite=overwrite)
        console.fact("", f"{png} (strip, from left to right: {', '.join(results)})")
    bad = all("diverged" in result.item_status for result in results.values())
    return ExitCode.NUMERICAL if bad else ExitCode.OK


def _one(trial: Trial, scan: Scan) -> Result:
    last = None
    try:
        with console.Reporter() as reporter:
            for last in followed(scan, trial.method, **trial.settings):
                reporter.show(last, f"{trial.title}:")
    except InputError:
        raise
    except ValueError as error:
        raise UsageError(f"{trial.title}: {error}") from error
    if last is None:
        raise UsageError(f"{trial.title} ended without an image")
    result = last.result()
    found = statements(None if result.certificate is None else result.certificate.as_dict(), result.item_status)
    whole = verdict(found)
    console.fact(trial.title, f" {whole.text}", whole.grade)
    return result
