"""Variables of MATLAB files of version 5 and 7, as the readers of such files take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import scipy.io

from invprob.errors import InputError, printable

__all__ = ["load_variables"]


def load_variables(path: Path, names: Sequence[str], **options: Any) -> dict[str, Any]:
    """Return some variables by their names, where they are there, with options of scipy; InputError if damaged."""
    try:
        found: dict[str, Any] = scipy.io.loadmat(path, variable_names=names, **options)
    except Exception as error:  # scipy lets through whatever its parser stumbles over: zlib, struct, index errors
        raise InputError(f"{printable(path)} is damaged ({printable(error)}): copy it again from its source") from error
    return found
