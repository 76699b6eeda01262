"""Calls in processes of their own: spawned, one thread each; one that dies costs its call a second try, not the run."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import torch

__all__ = ["Died", "calls"]

T = TypeVar("T")
R = TypeVar("R")
_TRIES = 2


@dataclass(frozen=True)
class Died:
    """What comes back for a call whose process died, twice."""

    reason: str


def calls(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[tuple[T, R | Died]]:
    """Yield every task with function(task) as they are done, from `workers` processes, or from this one if 0.

    `function` must be importable, and must not raise. Leaving the iterator ends the processes.
    """
    if workers == 0:
        yield from ((task, function(task)) for task in tasks)
        return
    waiting = deque(_Job(task) for task in tasks)
    team: list[_Worker[T]] = [_Worker(function) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.job for worker in team):
            for worker in team:
                if worker.job is None and waiting:
                    worker.start(waiting.popleft())
            ready = wait([worker.pipe for worker in team if worker.job])
            for worker in [worker for worker in team if worker.pipe in ready]:
                job, worker.job = worker.job, None
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    code = worker.bury()
                    if job is not None and job.tried < _TRIES:
                        waiting.appendleft(job)
                    elif job is not None:
                        yield job.task, Died(f"its process ended {job.tried} times ({_reason(code)})")
                    continue
                if job is not None:
                    yield job.task, answer
    finally:
        for worker in team:
            worker.end()


@dataclass
class _Job(Generic[T]):
    task: T
    tried: int = 0


@dataclass
class _Worker(Generic[T]):
    """A process, the pipe to it, and what it is at."""

    function: Callable[[Any], Any]
    job: _Job[T] | None = None
    pipe: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.spawn()

    def spawn(self) -> None:
        """Start the process."""
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self.function, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def start(self, job: _Job[T]) -> None:
        if self.process.exitcode is not None:
            self.spawn()
        job.tried += 1
        self.job = job
        try:
            self.pipe.send(job.task)
        except OSError:  # it has died this moment: the pipe tells
            return

    def bury(self) -> int | None:
        """Return how the process ended."""
        self.pipe.close()
        self.process.join()
        return self.process.exitcode

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _work(function: Callable[[Any], Any], pipe: Connection) -> None:
    """Answer calls until the pipe is closed; Ctrl-C is the caller's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        while True:
            pipe.send(function(pipe.recv()))
    except (EOFError, OSError):
        return


def _reason(code: int | None) -> str:
    return f"signal {-code}, perhaps for want of memory" if code is not None and code < 0 else f"exit code {code}"
