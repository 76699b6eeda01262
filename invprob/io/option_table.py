"""Every option that a reader honours, by its name: known before a reader, and torch, is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from invprob.io import mri_options, options, picture_options
from invprob.io.options import Option

__all__ = ["OPTIONS"]

_TOLD = (options, picture_options, mri_options)
OPTIONS: Mapping[str, Option] = {
    thing.name: thing for room in _TOLD for thing in vars(room).values() if isinstance(thing, Option)
}
