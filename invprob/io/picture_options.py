"""What a user may say about a picture and what has spoilt it."""

from __future__ import annotations

from invprob.io.options import Option, one_of, whole, yes_or_no

__all__ = ["BLUR", "BOUNDARIES", "BOUNDARY", "FACTOR", "FORM", "SLICE", "TURNED"]

FORM = "gaussian:SIGMA|disc:RADIUS|box:SIDE|motion:LENGTH:DEGREES|FILE[:NUMBER]"  # of a kernel
BOUNDARIES = ("periodic", "valid", "zero", "reflect")  # those of `invprob.operators.Blur`


BLUR = Option(
    "blur", "what blurred the picture: a name with its pixels, or a picture, .npy or .mat", FORM, str, flag=True
)
TURNED = Option("turned", "whether the kernel lies turned by 180 degrees in its file", "true|false", yes_or_no)
BOUNDARY = Option(
    "boundary", "what lies beyond the border of a blurred picture", "|".join(BOUNDARIES), one_of(*BOUNDARIES)
)
FACTOR = Option(
    "factor", "how many pixels of the image along each side became one", "NUMBER", whole(1, 1024, 2), flag=True
)
SLICE = Option("slice", "which slice or frame of a medical file, from 0", "NUMBER", whole(0, 2**20, 12))
