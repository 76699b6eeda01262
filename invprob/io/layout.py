"""What it takes to read a layout of files, and what an opened file is: items that are read some at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import h5py

from invprob.errors import InputError, InputWarning
from invprob.files import check_source, files_of, is_series
from invprob.io.digest import Seen
from invprob.io.options import Option, Options
from invprob.io.safe_hdf5 import open_hdf5
from invprob.scan import Scan

__all__ = ["Probe", "Reader", "Stack", "probed"]

_HEAD = 128  # bytes: a MATLAB file's header


@dataclass(frozen=True)
class Probe:
    """What a layout is recognised by: the first bytes of a file, its open content where it is HDF5, and its path.

    The path is for what lies beside the file, and no clue by itself. Of a folder or a pattern, which stands for the
    files of a `series`, the first bytes are those of the first file.
    """

    head: bytes
    hdf5: h5py.File | None
    path: Path
    series: bool = False


@contextmanager
def probed(path: Path) -> Iterator[Probe]:
    """Open a file, or the first of a series, to recognise it; InputError if it cannot be read, or is damaged HDF5."""
    check_source(path)
    series = is_series(path)
    with (files_of(path)[0] if series else path).open("rb") as stream:
        head = stream.read(_HEAD)
    if series:
        yield Probe(head, None, path, series=True)
        return
    if h5py.is_hdf5(path) or head.startswith(b"\x89HDF"):
        with open_hdf5(path) as file:
            yield Probe(head, file, path)
    else:
        yield Probe(head, None, path)


@dataclass(frozen=True)
class Reader:
    """A layout of files: its name, a sentence about it, and how it is recognised and opened.

    `accepts` are the options that `open` honours; given another, the user is told to leave it out, `otherwise` being
    the reason. `recognises` looks at the content of a file, never at its name; `open` looks at the file as far as it
    must to know its rows, and raises InputError for what cannot be a scan. `measurement` is the main dataset of an HDF5
    layout, whose stored values a summary tells of. `parse` reads what is parsed of a file that is no HDF5, and computes
    nothing: it is tried first where a crash does no harm.
    """

    layout: str
    about: str
    accepts: tuple[Option, ...]
    otherwise: str
    recognises: Callable[[Probe], bool]
    open: Callable[[Path, Options], Stack]
    measurement: str | None = None
    parse: Callable[[Path], object] | None = None


@dataclass(frozen=True, eq=False)
class Stack:
    """A scan file that is open: a single item, an image or a volume, or `rows` of them along the first batch axis.

    `rows` are the indices in the file that were asked for, None for a single item; `read` returns the scan of some of
    them, and None stands for the single item. `found` holds what had to be found in the data, in words by what it is;
    `obstacle` is why rows can be looked at but not used. `reader` is who opened it, where it was one of `READERS`, and
    `options` what it was told; `sources` are the scan and the files that options name, as they were before.
    """

    path: Path
    layout: str
    rows: range | None
    read: Callable[[range | None], Scan]
    found: Mapping[str, str] = field(default_factory=dict)
    obstacle: str | None = None
    reader: Reader | None = None
    options: Options = field(default_factory=dict)
    sources: Mapping[str, Seen] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows, 1 for a single item."""
        return 1 if self.rows is None else len(self.rows)

    @property
    def accepts(self) -> tuple[Option, ...]:
        """The options that its reader honours."""
        return () if self.reader is None else self.reader.accepts

    @property
    def sample(self) -> Scan:
        """One row, or the single item: the middle one, or the first where that cannot be read."""
        return self._looked_at[0]

    @property
    def warned(self) -> tuple[str, ...]:
        """What reading the sample warned of, as reading it again does."""
        return self._looked_at[1]

    def load(self, rows: range | None = None) -> Scan:
        """Read some rows by their indices in the file, all by default; InputError for what cannot be used."""
        self.check()
        if self.rows is not None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                scan = self.read(self.rows if rows is None else rows)
            for told in caught:
                warnings.warn(told.message, told.category, stacklevel=2)
            warned = _told(caught)
            return replace(scan, warned=warned) if warned else scan
        for warning in self.warned:
            warnings.warn(warning, InputWarning, stacklevel=2)
        return self.sample

    def check(self) -> None:
        """Raise InputError if there is an obstacle."""
        if self.obstacle is not None:
            raise InputError(self.obstacle)

    def chunks(self, size: int) -> Iterator[range | None]:
        """Yield the rows in groups of at most `size`; None once for a single item."""
        rows = self.rows
        yield from [None] if rows is None else (rows[i : i + size] for i in range(0, len(rows), size))

    def doubts(self) -> list[str]:
        """Return what is doubtful, as sentences: what reading the sample warned of, and what its operator says."""
        return list(self._doubts)

    def followed_by(self, change: Callable[[Scan], Scan]) -> Stack:
        """Return the stack with every scan changed after it was read."""
        read = self.read
        return replace(self, read=lambda rows: change(read(rows)))

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        said = " ".join(self.warned)
        return (*self.warned, *(doubt for doubt in self.sample.doubts() if doubt not in said))

    @cached_property
    def _looked_at(self) -> tuple[Scan, tuple[str, ...]]:
        """The sample, and what reading it warned of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scan = self._sample()
        told = _told(caught)
        return replace(scan, warned=told), told

    def _sample(self) -> Scan:
        if self.rows is None:
            return self.read(None)
        middle = len(self.rows) // 2
        try:
            return self.read(self.rows[middle : middle + 1])
        except InputError:
            if not middle:
                raise
            return self.read(self.rows[:1])


def _told(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """Return what the reading of a scan warned of, each once."""
    told = (str(warning.message) for warning in caught if issubclass(warning.category, InputWarning))
    return tuple(dict.fromkeys(told))
