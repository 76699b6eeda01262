"""The work behind `invprob reconstruct`: a reconstruction with its signals, words, other files and exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.certificate import Certificate
from invprob.cli import console, messages
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.methods import defaults
from invprob.cli.signals import Signals
from invprob.errors import InputError, OutputError
from invprob.io import load_result, open_stack
from invprob.io.atomic import partial_path
from invprob.stack import ClusterReconstruction, StackEvent, StackReconstruction

if TYPE_CHECKING:
    from invprob.cli.exports import Exports
    from invprob.result import Result

__all__ = ["Job", "run"]

_GO_ON = "go on with the same command and --resume"


@dataclass(frozen=True)
class Job:
    """What was asked for on the command line; `options` are those of `load_scan`."""

    path: Path
    options: Mapping[str, Any]
    method: str
    settings: Mapping[str, Any]
    output: Path
    exports: Exports
    overwrite: bool
    resume: bool
    max_memory: float | None
    dask: str | None
    command: str


def run(job: Job) -> int:
    """Do a job, tell about it, and return the exit code."""
    with Signals() as signals:
        try:
            return _run(job, signals)
        except KeyboardInterrupt:
            console.fail("interrupted before there was an image: nothing was written")
            return signals.exit_code


def _run(job: Job, signals: Signals) -> int:
    work = _prepared(job)
    with signals.held():
        signals.farewell = f"stopped at once: what is finished is in {partial_path(job.output)}; {_GO_ON}"
        return _done(job, work, signals)


def _done(job: Job, work: StackReconstruction, signals: Signals) -> int:
    messages.introduce(work.stack, job.method, job.settings, work.at_once)
    _follow(work, signals)
    signals.farewell = f"stopped at once: the result is in {work.written}, other files may be missing"
    others = _write_others(job, work)
    messages.conclude(work.joined, job.method, job.settings)
    messages.files(work.written, others)
    if job.exports.wanted and not work.complete:
        console.fact("", "the other files are written when no row is missing")
    _complain(job, work)
    if signals.received is not None:
        return signals.exit_code
    if "diverged" in work.joined.item_status:
        return ExitCode.NUMERICAL
    return ExitCode.OK if work.complete else ExitCode.PARTIAL


def _prepared(job: Job) -> StackReconstruction:
    """Open the file and check everything that can be checked before the computation."""
    how: dict[str, Any] = {
        "settings": job.settings,
        "max_memory": job.max_memory,
        "overwrite": job.overwrite,
        "resume": job.resume,
        "command": job.command,
    }
    if job.dask is None:
        work = StackReconstruction(open_stack(job.path, **job.options), job.output, job.method, **how)
    else:
        work = ClusterReconstruction(job.path, job.output, job.dask, job.method, options=job.options, **how)
    job.exports.check(job.output, job.path, work.n_bytes, work.limit, overwrite=job.overwrite)
    work.prepare()
    return work


def _follow(work: StackReconstruction, signals: Signals) -> None:
    """Let the work be done and show it; an interruption is handed to it, so that it keeps the best image so far."""
    events, stop, begun, kept = work.events(), False, False, 0
    with console.Reporter() as reporter:
        while True:
            try:
                event = events.throw(KeyboardInterrupt) if stop else next(events)
            except StopIteration:
                break
            except KeyboardInterrupt:
                signals.interrupted()
                raise
            except ValueError as error:
                if begun or isinstance(error, InputError | OutputError):
                    raise
                raise UsageError(str(error)) from error  # a setting out of range, or a method not for this scan
            writes = event.kind in ("storing", "finishing")
            begun = begun or writes or event.kind == "stored" or event.progress is not None
            if event.kind == "iterating" and event.progress is not None:
                reporter.show(event.progress, _where(work, event))
            kept += len(event.rows) if event.kind == "kept" and event.rows is not None else 0
            stop = signals.received is not None and not writes and not work.interrupted
    if kept:
        console.fact("resumed", f"{kept} of {len(work.stack)} rows were done before")
    if work.interrupted:
        signals.interrupted()


def _where(work: StackReconstruction, event: StackEvent) -> str:
    rows = event.rows
    return "" if rows is None or work.at_once >= len(work.stack) else f"rows {rows[0]} to {rows[-1]}:"


def _write_others(job: Job, work: StackReconstruction) -> list[tuple[str, Path]]:
    """Write the other files and return what each is.

    There are none while rows are missing: they would be in the way of the run that goes on.
    """
    if work.middle is None or not work.complete:
        return []
    scan, result = work.middle
    whole = load_result(job.output).x if job.exports.whole_stack else None
    shown = _shown_result(job, work, result)
    return list(job.exports.write(shown, scan, whole, overwrite=job.overwrite))


def _shown_result(job: Job, work: StackReconstruction, result: Result) -> Result:
    """Return what a picture and a page show: one item with what is known of the whole stack."""
    joined = work.joined
    return replace(
        result,
        status=joined.status,
        seconds=joined.seconds,
        n_iter=joined.n_iter,
        history=joined.history,
        command=job.command,
        item_status=tuple(joined.item_status),
        certificate=Certificate.from_dict(joined.certificate) if joined.certificate else None,
        settings=joined.settings,
        provenance=joined.provenance,
    )


def _complain(job: Job, work: StackReconstruction) -> None:
    """Say on the error stream what is missing and why."""
    for failure in work.failures:
        console.fail(failure)
    rows, finished = work.stack.rows, work.finished
    if work.interrupted and rows is not None and work.complete:
        console.fail(f"interrupted: the last {len(rows) - finished} of {len(rows)} rows are the best images so far")
    elif work.interrupted and rows is not None and finished < len(rows):
        console.fail(f"interrupted: {finished} of {len(rows)} rows are finished; {_GO_ON}")
    elif work.interrupted:
        console.fail("interrupted: this is the best image so far")
    elif "diverged" in work.joined.item_status:
        way = "; try another --strength" if "strength" in defaults(job.method) else ""
        console.fail(f"the iteration diverged: the best image before that is kept{way}")
