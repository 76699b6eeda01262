"""Row 42: two and three runs of one output at the same time; one computes, and the others are refused.

Some begin at the same moment. Others find a run that is held in the middle of its work, and then goes on or is killed,
and what was killed leaves no lock.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from faults.program import TICK, Found, Outcome, Running, judged, run
from faults.rows import removed, same, stored
from faults.scans import stack

__all__ = ["campaign"]

_ROWS = 80
_COMMAND = ["reconstruct", "s.h5", "--method", "tv", "--strength", "0.05", "--set", "max_iter=20", "-o"]
_APART = 0.02  # seconds between runs that begin at the same moment, at most
_MOST = 60.0  # seconds until a run tells of its first rows
_REFUSED = ("is being written by another run", "exists: choose another name")


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield runs that begin together, that meet one in the middle of its work, and that come after one was killed."""
    generator = np.random.default_rng(seed)
    stack(folder / "s.h5", rows=_ROWS)
    yield judged("alone", run([*_COMMAND, "whole.h5"], folder), [0])
    for trial in range(trials):
        removed(folder, "out.h5")
        rivals = 1 + int(generator.integers(2))
        kind = (_begun_together, _held, _killed)[trial % 3]
        yield kind(folder, rivals, generator)
    removed(folder, "out.h5")


def _begun_together(folder: Path, rivals: int, generator: np.random.Generator) -> Found:
    """Begin all at about the same moment: exactly one may come to its end."""
    runs = []
    for number in range(1 + rivals):
        more = ["--resume"] if generator.random() < 0.5 else []
        runs.append(Running.begun([*_COMMAND, "out.h5", *more], folder, name=str(number)))
        time.sleep(float(generator.uniform(0, _APART)))
    ends = [one.end() for one in runs]
    what = f"{len(runs)} begun together"
    ended = [end for end in ends if end.code == 0]
    bad = next((told for told in (_refusal(end) for end in ends if end.code != 0) if told), None)
    if len(ended) != 1:
        bad = bad or f"{len(ended)} of them came to an end"
    return Found(what, "one of them", bad or _end(folder))


def _held(folder: Path, rivals: int, generator: np.random.Generator) -> Found:
    """Hold a run in the middle of its work, let others try, and let it go on."""
    first = _first(folder)
    bad = _refusals(folder, rivals, generator) if first.running else None
    first.send(signal.SIGCONT)
    told = judged(f"{rivals} beside one that is held", first.end(), [0])
    return replace(told, outcome="the first", bad=bad or told.bad or _end(folder))


def _killed(folder: Path, rivals: int, generator: np.random.Generator) -> Found:
    """Hold a run in the middle of its work, let others try, kill it, and go on with what it left."""
    first = _first(folder)
    if not first.running:  # on a machine that is busy with other things
        return replace(judged("one that was to be killed", first.end(), [0]), outcome="ended")
    bad = _refusals(folder, rivals, generator)
    first.send(signal.SIGKILL)
    first.end()
    told = judged(f"one after one that was killed beside {rivals}", run([*_COMMAND, "out.h5", "--resume"], folder), [0])
    return replace(told, outcome="after a kill", bad=bad or told.bad or _end(folder))


def _first(folder: Path) -> Running:
    """Begin a run, and hold it when it has rows on the disk."""
    first = Running.begun([*_COMMAND, "out.h5"], folder, name="0")
    last = time.monotonic() + _MOST
    while first.running and not stored(first.words) and time.monotonic() < last:
        time.sleep(TICK)
    first.send(signal.SIGSTOP)
    return first


def _refusals(folder: Path, rivals: int, generator: np.random.Generator) -> str | None:
    """Let others try one after another, and return what is bad about how they are refused."""
    for _ in range(rivals):
        more = str(generator.choice(["", "--resume", "--overwrite"])).split()
        bad = _refusal(run([*_COMMAND, "out.h5", *more], folder))
        if bad is not None:
            return bad
    return None


def _refusal(end: Outcome) -> str | None:
    """Return what is bad about the end of a run that came too late."""
    told = judged("refused", end, [2])
    return told.bad or (None if any(words in end.err for words in _REFUSED) else f"says {end.err.strip()[-200:]}")


def _end(folder: Path) -> str | None:
    """Return what is bad about what all of them left."""
    left = sorted(path.name for path in folder.glob("out.h5*"))
    if left != ["out.h5"]:
        return f"left {', '.join(left)}"
    return None if same(folder / "out.h5", folder / "whole.h5") else "the end is not the same"
