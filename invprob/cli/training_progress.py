"""How far a training is: a bar with the time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console

from invprob.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

__all__ = ["TrainingProgress"]

_QUIET = 60.0  # seconds between two lines in a log
_MEMORY = 0.98  # of the running mean of the loss
_PAUSE = 0.5  # seconds between two updates of the bar


class TrainingProgress:
    """Shows steps, steps per second, the running mean of the loss and the time left; a context manager."""

    def __init__(self, first: int, total: int, *, visible: bool) -> None:
        self._first, self._total, self._visible = first, total, visible
        self._born = self._spoken = time.monotonic()
        self._loss: float | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        terminal = Console()
        if self._visible and terminal.is_terminal and not terminal.is_dumb_terminal:
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(bar_width=24),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[words]}"),
                console=terminal,
                transient=True,
            )
            self._bar.add_task("", total=self._total, completed=self._first, words="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, loss: Tensor, notes: str = "") -> None:
        """Report a step, its loss, and what else there is to say."""
        value = float(loss)
        self._loss = value if self._loss is None else _MEMORY * self._loss + (1 - _MEMORY) * value
        now = time.monotonic()
        if now - self._spoken < (_QUIET if self._bar is None else _PAUSE):
            return
        self._spoken = now
        rate = (step - self._first) / max(now - self._born, 1e-9)
        left = timedelta(seconds=round((self._total - step) / rate))
        words = f"loss {self._loss:.5f}, {rate:.1f} steps/s, {left} left" + (f"; {notes}" if notes else "")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, words=words)
        elif self._visible:
            console.fact("progress", f"step {step} of {self._total}, {words}")

    def say(self, label: str, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(f"{label}: {text}", markup=False, highlight=False)
        elif self._visible:
            console.fact("quality", f"{label}: {text}")
