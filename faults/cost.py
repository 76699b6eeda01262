"""What crash safety costs: the time in the writer beside that of computing, for a method of 10 ms a slice.

A run is the whole life of a result: its room is claimed, its chunks are computed and written with checksums, journal
and fsync, with facts as a method gives them, it is sealed and gets its name. Both times are of one run, so that what
else the machine does meets both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from faults.program import Found
from faults.scans import stack
from invprob.io import ResultWriter, load_scan
from invprob.methods import reconstruct
from invprob.stack.chunk_facts import ChunkFacts

__all__ = ["campaign"]

_ROWS, _SIDE, _AT_ONCE = 320, 128, 16
_SLICE, _MOST = 0.010, 0.05  # seconds of the processor, and the share that is promised


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield the share of writing in the time of computing, the median of as many runs as there are trials."""
    scan = load_scan(stack(folder / "s.h5", rows=_AT_ONCE))
    facts = ChunkFacts.of(scan, reconstruct(scan, "fbp")).as_json()
    images = torch.rand(_AT_ONCE, _SIDE, _SIDE, generator=torch.Generator().manual_seed(seed))
    runs = [_shares(folder / "o.h5", images, facts) for _ in range(trials)]
    wall, processor = (statistics.median(column) for column in zip(*runs, strict=True))
    bad = None if wall <= _MOST else f"costs {wall:.1%} of the time of computing"
    row = (f"{_ROWS} slices of {_SIDE} x {_SIDE}", f"{wall:.1%}", f"{processor:.1%}")
    yield Found("crash safety", "over 5 %" if bad else "at most 5 %", bad, row)


def _shares(output: Path, images: torch.Tensor, facts: dict[str, object]) -> tuple[float, float]:
    """Compute and write a result; return what writing took over what computing took, and of the processor's time."""
    begun, computed = _clocks(), np.zeros(2)
    with ResultWriter(output, (_ROWS, _SIDE, _SIDE), torch.float32, overwrite=True) as writer:
        for start in range(0, _ROWS, _AT_ONCE):
            computed += _compute(_SLICE * _AT_ONCE)
            writer.write(start, images, facts=facts)
    wall, processor = (_clocks() - begun - computed) / computed
    return float(wall), float(processor)


def _compute(seconds: float) -> np.ndarray:
    """Keep the processor busy for so long, and return what passed."""
    begun = _clocks()
    while time.process_time() < begun[1] + seconds:
        pass
    return _clocks() - begun


def _clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])
