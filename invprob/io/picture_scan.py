"""A picture and what happened to it: blurred, incomplete, too small or noisy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.blur_kernels import kernel_of
from invprob.io.checks import sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.images import NUMPY, PHOTOS, TIFF, pages_of, read_picture, white_is_known
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.mri_options import MASK, NOISE
from invprob.io.npy import read_npy
from invprob.io.options import Options
from invprob.io.picture_options import BLUR, BOUNDARY, FACTOR, TURNED
from invprob.linop import LinearOperator
from invprob.operators import Blur, Downsample, Identity, Mask
from invprob.operators.image.convolution import Boundary
from invprob.scan import Scan

__all__ = ["READER", "open_picture", "scan_of_picture"]

LAYOUT = "picture"
_DEFAULT: Boundary = "reflect"


def open_picture(path: Path, options: Options) -> Stack:
    """Open a picture: greys of 8 or 16 bits become shares of white, colours are channels of one item."""
    return Stack(path, LAYOUT, None, lambda _: scan_of_picture(path, read_picture(path), options, LAYOUT))


def scan_of_picture(path: Path, picture: NDArray[np.float32], options: Options, reader: str) -> Scan:
    """Return a picture `(H, W)` or `(3, H, W)` with the operator that the options say has spoilt it."""
    where = printable(path)
    size = picture.shape[-2:]
    known = np.asarray(np.isfinite(picture.reshape(-1, *size)).all(axis=0))
    if options.get("mask", "auto") != "auto":
        known &= _mask(options["mask"], size)
    if not known.any():
        raise InputError(f"{where}: not one pixel is known: white in the mask is what is")
    kernel = kernel_of(options["blur"]) if "blur" in options else None
    if kernel is None and ("boundary" in options or "turned" in options):
        (BOUNDARY if "boundary" in options else TURNED).refuse(because=f"without {BLUR.typed} there is no kernel")
    if kernel is not None and options.get("turned"):
        kernel = kernel[::-1, ::-1].copy()
    operator = _operator(where, size, kernel, known, options)
    masked = isinstance(operator, Mask)
    weights = None if masked or known.all() else torch.from_numpy(known.astype(np.float32))
    data = torch.from_numpy(np.where(known, picture, 0).astype(np.float32))
    if picture.ndim == 3:
        operator = operator.lift((3,), channels="colour")
        weights = None if weights is None else weights.expand(3, *size).clone()
    provenance = {"source": str(path), "digest": fingerprint(path), "reader": reader} | _told(options, known)
    provenance |= {"white": "1"} if white_is_known(path) else {}  # pictures of it are shown from black to white
    return Scan(operator, data, options.get("noise"), weights=weights, provenance=provenance)


def _operator(
    where: str, size: tuple[int, ...], kernel: NDArray[np.float64] | None, known: NDArray[np.bool_], options: Options
) -> LinearOperator:
    """Return what happened to the picture; what is not known counts nowhere, by weights unless that is all."""
    factor, boundary = int(options.get("factor", 1)), options.get("boundary", _DEFAULT)
    with sound_geometry(where):
        if factor == 1 and kernel is None:
            return Identity(size) if known.all() else Mask(known)
        taps = (1, 1) if kernel is None else kernel.shape
        wider = [k - 1 if boundary == "valid" else 0 for k in taps]
        if factor == 1 and kernel is not None:
            return Blur([n + more for n, more in zip(size, wider, strict=True)], kernel, boundary)
        fine = [factor * (n - bool(more)) + bool(more) * (more + 1) for n, more in zip(size, wider, strict=True)]
        return Downsample(fine, factor, kernel, boundary)


def _mask(name: str, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where a picture of the mask is at least half of white."""
    mask = read_picture(Path(name))
    mask = mask.mean(0) if mask.ndim == 3 else mask
    if mask.shape != tuple(size):
        raise InputError(
            f"the mask {printable(name)} has the size {mask.shape}, the picture {tuple(size)}: make them equal"
        )
    known: NDArray[np.bool_] = mask >= 0.5
    return known


def _told(options: Options, known: NDArray[np.bool_]) -> dict[str, str]:
    told = {name: str(options[name]) for name in ("blur", "boundary", "turned", "factor", "mask") if name in options}
    if "blur" in told:
        told["boundary"] = told.get("boundary", _DEFAULT)
    missing = math.prod(known.shape) - int(known.sum())
    return told | ({"not known": f"{missing} of {known.size} pixels"} if missing else {})


def _recognises(probe: Probe) -> bool:
    if probe.series:
        return False
    if probe.head.startswith(TIFF):
        return pages_of(probe.path).count == 1
    if probe.head.startswith(NUMPY):
        array = read_npy(probe.path)
        return array.dtype.kind in "biuf" and (
            array.ndim == 2 or (array.ndim == 3 and 3 in (array.shape[0], array.shape[2]))
        )
    return probe.head.startswith(PHOTOS)


READER = Reader(
    layout=LAYOUT,
    about="PNG, JPEG, TIFF or real .npy, blurred, incomplete, small or noisy",
    accepts=(BLUR, TURNED, BOUNDARY, FACTOR, MASK, NOISE),
    otherwise="a picture has none",
    recognises=_recognises,
    open=open_picture,
    parse=read_picture,
)
