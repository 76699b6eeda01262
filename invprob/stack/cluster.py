"""Computations handed out to the workers of a Dask cluster; those of workers that die or hang are handed out again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from invprob.errors import ResourceError, printable
from invprob.machine import processors
from invprob.stack.chunk_work import Chunk, Done, compute

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["LOCAL", "computed", "connected"]

LOCAL = "local"
_AHEAD = 2  # chunks per worker that are handed out: one under way, one waiting
_TICK = 1.0  # seconds between two looks at the clock
_PATIENCE, _LEAST = 10, 60.0  # times the median, and seconds, after which a chunk is given to another worker as well
_TRIES = 3  # workers that may die over one chunk
_FORGOTTEN = "60s"  # a worker of this machine without a word


@contextmanager
def connected(cluster: str | Client) -> Iterator[Client]:
    """Yield a client of a cluster, and close what was opened for it; ResourceError without Dask, or an answer."""
    try:
        import dask
        import distributed
    except ImportError as error:
        raise ResourceError("a cluster needs Dask: pip install 'invprob[dask]'") from error
    if isinstance(cluster, distributed.Client):
        yield cluster
        return
    try:
        if cluster == LOCAL:
            rules = {"distributed.scheduler.worker-ttl": _FORGOTTEN, "distributed.scheduler.allowed-failures": _TRIES}
            with dask.config.set(rules):
                own = distributed.LocalCluster(
                    n_workers=processors(), threads_per_worker=1, dashboard_address=None, memory_limit=0
                )
            client = distributed.Client(own)
        else:
            own, client = None, distributed.Client(cluster, timeout="10s")
    except (OSError, ValueError) as error:
        raise ResourceError(f"the cluster {printable(cluster)} does not answer ({printable(error)})") from error
    try:
        yield client
    except (ConnectionError, CancelledError, distributed.comm.CommClosedError) as error:
        raise ResourceError("the cluster has gone: what is done is kept, go on with --resume") from error
    finally:
        client.close()
        if own is not None:
            own.close()


def computed(client: Client, chunks: Mapping[int, Chunk]) -> Generator[tuple[int, Done | Exception] | None]:
    """Yield what the workers made of chunks, with their keys, as they come, and None while there is nothing.

    No more are handed out than the workers need, so that results do not pile up. A chunk that takes much longer than
    others did is given to one more worker; whichever is first counts. One whose workers died is tried again at the end,
    alone: it may have waited for others that were to blame.
    """
    from distributed import wait

    left, under_way, took = iter(chunks.items()), dict[Any, tuple[int, float]](), list[float]()
    blamed, alone = list[int](), set[int]()

    def hand_out(key: int, chunk: Chunk) -> None:
        under_way[client.submit(_on_worker, chunk, pure=False, retries=1)] = (key, time.monotonic())

    try:
        while True:
            room = _AHEAD * max(1, len(client.nthreads())) - len(under_way)
            for key, chunk in islice(left, max(0, room)):
                hand_out(key, chunk)
            if not under_way and blamed:
                key = blamed.pop()
                alone.add(key)
                hand_out(key, chunks[key])
            if not under_way:
                return
            try:
                ended = wait(list(under_way), timeout=_TICK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                ended = set()
                yield None
            for future in ended:
                if future not in under_way:  # its twin was as quick
                    continue
                key, since = under_way.pop(future)
                twins = [other for other, (same, _) in under_way.items() if same == key]
                if future.status != "finished" and twins:
                    continue
                for other in twins:
                    del under_way[other]
                client.cancel(twins)
                if key not in alone and _died(future):
                    blamed.append(key)
                    continue
                took.append(time.monotonic() - since)
                yield key, _end(future)
            for key in _late(under_way, took):
                hand_out(key, chunks[key])
    finally:
        client.cancel(list(under_way))


def _late(under_way: Mapping[Any, tuple[int, float]], took: list[float]) -> list[int]:
    """Return the keys of what takes much longer than others did, and has been given to one worker only."""
    if not took:
        return []
    limit = time.monotonic() - max(_LEAST, _PATIENCE * statistics.median(took))
    keys = [key for key, _ in under_way.values()]
    return [key for key, since in under_way.values() if since < limit and keys.count(key) == 1]


def _died(future: Future) -> bool:
    """Return whether the workers of a chunk were lost, one after another."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _end(future: Future) -> Done | Exception:
    """Return what came of a chunk; where its workers died, a ResourceError."""
    from distributed import KilledWorker

    try:
        found: Done = future.result()
    except KilledWorker:
        return ResourceError("every worker that had them was killed: is there too little memory?")
    except Exception as error:
        return error
    return found


def _on_worker(chunk: Chunk) -> Done:
    """Compute with one thread, so that the bits do not depend on the worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compute(chunk)
    finally:
        torch.set_num_threads(before)
