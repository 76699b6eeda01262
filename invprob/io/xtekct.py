"""Nikon's desk scanners: `NAME.xtekct`, a text of `key=value` lines, and a TIFF per view (format of Inspect-X, CT Pro).

Lengths are in mm, angles in degrees. The object turns clockwise, seen from above, by `AngularStep` from view to view;
pictures are stored as seen from the detector, their first row at the top; the axis of rotation lies `ObjectOffsetX`
beside the line from the source to the middle of the detector, towards the right of a picture, or older files give
where it meets the detector (`CentreOfRotationTop`, `CentreOfRotationBottom`). Counts are corrected already, and
`WhiteLevel` is the open beam. So the Core Imaging Library reads them, too (Jorgensen et al. 2021), whose volumes lie as
these do.
"""

from __future__ import annotations

import configparser
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.files import files_of
from invprob.io.checks import sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.flat_field import MIN_TRANSMISSION, line_integrals
from invprob.io.images import pages_of
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.options import AXIS, BIN, IMAGE_PIXEL_SIZE, VIEWS, Options, in_words, selected
from invprob.io.safe_hdf5 import memory_limit
from invprob.operators import ConeBeam
from invprob.scan import Scan, Units

__all__ = ["READER", "open_xtekct"]

LAYOUT = "Nikon XTekCT"
_SECTION = "XTekCT"
_LONGEST = 2**20  # bytes of a description: a typing error rather than a scan
_SLANTED = 0.1  # degrees by which an axis may lean before that is told: a rule of thumb
_ASIDE = 0.02  # of the source's distance: how far off the axis may lie without the detector standing visibly oblique


@dataclass(frozen=True)
class _Description:
    """What a file says of the scan; lengths in mm, the offset of the axis at the axis, to the right of a picture."""

    path: Path
    values: Mapping[str, str]

    def number(self, key: str, default: float | None = None) -> float:
        """Return the number of a key; InputError where it is missing or none."""
        text = self.values.get(key.lower(), "").strip()
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            told = f"{key}={printable(text, 40)}" if text else f"no {key}"
            raise InputError(f"{printable(self.path)} has {told}, expected a number: copy it again from the scanner")
        return value

    def count(self, key: str) -> int:
        """Return a whole number of at least 1."""
        value = self.number(key)
        if value != int(value) or not 1 <= value < 2**20:
            raise InputError(f"{printable(self.path)} has {key}={value:g}, expected a whole number of at least 1")
        return int(value)

    @property
    def offset(self) -> float:
        """How far the axis lies beside the middle line, where the object is."""
        if "objectoffsetx" in self.values:
            return self.number("ObjectOffsetX")
        ends = [self.number(f"CentreOfRotation{end}", 0.0) for end in ("Top", "Bottom")]
        return float(np.mean(ends)) * self.number("SrcToObject") / self.number("SrcToDetector")

    @cached_property
    def pictures(self) -> list[Path]:
        """The TIFF files of the views, in order; InputError where one is missing."""
        folder = self.path.parent
        inside = self.values.get("inputfoldername", "").strip().replace("\\", "/").strip("/")
        if inside and (folder / inside).is_dir() and ".." not in Path(inside).parts:
            folder = folder / inside
        name = self.values.get("name", "").strip() or self.path.stem
        pattern = re.compile(re.escape(name) + r"[^0-9]?\d+\.tiff?", re.IGNORECASE)
        found = [file for file in files_of(folder) if pattern.fullmatch(file.name)]
        views = self.count("Projections")
        if len(found) < views:
            raise InputError(
                f"{printable(folder)} holds {len(found)} pictures called {printable(name)}*.tif, of the {views} that "
                f"{printable(self.path.name)} names: copy the others, too"
            )
        if len(found) > views:
            _warn(self.path, f"there are {len(found)} pictures, of which the first {views} are taken as views")
        return found[:views]


def open_xtekct(path: Path, options: Options) -> Stack:
    """Open a scan by its description, or by the folder it lies in: one volume, of the detector's size at the axis.

    The slices run from the top of the object to its bottom, and show it as seen from above.
    """
    told = _described(path)
    views = selected(options.get("views"), told.count("Projections"), VIEWS.typed)
    binned = int(options.get("bin", 1))
    with sound_geometry(printable(told.path)):
        operator = _operator(told, views, binned, options)
    pictures = told.pictures
    return Stack(path, LAYOUT, None, lambda _: _scan(told, operator, [pictures[i] for i in views], views, options))


