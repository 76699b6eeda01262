"""What a result file says of itself besides its images, read without them, and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py

from invprob.errors import InputError, printable
from invprob.grid import CHANNELS, Channels, Grid, Units
from invprob.io.attributes import check_format, read_json
from invprob.io.result_form import FORMAT, VERSION
from invprob.io.safe_hdf5 import dataset, read_numbers, read_text
from invprob.io.sealing import check_seal
from invprob.judgement import statements
from invprob.status import INCOMPLETE, OF_ITEMS

__all__ = [
    "Layout",
    "damaged_certificate",
    "read_certificate",
    "read_item_status",
    "read_layout",
    "read_mapping",
    "read_number",
]

_SEALED = 3  # the version from which on a finished file has a digest


@dataclass(frozen=True)
class Layout:
    """How the image of a result file is to be read, without the image."""

    shape: tuple[int, ...]
    status: str
    ndim: int
    grid: Grid | None
    channels: Channels | None
    units: Units


def read_layout(file: h5py.File) -> Layout:
    """Read how the image of an open result file lies; InputError if the file is no result or damaged.

    Version 1 knew squares only, of `pixel_size`, and images of two axes.
    """
    version = check_format(file, FORMAT, VERSION)
    status = read_text(file, "status") or INCOMPLETE
    check_seal(file, required=version >= _SEALED and status != INCOMPLETE)
    shape = tuple(int(n) for n in dataset(file, "image").shape)
    units = {key: read_text(file, f"{key}_unit") for key in ("length", "image", "data")}
    known = Units(**{key: text for key, text in units.items() if text})
    ndim, pixel_size = read_number(file, "ndim"), read_number(file, "pixel_size")
    channels = read_text(file, "channels") or None
    try:
        axes = min(2, len(shape)) if ndim is None else int(ndim)
        spacing = read_numbers(file, "spacing")
        if spacing is None and "spacing" in file.attrs:
            raise ValueError("no numbers")
        given = () if pixel_size is None else (pixel_size,) * axes
        lengths = given if spacing is None else tuple(spacing.tolist())
        grid = Grid(lengths, known.length) if lengths else None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{printable(file.filename)}: ndim or spacing are damaged ({printable(error)})") from error
    fits = 1 <= axes <= len(shape) and (grid is None or grid.ndim <= axes)
    if not fits or channels not in (None, *CHANNELS):
        raise InputError(
            f"{printable(file.filename)}: {axes} axes of an item, a spacing of {0 if grid is None else grid.ndim} and "
            f"channels {printable(channels)} do not fit an image of {len(shape)} axes"
        )
    if status not in (*OF_ITEMS, INCOMPLETE):
        raise _unknown_status(file, status)
    return Layout(shape, status, axes, grid, channels, known)  # type: ignore[arg-type]


def read_item_status(file: h5py.File) -> tuple[str, ...]:
    """Read the status of every item of an open result file; InputError for a word that is not known."""
    found = read_json(file, "item_status") or ()
    if not isinstance(found, list | tuple):
        raise _unknown_status(file, found)
    for status in found:
        if status not in OF_ITEMS:
            raise _unknown_status(file, status)
    return tuple(found)


def read_mapping(file: h5py.File, key: str) -> dict[str, Any]:
    """Read names and values of an open result file, none if there are none; InputError for anything else."""
    found = read_json(file, key)
    if found is not None and not isinstance(found, dict):
        raise InputError(f"{printable(file.filename)}: {key} is damaged (no names and values): copy it again")
    return found or {}


def read_certificate(file: h5py.File) -> dict[str, Any]:
    """Read the certificate of an open result file, a mapping; InputError for one that makes no sense."""
    plain = read_mapping(file, "certificate")
    try:
        statements(plain, ())
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged_certificate(file, error) from error
    return plain


def damaged_certificate(file: h5py.File, error: Exception) -> InputError:
    """Return what to raise for a certificate that is none."""
    return InputError(f"{printable(file.filename)}: the certificate is damaged ({printable(error)})")


def read_number(file: h5py.File, key: str) -> float | None:
    """Return the attribute `key`, a single number, None if there is none."""
    values = read_numbers(file, key)
    return float(values[0]) if values is not None and values.size == 1 else None


def _unknown_status(file: h5py.File, status: object) -> InputError:
    where, known = printable(file.filename), ", ".join(OF_ITEMS)
    return InputError(f"{where}: the status {printable(status)!r} is not known (known are {known}): update invprob")
