"""Memory over 1,000 slices and over 1,000 iterations, beside that over a few: it must be flat.

The commands are real ones, each in a process of its own. What allocators keep may make two per cent of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faults.program import Found, judged, run
from faults.scans import stack

__all__ = ["campaign"]

_SIDE = 64
_FEW, _MANY = 100, 1000
_MOST = 1.02  # times the peak of few
_SECONDS = 600
_RUNS = {
    "slices, `fbp`": ("many.h5", ["--method", "fbp"], "rows"),
    "slices, `tv`": ("many.h5", ["--method", "tv", "--strength", "0.1", "--set", "max_iter=3"], "rows"),
    "iterations, `tv`": ("one.h5", ["--method", "tv", "--strength", "0.1", "--set", "tol=1e-15"], "iterations"),
    "iterations, `red`": ("one.h5", ["--method", "red", "--strength", "0.1", "--set", "tol=1e-15"], "iterations"),
}


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield what grows over a thousand: slices by two methods, iterations by two; `trials` changes nothing."""
    del trials
    stack(folder / "many.h5", rows=_MANY, size=_SIDE, seed=seed)
    stack(folder / "one.h5", rows=1, size=_SIDE, seed=seed)
    for name, (scan, how, grown) in _RUNS.items():
        peaks = []
        for count in (_FEW, _MANY):
            several = ["--rows", f"0:{count}"] if grown == "rows" else ["--set", f"max_iter={count}"]
            found = run(["reconstruct", scan, *how, *several, "--overwrite"], folder, limit=_SECONDS)
            told = judged(f"{count} {name}", found, [0])
            if told.bad:
                yield told
                break
            peaks.append(found.peak)
        else:
            few, many = peaks
            bad = None if many <= _MOST * few else f"{many / few:.2f} times the memory"
            word = "grows" if bad else "flat"
            yield Found(name, word, bad, (name, f"{few / 2**20:.0f}", f"{many / 2**20:.0f}", f"{many / few:.3f}"))
