"""What a user may say about k-space on top of what a file says itself."""

from __future__ import annotations

import math

from invprob.io.options import IMAGE_PIXEL_SIZE, IMAGE_SHAPE, Option, Options, one_of, yes_or_no

__all__ = [
    "AXES",
    "AXIS_NAMES",
    "COILS",
    "CONJUGATE",
    "FRAMES",
    "MASK",
    "MATRIX",
    "NOISE",
    "OFF_THE_GRID",
    "TRAJECTORY",
    "TRAJECTORY_UNIT",
    "UNITS",
    "refuse_off_grid",
]

AXIS_NAMES = ("slice", "frame", "echo", "coil", "z", "y", "x", "shot", "sample")
UNITS = ("rad/pixel", "cycles/pixel", "cycles/fov", "1/m", "rad/m")  # those of `invprob.operators.radians_per_pixel`

_LARGEST = 2.0**127  # noise in single precision


def _axes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    unknown = [name for name in names if name not in AXIS_NAMES]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"{text!r} is not a list of different axes of {', '.join(AXIS_NAMES)}")
    return names


def _matrix(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not 2 <= len(parts) <= 3 or not all(part.isdecimal() and 0 < int(part) < 2**16 for part in parts):
        raise ValueError(f"{text!r} is not HxW or DxHxW, as in 256x256")
    return tuple(int(part) for part in parts)


def _level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{text!r} is not a number from 0 to {_LARGEST:.2g}")
    return value


MASK = Option(
    "mask", "what was measured: a file of 0 and 1, or a picture, white; auto finds it", "auto|FILE", str, flag=True
)
AXES = Option("axes", "what the axes of the array are, from first to last", "coil,y,x", _axes)
COILS = Option("coils", "coil maps instead of calibrating them, (coils, y, x) in .npy or .cfl", "FILE", str)
FRAMES = Option("frames", "the axis whose images are one item: echoes, frames of a film", "echo|contrast|...", str)
NOISE = Option("noise", "the standard deviation of a reading's noise, sigma^2 = E|n|^2", "NUMBER", _level, flag=True)
CONJUGATE = Option("conjugate", "whether samples are conjugated; by default those of Siemens", "true|false", yes_or_no)
TRAJECTORY = Option(
    "trajectory", "where k-space was sampled: (..., 2), the last axis (ky, kx), in .npy, or a cfl pair", "FILE", str
)
TRAJECTORY_UNIT = Option("trajectory_unit", "the unit of the trajectory", "|".join(UNITS), one_of(*UNITS))
MATRIX = Option("matrix", "the pixels of the field of view that cycles/fov are counted in", "HxW|DxHxW", _matrix)
OFF_THE_GRID = (TRAJECTORY_UNIT, MATRIX, IMAGE_SHAPE, IMAGE_PIXEL_SIZE)  # what goes with a trajectory


def refuse_off_grid(options: Options, because: str) -> None:
    """Raise InputError for an option of samples off the grid where samples lie on it."""
    for option in OFF_THE_GRID:
        if option.name in options:
            option.refuse(because=because)
