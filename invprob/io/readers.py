"""From a file to a scan: which reader takes it is decided by its content, never by its name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from invprob import registry
from invprob.errors import InputError, printable
from invprob.files import check_source, is_series
from invprob.io import (
    bart,
    data_exchange,
    fastmri,
    htc,
    invprob_file,
    ismrmrd,
    medical,
    multistatic,
    numpy_array,
    nxtomo,
    picture_scan,
    projections,
    turntable,
    xtekct,
)
from invprob.io.digest import Seen, named
from invprob.io.layout import Probe, Reader, Stack, probed
from invprob.io.options import RINGS, Option, Options
from invprob.io.receiver import with_coil_maps
from invprob.io.rehearsal import rehearse
from invprob.io.result_form import FORMAT as RESULT_FORMAT
from invprob.io.rings import without_rings
from invprob.io.safe_hdf5 import dataset_names, read_text, touch
from invprob.scan import Scan

__all__ = [
    "READERS",
    "accepted_options",
    "known_options",
    "load_scan",
    "open_stack",
    "opened",
    "reader_of",
]

# A layout is one file with a `READER` and one row here; of two that recognise a file the upper one takes it.
READERS: dict[str, Reader] = {
    "invprob-scan": invprob_file.READER,
    "data-exchange": data_exchange.READER,
    "nxtomo": nxtomo.READER,
    "turntable": turntable.READER,
    "matlab": htc.READER,
    "fastmri": fastmri.READER,
    "ismrmrd": ismrmrd.READER,
    "bart": bart.READER,
    "medical": medical.READER,
    "picture": picture_scan.READER,
    "xtekct": xtekct.READER,
    "projections": projections.READER,
    "numpy": numpy_array.READER,
    "multistatic": multistatic.READER,
}


def load_scan(
    path: str | os.PathLike[str],
    *,
    rows: slice | None = None,
    views: slice | None = None,
    angles: ArrayLike | None = None,
    angles_unit: str | None = None,
    pixel_size: float | None = None,
    axis: float | None = None,
    image_shape: tuple[int, int] | None = None,
    rings: bool | None = None,
    phase_retrieval: float | tuple[float, ...] | None = None,
    **others: Any,
) -> Scan:
    """Read a scan: a file of any layout of `READERS`, a picture, a folder or pattern of projections.

    `rows` (detector rows, slices of the result) and `views` are all that is read of the data. `angles` (in
    `angles_unit`, "degrees" or "radians") replace those of the file; `angles_unit` alone replaces their unit.
    `pixel_size` is in mm; without one in the file or here, lengths are in pixels. `axis` is the detector
    column of the rotation axis, counted from 0 in bins; where the file needs one and none is given, it is
    found. `rings` takes away what every bin adds to all views (`invprob.io.rings`), `phase_retrieval`, of delta/beta, a
    distance in mm and an energy in keV, the fringes of edges (`invprob.io.phase_retrieval`); `others` are options of
    other readers in `READERS`. Raises InputError, which names what is wrong and the command-line option that mends it,
    and TypeError for an option that no reader has.
    """
    common = {"rows": rows, "views": views, "angles": angles, "angles_unit": angles_unit, "pixel_size": pixel_size}
    return open_stack(
        path, **common, axis=axis, image_shape=image_shape, rings=rings, phase_retrieval=phase_retrieval, **others
    ).load()


def open_stack(path: str | os.PathLike[str], **options: Any) -> Stack:
    """Open a scan with the options of `load_scan`, to read its rows some at a time: `stack.load(stack.rows[:4])`.

    A rotation axis that the file does not give is sought now, once for all rows. Raises what `load_scan` raises.
    """
    path = Path(path)
    reader = reader_of(path)
    return opened(path, reader, accepted_options(reader, options))


def opened(path: Path, reader: Reader, accepted: Options) -> Stack:
    """Return the stack of a file whose reader is known, and accepts these options."""
    sources = _sources(path, reader, accepted)
    stack = replace(reader.open(path, accepted), reader=reader, options=dict(accepted), sources=sources)
    stack = stack.followed_by(with_coil_maps)
    return stack.followed_by(without_rings) if accepted.get(RINGS.name) else stack


def _sources(path: Path, reader: Reader, accepted: Options) -> dict[str, Seen]:
    """Return what the scan and the files that options name are, before anything is read."""
    texts = {o.name: accepted[o.name] for o in reader.accepts if o.names_file and o.name in accepted}
    paths = {name: Path(text) for name, text in texts.items() if isinstance(text, str | os.PathLike)}
    there = {name: file for name, file in paths.items() if all(part.is_file() for part in named(file))}
    return {"scan": Seen.now(path)} | {f"option {name}": Seen.now(file) for name, file in there.items()}


def reader_of(path: Path) -> Reader:
    """Return the reader for the content of `path`; InputError if there is none."""
    check_source(path)
    if not is_series(path):  # the project's own files, too: what a file says of itself, anybody can write
        rehearse(path, lambda: _touch(path))
    with probed(path) as probe:
        for reader in READERS.values():
            if reader.recognises(probe):
                return reader
        if probe.series:
            raise InputError(
                f"{printable(path)} {_of_series(path)} no TIFF files of projections: name a file, or another folder"
            )
        raise InputError(f"{printable(path)} {_unknown(probe)}")


def _touch(path: Path) -> None:
    """Read a file as its reader will, without anything that computes."""
    with probed(path) as probe:
        if probe.hdf5 is not None:
            touch(probe.hdf5)
            return
        parse = next((reader.parse for reader in READERS.values() if reader.recognises(probe)), None)
        if parse is not None:
            parse(path)


def known_options() -> dict[str, Option]:
    """Return by its name every option that some reader accepts."""
    return {option.name: option for reader in READERS.values() for option in reader.accepts}


def accepted_options(reader: Reader, options: Options) -> dict[str, Any]:
    """Return the options that are given, text as if it were typed.

    InputError for one that the reader does not accept, or that cannot be; TypeError for one that no reader has.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known, accepts = known_options(), {option.name for option in reader.accepts}
    for name in given:
        if name not in known:
            raise TypeError(f"no reader has an option {name!r}; {registry.nearest(name, known)}")
        if name not in accepts:
            known[name].refuse(because=reader.otherwise)
    return {name: known[name].taken(value) for name, value in given.items()}


def _of_series(path: Path) -> str:
    return "is a directory with" if path.is_dir() else "is a pattern of"


def _unknown(probe: Probe) -> str:
    """Return what is wrong with a file that no reader recognises."""
    if probe.hdf5 is not None and read_text(probe.hdf5, "format") == RESULT_FORMAT:
        return "is a result, not a scan: name the scan it was made from"
    layouts = ", ".join(reader.layout for reader in READERS.values())
    held = "" if probe.hdf5 is None else f" (it holds {_names(probe)})"
    return f"is not a scan this program can read{held}: known are {layouts}"


def _names(probe: Probe) -> str:
    names = [] if probe.hdf5 is None else dataset_names(probe.hdf5)[:12]
    return ", ".join(printable(name, 80) for name in names) or "no dataset"
