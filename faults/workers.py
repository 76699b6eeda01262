"""Row 43: workers of a cluster are killed while they reconstruct a stack; all rows must be there, and the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from faults.kills import content
from faults.program import Found
from faults.scans import stack
from invprob.io import load_result, open_stack
from invprob.stack import ClusterReconstruction, StackReconstruction, memory

__all__ = ["campaign"]

_WORKERS, _ROWS = 4, 64


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield kills of one of four workers at random moments, and whether the end is that of a run without a cluster."""
    from distributed import Client, LocalCluster

    memory._MAX_ROWS = 1
    torch.set_num_threads(1)
    generator, scan = np.random.default_rng(seed), stack(folder / "s.h5", rows=_ROWS)
    whole, output = folder / "whole.h5", folder / "out.h5"
    list(StackReconstruction(open_stack(scan), whole, "tv", settings={"max_iter": 20}).events())
    cluster = LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None, memory_limit=0)
    kills = 0
    with cluster, Client(cluster) as client:
        while kills < trials:
            started, killed = time.monotonic(), 0
            work = ClusterReconstruction(scan, output, client, "tv", settings={"max_iter": 20}, overwrite=True)
            due = generator.integers(1, _ROWS)
            for count, event in enumerate(event for event in work.events() if event.kind == "stored"):
                if count >= due and kills < trials:
                    killed, kills = killed + _kill_one(client, generator), kills + 1
                    due = count + generator.integers(1, _ROWS)
                del event
            told = f"{killed} of {_WORKERS} workers killed, {time.monotonic() - started:.0f} s"
            same = work.complete and content(output) == content(whole)
            lost = work.complete or sorted((~load_result(work.written).x.isfinite().all(dim=(1, 2))).nonzero().tolist())
            yield Found(told, "same bits", None if same else f"rows lost: {lost}; {work.failures}")


def _kill_one(client: object, generator: np.random.Generator) -> int:
    """Kill a worker, if one has come up again, and return how many were killed."""
    found = list(client.run(os.getpid).values())
    if found:
        os.kill(int(generator.choice(found)), signal.SIGKILL)
    return bool(found)
