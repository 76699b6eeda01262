"""Slices of DICOM and NIfTI files as pictures, by pydicom and nibabel, which come with the extra `medical`.

Values are those that the file means: its slope and intercept are applied, Hounsfield units stay such.
"""

from __future__ import annotations

import gzip
import importlib
import math
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import MASK, NOISE
from invprob.io.options import Options
from invprob.io.picture_options import BLUR, BOUNDARY, FACTOR, SLICE, TURNED
from invprob.io.picture_scan import scan_of_picture
from invprob.io.safe_hdf5 import memory_limit

__all__ = ["READER", "read_slice"]

LAYOUT = "medical"
_NIFTI, _ZIPPED = b"n+1\0", b"\x1f\x8b"


def read_slice(path: Path, index: int | None = None) -> NDArray[np.float32]:
    """Return a slice `(H, W)` of a DICOM or a NIfTI file; of several, one has to be chosen.

    InputError for a damaged file, and for one whose library is not installed. A NIfTI slice is seen
    with the second axis upwards, as its axes point to the right, forward and up.
    """
    name = printable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both tell of every attribute that is written oddly
            slices = _of_dicom(path, name) if _is_dicom(path) else _of_nifti(path, name)
    except InputError:
        raise
    except Exception as error:  # what both libraries raise of their own derives from nothing narrower
        raise InputError(
            f"{name} cannot be read ({printable(error, 120)}): copy it again, or save it uncompressed"
        ) from error
    if index is None and len(slices) > 1:
        raise InputError(f"{name} holds {len(slices)} slices: choose one, as in {SLICE.typed}={len(slices) // 2}")
    if index is not None and index >= len(slices):
        raise InputError(f"{name} holds {len(slices)} slices, from 0 to {len(slices) - 1}: there is no slice {index}")
    return np.ascontiguousarray(slices[index or 0], dtype=np.float32)


def _of_dicom(path: Path, name: str) -> NDArray[Any]:
    """Return the frames of a DICOM file, `(frames, H, W)`, with its slope and intercept."""
    pydicom = _library("pydicom", name)
    file = pydicom.dcmread(path)
    frames = int(file.get("NumberOfFrames", 1) or 1)
    if int(file.get("SamplesPerPixel", 1)) != 1:
        raise InputError(f"{name} is in colour: save it as PNG")
    _check_size((frames, file.Rows, file.Columns), name)
    values = pydicom.pixels.apply_modality_lut(file.pixel_array, file)
    return np.asarray(values).reshape(frames, int(file.Rows), int(file.Columns))


def _of_nifti(path: Path, name: str) -> NDArray[Any]:
    """Return the slices of a NIfTI file, `(slices, H, W)`."""
    nibabel = _library("nibabel", name)
    image = nibabel.Nifti1Image.from_bytes(_unpacked(path, name))
    shape = tuple(n for i, n in enumerate(image.shape) if i < 3 or n > 1)
    if len(shape) not in (2, 3):
        raise InputError(f"{name} has the axes {image.shape}: save one volume by itself")
    _check_size(shape, name)
    values = np.asarray(image.get_fdata(dtype=np.float32)).reshape(*shape[:2], -1)
    return values.transpose(2, 1, 0)[:, ::-1]


def _unpacked(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_ZIPPED):
        return content
    with gzip.open(path) as stream:
        unpacked = stream.read(memory_limit() + 1)
    if len(unpacked) > memory_limit():
        raise InputError(f"{name} unpacks to more than fits into memory: save one volume by itself")
    return unpacked


def _check_size(shape: tuple[Any, ...], name: str) -> None:
    if 8 * math.prod(int(n) for n in shape) > memory_limit():
        raise InputError(f"{name} declares {' x '.join(map(str, shape))} values, more than fit into memory")


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{name} needs {module}, which is not installed: pip install 'invprob[medical]'") from None


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _recognises(probe: Probe) -> bool:
    if probe.series:
        return False
    if probe.head.startswith(_ZIPPED):
        try:
            with gzip.open(probe.path) as stream:
                return stream.read(348)[344:] == _NIFTI
        except (OSError, EOFError, zlib.error):
            return False
    with probe.path.open("rb") as stream:
        head = stream.read(348)
    return head[128:132] == b"DICM" or head[344:] == _NIFTI


def _open(path: Path, options: Options) -> Stack:
    def read(_: object) -> Any:
        return scan_of_picture(path, read_slice(path, options.get(SLICE.name)), options, LAYOUT)

    return Stack(path, LAYOUT, None, read)


READER = Reader(
    layout=LAYOUT,
    about="a slice of a DICOM or NIfTI file, as a picture in its own values",
    accepts=(SLICE, BLUR, TURNED, BOUNDARY, FACTOR, MASK, NOISE),
    otherwise="a medical picture has none",
    recognises=_recognises,
    open=_open,
    parse=read_slice,
)
