"""The work behind `invprob benchmark`: measure, show it as it comes, write the page and the tables, compare."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from invprob import registry
from invprob.benchmark import comparison, drawing_methods, page, peers, plan, tables
from invprob.benchmark.figure import save_figure
from invprob.benchmark.problems import PROBLEMS, Problem
from invprob.benchmark.results import Results
from invprob.benchmark.suite_runs import measure_all
from invprob.cli import console
from invprob.cli.benchmark_progress import BenchmarkProgress
from invprob.cli.errors import ExitCode, UsageError
from invprob.cli.methods import check_method
from invprob.cli.signals import Signals
from invprob.errors import OutputError, printable
from invprob.io.atomic import check_output, write_text
from invprob.machine import processors

__all__ = ["Job", "run"]

_STORE = "runs"  # the folder of what was measured; a directory that has it is one of ours
_MOST_BYTES = 2**26
_GRADES: Mapping[str, Any] = {"good": "good", "bad": "fair", "open": "known"}


@dataclass(frozen=True)
class Job:
    """What was asked for on the command line."""

    quick: bool
    full: bool
    output: Path
    problems: tuple[str, ...] | None
    methods: tuple[str, ...] | None
    peers: bool
    sizes: Mapping[str, int]
    compare: Path | None
    workers: int | None
    fresh: bool
    command: str
    plugins: Collection[str] = ()

    def suite(self) -> plan.Suite:
        """Return what is to be measured; UsageError for unknown names."""
        methods = {method.name: method for method in plan.registered()}
        if self.methods is not None:  # samplers, which take their time, run where they are named
            methods |= {method.name: method for method in drawing_methods.samplers()}
            methods |= {name: self._own(name) for name in self.methods if ":" in name}
        if self.peers:
            methods |= {method.name: method for method in peers.installed()}
        chosen = _chosen("method", self.methods, methods)
        suite = (plan.quick if self.quick else plan.full if self.full else plan.standard)(chosen)
        if self.problems is not None:
            known: dict[str, Problem] = {problem.name: problem for problem in PROBLEMS}
            suite = replace(suite, problems=tuple(_chosen("problem", self.problems, known)))
        return suite.resized(**self.sizes)

    def _own(self, name: str) -> plan.Method:
        check_method(name, {}, self.plugins)
        return plan.Method(name, name)


def _chosen(what: str, names: tuple[str, ...] | None, known: Mapping[str, Any]) -> list[Any]:
    for name in names or ():
        if name not in known:
            raise UsageError(f"no {what} is called {printable(name)!r}; {registry.nearest(name, known)}")
    return [thing for name, thing in known.items() if names is None or name in names]


def run(job: Job) -> int:
    """Do a job, tell about it, and return the exit code."""
    suite = job.suite()
    old = None if job.compare is None else comparison.read(job.compare)
    _check_folder(job)
    results = Results(suite)
    workers = job.workers or processors()
    _introduce(job, suite, workers)
    with Signals() as signals:
        try:
            _measure(job, results, workers)
        except KeyboardInterrupt:
            signals.interrupted()
        with signals.held():
            written = _write(job, results)
        _conclude(results, written)
        if signals.received is not None:
            console.fail(f"interrupted: {results.missing} of {_count(suite)} are missing; the same command goes on")
            return signals.exit_code
    worse = old is not None and _tell_changes(comparison.compare(old, tables.as_json(results)))
    return ExitCode.NUMERICAL if worse else ExitCode.OK


def _check_folder(job: Job) -> None:
    """Refuse a directory with anything in it that is not ours, before anything is measured."""
    folder = job.output
    try:
        strange = folder.is_dir() and any(folder.iterdir()) and not (folder / _STORE).is_dir()
        if strange:
            raise OutputError(f"{printable(folder)} holds other things: choose another --output")
        (folder / _STORE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output {printable(folder)} cannot be a directory ({printable(error)})") from error
    check_output(folder / "benchmark.html", _MOST_BYTES, overwrite=True)
    if job.fresh:
        for path in (folder / _STORE).glob("*.npz"):
            path.unlink()


def _introduce(job: Job, suite: plan.Suite, workers: int) -> None:
    console.fact("suite", f"{len(suite.problems)} problems, {len(suite.methods)} methods, {workers} processes")
    images = f"pictures of {suite.size} x {suite.size} pixels, {suite.tests} to test, {suite.validations} to validate"
    console.fact("images", f"{images}; {suite.tries} strengths tried per method")
    console.fact("folder", str(job.output))


def _count(suite: plan.Suite) -> int:
    return len(suite.problems) * len(suite.methods)


def _measure(job: Job, results: Results, workers: int) -> None:
    found = measure_all(results.suite, job.output / _STORE, workers=workers, plugins=job.plugins)
    with BenchmarkProgress(results) as progress, closing(found) as events:
        for unit, runs in events:
            results.add(unit, runs)
            progress.show(unit)


def _write(job: Job, results: Results) -> list[tuple[str, Path]]:
    """Write page, tables and figure; return what each is."""
    content = tables.as_json(results, command=job.command)
    texts = {
        "benchmark.html": ("one page with everything", page.render(results, command=job.command)),
        "benchmark.csv": ("a row per image", tables.as_csv(results)),
        "benchmark.json": ("for --compare", json.dumps(content, indent=None, separators=(",", ":")) + "\n"),
    }
    written = []
    for name, (what, text) in texts.items():
        path = job.output / name
        write_text(path, text, overwrite=True)
        written.append((what, path))
    if save_figure(job.output / "benchmark.png", results):
        written.append(("a figure", job.output / "benchmark.png"))
    return written


def _conclude(results: Results, written: list[tuple[str, Path]]) -> None:
    for verdict in map(results.verdict, results.families()):
        console.fact("", f"{verdict.family}: {verdict.text}", _GRADES[verdict.grade])
    for what, path in written:
        console.fact("written", f"{path} ({what})")


def _tell_changes(found: comparison.Comparison) -> bool:
    """Print what changed and return whether anything got worse."""
    rows = [
        (change.name, change.kind, _level(change.before), _level(change.now), change.reason)
        for change in found.changes
        if change.kind != "same"
    ]
    if rows:
        console.table("Since the older benchmark", ("what", "", "dB then", "dB now", "reason"), rows)
    counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("better", "worse", "broken", "new", "same"))
    console.fact("compared", counts, "bad" if found.worse else "good")
    return bool(found.worse)


def _level(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"
