"""Checkpoints that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from invprob.errors import InputError, printable
from invprob.io.atomic import write_whole

__all__ = ["load", "save"]

_FORMAT = "invprob-training-1"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values: temporary file, fsync, rename."""
    write_whole(path, lambda partial: torch.save({"format": _FORMAT, **state}, partial))


def load(path: Path) -> dict[str, Any]:
    """Return a saved state on the CPU; nothing in the file is executed. InputError for any other file."""
    if not path.is_file():
        raise InputError(f"there is no checkpoint {printable(path)} to resume from: start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = isinstance(state, dict) and state.get("format") == _FORMAT and "settings" in state
    except Exception as error:  # a damaged file fails in the archive, in the pickle, or in the tensors
        raise InputError(f"the checkpoint {printable(path)} is damaged ({printable(error)})") from error
    if not known:
        raise InputError(f"{printable(path)} is no checkpoint of a training by this version")
    return dict(state)
