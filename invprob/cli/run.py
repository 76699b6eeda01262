"""The work behind `invprob reconstruct`: chunk by chunk from a scan file to a result file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invprob.certificate import Certificate
from invprob.cli import console, messages
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.memory import budget, rows_at_once
from invprob.cli.merge import Story
from invprob.cli.methods import check_method
from invprob.cli.signals import Signals
from invprob.cli.source import Source
from invprob.errors import InputError
from invprob.io import ResultWriter, load_result, run_attributes
from invprob.io.atomic import partial_path
from invprob.methods import progress
from invprob.scan import Scan

if TYPE_CHECKING:
    from invprob.cli.exports import Exports
    from invprob.io.options import ScanOptions
    from invprob.result import Result

__all__ = ["Job", "run"]


@dataclass(frozen=True)
class Job:
    """What was asked for on the command line."""

    path: Path
    options: ScanOptions
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
    source = Source.open(job.path, job.options)
    work = _Work(job, source, signals)
    messages.introduce(source, job.method, job.settings, work.at_once)
    complete = work.compute()
    with signals.held():
        others = work.write_others(complete)
    messages.conclude(work.story, job.method, job.settings)
    messages.files(job.output if complete else partial_path(job.output), others)
    work.complain(complete)
    return work.exit_code(complete)


class _UnfinishedError(Exception):
    """Leaves the writer with rows missing, so that it keeps the partial file."""


@dataclass
class _Work:
    """A job under way."""

    job: Job
    source: Source
    signals: Signals
    story: Story = field(default_factory=Story)
    failures: list[str] = field(default_factory=list)
    shown: tuple[Scan, Result] | None = None
    finished: int = 0  # rows, those of an interrupted chunk not among them

    def __post_init__(self) -> None:
        rows, sample = self.source.rows, self.source.sample
        self.count = 1 if rows is None else len(rows)
        stack = () if rows is None else (self.count,)
        self.shape = (*stack, *sample.batch_shape[1:], *sample.operator.domain_shape)
        limit = budget(self.job.max_memory)
        self.at_once = rows_at_once(sample, self.count, limit)
        n_bytes = int(np.prod(self.shape)) * sample.data.element_size()
        self.job.exports.check(self.job.output, self.job.path, n_bytes, limit, overwrite=self.job.overwrite)
        self.writer = ResultWriter(
            self.job.output,
            self.shape,
            self.source.sample.operator.domain_dtype,
            overwrite=self.job.overwrite,
            attributes=run_attributes(self.source.sample, self.job.settings, self.job.command),
            sources=[self.job.path],
        )

    def compute(self) -> bool:
        """Reconstruct and write all chunks; return whether every row has an image."""
        try:
            with self.writer as writer:
                with console.Reporter() as reporter:
                    self._all_chunks(writer, reporter)
                if not self.story.results:
                    raise KeyboardInterrupt
                self._annotate(writer)
                if len(self.story.item_status) < self.count or self.failures:
                    raise _UnfinishedError
        except _UnfinishedError:
            return False
        return True

    def _all_chunks(self, writer: ResultWriter, reporter: console.Reporter) -> None:
        start = 0
        for rows in self.source.chunks(self.at_once):
            length = 1 if rows is None else len(rows)
            try:
                done = self._chunk(rows, reporter)
            except KeyboardInterrupt:
                self.signals.interrupted()
                return
            with self.signals.held():
                if done is None:
                    self.story.miss(length)
                else:
                    scan, result = done
                    writer.write(start, result.x, samples=result.samples, spread=result.spread)
                    self.finished += length if self.signals.received is None else 0
                    self.story.add(scan, result)
                    self._keep_middle(start, scan, result)
            if self.signals.received is not None:
                return
            start += length

    def _chunk(self, rows: range | None, reporter: console.Reporter) -> tuple[Scan, Result] | None:
        """Return scan and result of some rows, None if a late chunk cannot be read: the others can still be had."""
        where = "" if rows is None or self.at_once >= self.count else f"rows {rows[0]} to {rows[-1]}:"
        try:
            scan = self.source.load(rows)
        except InputError as error:
            if not self.story.results:
                raise
            self.failures.append(f"{where} left out: {error}")
            return None
        last, started = None, time.perf_counter()
        try:
            for last in progress(scan, self.job.method, **self.job.settings):
                reporter.show(last, where)
                if self.signals.received is not None:  # its exception may have been swallowed by a destructor
                    break
        except KeyboardInterrupt:
            self.signals.interrupted()
            if last is None:
                raise
        except ValueError as error:
            if last is None:  # it has not even begun: a setting is out of range, or the method is not for this scan
                raise UsageError(str(error)) from error
            raise
        if last is None:
            raise RuntimeError(f"the method {self.job.method} ended without a result")
        with self.signals.held():
            result = last.result()
        # the choice of a strength is part of the time
        return scan, replace(result, seconds=time.perf_counter() - started)

    def _annotate(self, writer: ResultWriter) -> None:
        story = self.story
        writer.annotate(
            {
                "settings": story.settings,
                "provenance": story.provenance,
                "item_status": story.item_status,
                "certificate": story.certificate,
                "seconds": story.seconds,
            }
        )
        if len(story.item_status) == self.count and not self.failures:
            writer.annotate({"status": story.status})
            writer.store("n_iter", story.n_iter)
            for name, column in story.history.items():
                writer.store(f"history/{name}", column)

    def _keep_middle(self, start: int, scan: Scan, result: Result) -> None:
        """Keep the row that pictures show: the middle one, or the last before it that there is."""
        middle = self.count // 2
        if self.source.rows is None:
            self.shown = (scan, result)
        elif start <= middle:
            row = min(middle - start, len(result.x) - 1)
            self.shown = (_row(scan, row), result.row(row))

    def write_others(self, complete: bool) -> list[tuple[str, Path]]:
        """Write the other files and return what each is."""
        if self.shown is None:
            return []
        scan, result = self.shown
        whole = load_result(self.job.output).x if complete and self.job.exports.whole_stack else None
        story = self.story
        shown = replace(
            result,
            status=story.status,
            seconds=story.seconds,
            n_iter=story.n_iter,
            history=story.history,
            command=self.job.command,
            item_status=tuple(story.item_status),
            certificate=Certificate.from_dict(story.certificate) if story.certificate else None,
            settings=story.settings,
            provenance=story.provenance,
        )
        return list(self.job.exports.write(shown, scan, whole, overwrite=self.job.overwrite))

    def complain(self, complete: bool) -> None:
        """Say on the error stream what is missing and why."""
        for failure in self.failures:
            console.fail(failure)
        rows, finished = self.source.rows, self.finished
        if self.signals.received is not None and rows is not None and finished < len(rows):
            rest = rows[finished:]
            more = f"{rest[0]}:{rest[-1] + 1}" + (f":{rest.step}" if rest.step > 1 else "")
            console.fail(f"interrupted: {finished} of {len(rows)} rows are finished; do the others with --rows {more}")
        elif self.signals.received is not None:
            console.fail("interrupted: this is the best image so far")
        elif "diverged" in self.story.item_status:
            console.fail("the iteration diverged: the best image before that is kept; try another --strength")

    def exit_code(self, complete: bool) -> int:
        """Return 130 or 143 if interrupted, 5 if a row diverged, 6 if rows are missing, else 0."""
        if self.signals.received is not None:
            return self.signals.exit_code
        if "diverged" in self.story.item_status:
            return ExitCode.NUMERICAL
        return ExitCode.OK if complete else ExitCode.PARTIAL


def _row(scan: Scan, index: int) -> Scan:
    """Return one row of a stack as a scan of its own."""
    noise = scan.noise[index] if isinstance(scan.noise, torch.Tensor) and scan.noise.ndim else scan.noise
    truth = None if scan.truth is None else scan.truth[index]
    shared = scan.weights is None or scan.weights.ndim < scan.data.ndim
    weights = scan.weights if shared or scan.weights is None else scan.weights[index]
    return replace(scan, data=scan.data[index], noise=noise, truth=truth, weights=weights)
