"""Ctrl-C and a polite kill end a computation, but never a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Signals"]

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Raises KeyboardInterrupt for SIGINT and SIGTERM, later if they come while `held`; a context manager."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._holding = False

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _CAUGHT}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in getattr(self, "_before", {}).items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """What the shell is told by custom: 130 for Ctrl-C, 143 for a polite kill."""
        return 128 + (self.received or signal.SIGINT)

    def interrupted(self) -> None:
        """Take note of a KeyboardInterrupt, wherever it came from."""
        self.received = self.received or int(signal.SIGINT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = number
        if not self._holding:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back; `received` tells afterwards whether one has come."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
