"""What a user may say about a file on top of what the file says itself, as a value or as text."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.npy import read_npy

__all__ = [
    "ANGLES",
    "ANGLES_UNIT",
    "AXIS",
    "BIN",
    "DARKS",
    "DISTANCE",
    "ENTRY",
    "FLATS",
    "FREQUENCIES",
    "IMAGE_PIXEL_SIZE",
    "IMAGE_SHAPE",
    "LINKED",
    "MEDIUM",
    "MISSING",
    "PAD",
    "PHASE",
    "PIXEL_SIZE",
    "REFERENCE",
    "RINGS",
    "ROWS",
    "VALUES",
    "VIEWS",
    "Option",
    "Options",
    "as_slice",
    "count_from",
    "in_words",
    "one_of",
    "rows_of",
    "selected",
    "whole",
    "yes_or_no",
]

_MOST = 10**6  # angles or frequencies: a typing error rather than a scan

Options = Mapping[str, Any]  # values by the names of options; what is not given is not there


@dataclass(frozen=True)
class Option:
    """One thing that a reader can be told: its name, what it is, how it is typed, and how text becomes a value.

    An option means the same to all readers that accept it. `parse` raises ValueError, which says how the option is
    typed. `flag` says that the command line knows it by a name of its own, too, not as `--read NAME=VALUE` alone.
    `take` makes what readers expect of a value from Python that is no text, or raises ValueError or TypeError; by
    default it stays as it is, and the reader tells.
    """

    name: str
    about: str
    form: str
    parse: Callable[[str], Any]
    flag: bool = False
    take: Callable[[Any], Any] = lambda value: value

    def taken(self, value: Any) -> Any:
        """Return a value from Python, text and names of files as if typed; InputError for one that it cannot be."""
        text = os.fspath(value) if self.names_file and isinstance(value, os.PathLike) else value
        if isinstance(text, str):
            try:
                return self.parse(text)
            except (ValueError, OSError) as error:
                raise InputError(f"{self.typed}: {printable(error, 300)}") from None
        try:
            return self.take(value)
        except (ValueError, TypeError, RuntimeError, OverflowError):
            shown = printable(" ".join(repr(value).split()), 80)
            raise InputError(f"{self.typed} is {self.form}, {self.about}, and cannot be {shown}") from None

    @property
    def typed(self) -> str:
        """How it begins on the command line: "--angles-unit", or "--read frame"."""
        return f"--{self.name.replace('_', '-')}" if self.flag else f"--read {self.name}"

    @property
    def names_file(self) -> bool:
        """Whether the value may be the name of a file, or of several."""
        return "FILE" in self.form

    def refuse(self, because: str) -> NoReturn:
        """Raise InputError: it was given for a file that cannot honour it."""
        raise InputError(f"leave out {self.typed}: {because}")


def _slice(text: str) -> slice:
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise ValueError(f"{text!r} is not START:STOP or START:STOP:STEP, as in 0:60 or ::2")
    chosen = slice(*numbers)
    if chosen.step is not None and chosen.step < 1:
        raise ValueError(f"{text!r} has the step {chosen.step}, which must be at least 1")
    return chosen


def _several(what: str, example: str) -> Callable[[str], NDArray[np.float64]]:
    """Return how many numbers are read: the first, the last and their count, or a file that lists them."""

    def parse(text: str) -> NDArray[np.float64]:
        if Path(text).is_file():
            return _listed(Path(text), what)
        try:
            parts = text.split(":")
            (first, last), count = map(float, parts[:-1]), int(parts[-1])
        except ValueError:
            lost = "" if ":" in text else f", and there is no file {text}"
            raise ValueError(f"{text!r} is not FIRST:LAST:COUNT, as in {example}{lost}") from None
        if count > _MOST:
            raise ValueError(f"{text!r} asks for {count} {what}, more than {_MOST}")
        if count < 1 or not (math.isfinite(first) and math.isfinite(last)):
            raise ValueError(f"{text!r} must hold finite {what} and a count of at least 1")
        return np.linspace(first, last, count)

    return parse


def _listed(path: Path, what: str) -> NDArray[np.float64]:
    """Return the numbers of a text file, one per line or divided by commas, or of a .npy file."""
    if path.stat().st_size > 32 * _MOST:
        raise ValueError(f"{str(path)!r} is no list of {what}, but much larger")
    if path.suffix.lower() == ".npy":
        return np.asarray(read_npy(path), dtype=np.float64).ravel()
    try:
        lines = path.read_text(encoding="utf-8").replace(",", " ").replace(";", " ").splitlines()
        return np.array([float(part) for line in lines for part in line.partition("#")[0].split()])
    except ValueError as error:
        raise ValueError(f"{str(path)!r} holds something besides numbers ({error})") from None


def _shape(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ValueError(f"{text!r} is not HxW, as in 512x512") from None
    if min(height, width) < 1:
        raise ValueError(f"{text!r}: both sides must be at least 1 pixel")
    return height, width


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _finite(value: Any) -> float:
    """Return one number of Python, NumPy or torch."""
    if isinstance(value, bytes | bool) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _above_zero(value: Any) -> float:
    if (number := _finite(value)) <= 0:
        raise ValueError
    return number


def _positive(text: str) -> float:
    try:
        return _above_zero(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number greater than 0") from None


def count_from(first: int, last: int) -> Callable[[Any], int]:
    """Return how a whole number of Python from `first` to `last` is taken."""

    def take(value: Any) -> int:
        number = operator.index(value)
        if isinstance(value, bool) or not first <= number <= last:
            raise ValueError
        return number

    return take


def whole(first: int, last: int, example: int) -> Callable[[str], int]:
    """Return how a whole number from `first` to `last` is read."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not first <= int(text) <= last:
            raise ValueError(f"{text!r} is not a whole number from {first} to {last}, as in {example}")
        return int(text)

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return how one of some words is read."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is neither {', '.join(words[:-1])} nor {words[-1]}")
        return text

    return parse


