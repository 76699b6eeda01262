"""Pictures that somebody else wrote: PNG, JPEG, TIFF and NumPy's arrays, as numbers and no larger than fits."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from invprob.errors import InputError, InputWarning, printable
from invprob.files import check_file
from invprob.io.npy import MAGIC, read_npy
from invprob.io.safe_hdf5 import memory_limit

__all__ = ["NUMPY", "PHOTOS", "TIFF", "Pages", "kind_of", "pages_of", "read_picture", "white_is_known"]

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
PHOTOS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
NUMPY = (MAGIC,)
_KINDS = {"tiff": TIFF, "photo": PHOTOS, "numpy": NUMPY}
_COPY = "copy it again from its source"
_SAVE = "save it anew as PNG or as TIFF without compression"
_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, EOFError, OverflowError, RuntimeError)


def kind_of(head: bytes) -> str | None:
    """Return "tiff", "photo" (PNG, JPEG) or "numpy" by the first bytes of a file, None for anything else."""
    return next((kind for kind, heads in _KINDS.items() if head.startswith(heads)), None)


def read_picture(path: Path) -> NDArray[np.float32]:
    """Return a picture as `(H, W)`, or `(3, H, W)` in colour; whole numbers become shares of white, 0 to 1.

    Floating-point numbers stay as they are, NaN included. Photographs are turned upright as their camera says; pixels
    that are not opaque are warned of. InputError for what is no picture.
    """
    check_file(path)
    with path.open("rb") as stream:
        kind = kind_of(stream.read(16))
    name = printable(path)
    if kind == "photo":
        array = _read_photo(path, name)
    elif kind == "tiff":
        pages = pages_of(path)
        if pages.count != 1:
            raise InputError(f"{name} holds {pages.count} pages, a picture has one: save one page by itself")
        array = pages.read(0)
    elif kind == "numpy":
        array = np.asarray(read_npy(path))
    else:
        raise InputError(f"{name} is no picture: PNG, JPEG, TIFF and .npy are read")
    return _in_planes(_shares_of_white(array, name), name)


def white_is_known(path: Path) -> bool:
    """Return whether a picture holds whole numbers, of which the largest is white, and reads as 1."""
    with path.open("rb") as stream:
        kind = kind_of(stream.read(16))
    if kind == "tiff":
        return pages_of(path).dtype.kind in "bui"
    return kind == "photo" or (kind == "numpy" and read_npy(path).dtype.kind in "bui")


@dataclass(frozen=True)
class Pages:
    """The pages of a TIFF file: how many, `(H, W)` or `(H, W, colours)` of each, and their type."""

    path: Path
    count: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self, index: int, rows: slice) -> NDArray[Any]:
        """Return some rows of a page, without decoding the others where the file holds plain numbers."""
        place = _plain_place(self.path, index)
        if place is None or len(self.shape) != 2:
            return self.read(index)[rows]
        try:
            dtype = self.dtype.newbyteorder(">" if place[0] == ">" else "<")
            page = np.memmap(self.path, dtype, "r", offset=place[1], shape=self.shape)
            return np.array(page[rows], dtype=self.dtype)
        except _ERRORS as error:
            raise InputError(f"{printable(self.path)}, page {index}, is cut short: {_COPY}") from error

    def read(self, index: int) -> NDArray[Any]:
        """Return a page; InputError where it is damaged, or of a compression that nothing here knows."""
        where = f"{printable(self.path)}, page {index}" if self.count > 1 else printable(self.path)
        try:
            with tifffile.TiffFile(self.path) as file:
                page = file.pages[index]
                array = _decoded(page, self.path, index)
        except MemoryError as error:
            raise InputError(f"{where} does not fit into memory: take a smaller picture") from error
        except _ERRORS as error:
            raise InputError(f"{where} cannot be read ({printable(error, 120)}): {_COPY}, or {_SAVE}") from error
        if array.shape != self.shape:
            raise InputError(f"{where} has the shape {array.shape}, others have {self.shape}: {_COPY}")
        return array


def pages_of(path: Path) -> Pages:
    """Look at a TIFF file; InputError if it is damaged, empty, no plain numbers, or declares more than fits."""
    check_file(path)
    name = printable(path)
    try:
        with tifffile.TiffFile(path) as file:
            count, first = len(file.pages), file.pages[0]
            axes, shape, dtype = first.axes, tuple(first.shape), first.dtype
    except _ERRORS as error:
        raise InputError(f"{name} is a damaged TIFF file ({printable(error, 120)}): {_COPY}") from error
    if dtype is None or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InputError(f"{name} has the type {printable(dtype)}, which is no picture's: store plain numbers")
    if axes == "SYX":
        shape = (*shape[1:], shape[0])
    elif axes not in ("YX", "YXS"):
        raise InputError(f"{name} has pages with the axes {printable(axes)}, expected rows and columns: {_SAVE}")
    if math.prod(shape) * dtype.itemsize > memory_limit():
        raise InputError(f"{name} has pages of {shape}, more than fit into memory: take a smaller picture")
    return Pages(path, count, shape, dtype)


@lru_cache(maxsize=2**14)
def _place(path: Path, index: int, _modified: int) -> tuple[str, int] | None:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[index]
            return (file.byteorder, page.dataoffsets[0]) if page.is_memmappable else None
    except _ERRORS:  # reading the page says what is wrong
        return None


def _plain_place(path: Path, index: int) -> tuple[str, int] | None:
    """Return byte order and offset of a page that is stored as plain numbers in one piece, None if it is not."""
    return _place(path, index, path.stat().st_mtime_ns)


def _decoded(page: Any, path: Path, index: int) -> NDArray[Any]:
    """Return a page, by Pillow where it has a compression that tifffile alone does not know (LZW)."""
    try:
        array = np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        with Image.open(path) as image:
            image.seek(index)
            return np.asarray(image)
    return array.transpose(1, 2, 0) if page.axes == "SYX" else array


def _read_photo(path: Path, name: str) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode == "P":
                    image = image.convert("RGBA" if "transparency" in image.info else "RGB")
                elif image.mode in ("1", "CMYK", "YCbCr", "HSV", "LAB"):
                    image = image.convert("L" if image.mode == "1" else "RGB")
                return np.asarray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise InputError(
            f"{name} declares more pixels than a picture has: check the file, or make it smaller"
        ) from error
    except _ERRORS as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)}): {_COPY}") from error


def _shares_of_white(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has the type {array.dtype}, a picture has real numbers: store its magnitude or parts")
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    # Pillow gives greys of 16 bits as 32
    white = 1 if array.dtype.kind == "b" else 255 if array.dtype.itemsize == 1 else 65535
    if array.size and (array.max() > white or array.min() < 0):
        raise InputError(
            f"{name} holds whole numbers from {array.min()} to {array.max()}, of which white is not known: "
            "store greys of 8 or 16 bits, or floating point"
        )
    return (array / np.float32(white)).astype(np.float32)


def _in_planes(array: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return `(H, W)`, or `(3, H, W)` of the last axis being red, green, blue and perhaps how opaque."""
    if array.ndim == 3 and array.shape[-1] in (2, 4):
        if bool((array[..., -1] < 1).any()):
            warnings.warn(f"{name} is not opaque everywhere: that is passed over", InputWarning, stacklevel=3)
        array = array[..., :-1]
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[-1] == 3:
        array = array.transpose(2, 0, 1)
    elif array.ndim == 3 and array.shape[0] != 3:
        raise InputError(f"{name} has the shape {array.shape}, expected (H, W), (H, W, 3) or (3, H, W): check its axes")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"{name} has the shape {array.shape}, expected (H, W), (H, W, 3) or (3, H, W): check its axes")
    return np.ascontiguousarray(array)
