"""Writes the project's file of a result (`docs/file-format.md`) block by block, safe against crashes.

While it grows the file is called `<name>.partial`, and `<name>.journal` beside it tells what is done. A crash at any
moment leaves a file that opens, with all blocks that were reported (`growing_file`). The journal holds the metadata,
too, and a checksum of every block, from which `resume` goes on. Only a complete file gets its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import torch
from torch import Tensor

from invprob.errors import OutputError, ResourceError, printable
from invprob.io.atomic import check_output, check_room, commit, create_beside, partial_path, sync_folder
from invprob.io.attributes import write_array, write_attributes
from invprob.io.going_on import (
    Block,
    check_identity,
    check_own,
    check_unfinished,
    opened_partial,
    reason,
    remove_unnamed,
)
from invprob.io.growing_file import GrowingFile, Kinds, not_finite
from invprob.io.journal import Journal
from invprob.io.result_form import FORMAT, VERSION, annotate, write_maps
from invprob.result import ParameterMap

__all__ = ["ResultWriter"]


class ResultWriter:
    """Writes an image of `shape` block by block along its first axis; a context manager.

    Constructing it raises OutputError or ResourceError if the result could not be written (see
    `check_output`), or if an unfinished result is there and neither `overwrite` nor `resume` is True; so do that
    before the computation. `dtype` is what the image is expected to be, for which space is claimed; the file takes
    the dtype of the blocks, whatever it is. Left by an exception, the context keeps the partial file if a block was
    written. `sources` are the input files. Entered to `resume`, it goes on with the unfinished result, and `blocks` are
    those whose values are as they were written; OutputError names the entry of `identity`, what the result is made
    from, that differs.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        overwrite: bool = False,
        resume: bool = False,
        attributes: Mapping[str, Any] | None = None,
        sources: Iterable[str | os.PathLike[str]] = (),
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.shape = tuple(shape)
        if 0 in self.shape or not self.shape:
            raise OutputError(f"{printable(path)}: an image of shape {self.shape} is nothing to write")
        self._expected = _numpy_dtype(dtype)
        self._overwrite, self._resume = overwrite, resume
        self.path = check_output(path, 0, overwrite=overwrite, sources=sources)
        self._partial = partial_path(self.path)
        self._identity = dict(identity or {})
        begun = check_unfinished(self.path, overwrite or resume)
        if begun is None or not resume:
            check_room(self.path, int(np.prod(self.shape)) * self._expected.itemsize)
        else:
            check_identity(self.path, begun, self._identity)
        self._attributes = dict(attributes or {})
        self._written = np.zeros(self.shape[0], dtype=bool)
        self._not_finite = np.zeros(self.shape[0], dtype=np.int64)
        self.blocks: list[Block] = []

    def __enter__(self) -> Self:
        self._journal: Journal | None = None
        self._file: GrowingFile | None = None
        self._resumed = False
        try:
            self._journal = Journal(self.path)
            if not (self._resume and self._go_on()):
                self._begin()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError | RuntimeError) and not isinstance(error, ResourceError):
                raise ResourceError(
                    f"{printable(self.path)} could not be allocated ({reason(error)}): make room, or choose another "
                    "place"
                ) from error
            raise
        return self

    def write(
        self,
        start: int,
        images: Tensor,
        *,
        spread: Tensor | None = None,
        samples: Tensor | None = None,
        half_change: Tensor | None = None,
        facts: Mapping[str, Any] | None = None,
        final: bool = True,
    ) -> None:
        """Write `images` from index `start` of the first axis on; when this returns they are safe.

        So are their `spread` and `half_change`, of the same shape, and their `samples`, of the same shape behind a
        leading axis. `facts` (JSON) come back in `blocks` to whoever resumes, unless the block is not `final`.
        """
        stop = start + len(images)
        arrays = {"image": images, "spread": spread, "half_change": half_change, "samples": samples}
        given = {name: values for name, values in arrays.items() if values is not None}
        fits = all(
            tuple(t.shape[lead : lead + 1]) == (len(images),) and tuple(t.shape[lead + 1 :]) == self.shape[1:]
            for name, t in given.items()
            for lead in (int(name == "samples"),)
        )
        whole = (start, stop) == (0, self.shape[0])
        if start < 0 or stop > self.shape[0] or not fits or not (whole or self._by_row):
            raise ValueError(f"images of shape {tuple(images.shape)} at {start} do not fit a result of {self.shape}")
        self._check_own()
        try:
            self._put({name: values.numpy(force=True) for name, values in given.items()}, start, stop)
            self._growing.sync()
            self._log.add(
                {"block": Block(start, stop, final, dict(facts or {})).entry(self._growing.sums(start, stop))}
            )
        except (OSError, RuntimeError) as error:
            raise self._full_disk(error) from error
        self._written[start:stop] = True
        self._not_finite[start:stop] = not_finite(images.numpy(force=True))

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Note attributes of the result: texts, numbers, and JSON for the names the format keeps as JSON."""
        annotate(self._hdf5, attributes)

    def store(self, name: str, values: Any) -> None:
        """Note a small array beside the image, for instance `history/residual`; an empty one is left out."""
        if torch.as_tensor(values).numel():
            write_array(self._hdf5, name, values)

    def store_maps(self, maps: Mapping[str, ParameterMap]) -> None:
        """Note the maps of a single item, under their names."""
        write_maps(self._hdf5, maps)

    @property
    def any_rows(self) -> bool:
        """Whether there is anything in the file."""
        return bool(self._written.any())

    def read(self, start: int, stop: int) -> Tensor:
        """Return images that have been written."""
        return torch.from_numpy(self._growing.read("image", start, stop))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._written.any():
            self._close()
        try:
            if kind is None and self._written.all():
                self._finish()
            elif self._written.any():
                with suppress(OSError, RuntimeError):  # a full disk has been reported by the write that met it
                    self._growing.write_metadata()
        except (OSError, RuntimeError) as failure:
            raise self._full_disk(failure) from failure
        finally:
            self._close()
        if kind is None and not self._written.all():
            missing = int((~self._written).sum())
            raise OutputError(f"{printable(self.path)}: {missing} of {self.shape[0]} slices were never written")

    # --- the file ---

    @property
    def _growing(self) -> GrowingFile:
        if self._file is None:
            raise ValueError("ResultWriter: the file is not open; use the writer in a `with` statement")
        return self._file

    @property
    def _hdf5(self) -> h5py.File:
        return self._growing.hdf5

    @property
    def _by_row(self) -> bool:
        """Whether the first axis has chunks of its own."""
        return len(self.shape) > min(2, int(self._attributes.get("ndim", 2)))

    @property
    def _log(self) -> Journal:
        if self._journal is None:
            raise ValueError("ResultWriter: the file is not open; use the writer in a `with` statement")
        return self._journal

    def _begin(self) -> None:
        """Start anew; what an earlier run left is ours, as its journal says."""
        log = self._log
        check_own(log, self._partial)
        if log.latest("layout") is not None:
            self._partial.unlink(missing_ok=True)
        remove_unnamed(self._log, self._partial)
        log.clear()
        log.add({"begun": self._identity})
        self._lay_out({"image": ((), self._expected)})

    def _lay_out(self, kinds: Kinds) -> None:
        """Make the file with room for these arrays, and with all that is written."""
        log, before = self._log, self._file
        own, descriptor = create_beside(self.path)
        try:
            log.add({"making": own.name})
            attributes = {"format": FORMAT, "version": VERSION, "status": "incomplete"} | self._attributes
            file = GrowingFile.begun(descriptor, self.shape, kinds, attributes, by_row=self._by_row)
            moved = []
            if before is not None:
                file.copy_from(before, np.flatnonzero(self._written).tolist())
                moved = list(log.since("layout", "block"))
            os.fsync(descriptor)
            log.add({"layout": {"file": own.name, **file.layout}})
            for entry in moved:
                log.add({"block": entry | {"sums": file.sums(entry["start"], entry["stop"])}})
            if before is not None:
                self._check_own()
                os.replace(own, self._partial)
                before.close()
            else:
                commit(own, self._partial, overwrite=False)
            sync_folder(self._partial)
        except BaseException:
            os.close(descriptor)
            own.unlink(missing_ok=True)
            raise
        self._file = file

    def _put(self, arrays: Mapping[str, np.ndarray[Any, Any]], start: int, stop: int) -> None:
        """Write values to where they belong, in a kind that holds them and all before."""
        due = {name: (a.shape[: a.ndim - len(self.shape)], a.dtype) for name, a in arrays.items()}
        held = self._growing.kinds
        if self._written.any():
            due = {
                name: (lead, np.promote_types(dtype, held[name][1]) if name in held else dtype)
                for name, (lead, dtype) in (held | due).items()
            }
        if any(held.get(name) != kind for name, kind in due.items()):
            self._lay_out(due)
        self._growing.put(arrays, start, stop)

    # --- going on ---

    def _go_on(self) -> bool:
        """Take up an unfinished result; False if there is none."""
        log = self._log
        layout, begun = log.latest("layout"), log.latest("begun")
        if layout is None or begun is None:
            return False
        check_identity(self.path, begun, self._identity)
        descriptor = opened_partial(log, self._partial)
        remove_unnamed(log, self._partial)
        if descriptor is None:
            return False
        self._resumed = True
        try:
            self._file = GrowingFile.taken_up(descriptor, self.shape, layout, by_row=self._by_row)
        except BaseException:
            os.close(descriptor)
            raise
        for entry in log.since("layout", "block"):
            self._take(Block.from_entry(entry), entry["sums"])
        return True

    def _take(self, block: Block, sums: str) -> None:
        """Take over a block whose values are as they were written."""
        counts = self._growing.verified(block.start, block.stop, sums)
        if counts is not None:
            self._written[block.start : block.stop] = True
            self._not_finite[block.start : block.stop] = counts
            if block.final:
                self.blocks.append(block)

    # --- the end ---

    def _finish(self) -> None:
        write_attributes(self._hdf5, {"not_finite": int(self._not_finite.sum())})
        self._growing.seal()
        self._growing.write_metadata()
        self._check_own()
        try:
            commit(self._partial, self.path, overwrite=self._overwrite)
        except OutputError as error:
            raise OutputError(
                f"{error}: the whole result is in {printable(self._partial)}; make way, and add --resume"
            ) from error
        self._log.remove()

    def _check_own(self) -> None:
        """Raise OutputError if the name of the partial file has come to another one."""
        try:
            same = os.path.samestat(os.fstat(self._growing.descriptor), os.lstat(self._partial))
        except OSError:
            same = False
        if not same:
            raise OutputError(
                f"{printable(self._partial)} has been moved or replaced while it was written: start again"
            )

    def _close(self) -> None:
        """Let go of everything; without a block the partial file goes, too."""
        ours = self._file is not None
        if self._file is not None:
            with suppress(OSError):
                nothing = not self._written.any() and not self._resumed
                if nothing and os.path.samestat(os.fstat(self._file.descriptor), os.lstat(self._partial)):
                    self._partial.unlink()
            self._file.close()
            self._file = None
        if self._journal is not None:
            with suppress(OSError):
                if not os.path.lexists(self._partial) or not (ours or self._journal.latest("layout")):
                    self._journal.remove()
            self._journal.close()
            self._journal = None

    def _full_disk(self, error: Exception) -> ResourceError:
        return ResourceError(
            f"{printable(self.path)} could not be written ({reason(error)}): make room, and go on with --resume; "
            f"what was finished is in {printable(self._partial)}"
        )


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    found: np.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    return found
