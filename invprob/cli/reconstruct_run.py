"""The work behind `invprob reconstruct`: a reconstruction with its signals, words, other files and exit code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from inspect import GEN_CLOSED, getgeneratorstate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.certificate import Certificate
from invprob.cli import console, messages
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.methods import check_method, defaults
from invprob.cli.signals import Signals
from invprob.errors import InputError, OutputError
from invprob.io import load_result, open_stack
from invprob.stack import StackEvent, StackReconstruction

if TYPE_CHECKING:
    from invprob.cli.exports import Exports
    from invprob.result import Result

__all__ = ["Job", "run"]


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
    max_memory: float | None
    command: str


def run(job: Job) -> int:
    """Do a job, tell about it, and return the exit code."""
    check_method(job.method, job.settings)
    with Signals() as signals:
        try:
            return _run(job, signals)
        except KeyboardInterrupt:
            console.fail("interrupted before there was an image: nothing was written")
            return signals.exit_code


def _run(job: Job, signals: Signals) -> int:
    work = _prepared(job)
    messages.introduce(work.stack, job.method, job.settings, work.at_once)
    _follow(work, signals)
    with signals.held():
        others = _write_others(job, work)
    messages.conclude(work.joined, job.method, job.settings)
    messages.files(work.written, others)
    _complain(job, work)
    if signals.received is not None:
        return signals.exit_code
    if "diverged" in work.joined.item_status:
        return ExitCode.NUMERICAL
    return ExitCode.OK if work.complete else ExitCode.PARTIAL


def _prepared(job: Job) -> StackReconstruction:
    """Open the file and check everything that can be checked before the computation."""
    work = StackReconstruction(
        open_stack(job.path, **job.options),
        job.output,
        job.method,
        settings=job.settings,
        max_memory=job.max_memory,
        overwrite=job.overwrite,
        command=job.command,
    )
    job.exports.check(job.output, job.path, work.n_bytes, work.limit, overwrite=job.overwrite)
    work.prepare()
    return work


def _follow(work: StackReconstruction, signals: Signals) -> None:
    """Let the work be done and show it; an interruption is handed to it, so that it keeps the best image so far."""
    events, stop, begun = work.events(), False, False
    with console.Reporter() as reporter, ExitStack() as holding:
        while True:
            try:
                event = events.throw(KeyboardInterrupt) if stop else next(events)
                holding.close()
                writes = event.kind in ("storing", "finishing")
                begun = writes or event.kind == "iterating"
                if writes:  # nothing is torn by a signal until the next event
                    holding.enter_context(signals.held())
                elif event.progress is not None and begun:
                    reporter.show(event.progress, _where(work, event))
                # the exception of a signal may have been swallowed by a destructor
                stop = signals.received is not None and not writes and not work.interrupted
            except StopIteration:
                break
            except KeyboardInterrupt:
                signals.interrupted()
                if getgeneratorstate(events) == GEN_CLOSED:  # it is at its end: there is no image
                    raise
                stop = not work.interrupted
            except ValueError as error:
                if begun or isinstance(error, InputError | OutputError):
                    raise
                raise UsageError(str(error)) from error  # a setting out of range, or a method not for this scan
    if work.interrupted:
        signals.interrupted()


def _where(work: StackReconstruction, event: StackEvent) -> str:
    rows = event.rows
    return "" if rows is None or work.at_once >= len(work.stack) else f"rows {rows[0]} to {rows[-1]}:"


def _write_others(job: Job, work: StackReconstruction) -> list[tuple[str, Path]]:
    """Write the other files and return what each is."""
    if work.middle is None:
        return []
    scan, result = work.middle
    whole = load_result(job.output).x if work.complete and job.exports.whole_stack else None
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
        rest = rows[finished:]
        more = f"{rest[0]}:{rest[-1] + 1}" + (f":{rest.step}" if rest.step > 1 else "")
        console.fail(f"interrupted: {finished} of {len(rows)} rows are finished; do the others with --rows {more}")
    elif work.interrupted:
        console.fail("interrupted: this is the best image so far")
    elif "diverged" in work.joined.item_status:
        way = "; try another --strength" if "strength" in defaults(job.method) else ""
        console.fail(f"the iteration diverged: the best image before that is kept{way}")
