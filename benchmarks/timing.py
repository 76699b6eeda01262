"""Ratios of running times that survive a busy machine, and how fast this machine's memory is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np

Call = Callable[[], object]
BLOCK = 0.04  # seconds: shorter calls are repeated until a block is this long


def seconds(call: Call, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long one call takes."""
    start = clock()
    call()
    return clock() - start


def race(contenders: Mapping[str, Call], *, blocks: int = 5, patience: float = 10.0) -> dict[str, float]:
    """Return milliseconds per call: the median over blocks of the best call of each block.

    Blocks of all contenders alternate, so that what disturbs one disturbs the others. A contender that needs more
    than `patience` seconds for its blocks gets fewer of them, one at least.
    """
    calls, rounds = {}, {}
    for name, call in contenders.items():
        first = seconds(call)  # compiles, plans, caches
        usual = seconds(call) if first < patience / 4 else first
        calls[name] = max(1, min(20, int(BLOCK / max(usual, 1e-6))))
        rounds[name] = max(1, min(blocks, int(patience / (usual * calls[name]))))
    best: dict[str, list[float]] = {name: [] for name in contenders}
    for block in range(blocks):
        for name, call in contenders.items():
            if block < rounds[name]:
                best[name].append(min(seconds(call) for _ in range(calls[name])))
    return {name: 1e3 * statistics.median(found) for name, found in best.items()}


@lru_cache(maxsize=1)
def _compiled_triad() -> Callable[..., None]:
    def triad(a: Any, b: Any, c: Any, times: int) -> None:
        for _ in range(times):
            for i in range(a.size):
                a[i] = b[i] + np.float32(3) * c[i]

    compiled: Callable[..., None] = numba.njit(nogil=True, fastmath=True)(triad)
    return compiled


def triad_bandwidth(
    mebibytes: float, threads: int, *, blocks: int = 7, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the GB/s of a <- b + 3 c on float32 arrays of so many MiB in all threads together (McCalpin 1995)."""
    triad = _compiled_triad()
    count = int(mebibytes * 2**20 / 4 / threads)
    arrays = [tuple(np.ones(count, np.float32) for _ in range(3)) for _ in range(threads)]
    times = max(1, int(128 / mebibytes))
    with ThreadPoolExecutor(threads) as pool:

        def sweep() -> None:
            for done in [pool.submit(triad, *three, times) for three in arrays]:
                done.result()

        sweep()
        fastest = min(seconds(sweep, clock) for _ in range(blocks))
    return 3 * 4 * count * threads * times / fastest / 1e9
