"""Spread the chunks of a stack over the workers of a Dask cluster: they compute, and this process alone writes.

A chunk is computed from the scan file, its rows, the method and its settings and from nothing else: what a worker that
was killed had under way goes to another one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Mapping
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.errors import InputError, ResourceError
from invprob.io import ResultWriter, open_stack
from invprob.io.going_on import Block
from invprob.machine import processors
from invprob.methods import Recipe
from invprob.stack.chunk_work import Chunk, Done
from invprob.stack.cluster import LOCAL, computed, connected
from invprob.stack.memory import budget, check_limit
from invprob.stack.reconstruction import StackEvent, StackReconstruction

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClusterReconstruction"]


class ClusterReconstruction(StackReconstruction):
    """A `StackReconstruction` whose chunks are computed by the workers of a Dask cluster.

    Arguments:
        path: the scan file, which all workers see under the same name.
        output: where the result file goes; this process alone writes it.
        cluster: the address of a scheduler, "local" for a cluster of processes on this machine, or a
            `distributed.Client`, which stays open.
        method, settings, overwrite, resume, command: as for `StackReconstruction`.
        options: how the file is read, those of `load_scan`.
        max_memory: what one worker may take, in GiB; on this machine what all may take.

    ResourceError if Dask is not installed or the cluster does not answer. Workers compute with one thread each, and
    which of them does what changes no bit of the result.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        cluster: str | Client,
        method: str | Recipe = "tv",
        *,
        options: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        max_memory: float | None = None,
        overwrite: bool = False,
        resume: bool = False,
        command: str | None = None,
    ) -> None:
        self._cluster, self._options = cluster, {k: v for k, v in (options or {}).items() if v is not None}
        check_limit(max_memory)
        stack = open_stack(path, **self._options)
        if cluster == LOCAL and stack.rows is not None:
            max_memory = (budget(None) / 2**30 if max_memory is None else max_memory) / processors()
        super().__init__(
            stack,
            output,
            method,
            settings=settings,
            max_memory=max_memory,
            overwrite=overwrite,
            resume=resume,
            command=command,
        )

    def _chunks(self, writer: ResultWriter) -> Generator[StackEvent]:
        """Hand out the chunks, write each as soon as it is done, and join what is known of them in their order."""
        if self.stack.rows is None:
            yield from super()._chunks(writer)  # a single item
            return
        chunks = [rows for rows in self.stack.chunks(self.at_once) if rows is not None]
        parts = dict(zip(accumulate(map(len, chunks), initial=0), chunks, strict=False))
        known: dict[int, Block | str] = {block.start: block for block in writer.blocks if block.start in parts}
        jobs = {start: self._job(rows) for start, rows in parts.items() if start not in known}
        first: Exception | None = None
        try:
            for start in known:
                yield StackEvent("kept", parts[start])
            with connected(self._cluster) as client, closing(computed(client, jobs)) as ends:
                for end in ends:
                    if end is None:
                        yield StackEvent("iterating", None)
                        continue
                    start, found = end
                    self._check_input()
                    first = first or (found if isinstance(found, Exception) else None)
                    known[start] = _written(writer, start, parts[start], found)
                    yield StackEvent("left out" if isinstance(known[start], str) else "stored", parts[start])
            if first is not None and not writer.any_rows:
                raise first
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self._join(parts, known)

    def _job(self, rows: range) -> Chunk:
        path, limits = str(Path(self.stack.path).absolute()), (rows.start, rows.stop, rows.step)
        return Chunk(path, self._sources["scan"].digest, self._options, limits, self.method, self.settings)

    def _join(self, parts: Mapping[int, range], known: Mapping[int, Block | str]) -> None:
        """Take note of all chunks up to the last that is known, in their order."""
        for start in sorted(part for part in parts if part <= max(known, default=-1)):
            found = known.get(start)
            if isinstance(found, Block):
                self._keep(found, parts[start])
                continue
            self.joined.miss(len(parts[start]) * math.prod(self.stack.sample.batch_shape[1:]))
            if found is not None:
                self.failures.append(found)
        self.finished = next((start for start in parts if start not in known), len(self.stack))


def _written(writer: ResultWriter, start: int, rows: range, found: Done | Exception) -> Block | str:
    """Write a chunk, and return what was written, or a sentence on why there is nothing."""
    if isinstance(found, Done):
        writer.write(start, found.image, facts=found.facts, final=True, **found.others)
        return Block(start, start + len(rows), True, found.facts)
    if isinstance(found, InputError | ResourceError):
        return f"rows {rows[0]} to {rows[-1]}: left out: {found}"
    raise found
