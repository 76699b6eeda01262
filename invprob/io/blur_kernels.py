"""What blurred a picture: a kernel from a file, or one that a few words name."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from invprob.errors import InputError, InputWarning, printable
from invprob.files import check_file
from invprob.io.images import read_picture
from invprob.io.npy import MAGIC, read_npy
from invprob.io.picture_options import FORM
from invprob.io.safe_hdf5 import dataset_names, find, open_hdf5, read_array

__all__ = ["kernel_of"]

_COLOURFUL = 0.05  # of white: by how much the colours of a kernel may differ
_WIDEST = 512  # pixels to either side: a typing error rather than a lens
_FINE = 16  # points per pixel that a disc and a line of motion are drawn with


def kernel_of(text: str) -> NDArray[np.float64]:
    """Return the kernel `(rows, columns)` that a text stands for, of sum 1; blur is convolution with it.

    A Gaussian of standard deviation SIGMA, a disc out of focus, a box, a straight motion (counter-clockwise from the
    right), all in pixels; or a file: a picture, a .npy array, a MATLAB file, with the NUMBER of the kernel counted from
    0 where it holds several. InputError for what is none of these, not finite, or of no positive sum.
    """
    name, _, rest = text.partition(":")
    if name in _SHAPES and not Path(text).exists():
        numbers = [_number(part, text) for part in rest.split(":")]
        shape, count = _SHAPES[name]
        if len(numbers) != count:
            raise InputError(f"the blur {printable(text)} is not {FORM}, as in gaussian:1.5")
        kernel = shape(*numbers)
    else:
        kernel = _from_file(text)
    if kernel.ndim != 2 or not kernel.size:
        raise InputError(f"the kernel {printable(text)} has the shape {kernel.shape}, expected rows and columns")
    if not np.isfinite(kernel).all() or not kernel.sum() > 1e-6 * np.abs(kernel).sum():
        raise InputError(f"the kernel {printable(text)} is not finite, or has no positive sum: check the file")
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def _number(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"the blur {printable(text)} is not {FORM}, as in gaussian:1.5")
    return value


def _half(reach: float) -> int:
    if not 0 < reach <= _WIDEST:
        raise InputError(f"a blur reaches more than 0 and at most {_WIDEST} pixels, got {reach:g}")
    return max(1, math.ceil(reach))


def _gaussian(sigma: float) -> NDArray[np.float64]:
    half = _half(4 * sigma)
    along = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    return np.outer(along, along)


def _box(side: float) -> NDArray[np.float64]:
    if side < 1 or side != int(side):
        raise InputError(f"the side of a box is a whole number of pixels, got {side:g}")
    _half(side)
    return np.ones((int(side), int(side)))


def _disc(radius: float) -> NDArray[np.float64]:
    """A lens out of focus: the share of every pixel that the disc covers."""
    half = _half(radius + 0.5)
    fine = (np.arange((2 * half + 1) * _FINE) + 0.5) / _FINE - half - 0.5
    inside = np.hypot(fine[:, None], fine) <= radius
    covered: NDArray[np.float64] = inside.reshape(2 * half + 1, _FINE, 2 * half + 1, _FINE).mean((1, 3))
    return covered


def _motion(length: float, degrees: float) -> NDArray[np.float64]:
    """A straight line through the centre, its points shared among the four pixels around each."""
    half = _half(abs(length) / 2 + 1)
    along = (np.arange(max(1, round(_FINE * abs(length)))) + 0.5) / _FINE
    along -= along.mean()
    x, y = along * math.cos(math.radians(degrees)), -along * math.sin(math.radians(degrees))
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    i, j = np.floor(y).astype(int), np.floor(x).astype(int)
    for down, of_row in ((0, 1 - (y - i)), (1, y - i)):
        for right, of_column in ((0, 1 - (x - j)), (1, x - j)):
            np.add.at(kernel, (i + half + down, j + half + right), of_row * of_column)
    return kernel


_SHAPES: dict[str, Any] = {"gaussian": (_gaussian, 1), "disc": (_disc, 1), "box": (_box, 1), "motion": (_motion, 2)}


def _from_file(text: str) -> NDArray[np.float64]:
    path, number = Path(text), None
    if not path.exists() and ":" in text:
        before, _, after = text.rpartition(":")
        if after.isdecimal():
            path, number = Path(before), int(after)
    check_file(path)
    with path.open("rb") as stream:
        head = stream.read(128)
    if h5py.is_hdf5(path):
        kernels = _of_hdf5(path)
    elif head.startswith(b"MATLAB 5.0"):
        kernels = _of_matlab(path)
    elif head.startswith(MAGIC):
        array = np.asarray(read_npy(path), dtype=np.float64)
        kernels = list(array) if array.ndim == 3 else [array]
    else:
        kernels = [_grey(path)]
    if number is None and len(kernels) > 1:
        raise InputError(f"{printable(path)} holds {len(kernels)} kernels: say which, as in {printable(path)}:0")
    if not kernels or (number or 0) >= len(kernels):
        raise InputError(f"{printable(path)} holds {len(kernels)} kernels, counted from 0: there is no {number or 0}")
    return kernels[number or 0]


def _grey(path: Path) -> NDArray[np.float64]:
    """Return a picture of a kernel, its mean over colours; a warning says where these differ, as in a photograph."""
    picture = read_picture(path).astype(np.float64)
    if picture.ndim == 2:
        return picture
    if np.abs(picture - picture.mean(0)).max() > _COLOURFUL * np.abs(picture).max():
        warnings.warn(
            f"{printable(path)} is in colour, a kernel is not: its mean over colours is taken; is it the right file?",
            InputWarning,
            stacklevel=2,
        )
    return np.asarray(picture.mean(0))


def _of_hdf5(path: Path) -> list[NDArray[np.float64]]:
    """Return the kernels of a MATLAB 7.3 file, whose cells are references to arrays that lie in the same file."""
    with open_hdf5(path) as file:
        names = [name for name in dataset_names(file) if not name.startswith("#")]
        if len(names) != 1:
            raise InputError(
                f"{printable(path)} holds {len(names)} variables, a file of kernels holds one: save it alone"
            )
        cells = find(file, names[0])
        if h5py.check_ref_dtype(cells.dtype) is h5py.Reference:
            inside = [file[reference].name for reference in np.ravel(cells[()]) if reference]
            return [read_array(file, name).T.astype(np.float64) for name in inside if name]
        array = read_array(file, names[0]).T.astype(np.float64)
    return [array[..., k] for k in range(array.shape[2])] if array.ndim == 3 else [array]


def _of_matlab(path: Path) -> list[NDArray[np.float64]]:
    try:
        held = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    except (ValueError, TypeError, OSError, KeyError, NotImplementedError, MemoryError, IndexError) as error:
        raise InputError(f"{printable(path)} cannot be read ({printable(error, 120)}): save it again") from error
    if len(held) != 1:
        raise InputError(f"{printable(path)} holds {len(held)} variables, a file of kernels holds one: save it alone")
    array = next(iter(held.values()))
    try:
        if array.dtype == object:
            return [np.asarray(cell, dtype=np.float64) for cell in array.ravel()]
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{printable(path)} holds no arrays of numbers: check which file was meant") from error
    return [array[..., k] for k in range(array.shape[2])] if array.ndim == 3 else [array]
