"""One chunk of a stack as a computation of its own, which may be done anywhere, again, or twice."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from invprob.errors import InputError, printable
from invprob.io import Stack, open_stack
from invprob.io.digest import fingerprint
from invprob.methods import Recipe, is_direct, reconstruct
from invprob.result import Result
from invprob.scan import Scan
from invprob.stack.chunk_facts import ChunkFacts

__all__ = ["Chunk", "Done", "beside", "compute", "part"]


@dataclass(frozen=True)
class Chunk:
    """All that computing some rows of a scan file needs.

    Arguments:
        path: the scan file, where all workers see it under this name.
        scan: its fingerprint.
        options: how it is read.
        rows: first, last + 1 and step, as in a range.
        method, settings: a registered name or a function, and its keyword arguments.
    """

    path: str
    scan: str
    options: Mapping[str, Any]
    rows: tuple[int, int, int]
    method: str | Recipe
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Done:
    """The images of a chunk, what is written beside them (`beside`), and what is known of them (`ChunkFacts`)."""

    image: Tensor
    others: dict[str, Tensor]
    facts: dict[str, Any]


def beside(result: Result) -> dict[str, Tensor]:
    """Return what a result has besides its image, by name as `ResultWriter.write` takes it."""
    found = {"spread": result.spread, "samples": result.samples, "half_change": result.half_change}
    return {name: images for name, images in found.items() if images is not None}


def part(stack: Stack, rows: range | None, method: str | Recipe) -> Scan:
    """Return the scan of some rows of a stack for a method; InputError if they cannot be read.

    Images by a direct method cost little, so that the data behind them are doubted once, by the sample of the stack.
    """
    scan = stack.load(rows)
    if rows is None or not is_direct(method):
        return scan
    return replace(scan, doubted=tuple(doubt for doubt in stack.doubts() if doubt not in stack.warned))


def compute(chunk: Chunk) -> Done:
    """Return what a method makes of a chunk; InputError if the file is not the one that was meant."""
    started = time.perf_counter()
    try:
        same = fingerprint(chunk.path) == chunk.scan
    except OSError:
        same = False
    if not same:
        raise InputError(
            f"{printable(chunk.path)} is not on this worker what it is where the work was begun: all workers must see "
            "the same file under the same name"
        )
    stack = _opened(chunk.path, chunk.scan, pickle.dumps(dict(chunk.options)))
    scan = part(stack, range(*chunk.rows), chunk.method)
    result = reconstruct(scan, chunk.method, **chunk.settings)
    result = replace(result, seconds=time.perf_counter() - started)
    if result.maps:
        raise InputError(f"{chunk.method} makes maps of one item at a time: choose one with --rows, without --dask")
    others = {name: images.cpu() for name, images in beside(result).items()}
    return Done(result.x.cpu(), others, ChunkFacts.of(scan, result).as_json())


@lru_cache(maxsize=2)
def _opened(path: str, _scan: str, options: bytes) -> Stack:
    return open_stack(path, **pickle.loads(options))
