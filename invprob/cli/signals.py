"""Ctrl-C, a polite kill and a closed terminal end a computation, but never a write, and never later than soon."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from invprob.cli import console

__all__ = ["PATIENCE", "Signals"]

PATIENCE = 4.0  # seconds of computing for what is under way to come to a good end
_LONGEST = 5.0  # times as long may pass on a busy machine
_TICK = 0.1
_CAUGHT = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class Signals:
    """Raises KeyboardInterrupt for SIGINT, SIGTERM and SIGHUP, or notes them while `held`; a context manager.

    A second signal ends the process at once, and so does the end of patience: files are safe against that. `farewell`
    is what is said then; it may be set while the work goes on.

    Arguments:
        patience: seconds.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.received: int | None = None
        self.farewell = "interrupted"
        self._patience = patience
        self._holding = False
        self._over = threading.Event()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            kept = (signal.getsignal(number) for number in _CAUGHT)
            ignored = {n for n, handler in zip(_CAUGHT, kept, strict=True) if handler == signal.SIG_IGN}
            caught = [n for n in _CAUGHT if n == signal.SIGINT or n not in ignored]  # nohup stays in force
            self._before = {number: signal.signal(number, self._note) for number in caught}
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if hasattr(self, "_before"):
            for number, handler in self._before.items():
                signal.signal(number, handler)
            sys.unraisablehook = self._hook

    @property
    def exit_code(self) -> int:
        """What the shell is told by custom: 130 for Ctrl-C, 143 for a polite kill, 129 for a closed terminal."""
        return 128 + (self.received or signal.SIGINT)

    def interrupted(self) -> None:
        """Take note of a KeyboardInterrupt, wherever it came from."""
        self.received = self.received or int(signal.SIGINT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self.received = self.received is not None, self.received or number
        if again or _loading():
            self._leave()
        threading.Thread(target=self._wait, daemon=True).start()
        if not self._holding:
            raise KeyboardInterrupt

    def _wait(self) -> None:
        """Leave when patience has ended."""
        clock = _clock_of_the_main_thread()
        end, last = clock() + self._patience, time.monotonic() + _LONGEST * self._patience
        while not self._over.wait(_TICK):
            if clock() > end or time.monotonic() > last:
                self._leave()

    def _leave(self) -> None:
        try:
            console.fail(self.farewell)
        finally:
            os._exit(self.exit_code)

    def _unraisable(self, told: Any) -> None:
        """Keep silent of an interruption that met a destructor: it has been noted."""
        if not issubclass(told.exc_type, KeyboardInterrupt):
            self._hook(told)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back; `received` tells afterwards whether one has come."""
        before, self._holding = self._holding, True
        try:
            yield
        finally:
            self._holding = before


def _loading() -> bool:
    """Return whether torch is being imported: an exception there aborts the process, and nothing has been done yet."""
    return bool(getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False))


def _clock_of_the_main_thread() -> Callable[[], float]:
    """Return a clock of the time that the main thread computes, of any time where the system has none."""
    number = threading.main_thread().ident
    if not hasattr(time, "pthread_getcpuclockid") or number is None:
        return time.monotonic
    clock = time.pthread_getcpuclockid(number)
    return lambda: time.clock_gettime(clock)
