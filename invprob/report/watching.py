"""`reconstruct` before one's eyes: a bar in a notebook or a terminal, by tqdm where it is installed, else by rich."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from invprob.methods import Progress, Recipe, followed
from invprob.result import Result
from invprob.scan import Scan

__all__ = ["watch"]


class _Bar(Protocol):
    """One phase of the work; it is begun when it is made."""

    def move(self, event: Progress) -> None:
        """Show an iteration."""

    def end(self) -> None:
        """Leave the phase."""


def watch(
    scan: Scan, method: str | Recipe = "tv", *, each: Callable[[Progress], object] | None = None, **settings: Any
) -> Result:
    """Return what `reconstruct(scan, method, **settings)` returns, to the bit, and show a bar meanwhile.

    Arguments:
        each: a function that is given every `Progress`, to look at `event.image()`, log `event.residual` or raise to
            stop; what it returns is not looked at. By default there is none.

    Errors are those of `reconstruct`, and whatever `each` raises.
    """
    bar: _Bar | None = None
    phase, last = None, None
    make = _Tqdm if _has_tqdm() else _Rich
    try:
        for last in followed(scan, method, **settings):
            if last.phase != phase:
                if bar is not None:
                    bar.end()
                phase, bar = last.phase, make(last)
            if bar is not None:
                bar.move(last)
            if each is not None:
                each(last)
    finally:
        if bar is not None:
            bar.end()
    if last is None:
        raise RuntimeError(f"the method {method} ended without a result")
    return last.result()


def _has_tqdm() -> bool:
    try:
        importlib.import_module("tqdm.auto")
    except ImportError:
        return False
    return True


class _Tqdm:
    """A bar of tqdm, which chooses between a notebook's and a terminal's."""

    def __init__(self, event: Progress) -> None:
        make = importlib.import_module("tqdm.auto").tqdm
        self._bar = make(total=event.total, desc=event.phase, leave=False)

    def move(self, event: Progress) -> None:
        self._bar.update(event.step - self._bar.n)
        if event.residual is not None:
            self._bar.set_postfix_str(f"residual {event.residual:.1e}", refresh=False)

    def end(self) -> None:
        self._bar.close()


class _Rich:
    """A bar of rich, which knows notebooks, too."""

    def __init__(self, event: Progress) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        told = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bar = Bar(*told, TimeRemainingColumn(compact=True), transient=True)
        self._task = self._bar.add_task(event.phase, total=event.total)
        self._bar.start()

    def move(self, event: Progress) -> None:
        self._bar.update(self._task, completed=event.step)

    def end(self) -> None:
        self._bar.stop()
