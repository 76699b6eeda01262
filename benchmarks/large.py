"""One large projection in a process of its own: `large.py parallel|fan BACKEND PIXELS ANGLES THREADS` prints JSON."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import torch
from plane import Size

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """Return the bytes that were in memory at most, since `forget` where the system can forget.

    On Linux not from getrusage, which counts the parent's memory from before the start of the program, too.
    """
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget() -> int:
    """Start the peak anew at what is in memory now, where the system can, and return it.

    What has been freed goes back to the system first: kept for later, it would hide what later calls need.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        RESET.write_text("5")
    return peak()


def main(kind: str, backend: str, pixels: str, angles: str, threads: str) -> None:
    """Measure."""
    torch.set_num_threads(int(threads))
    small, size = Size(64, 180, {}), Size(int(pixels), int(angles), {})
    B = getattr(small, kind)(backend)
    B.adjoint(B(torch.ones(B.domain_shape)))
    highest = peak()
    told: dict[str, float] = {"before": forget()}
    A = getattr(size, kind)(backend)
    x = torch.rand(A.domain_shape, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    y = A(x)
    told["set-up and first forward"] = time.perf_counter() - start
    A.adjoint(y)
    both = x.nbytes + y.nbytes
    told["whole"] = (peak() - told["before"]) / both
    highest = max(highest, peak())
    at_rest = forget() - both  # the arguments count, too
    start = time.perf_counter()
    A(x)
    told["forward"] = time.perf_counter() - start
    start = time.perf_counter()
    A.adjoint(y)
    told["adjoint"] = time.perf_counter() - start
    told["pair"] = (peak() - at_rest) / both
    told["peak"] = max(highest, peak())
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