def _operator(told: _Description, views: range, binned: int, options: Options) -> ConeBeam:
    rows, columns = (told.count(f"DetectorPixels{axis}") for axis in "YX")
    row_pitch, pitch = (told.number(f"DetectorPixelSize{axis}") for axis in "YX")
    source, detector = told.number("SrcToObject"), told.number("SrcToDetector")
    if not 0 < source < detector:
        raise ValueError(f"SrcToObject={source:g} is no distance below SrcToDetector={detector:g}: mend the file")
    magnification = detector / source
    if "axis" in options:
        axis = (columns - 1) - float(options["axis"])  # columns are counted from the other side
    else:
        axis = (columns - 1) / 2 - told.offset * magnification / pitch
    if min(rows, columns) < binned:
        BIN.refuse(because=f"the detector has {rows} x {columns} pixels")
    bins = (rows // binned, columns // binned)
    angles = np.arange(told.count("Projections")) * told.number("AngularStep") + told.number("InitialAngle", 0.0) - 180
    voxel = float(options.get("image_pixel_size", binned * pitch / magnification))
    return ConeBeam(
        (bins[0], bins[1], bins[1]),
        np.deg2rad(np.mod(angles, 360))[list(views)],
        bins,
        source_distance=source,
        detector_distance=detector - source,
        voxel_size=voxel,
        detector_size=(binned * row_pitch, binned * pitch),
        axis_offset=_binned(axis, binned) - (bins[1] - 1) / 2,
        row_offset=_binned((rows - 1) / 2, binned) - (bins[0] - 1) / 2,
    )


def _binned(place: float, binned: int) -> float:
    """Return where a pixel's place lies among pixels of `binned` times the side."""
    return (place + 0.5) / binned - 0.5


def _scan(told: _Description, operator: ConeBeam, pictures: list[Path], views: range, options: Options) -> Scan:
    _tell(told)
    binned = int(options.get("bin", 1))
    counts = _counts(told, operator, pictures, binned)
    axes = {"view": views, "row": range(counts.shape[1]), "column": range(counts.shape[2])}
    white = np.full(counts.shape[1:], told.number("WhiteLevel"))
    integrals, clamped = line_integrals(counts, white, np.zeros_like(white), axes, printable(told.path))
    provenance = {
        "source": str(told.path),
        "digest": fingerprint(told.path),
        "reader": LAYOUT,
        "views": in_words(views),
        "correction": f"-ln(data / {told.number('WhiteLevel'):g}), the white level of the file",
        "clamped": f"{clamped} of {integrals.size} transmissions raised to {MIN_TRANSMISSION:.3g}",
        "axis": "given" if "axis" in options else f"from the file, {told.offset:g} mm beside the middle",
        **({"bin": str(binned)} if binned > 1 else {}),
    }
    data = torch.from_numpy(np.ascontiguousarray(integrals))
    return Scan(operator, data, units=Units.attenuation("mm"), provenance=provenance)


def _counts(told: _Description, operator: ConeBeam, pictures: list[Path], binned: int) -> NDArray[np.float32]:
    """Return the mean counts of every bin, columns from left to right as seen from the source."""
    shape = (told.count("DetectorPixelsY"), told.count("DetectorPixelsX"))
    needed = 8 * len(pictures) * int(np.prod(operator.detector_shape))
    if needed > memory_limit():
        raise InputError(
            f"{printable(told.path)} needs {needed / 2**30:.1f} GiB: join pixels with {BIN.typed}=2 or more, or take "
            "fewer --views"
        )
    counts = np.empty((len(pictures), *operator.detector_shape), dtype=np.float32)
    rows, columns = operator.detector_shape
    for view, picture in zip(counts, pictures, strict=True):
        pages = pages_of(picture)
        if pages.shape != shape:
            raise InputError(
                f"{printable(picture)} has the shape {pages.shape}, {printable(told.path.name)} names {shape}: take "
                "the pictures of this scan"
            )
        turned = pages.read(0)[:, ::-1][: rows * binned, : columns * binned]
        view[:] = turned.reshape(rows, binned, columns, binned).mean(axis=(1, 3))
    return counts


def _tell(told: _Description) -> None:
    """Warn of what a file says and the geometry does not follow."""
    lean = max(abs(told.number("ObjectRoll", 0.0)), abs(told.number("ObjectTilt", 0.0)))
    if lean > _SLANTED:
        _warn(told.path, f"the axis of rotation leans by {lean:g} degrees, which is not corrected")
    if told.number("DetectorOffsetX", 0.0) or told.number("DetectorOffsetY", 0.0):
        _warn(told.path, f"DetectorOffsetX and DetectorOffsetY are passed over; {AXIS.typed} COLUMN corrects the axis")
    known = {"objectoffsetx", "centreofrotationtop", "centreofrotationbottom"}
    if not known & told.values.keys():
        _warn(told.path, f"no axis of rotation is named, so it is taken in the middle; {AXIS.typed} COLUMN says where")
    if abs(told.offset) > _ASIDE * told.number("SrcToObject"):
        _warn(told.path, "the axis lies so far beside the middle that the detector stands oblique, not corrected")


def _warn(path: Path, words: str) -> None:
    warnings.warn(f"{printable(path)}: {words}", InputWarning, stacklevel=2)


def _described(path: Path) -> _Description:
    """Read a description, or the one in a folder; InputError for one that is damaged."""
    if path.is_dir():
        found = [file for file in files_of(path) if _is_description(file)]
        if len(found) > 1:
            names = ", ".join(printable(file.name) for file in found)
            raise InputError(f"{printable(path)} holds several scans ({names}): name one of them")
        path = found[0]
    where = printable(path)
    if path.stat().st_size > _LONGEST:
        raise InputError(f"{where} is no description of a scan, but much larger: check which file was meant")
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig", errors="replace"))
    except configparser.Error as error:
        raise InputError(f"{where} is damaged ({printable(error, 120)}): copy it again from the scanner") from error
    return _Description(path, dict(parser[_SECTION]) if parser.has_section(_SECTION) else {})


def _is_description(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _begins(stream.read(64))
    except OSError:
        return False


def _begins(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(f"[{_SECTION}]".encode())


def _recognises(probe: Probe) -> bool:
    if probe.series:
        return probe.path.is_dir() and any(_is_description(file) for file in files_of(probe.path))
    return _begins(probe.head)


def _first_picture(path: Path) -> None:
    pages_of(_described(path).pictures[0]).read(0)


READER = Reader(
    layout=LAYOUT,
    about="a .xtekct of a Nikon desk scanner with its TIFF files, or the folder of both: a cone beam",
    accepts=(VIEWS, AXIS, IMAGE_PIXEL_SIZE, BIN),
    otherwise="the file holds the geometry of a cone beam",
    recognises=_recognises,
    open=open_xtekct,
    parse=_first_picture,
)
