"""Checkpoints that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from invprob.errors import InputError, printable
from invprob.io.atomic import write_whole

__all__ = ["load", "save"]

_FORMAT, _OLDER = "invprob-training-2", ("invprob-training-1",)
_HEAD = "invprob training, sha256 "


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values under its digest: temporary file, fsync, rename."""
    stream = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, stream)
    content = stream.getbuffer()
    head = f"{_HEAD}{hashlib.sha256(content).hexdigest()}\n".encode()
    write_whole(path, lambda partial: _write(partial, head, content), overwrite=True)


def load(path: Path) -> dict[str, Any]:
    """Return a saved state on the CPU; nothing in the file is executed.

    InputError for any other file, and for one that is not what its digest says. Checkpoints before version 2 have none.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {printable(path)} to resume from: start without --resume")
    name = printable(path)
    try:
        content, sealed = _content(path)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        known = isinstance(state, dict) and state.get("format") in ((_FORMAT,) if sealed else _OLDER)
        fits = known and isinstance(state.get("settings"), dict) and isinstance(state.get("kind", ""), str)
    except Exception as error:  # a damaged file fails in the archive, in the pickle, or in the tensors
        raise InputError(f"the checkpoint {name} is damaged ({printable(error)})") from error
    if not fits:
        raise InputError(f"{name} is no checkpoint of a training by this version")
    return dict(state)


def _content(path: Path) -> tuple[bytes, bool]:
    """Return what stands below the digest, and whether there is one; ValueError if it is not what that says."""
    content = path.read_bytes()
    if not content.startswith(_HEAD.encode()):
        return content, False
    head, _, rest = content.partition(b"\n")
    if head[len(_HEAD) :].decode("ascii", "replace") != hashlib.sha256(rest).hexdigest():
        raise ValueError("it is not what its digest says")
    return rest, True


def _write(path: Path, head: bytes, content: memoryview) -> None:
    with path.open("wb") as stream:
        stream.write(head)
        stream.write(content)
