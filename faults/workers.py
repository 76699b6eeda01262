"""Row 43: workers of a cluster are killed while they reconstruct a stack; all rows must be there, and the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from faults.program import Found
from faults.scans import said_in, stack
from invprob.io import load_result, open_stack
from invprob.stack import ClusterReconstruction, StackReconstruction, memory

__all__ = ["campaign"]

_WORKERS, _SHARE = 4, 8  # rows of one chunk each that are done between two kills, on average
_METHOD, _SETTINGS = "tv", {"strength": 0.05, "max_iter": 4}
_HANG = 600.0  # seconds without a chunk; a worker comes back in some, however busy the machine is


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield kills of one of four workers at random moments of one run, then whether its end is that of a run alone."""
    from distributed import Client, LocalCluster

    memory._MAX_ROWS = 1
    torch.set_num_threads(1)
    generator, scan = np.random.default_rng(seed), stack(folder / "s.h5", rows=_SHARE * (trials + 1))
    whole, output = folder / "whole.h5", folder / "out.h5"
    list(StackReconstruction(open_stack(scan), whole, _METHOD, settings=_SETTINGS).events())
    due = sorted(generator.choice(np.arange(1, _SHARE * trials), size=trials, replace=False).tolist())
    cluster = LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None, memory_limit=0)
    with cluster, Client(cluster) as client:
        client.wait_for_workers(_WORKERS)
        work = ClusterReconstruction(scan, output, client, _METHOD, settings=_SETTINGS)
        events, stored, last = work.events(), 0, time.monotonic()
        for event in events:
            if event.kind in ("stored", "left out"):
                stored, last = stored + 1, time.monotonic()
            while due and stored >= due[0] and (pid := _one_of(client, generator)) is not None:
                due.pop(0)
                os.kill(pid, signal.SIGKILL)
                yield Found(f"a worker killed after {stored} chunks", "killed")
            if time.monotonic() - last > _HANG:
                events.close()
                yield Found(f"after {stored} chunks", "hang", f"no chunk for {_HANG:.0f} s")
                return
        same = work.complete and said_in(output) == said_in(whole)
        lost = (~load_result(work.written).x.isfinite().all(dim=(1, 2))).nonzero().flatten().tolist()
        bad = None if same else f"rows lost: {lost}; {work.failures}" if lost or work.failures else "other bits"
        yield Found(f"{trials} kills of one of {_WORKERS} workers, {len(work.stack)} rows", "same bits", bad)


def _one_of(client: object, generator: np.random.Generator) -> int | None:
    """Return the process of a worker that is up, None while there is none."""
    with suppress(OSError, TimeoutError):  # one that was killed may be asked before the scheduler knows
        found = [told for told in client.run(os.getpid, on_error="return").values() if isinstance(told, int)]
        living = [pid for pid in found if Path(f"/proc/{pid}").exists()]
        return int(generator.choice(living)) if living else None
    return None
