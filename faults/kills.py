"""Row 41: kills at random moments of a stack; what was reported is there, and the run that goes on ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from faults.program import Found
from faults.scans import stack
from invprob.io import load_result

__all__ = ["campaign"]

_ROWS = 200
_PROGRAM = """
import os, sys
from invprob.io import open_stack
from invprob.stack import StackReconstruction, memory
memory._MAX_ROWS = 2
work = StackReconstruction(open_stack("s.h5"), sys.argv[1], sys.argv[2], settings={}, resume=True)
for event in work.events():
    if event.kind in ("kept", "stored"):
        print(event.kind, event.rows[0], event.rows[-1], flush=True)
"""


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield kills until every method has come to its end, and whether the ends are the same bits."""
    generator = np.random.default_rng(seed)
    stack(folder / "s.h5", rows=_ROWS)
    for method in ("fbp", "direct"):
        _started(folder, "whole.h5", method).wait()
        _remove(folder, "out.h5")
        reported: set[int] = set()
        for trial in range(trials):
            if (folder / "out.h5").exists():
                _remove(folder, "out.h5")
                reported.clear()
            yield _killed(folder, method, trial, reported, generator)
        _started(folder, "out.h5", method).wait()
        same = _content(folder / "out.h5") == _content(folder / "whole.h5")
        yield Found(f"{method} after {trials} kills", "same bits", None if same else "the end is not the same")
        _remove(folder, "whole.h5")


def _killed(folder: Path, method: str, trial: int, reported: set[int], generator: np.random.Generator) -> Found:
    run = _started(folder, "out.h5", method)
    redone = 0
    wait = None
    for line in run.stdout or ():
        kind, first, last = line.split()
        rows = set(range(int(first), int(last) + 1))
        redone += len(rows & reported) if kind == "stored" else 0
        reported |= rows
        if wait is None:
            wait = time.monotonic() + float(generator.exponential(0.05))
        if time.monotonic() > wait:
            run.send_signal(signal.SIGKILL)
    run.wait()
    what, path = f"{method} kill {trial}", folder / "out.h5"
    path = path if path.exists() else folder / "out.h5.partial"
    x = load_result(path).x
    lost = [row for row in sorted(reported) if not bool(x[row].isfinite().all())]
    bad = f"lost the rows {lost}" if lost else f"{redone} reported rows were done again" if redone else None
    return Found(what, "killed" if run.returncode else "ended", bad)


def _started(folder: Path, output: str, method: str) -> subprocess.Popen[str]:
    one = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROGRAM, output, method]
    return subprocess.Popen(command, cwd=folder, env=one, stdout=subprocess.PIPE, text=True)


def _remove(folder: Path, name: str) -> None:
    for suffix in ("", ".partial", ".journal"):
        (folder / (name + suffix)).unlink(missing_ok=True)


def _content(path: Path) -> dict[str, object]:
    """Return all that is in a file but the time that it took, and the digest over that."""
    with h5py.File(path) as file:
        found: dict[str, object] = {k: str(file.attrs[k]) for k in file.attrs if k not in ("seconds", "digest")}
        file.visititems(
            lambda name, item: found.__setitem__(name, item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
        )
    return found
