"""What the user sees: plain lines in a log, colours and a progress bar on a terminal."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invprob.errors import InputWarning, printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from invprob.methods import Progress

__all__ = ["Reporter", "fact", "fail", "say", "silence", "table", "warn", "warnings_as_lines"]

_LABEL = 10  # width of the column of labels
_QUIET, _GROWTH = 10.0, 0.05  # seconds between two lines of progress in a log, and more of them in a long run
_STYLES = {"good": "green", "fair": "yellow", "bad": "bold red", "known": "", "warning": "yellow", "error": "bold red"}


class _Steady(Console):
    """A console that outlives its reader: a result is worth more than the lines about it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file)


def silence(stream: IO[str]) -> None:
    """Let what is written to a stream from now on, and what it still holds, go nowhere."""
    with suppress(OSError, ValueError):  # it has no descriptor, or is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _console(*, stderr: bool = False) -> Console:
    return _Steady(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Print a line."""
    _console().print(Text(text))


def fact(label: str, text: str, kind: str = "known") -> None:
    """Print a line "label text"; `kind` is good, fair, bad or known and sets the colour of the label."""
    _console().print(Text.assemble((f"{label:<{_LABEL}}", _STYLES[kind]), printable(text, 2000)))


def warn(text: str) -> None:
    """Print a warning on the error stream."""
    _complain("warning", text)


def fail(text: str) -> None:
    """Print an error on the error stream."""
    _complain("error", text)


def _complain(kind: str, text: str) -> None:
    _console(stderr=True).print(Text.assemble((f"{kind}: ", _STYLES[kind]), printable(text, 4000)))


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning about the input once, as a line; leave out the library's internal ones."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, InputWarning) and str(message) not in seen:
            seen.add(str(message))
            warn(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; on a narrow terminal its cells are wrapped."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column, header_style="underline", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell, 1000)) for cell in row))
    console = _Steady(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    console.print(grid)
    console.print()


class Reporter:
    """Shows how far a computation is; a context manager.

    On a terminal a bar with the time left, elsewhere a line at the start of every phase and every ten seconds,
    later less often.
    """

    def __init__(self) -> None:
        self._console = _console()
        self._bar: Bar | None = None
        self._phase = ("", "")
        self._started = self._spoken = 0.0
        self._born = time.monotonic()

    def __enter__(self) -> Reporter:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bar = _make_bar(self._console)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Progress, where: str = "") -> None:
        """Report an iteration; `where` says which rows of a stack it belongs to."""
        now, phase = time.monotonic(), (where, event.phase)
        new = phase != self._phase
        if new:
            self._phase, self._started = phase, now
        if self._bar is not None:
            self._move(self._bar, event, " ".join(phase).strip(), new)
        elif new or now - self._spoken > max(_QUIET, _GROWTH * (now - self._born)):
            self._spoken = now
            left = "" if new else f", at most {_duration(_left(event, now - self._started))} left"
            residual = "" if event.residual is None else f", residual {event.residual:.1e}"
            at = f": step {event.step} of at most {event.total}{residual}{left}"
            fact("progress", " ".join(phase).strip() + (at if event.total > 1 else ""))

    def _move(self, bar: Bar, event: Progress, text: str, new: bool) -> None:
        if new:
            for task in bar.task_ids:
                bar.remove_task(task)
            bar.add_task(text, total=event.total, residual="")
        residual = "" if event.residual is None else f"residual {event.residual:.0e},"
        bar.update(bar.task_ids[-1], completed=event.step, residual=residual)


def _make_bar(console: Console) -> Bar:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=16),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[residual]} at most"),
        progress.TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def _left(event: Progress, elapsed: float) -> float:
    return elapsed / max(event.step, 1) * (event.total - event.step)


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
