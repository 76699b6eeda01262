"""What a user may say about a picture and what has spoilt it."""

from __future__ import annotations

from invprob.io.options import Option, yes_or_no

__all__ = ["BLUR", "BOUNDARIES", "BOUNDARY", "FACTOR", "FORM", "SLICE", "TURNED"]

FORM = "gaussian:SIGMA|disc:RADIUS|box:SIDE|motion:LENGTH:DEGREES|FILE[:NUMBER]"  # of a kernel
BOUNDARIES = ("periodic", "valid", "zero", "reflect")  # those of `invprob.operators.Blur`


def _boundary(text: str) -> str:
    if text not in BOUNDARIES:
        raise ValueError(f"{text!r} is none of {', '.join(BOUNDARIES)}")
    return text


def _factor(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError(f"{text!r} is not a whole number of at least 1, as in 2")
    return value


BLUR = Option(
    "blur", "what blurred the picture: a name with its pixels, or a picture, .npy or .mat", FORM, str, flag=True
)
TURNED = Option("turned", "whether the kernel lies turned by 180 degrees in its file", "true|false", yes_or_no)
BOUNDARY = Option("boundary", "what lies beyond the border of a blurred picture", "|".join(BOUNDARIES), _boundary)
FACTOR = Option("factor", "how many pixels of the image along each side became one", "NUMBER", _factor, flag=True)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number from 0, as in 12")
    return int(text)


SLICE = Option("slice", "which slice or frame of a medical file, from 0", "NUMBER", _index)
