"""Reconstruct a stack of any length chunk by chunk; every chunk is safe on disk before the next one is read."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from invprob.errors import InputError, printable
from invprob.io import ResultWriter, Stack, open_stack, run_attributes
from invprob.io.atomic import partial_path
from invprob.io.attributes import plain
from invprob.io.going_on import Block, unfinished
from invprob.io.options import in_words
from invprob.methods import Progress, Recipe, followed
from invprob.methods.entry import find_recipe, settings_of
from invprob.result import ParameterMap, Result, current_versions
from invprob.scan import Scan
from invprob.stack.chunk_facts import ChunkFacts
from invprob.stack.chunk_work import beside, part
from invprob.stack.identity import geometry, options_told, sources
from invprob.stack.joined import JoinedResults
from invprob.stack.memory import budget, rows_at_once

__all__ = ["StackEvent", "StackReconstruction", "reconstruct_stack"]

_NETWORKS = {"denoiser", "network"}  # settings of methods that have one
_AT_ONCE = "rows at once"
_OF_A_ROW = ("clamped", "rows", "source", "digest")  # what an origin tells of a part, or what is known of the whole


@dataclass(frozen=True, eq=False)
class StackEvent:
    """What a reconstruction has come to with a chunk.

    Arguments:
        kind: "kept" for a chunk that an earlier run has finished; "iterating" after every iteration; "storing" when
            the best image is about to be concluded and written, which nothing should interrupt; "stored" when it is
            safe on disk; "left out" where the chunk cannot be read; "finishing" (no rows) before what is known of the
            whole is written, the last event.
        rows: their indices in the file, None for a single item.
        progress: what the method told, where `kind` is "iterating" and after.
    """

    kind: Literal["kept", "iterating", "storing", "stored", "left out", "finishing"]
    rows: range | None
    progress: Progress | None = None


class StackReconstruction:
    """A method at work on an opened file, as many rows at a time as fit into memory.

    `events` does the work, and these attributes tell about it: `joined` what is known of the chunks' results,
    `failures` a sentence per chunk that was left out, `finished` how many of the first rows need not be done again,
    `interrupted`, `middle` the scan and the image of the middle row (or the last before it that there is), `written`
    the file.

    Arguments:
        stack: the opened file (`invprob.io.open_stack`).
        output: where the result file goes.
        method: a registered name, by default "tv", a `"module:function"` or a function.
        settings: the method's keyword arguments.
        max_memory: what the process may take, in GiB; by default 60 % of what is free.
        overwrite: whether a file that is there may be replaced.
        resume: whether to go on with what an earlier run has left, if there is any; the result is the same as if
            nothing had happened.
        command: the command line that the result file tells of, if any.

    InputError if the stack cannot be used, ResourceError if not one row fits into memory, OutputError if what is left
    was made from another scan, with other settings or by another version.
    """

    def __init__(
        self,
        stack: Stack,
        output: str | os.PathLike[str],
        method: str | Recipe = "tv",
        *,
        settings: Mapping[str, Any] | None = None,
        max_memory: float | None = None,
        overwrite: bool = False,
        resume: bool = False,
        command: str | None = None,
    ) -> None:
        stack.check()
        self.stack, self.output, self.method = stack, Path(output), method
        self.settings, self.overwrite, self.command = dict(settings or {}), overwrite, command
        self.resume = resume
        self.limit = budget(max_memory)
        self.at_once = rows_at_once(stack, self.limit, choosing=_chooses(method, self.settings))
        if self.at_once > 2 and len(stack) % self.at_once == 1:
            self.at_once -= 1  # lest the last row come alone, with the certificate of a single image
        begun = (unfinished(output) or {}) if resume else {}
        self.at_once = min(self.at_once, begun.get(_AT_ONCE, self.at_once))  # the same chunks give the same bits
        self._sources = sources(stack)
        self.joined = JoinedResults()
        self.failures: list[str] = []
        self.finished = 0
        self.interrupted = False
        self.middle: tuple[Scan, Result] | None = None
        self._kept_middle: tuple[range | None, Block] | None = None
        self._stored = 0
        self._maps: Mapping[str, ParameterMap] = {}
        self._writer: ResultWriter | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        sample = self.stack.sample
        rows = () if self.stack.rows is None else (len(self.stack),)
        return (*rows, *sample.batch_shape[1:], *sample.operator.domain_shape)

    @property
    def _dtype(self) -> torch.dtype:
        return self.stack.sample.operator.image_dtype(self.stack.sample.data)

    @property
    def n_bytes(self) -> int:
        """The size of the result."""
        return math.prod(self.shape) * self._dtype.itemsize

    @property
    def complete(self) -> bool:
        """Whether every row has an image."""
        return self._stored == len(self.stack)

    @property
    def written(self) -> Path:
        """Where the result is: the partial file while rows are missing."""
        return self.output if self.complete else partial_path(self.output)

    def prepare(self) -> None:
        """Raise OutputError or ResourceError if the result could not be written; `events` does it, too."""
        self._writer = self._make_writer()

    def _make_writer(self) -> ResultWriter:
        sample = self.stack.sample
        return ResultWriter(
            self.output,
            self.shape,
            self._dtype,
            overwrite=self.overwrite,
            resume=self.resume,
            identity=self._identity(),
            attributes=run_attributes(sample, self.settings, self.command),
            sources=[self.stack.path],
        )

    def _identity(self) -> dict[str, Any]:
        """Return what the result is made from: whoever goes on with it must have the same."""
        name = self.method if isinstance(self.method, str) else f"{self.method.__module__}:{self.method.__qualname__}"
        origin = {f"scan {key}": text for key, text in self.stack.sample.origin.items() if key not in _OF_A_ROW}
        settings = {f"setting {key}": value for key, value in self.settings.items()}
        facts: dict[str, Any] = {
            "method": name,
            **settings,
            **{name: seen.digest for name, seen in self._sources.items()},
            "rows": None if self.stack.rows is None else in_words(self.stack.rows),
            "geometry": geometry(self.stack.sample.operator),
            **options_told(self.stack),
            **origin,
            "shape": list(self.shape),
            _AT_ONCE: self.at_once,
            **{f"version of {name}": version for name, version in current_versions().items()},
        }
        plainly: dict[str, Any] = json.loads(json.dumps(facts, default=plain))
        return plainly

    def events(self) -> Generator[StackEvent]:
        """Do the work, and yield what it has come to.

        A KeyboardInterrupt, raised here or thrown into the generator, ends it with the best image so far of the chunk
        under way, and is raised again only if there is no image at all; closing the generator keeps the chunks that are
        stored. Rows that cannot be read are left out if others came before them, else InputError is raised. ValueError
        for an unknown method, a setting out of range, or a method that is not for such data.
        """
        try:
            with self._writer or self._make_writer() as writer:
                try:
                    yield from self._chunks(writer)
                    if not self._stored:
                        raise KeyboardInterrupt
                    self._show_kept_middle(writer)
                    yield from self._before_writing(StackEvent("finishing", None))
                except GeneratorExit:
                    self._annotate(writer)
                    raise
                self._annotate(writer)
                if not self.complete:
                    raise _IncompleteError
        except _IncompleteError:
            return

    def _chunks(self, writer: ResultWriter) -> Generator[StackEvent]:
        start, kept = 0, {block.start: block for block in writer.blocks}
        for rows in self.stack.chunks(self.at_once):
            try:
                if start in kept:
                    self._keep(kept[start], rows)
                    yield StackEvent("kept", rows)
                else:
                    yield from self._chunk(writer, start, rows)
            except KeyboardInterrupt:
                self.interrupted = True
            if self.interrupted:
                return
            start += _length(rows)

    def _chunk(self, writer: ResultWriter, start: int, rows: range | None) -> Generator[StackEvent]:
        scan = self._read(rows)
        if scan is None:
            self.finished = start + _length(rows)
            yield StackEvent("left out", rows)
            return
        last, started = None, time.perf_counter()
        try:
            for last in followed(scan, self.method, **self.settings):
                yield StackEvent("iterating", rows, last)
        except KeyboardInterrupt:
            self.interrupted = True
        if last is None:
            if self.interrupted:
                return
            raise RuntimeError(f"the method {self.method} ended without a result")
        if self.interrupted:  # patience may end before all is concluded
            writer.write(start, last.image(), final=False)
        yield from self._before_writing(StackEvent("storing", rows, last))
        result = replace(last.result(), seconds=time.perf_counter() - started)  # with the choice of a strength
        self._store(writer, start, scan, result)
        yield StackEvent("stored", rows, last)

    def _before_writing(self, event: StackEvent) -> Generator[StackEvent]:
        """Yield an event; an interruption that comes with it waits until the writing is done."""
        try:
            yield event
        except KeyboardInterrupt:
            self.interrupted = True

    def _read(self, rows: range | None) -> Scan | None:
        """Return the scan of a chunk, None if a late one cannot be read: the others can still be had."""
        try:
            scan = part(self.stack, rows, self.method)
        except InputError as error:
            self._check_input()
            if rows is None or not self._stored:
                raise
            self.failures.append(f"rows {rows[0]} to {rows[-1]}: left out: {error}")
            self.joined.miss(len(rows) * math.prod(self.stack.sample.batch_shape[1:]))
            return None
        self._check_input()
        return scan

    def _check_input(self) -> None:
        """Raise InputError if a file is no longer what it was: its rows would not belong together."""
        for seen in self._sources.values():
            path = printable(seen.path)
            try:
                same = seen.is_same()
            except OSError as error:
                raise InputError(f"{path} has gone while it was read ({printable(error)}): bring it back") from error
            if not same:
                raise InputError(f"{path} has changed while it was read: bring the former file back, or start anew")

    def _keep(self, block: Block, rows: range | None) -> None:
        """Take over a chunk that an earlier run has finished."""
        self._stored += block.stop - block.start
        self.finished = block.stop
        self.joined.add(ChunkFacts.from_json(block.facts))
        if block.start <= len(self.stack) // 2:
            self._kept_middle = (rows, block)

    def _show_kept_middle(self, writer: ResultWriter) -> None:
        """Read again what a picture of the middle row needs."""
        if self._kept_middle is not None:
            rows, block = self._kept_middle
            scan = part(self.stack, rows, self.method)
            result = ChunkFacts.from_json(block.facts).result(writer.read(block.start, block.stop), scan)
            self._set_middle(block.start, scan, result)

    def _store(self, writer: ResultWriter, start: int, scan: Scan, result: Result) -> None:
        length = 1 if self.stack.rows is None else len(result.x)
        if result.maps and len(self.stack) > 1:
            raise InputError(f"{self.method} makes maps of one item at a time: choose one with --rows")
        facts = ChunkFacts.of(scan, result)
        writer.write(start, result.x, facts=facts.as_json(), final=not self.interrupted, **beside(result))
        self._stored += length
        self.finished = self.finished if self.interrupted else start + length
        self._maps = result.maps
        self.joined.add(facts)
        if start <= len(self.stack) // 2:
            self._kept_middle = None
            self._set_middle(start, scan, result)

    def _set_middle(self, start: int, scan: Scan, result: Result) -> None:
        """Note the middle row, or the last before it, of a chunk."""
        if self.stack.rows is None:
            self.middle = (scan, replace(result, state=None))
            return
        row = min(len(self.stack) // 2 - start, len(result.x) - 1)
        try:
            self.middle = (scan.row(row), replace(result, state=None).row(row))
        except (ValueError, TypeError, RuntimeError) as error:  # the images are more than a picture of one
            self.failures.append(f"there is no picture of the middle row: {error}")

    def _annotate(self, writer: ResultWriter) -> None:
        joined = self.joined
        if not self._stored:
            return
        if self.stack.rows is not None and "rows" in joined.provenance:
            joined.provenance["rows"] = in_words(self.stack.rows)
        writer.annotate(
            {
                "settings": joined.settings,
                "provenance": joined.provenance,
                "item_status": joined.item_status,
                "certificate": joined.certificate,
                "seconds": joined.seconds,
            }
        )
        if self.complete:
            writer.annotate({"status": joined.status})
            writer.store("n_iter", joined.n_iter)
            for name, column in joined.history.items():
                writer.store(f"history/{name}", column)
            if len(self.stack) == 1:
                writer.store_maps(self._maps)


def _chooses(method: str | Recipe, settings: Mapping[str, Any]) -> bool:
    """Return whether a strength is chosen: where none is given, and by networks, which begin with total variation."""
    given = settings.get("strength")
    return given is None or isinstance(given, str) or not _NETWORKS.isdisjoint(settings_of(find_recipe(method)))


def reconstruct_stack(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    method: str | Recipe = "tv",
    *,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    max_memory: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> StackReconstruction:
    """Reconstruct a scan file into a result file in bounded memory, and return how it went.

    Arguments:
        path: the scan file.
        options: how to read it, those of `load_scan`.
        output, method, settings, max_memory, overwrite, resume: as for `StackReconstruction`, with its errors.

    A KeyboardInterrupt is raised again when what there is has been stored.
    """
    work = StackReconstruction(
        open_stack(path, **(options or {})),
        output,
        method,
        settings=settings,
        max_memory=max_memory,
        overwrite=overwrite,
        resume=resume,
    )
    for _ in work.events():
        pass
    if work.interrupted:
        raise KeyboardInterrupt
    return work


class _IncompleteError(Exception):
    """Leaves the writer with rows missing, so that it keeps the partial file."""


def _length(rows: range | None) -> int:
    return 1 if rows is None else len(rows)
