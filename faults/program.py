"""The real command line in a process that may die, and what is to be thought of how it ended."""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

__all__ = ["Found", "Outcome", "begun", "heard", "judged", "run"]

_LIMIT = 60  # seconds of the processor; a hang is longer than anything that is tried here
_WAIT = 20  # times as long may pass: the machine may be busy
_TICK = 0.005
_HEAVY = ("invprob.cli.main", "invprob.cli.reconstruct_run", "invprob.operators.ct.joseph", "invprob.priors.tv_kernel")


@dataclass(frozen=True)
class Found:
    """A trial: what was tried, how it ended in a word, what is bad about it if anything, and its row of the campaign's
    table in docs/reliability.md, for campaigns that have one.
    """

    what: str
    outcome: str
    bad: str | None = None
    row: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a command ended, the seconds of the processor and the bytes that it took; a negative code is a signal's."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int = 0


def run(arguments: Sequence[str], folder: Path, *, limit: int = _LIMIT, file_size: int | None = None) -> Outcome:
    """Run a command of invprob in a copy of this process, with one thread."""
    import torch

    for name in _HEAVY:  # once, rather than in every copy
        import_module(name)
    torch.set_num_threads(1)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _work(arguments, folder, limit, file_size)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - start > _WAIT * limit:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(-signal.SIGXCPU, "", "", limit)
        time.sleep(_TICK)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    out, err = ((folder / f".{name}").read_text(errors="replace") for name in ("out", "err"))
    return Outcome(code, out, err, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss)


def begun(work: Callable[[int], object]) -> tuple[int, int]:
    """Begin `work(pipe)` in a copy of this process, and return the copy and where what it writes there can be read."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:
        os.close(read)
        work(write)
    finally:
        os._exit(0)


@contextmanager
def heard(child: int, pipe: int) -> Iterator[BinaryIO]:
    """Give what a copy that has begun writes, to its end; one that is no longer heard is ended."""
    try:
        with os.fdopen(pipe, "rb") as stream:
            yield stream
    finally:
        os.kill(child, signal.SIGKILL)  # nothing to one whose last word was heard
        os.waitpid(child, 0)


def judged(what: str, outcome: Outcome, expected: Sequence[int] | None = None, slow: float = math.inf) -> Found:
    """Return what is to be thought of an outcome: a signal, a hang, a traceback or an internal error is bad, and so is
    one that took over `slow` seconds.
    """
    word = f"exit {outcome.code}" if outcome.code >= 0 else f"signal {-outcome.code}"
    bad = None
    if outcome.code < 0:
        bad = "hang" if outcome.code == -signal.SIGXCPU else word
    elif outcome.code == 1 or "internal error" in outcome.err or "Traceback" in outcome.err:
        bad = outcome.err.strip()[-300:] or word
    elif expected is not None and outcome.code not in expected:
        bad = f"{word}, expected {' or '.join(map(str, expected))}: {outcome.err.strip()[-200:]}"
    elif outcome.seconds > slow:
        bad = f"took {outcome.seconds:.0f} s"
    return Found(what, word, bad)


def _work(arguments: Sequence[str], folder: Path, limit: int, file_size: int | None) -> None:
    """Become the command, and never come back."""
    code = 1
    try:
        os.chdir(folder)
        for number, name in ((1, ".out"), (2, ".err")):
            stream = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(stream, number)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        from invprob.cli.main import main

        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = main(arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
