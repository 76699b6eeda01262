"""What a user may say about k-space on top of what a file says itself."""

from __future__ import annotations

import math

from invprob.io.options import Option, yes_or_no

__all__ = ["AXES", "AXIS_NAMES", "COILS", "CONJUGATE", "FRAMES", "MASK", "NOISE"]

AXIS_NAMES = ("slice", "frame", "echo", "coil", "z", "y", "x")


def _axes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    unknown = [name for name in names if name not in (*AXIS_NAMES, "sample")]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"{text!r} is not a list of different axes of {', '.join(AXIS_NAMES)}, sample")
    return names


def _level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r} is not a number >= 0")
    return value


MASK = Option(
    "mask", "what was measured: a file of 0 and 1, or a picture, white; auto finds it", "auto|FILE", str, flag=True
)
AXES = Option("axes", "what the axes of the array are, from first to last", "coil,y,x", _axes)
COILS = Option("coils", "coil maps instead of calibrating them, (coils, y, x) in .npy or .cfl", "FILE", str)
FRAMES = Option("frames", "the axis whose images are one item: echoes, frames of a film", "echo|contrast|...", str)
NOISE = Option("noise", "the standard deviation of a reading's noise, sigma^2 = E|n|^2", "NUMBER", _level, flag=True)
CONJUGATE = Option("conjugate", "whether samples are conjugated; by default those of Siemens", "true|false", yes_or_no)
