"""Projections as detectors write them: a folder of TIFF files, one with many pages, or an array (view, row, column)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.files import check_source, files_of, is_series
from invprob.io.images import NUMPY, TIFF, Pages, pages_of
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.npy import read_npy
from invprob.io.options import DARKS, FLATS, Options, as_slice
from invprob.io.parallel_views import ACCEPTED, Source, open_views
from invprob.io.safe_hdf5 import memory_limit

__all__ = ["READER", "open_projections"]

LAYOUT = "projections"


class _Frames:
    """Pictures `(count, rows, columns)` in files or in an array, read some rows at a time."""

    def __init__(self, path: Path) -> None:
        check_source(path)
        self.path, self.where = path, printable(path)
        files = files_of(path)
        if is_series(path):
            files = tuple(f for f in files if _head(f).startswith(TIFF))
            if not files:
                raise InputError(f"{self.where} holds no TIFF file: name the folder or the pattern of the projections")
        self._array = read_npy(path) if _head(files[0]).startswith(NUMPY) else None
        if self._array is None:
            self._pages = [pages_of(file) for file in files]
            self._check_pages()
            count, shape = sum(pages.count for pages in self._pages), self._pages[0].shape
        else:
            if self._array.ndim == 2:
                self._array = self._array[None]
            count, shape = self._array.shape[0], self._array.shape[1:]
        if len(shape) != 2:
            raise InputError(f"{self.where} holds pictures of the shape {shape}, expected rows and columns of greys")
        self.shape = (int(count), int(shape[0]), int(shape[1]))

    def _check_pages(self) -> None:
        first = self._pages[0]
        for pages in self._pages:
            if pages.shape != first.shape:
                raise InputError(
                    f"{printable(pages.path)} has pages of {pages.shape}, {printable(first.path)} of {first.shape}: "
                    "keep projections, flats and darks in folders of their own"
                )

    def read(self, frames: range, rows: range) -> NDArray[Any]:
        """Return some rows of some frames; InputError where they do not fit into memory."""
        needed = len(frames) * len(rows) * self.shape[2] * 8
        if needed > memory_limit():
            raise InputError(f"{self.where} needs {needed / 2**30:.1f} GiB: read a part of it, by --rows or --views")
        if self._array is not None:
            return np.asarray(self._array[as_slice(frames), as_slice(rows)])
        return np.stack([pages.rows(page, as_slice(rows)) for pages, page in map(self._place.__getitem__, frames)])

    @cached_property
    def _place(self) -> list[tuple[Pages, int]]:
        return [(pages, index) for pages in self._pages for index in range(pages.count)]


class _Projections(Source):
    """Frames with flats and darks beside them; the angles are always given."""

    layout = LAYOUT
    named = MappingProxyType({"data": "the projections", "white": "--flats", "dark": "--darks", "theta": "the angles"})
    remedy = "give it with --flats, or "

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self._frames = _Frames(path)
        self.shape = self._frames.shape
        self._fields = {
            which: _Frames(Path(options[option.name])) if option.name in options else None
            for which, option in (("white", FLATS), ("dark", DARKS))
        }
        for which, field in self._fields.items():
            if field is not None and field.shape[1:] != self.shape[1:]:
                raise InputError(
                    f"{self.named[which]} {field.where} has pictures of {field.shape[1:]}, the projections of "
                    f"{self.shape[1:]}: take those of the same detector"
                )

    def counts(self, views: range, rows: range) -> NDArray[Any]:
        return self._frames.read(views, rows)

    def exposures(self, which: str, rows: range) -> NDArray[Any] | None:
        field = self._fields[which]
        return None if field is None else field.read(range(field.shape[0]), rows)

    def angles(self) -> None:
        return None


def open_projections(path: Path, options: Options) -> Stack:
    """Open projections as rows of a parallel beam; the views are in the order of the numbers in the files' names."""
    if options.get("values", "counts") != "counts":
        for option in (FLATS, DARKS):
            if option.name in options:
                option.refuse(because=f"{options['values']} are corrected already")
    return open_views(_Projections(path, options), options)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(8)
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read: {error.strerror}") from error


def _recognises(probe: Probe) -> bool:
    if probe.series:
        return any(_head(file).startswith(TIFF) for file in files_of(probe.path))
    if probe.head.startswith(TIFF):
        return pages_of(probe.path).count > 1
    if probe.head.startswith(NUMPY):
        array = read_npy(probe.path)
        return array.dtype.kind in "biuf" and array.ndim == 3
    return False


def _first_page(path: Path) -> None:
    if _head(path).startswith(TIFF):
        pages_of(path).read(0)


READER = Reader(
    layout=LAYOUT,
    about="TIFF files in a folder (or a pattern), TIFF of many pages, real .npy of (view, row, column)",
    accepts=(*ACCEPTED, FLATS, DARKS),
    otherwise="these are real projections of a parallel beam; k-space is complex",
    recognises=_recognises,
    open=open_projections,
    parse=_first_page,
)
