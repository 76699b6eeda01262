"""Output streams that outlive a full disk under them: a result is worth more than the lines about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from invprob.cli import console

__all__ = ["steady"]


class _Steady:
    """A stream that goes on into the void where it cannot be written; a closed pipe is left to who writes."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Write, if not to the stream, then nowhere."""
        self._tried(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be."""
        self._tried(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        """Be the stream in all else."""
        return getattr(self._stream, name)

    def _tried(self, do: Callable[..., object], *arguments: str) -> None:
        try:
            do(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            console.silence(self._stream)
            console.warn(f"{self._name} cannot be written ({error.strerror}): its lines are lost, the work goes on")


@contextmanager
def steady() -> Iterator[None]:
    """Let the output and the error stream be steady for a while; one that is closed stays so."""
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:
        sys.stdout = _Steady(sys.stdout, "the output")
    if sys.stderr is not None:
        sys.stderr = _Steady(sys.stderr, "the error stream")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Steady):
                with suppress(BrokenPipeError):
                    stream.flush()
        sys.stdout, sys.stderr = before