def _phase(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(":"))
    except ValueError:
        numbers = ()
    if not 1 <= len(numbers) <= 3 or not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"{text!r} is not delta/beta[:distance in mm[:energy in keV]], as in 800:150:25")
    return numbers


def yes_or_no(text: str) -> bool:
    """Return a truth value as it is typed: true or false."""
    return one_of("true", "false")(text) == "true"


def _sides(value: Any) -> tuple[int, ...]:
    """Return two or three numbers of pixels."""
    if isinstance(value, bytes) or any(isinstance(n, bool) for n in value):
        raise ValueError
    sides = tuple(operator.index(n) for n in value)
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise ValueError
    return sides


def _in_a_row(value: Any) -> NDArray[np.float64]:
    """Return real numbers along one axis, be they a row or a column."""
    array = np.asarray(value)
    if array.dtype.kind == "c" or sum(n > 1 for n in array.shape) > 1:
        raise ValueError
    return array.astype(np.float64).ravel()


def _text(value: Any) -> str:
    raise ValueError  # text is read by `parse`


VALUES = Option(
    "values",
    "what the data are: counts, as a rule; transmission, counts over the open beam; integrals, their -ln",
    "counts|transmission|integrals",
    one_of("counts", "transmission", "integrals"),
)
MISSING = Option(
    "missing",
    "readings that are NaN or infinite: refuse them (as a rule); mask, so that they count nowhere; or interpolate",
    "refuse|mask|interpolate",
    one_of("refuse", "mask", "interpolate"),
)
VIEWS = Option("views", "the views to use, counted from 0", "START:STOP:STEP", _slice, flag=True)
ROWS = Option("rows", "the detector rows, or other items of a stack, to use", "START:STOP:STEP", _slice, flag=True)
ANGLES = Option(
    "angles",
    "projection angles instead of the file's",
    "FIRST:LAST:COUNT|FILE",
    _several("angles", "0:179:180"),
    flag=True,
    take=_in_a_row,
)
ANGLES_UNIT = Option("angles_unit", "the unit of the angles", "deg|rad", str, flag=True, take=_text)
PIXEL_SIZE = Option("pixel_size", "the side of a detector pixel in mm", "MM", _positive, flag=True, take=_above_zero)
IMAGE_PIXEL_SIZE = Option(
    "image_pixel_size",
    "the side of a pixel of the image, in mm or what else lengths are in",
    "LENGTH",
    _positive,
    take=_above_zero,
)
BIN = Option(
    "bin",
    "how many detector pixels along each side are joined to one",
    "NUMBER",
    whole(1, 1024, 4),
    take=count_from(1, 1024),
)
AXIS = Option("axis", "the detector column of the rotation axis, from 0", "COLUMN", _number, flag=True, take=_finite)
IMAGE_SHAPE = Option("image_shape", "the pixels of the image", "HxW", _shape, flag=True, take=_sides)
FLATS = Option("flats", "pictures of the open beam: a folder, a pattern or a file", "FILES", str, flag=True)
DARKS = Option("darks", "pictures without beam: a folder, a pattern or a file", "FILES", str, flag=True)
PHASE = Option(
    "phase_retrieval",
    "Paganin's filter for one material: delta/beta, and the distance in mm and the energy in keV if the file has none",
    "RATIO[:MM[:KEV]]",
    _phase,
    flag=True,
)
PAD = Option(
    "pad",
    "bins without a reading to add at both ends, for an object wider than the detector",
    "BINS",
    whole(0, 2**14, 128),
    take=count_from(0, 2**14),
)
RINGS = Option("rings", "whether to take away what a bin adds to all views", "true|false", yes_or_no, flag=True)

