"""The Helsinki Tomography Challenge 2022: fan-beam CT in MATLAB files (doi:10.5281/zenodo.7418878).

A file holds one struct, `CtDataFull` or `CtDataLimited`, with line integrals `sinogram` (views, bins) and the
geometry in `parameters`. Only this struct is read; version 5 and 7 files limit a variable to 4 GiB by
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError, printable
from invprob.io.checks import angles_in_radians, check_angles, folded, no_reading, refuse_where, sound_geometry
from invprob.io.digest import fingerprint
from invprob.io.layout import Probe, Reader, Stack
from invprob.io.matlab import load_variables
from invprob.io.missing_readings import HINT, filled, lost_readings, weights_of
from invprob.io.options import AXIS, IMAGE_PIXEL_SIZE, IMAGE_SHAPE, MISSING, RINGS, VIEWS, Options, selected
from invprob.operators import FanBeam
from invprob.scan import Scan, Units

__all__ = ["READER", "open_challenge", "read_struct"]

LAYOUT = "Helsinki Tomography Challenge 2022"
STRUCTS = ("CtDataFull", "CtDataLimited")
_IMAGE_SHAPE = (512, 512)


def open_challenge(path: Path, options: Options) -> Stack:
    """Open a challenge file: a single image."""
    return Stack(path, LAYOUT, None, lambda _: _read(path, options))


def _read(path: Path, options: Options) -> Scan:
    """Read a fan-beam scan `(views, bins)` in millimetres, its image 512 x 512."""
    name, struct = read_struct(path)
    where = f"{printable(path)}: {name}"
    parameters = _entry(struct, "parameters", where)
    sinogram = _sinogram(struct, where)
    degrees = np.atleast_1d(np.asarray(_entry(parameters, "angles", where), dtype=np.float64))
    if degrees.size != sinogram.shape[0]:
        raise InputError(
            f"{where}: {degrees.size} angles for a sinogram of shape {sinogram.shape} (views, bins): "
            "check how the file was written"
        )
    views = selected(options.get("views"), degrees.size, "--views")
    axes = {"view": views, "bin": range(sinogram.shape[1])}
    sinogram = sinogram[views]
    lost = lost_readings(sinogram, options, f"{where}.sinogram")
    bad, remedy = no_reading(sinogram) & ~lost, f"leave views out with --views, {HINT}"
    refuse_where(bad, axes, f"{where}.sinogram is NaN or infinite", remedy)
    theta = angles_in_radians(degrees[views], "degrees", where)
    check_angles(theta, views, where, "leave these views out with --views")
    operator = _fan_beam(parameters, folded(theta), sinogram.shape[1], options, where)
    provenance = {
        "source": str(path),
        "digest": fingerprint(path),
        "reader": f"{LAYOUT}, {name}",
        "views": f"{len(views)} of {degrees.size}",
        "correction": "none: the file holds line integrals",
    }
    data = torch.from_numpy(filled(np.where(lost, 0, sinogram).astype(np.float32), lost))
    weights = weights_of(lost) if options.get(MISSING.name) == "mask" else None
    return Scan(operator, data, weights=weights, units=Units.attenuation("mm"), provenance=provenance)


def _fan_beam(
    parameters: Mapping[str, Any], theta: NDArray[np.float64], bins: int, options: Options, where: str
) -> FanBeam:
    unit = _entry(parameters, "distanceUnit", where)
    if not isinstance(unit, str) or unit != "mm":
        raise InputError(f"{where}: distances in {printable(unit)}, expected mm: correct parameters.distanceUnit")
    keys = ("distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost", "effectivePixelSizePost")
    to_axis, to_detector, pitch, pixel_size = (_number(parameters, key, where) for key in keys)
    with sound_geometry(where):
        return FanBeam(
            options.get("image_shape", _IMAGE_SHAPE),
            theta,
            bins,
            source_distance=to_axis,
            detector_distance=to_detector - to_axis,
            pixel_size=options.get("image_pixel_size", pixel_size),
            detector_size=pitch,
            axis_offset=options["axis"] - (bins - 1) / 2 if "axis" in options else 0.0,
        )


def read_struct(path: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the content of the struct of a challenge file; InputError if there is none."""
    with path.open("rb") as stream:
        header = stream.read(128)
    if b"MATLAB 7.3" in header:
        raise InputError(
            f"{printable(path)} is a MATLAB 7.3 file, and the challenge's are version 5 or 7: "
            "save it in MATLAB with the option '-v7'"
        )
    content = load_variables(path, STRUCTS, simplify_cells=True)
    for name in STRUCTS:
        if isinstance(content.get(name), dict):
            return name, content[name]
    raise InputError(
        f"{printable(path)} holds neither the struct {STRUCTS[0]} nor {STRUCTS[1]}, and of other MATLAB files a single "
        "matrix of a turntable radar is read: save its arrays in another layout, such as .npy"
    )


def _sinogram(struct: Mapping[str, Any], where: str) -> NDArray[Any]:
    sinogram = np.asarray(_entry(struct, "sinogram", where))
    if sinogram.ndim != 2 or sinogram.dtype.kind not in "iuf" or not sinogram.size:
        raise InputError(
            f"{where}.sinogram has type {sinogram.dtype} and shape {sinogram.shape}, "
            "expected real numbers (views, bins): check how the file was written"
        )
    return sinogram


def _entry(struct: Mapping[str, Any], key: str, where: str) -> Any:
    if not isinstance(struct, Mapping) or key not in struct:
        raise InputError(f"{where} has no field {key}: check how the file was written")
    return struct[key]


def _number(struct: Mapping[str, Any], key: str, where: str) -> float:
    value = np.asarray(_entry(struct, key, where))
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise InputError(f"{where}.parameters.{key} is not a number: check how the file was written")
    return float(value.item())


def _recognises(probe: Probe) -> bool:
    return probe.head.startswith(b"MATLAB")


READER = Reader(
    layout=LAYOUT,
    about=f"MATLAB 5 or 7 with {STRUCTS[0]} or {STRUCTS[1]}",
    accepts=(VIEWS, AXIS, IMAGE_SHAPE, IMAGE_PIXEL_SIZE, RINGS, MISSING),
    otherwise="the file holds a single detector row with its angles in degrees and its detector in mm",
    recognises=_recognises,
    open=open_challenge,
    parse=read_struct,
)
