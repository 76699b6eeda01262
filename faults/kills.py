"""Row 41: kills at random moments of a stack; what was reported is there, and the run that goes on ends the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from faults.program import Found, begun, heard
from faults.rows import lost, removed
from faults.scans import said_in, stack
from invprob.io import open_stack
from invprob.stack import StackReconstruction

__all__ = ["campaign"]

_ROWS = 1000
_METHODS = {"fbp": {}, "tv": {"strength": 0.05, "max_iter": 4}}


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield kills at random moments, by each method, and whether the ends are the same bits."""
    generator = np.random.default_rng(seed)
    stack(folder / "s.h5", rows=_ROWS)
    for method in _METHODS:
        begun = time.monotonic()
        _wait(_started(folder, "whole.h5", method))
        seconds = time.monotonic() - begun
        removed(folder, "out.h5")
        reported: set[int] = set()
        for trial in range(trials):
            if (folder / "out.h5").exists():
                removed(folder, "out.h5")
                reported.clear()
            yield _killed(folder, method, trial, reported, float(generator.exponential(2 * seconds / trials)))
        _wait(_started(folder, "out.h5", method))
        same = said_in(folder / "out.h5") == said_in(folder / "whole.h5")
        yield Found(f"{method} after {trials} kills", "same bits", None if same else "the end is not the same")
        removed(folder, "whole.h5")
        removed(folder, "out.h5")


def _killed(folder: Path, method: str, trial: int, reported: set[int], seconds: float) -> Found:
    """Let a run go on for some seconds; then nothing that any run reported may be missing, or be done again."""
    child, pipe = _started(folder, "out.h5", method)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    redone = 0
    for line in _wait((child, pipe)):
        kind, first, last = line.split()
        rows = set(range(int(first), int(last) + 1))
        redone += len(rows & reported) if kind == "stored" else 0
        reported |= rows
    bad = lost(folder / "out.h5", reported) or (f"{redone} reported rows were done again" if redone else None)
    return Found(f"{method} kill {trial}", "ended" if (folder / "out.h5").exists() else "killed", bad)


def _started(folder: Path, output: str, method: str) -> tuple[int, int]:
    """Begin or go on in a copy of this process, and return it with what it writes of every batch."""
    import_module("invprob.operators.ct.joseph")

    def work(pipe: int) -> None:
        os.chdir(folder)
        scan, settings = open_stack("s.h5"), _METHODS[method]
        for event in StackReconstruction(scan, output, method, settings=settings, resume=True).events():
            if event.kind in ("kept", "stored") and event.rows is not None:
                os.write(pipe, f"{event.kind} {event.rows[0]} {event.rows[-1]}\n".encode())

    return begun(work)


def _wait(run: tuple[int, int]) -> list[str]:
    """Return the whole lines that a run wrote until it ended."""
    with heard(*run) as stream:
        return [line.decode() for line in stream.read().split(b"\n")[:-1]]
