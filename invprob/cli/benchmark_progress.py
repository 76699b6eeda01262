"""How far a benchmark is: a table that fills, with the time left, on a terminal; a line per unit elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from invprob.cli import console

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress

    from invprob.benchmark.plan import Unit
    from invprob.benchmark.results import Results

__all__ = ["BenchmarkProgress"]

_WIDE = 9  # columns of the terminal that a method takes at most
_LOG = 160  # columns of a log


class BenchmarkProgress:
    """Shows the mean PSNR of every unit as it comes; a context manager."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._live: Live | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> BenchmarkProgress:
        terminal = Console(highlight=False, markup=False, emoji=False)
        if terminal.is_terminal and not terminal.is_dumb_terminal:
            from rich import progress
            from rich.live import Live

            self._bar = progress.Progress(
                progress.BarColumn(bar_width=24),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.description}", markup=False),
                progress.TimeRemainingColumn(),
                console=terminal,
            )
            suite = self._results.suite
            self._bar.add_task("", total=len(suite.problems) * len(suite.methods))
            self._live = Live(self._picture(), console=terminal, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
        else:
            Console(highlight=False, markup=False, emoji=False, width=_LOG).print(self._table())

    def show(self, unit: Unit) -> None:
        """Report that a unit is done."""
        entry = self._results.entry(unit.problem, unit.method)
        if entry is None:
            return
        if self._live is not None and self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=f"{unit.problem.name} {unit.method.name}")
            self._live.update(self._picture())
            return
        auto, tuned = (entry.of("psnr", mode) for mode in ("auto", "tuned"))
        if not entry.measured:
            told = f"{entry.run.status}: {entry.run.reason}"
        else:
            own = "" if auto is None else f"{auto.mean:.2f} dB"
            told = own if tuned is None else f"{own}, tuned {tuned.mean:.2f} dB"
        console.fact("measured", f"{unit.problem.name} {unit.method.name}: {told}")

    def _picture(self) -> Group:
        return Group(self._table(), *([self._bar] if self._bar is not None else []))

    def _table(self) -> Table:
        """Return the table of mean PSNR, tuned where there is something to tune; the best of a problem is bold."""
        suite = self._results.suite
        grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title="PSNR in dB", title_justify="left")
        grid.add_column("", no_wrap=True)
        for method in suite.methods:
            grid.add_column(method.name.replace("-", "-\n", 1), justify="right", overflow="fold", max_width=_WIDE)
        for problem in suite.problems:
            ranking = self._results.ranking(problem)
            best = ranking[0] if ranking and ranking[0].measured else None
            cells = [Text(problem.name)]
            for method in suite.methods:
                entry = self._results.entry(problem, method)
                level = None if entry is None else entry.of("psnr")
                text = "" if entry is None else "-" if level is None else f"{level.mean:.1f}"
                first = best is not None and best.method == method
                cells.append(Text(text, style="bold green" if first else "dim" if level is None else ""))
            grid.add_row(*cells)
        return grid
