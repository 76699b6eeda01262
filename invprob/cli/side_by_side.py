"""`invprob reconstruct` with several methods, or with several values of one setting, side by side on one page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.cli import console
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.methods import check_method, defaults
from invprob.cli.parse import settings as parsed
from invprob.errors import InputError
from invprob.io import open_stack
from invprob.io.atomic import check_output
from invprob.judgement import statements, verdict
from invprob.methods import followed

if TYPE_CHECKING:
    from invprob.result import Result
    from invprob.scan import Scan

__all__ = ["Trial", "compare", "trials_of"]

_MOST = 24  # pictures that a page is good for


@dataclass(frozen=True)
class Trial:
    """One of the images: what sets it apart, its method with settings, and the options of its reader."""

    title: str
    method: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]


def trials_of(
    methods: Sequence[str],
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    tried: str | None,
    plugins: Collection[str] = (),
) -> list[Trial]:
    """Return what is to be compared: every method, or every value of `name=first:last:count` or `name=a,b,c`.

    A name is a setting of the method, or an option of the reader with a number, such as axis. UsageError for others.
    """
    if tried is None:
        trials = [Trial(method, method, settings, options) for method in methods]
    else:
        name, _, text = tried.partition("=")
        name = name.strip().replace("-", "_")
        if len(methods) > 1 or not text:
            raise UsageError(
                "--try is NAME=FIRST:LAST:COUNT or NAME=A,B,C, as in --try strength=0.001:0.1:5, of one method"
            )
        values = _values(name, text)
        of_method = name in defaults(methods[0])
        if of_method:
            trials = [Trial(f"{name} {v}", methods[0], {**settings, name: v}, options) for v in values]
        else:
            trials = [Trial(f"{name} {v}", methods[0], settings, {**options, **_option(name, v)}) for v in values]
    if not 2 <= len(trials) <= _MOST:
        raise UsageError(f"side by side are 2 to {_MOST} images, not {len(trials)}")
    for trial in trials:
        check_method(trial.method, trial.settings, plugins)
    return trials


def compare(
    path: Path, trials: Sequence[Trial], report: Path, png: Path | None, *, overwrite: bool, command: str
) -> int:
    """Reconstruct the middle row, or the single item, once for every trial, and write the page and the strip."""
    from invprob.report.comparison import save_comparison, strip_of

    for output in (report, png):
        if output is not None:
            check_output(output, 2**22, overwrite=overwrite, sources=[path])
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
        from invprob.io.atomic import write_whole

        write_whole(png, lambda partial: picture.save(partial, format="PNG"))
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


def _values(name: str, text: str) -> list[Any]:
    """Return the values of A,B,C, or FIRST:LAST:COUNT: equal factors for a strength, equal steps for all else."""
    parts = text.split(":")
    if len(parts) == 1:
        return [parsed([f"{name}={part}"])[name] for part in text.split(",")]
    try:
        (first, last), count = map(float, parts[:-1]), int(parts[-1])
    except ValueError:
        raise UsageError(f"--try {name}={text} is neither FIRST:LAST:COUNT nor A,B,C") from None
    if not 2 <= count <= _MOST:
        raise UsageError(f"--try {name}={text} asks for {count} images: 2 to {_MOST} fit side by side")
    if name == "strength":
        if not (first > 0 and last > 0):
            raise UsageError(f"--try {name}={text}: strengths from first to last in equal factors are greater than 0")
        factor = (last / first) ** (1 / (count - 1))
        return [float(f"{first * factor**i:.4g}") for i in range(count)]
    return [float(f"{first + (last - first) * i / (count - 1):.8g}") for i in range(count)]


def _option(name: str, value: Any) -> dict[str, Any]:
    from invprob import registry
    from invprob.io.readers import known_options

    known = known_options()
    if name not in known:
        raise UsageError(
            f"--try {name}: no setting of the method, no option of a reader; {registry.nearest(name, known)}"
        )
    try:
        return {name: known[name].parse(str(value))}
    except ValueError as error:
        raise UsageError(f"--try {name}: {error}") from error
