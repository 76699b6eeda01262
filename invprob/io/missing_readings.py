"""Readings that are NaN or infinite: refused, unless the user says what to do with them (`--read missing=...`)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.errors import InputError, InputWarning
from invprob.io.checks import no_reading
from invprob.io.options import MISSING, Options
from invprob.linop.readings import interpolated

__all__ = ["HINT", "filled", "lost_readings", "weights_of"]

HINT = f"or add {MISSING.typed}=mask"
_SAID = {"mask": "they count nowhere", "interpolate": "interpolated along the detector"}


def lost_readings(values: NDArray[Any], options: Options, where: str) -> NDArray[np.bool_]:
    """Return which readings are to be replaced, none unless the user said so; warn of them.

    InputError if whole lines along the detector, the last axis, are to be interpolated from nothing.
    """
    choice = options.get(MISSING.name, "refuse")
    lost = no_reading(values) if choice in _SAID else np.zeros(values.shape, dtype=bool)
    count = int(np.count_nonzero(lost))
    if choice == "interpolate" and lost.all(axis=-1).any():
        raise InputError(
            f"{where}: there are lines without any reading, between which nothing can be interpolated: leave them out "
            f"with --views, {HINT}"
        )
    if count:
        told = f"{where}: {count} of {lost.size} readings are NaN or infinite: {_SAID[choice]}"
        warnings.warn(told, InputWarning, stacklevel=3)
    return lost


def filled(integrals: NDArray[np.float32], gone: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return line integrals with those that are gone interpolated along the detector, the last axis."""
    if not gone.any():
        return integrals
    return interpolated(torch.from_numpy(integrals), torch.from_numpy(~gone).to(torch.float32)).numpy()


def weights_of(gone: NDArray[np.bool_]) -> Tensor | None:
    """Return the weights of a scan, 0 where a reading is gone; None where none is."""
    return torch.from_numpy(~gone).to(torch.float32) if gone.any() else None
