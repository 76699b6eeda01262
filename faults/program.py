"""The real command line in a process that may die, and what is to be thought of how it ended."""

from __future__ import annotations

import faulthandler
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

__all__ = ["TICK", "Found", "Outcome", "Running", "Trial", "begun", "heard", "judged", "made", "run", "runs", "waited"]

_LIMIT = 60  # seconds of the processor; a hang is longer than anything that is tried here
_WAIT = 20  # times as long may pass: the machine may be busy
TICK = 0.005
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


Trial = Callable[[], Found]  # one that can be made in any order, or left out


@dataclass(frozen=True)
class Outcome:
    """How a command ended, the seconds of the processor and the bytes that it took; a negative code is a signal's."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int = 0


@dataclass(frozen=True)
class Running:
    """A command of invprob in a copy of this process, with one thread, and the files in `folder` of what it says."""

    child: int
    folder: Path
    limit: int
    name: str

    @classmethod
    def begun(
        cls,
        arguments: Sequence[str],
        folder: Path,
        *,
        limit: int = _LIMIT,
        file_size: int | None = None,
        name: str = "",
    ) -> Running:
        """Begin a command; those of other names may run at the same time."""
        import torch

        for module in _HEAVY:  # once, rather than in every copy
            import_module(module)
        torch.set_num_threads(1)
        for stream in ("out", "err"):
            (folder / f".{stream}{name}").write_bytes(b"")
        child = os.fork()
        if child == 0:
            _work(arguments, folder, limit, file_size, name)
        return cls(child, folder, limit, name)

    @property
    def words(self) -> str:
        """What it has said so far."""
        return (self.folder / f".out{self.name}").read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return runs(self.child)

    def send(self, number: int) -> None:
        """Send it a signal; one that has ended waits for `end`, so that its number is nobody else's."""
        os.kill(self.child, number)

    def end(self) -> Outcome:
        """Wait for the end, and return what came of it."""
        code, seconds, peak = waited(self.child, self.limit)
        errors = (self.folder / f".err{self.name}").read_text(errors="replace")
        return Outcome(code, self.words, errors, seconds, peak)


def run(arguments: Sequence[str], folder: Path, *, limit: int = _LIMIT, file_size: int | None = None) -> Outcome:
    """Run a command of invprob in a copy of this process, with one thread."""
    return Running.begun(arguments, folder, limit=limit, file_size=file_size).end()


def runs(child: int) -> bool:
    """Return whether a process that nobody has waited for has not ended."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def waited(child: int, limit: int, meanwhile: Callable[[], object] = lambda: None) -> tuple[int, float, int]:
    """Wait for a process, and end one that hangs; return its code, and what it took of the processor and of memory."""
    start = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - start > _WAIT * limit:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGXCPU, limit, 0
        meanwhile()
        time.sleep(TICK)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss


def begun(work: Callable[[int], object]) -> tuple[int, int]:
    """Begin `work(pipe)` in a copy of this process with one thread, and return the copy and where what it writes there
    can be read.
    """
    import torch

    torch.set_num_threads(1)  # a copy has no other threads, and would wait for them
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


def made(planned: Iterable[Trial]) -> Iterator[Found]:
    """Yield what comes of trials, one after another."""
    for trial in planned:
        yield trial()


def _work(arguments: Sequence[str], folder: Path, limit: int, file_size: int | None, named: str) -> None:
    """Become the command, and never come back."""
    code = 1
    try:
        os.chdir(folder)
        faulthandler.disable()  # a test runner's, which would tell of copies that die as they may
        for number, name in ((1, ".out"), (2, ".err")):
            stream = os.open(name + named, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
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