LINKED = Option("linked", "whether to follow links to other files in the folder of the file", "true|false", yes_or_no)
ENTRY = Option("entry", "which of the scans in the file, by the name of its group", "NAME", str)

REFERENCE = Option("reference", "another scan to be taken off, as of the target turned or absent", "FILE", str)
FREQUENCIES = Option(
    "frequencies",
    "of a radar in hertz",
    "FIRST:LAST:COUNT|FILE",
    _several("frequencies", "4e9:16e9:11"),
    take=_in_a_row,
)
DISTANCE = Option(
    "distance", "from the antenna to the axis of a turntable in m; without, far away", "M", _positive, take=_above_zero
)
MEDIUM = Option("permittivity", "of the medium relative to vacuum, by default 8", "NUMBER", _positive, take=_above_zero)


def selected(selection: slice | None, count: int, option: str) -> range:
    """Return the indices below `count` that `selection` picks; InputError naming `option` if none.

    TypeError for what is no slice of whole numbers.
    """
    sliced = selection is None or isinstance(selection, slice)
    ends = (selection.start, selection.stop, selection.step) if selection is not None and sliced else ()
    if not sliced or not all(end is None or hasattr(end, "__index__") for end in ends):
        raise TypeError(f"{option} takes a slice of whole numbers, such as slice(0, 60), got {selection!r}")
    if selection is not None and selection.step == 0:
        raise InputError(f"{option} has the step 0, which must be at least 1")
    beyond = [end for end in ends[:2] if end is not None and not -count <= end <= count]
    if beyond:
        raise InputError(f"{option} {_colons(selection)} goes beyond the {count} there are, counted from 0: mend it")
    chosen = range(count) if selection is None else range(*selection.indices(count))
    if chosen.step < 0 or not chosen:
        raise InputError(f"{option} {_colons(selection)} picks none of the {count} there are, counted from 0 up")
    return chosen


def rows_of(options: Options, count: int | None, what: str = "file") -> range | None:
    """Return which of `count` rows to use; None, and InputError for any, where `count` is: there is a single item."""
    if count is not None:
        return selected(options.get(ROWS.name), count, ROWS.typed)
    if ROWS.name in options:
        ROWS.refuse(because=f"the {what} holds a single item")
    return None


def as_slice(indices: range) -> slice:
    """Return the slice that picks `indices`, which must run upwards."""
    return slice(indices.start, indices.stop, indices.step)


def in_words(indices: range) -> str:
    """Return "3 to 9 in steps of 2" for indices that run upwards."""
    return f"{indices[0]} to {indices[-1]}" + (f" in steps of {indices.step}" if indices.step > 1 else "")


def _colons(selection: slice | None) -> str:
    ends = [selection.start, selection.stop, selection.step] if selection else []
    while ends and ends[-1] is None:
        ends.pop()
    return ":".join("" if end is None else str(end) for end in ends)
