"""What a result file says about itself, read without its image, which may be larger than the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from invprob.cli.closing import judge
from invprob.cli.console import fact
from invprob.io import open_hdf5, read_array
from invprob.io.attributes import read_json
from invprob.io.checks import check_file
from invprob.io.result_file import FORMAT
from invprob.io.safe_hdf5 import dataset, read_text
from invprob.verdict import brief

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["describe_result", "is_result"]


def is_result(path: Path) -> bool:
    """Return whether a file is a result; InputError if there is no such file or it is damaged."""
    check_file(path)
    if not h5py.is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return read_text(file, "format") == FORMAT


def describe_result(path: Path) -> None:
    """Say what a result holds, how it was made, and what speaks for and against it."""
    with open_hdf5(path) as file:
        shape = dataset(file, "image").shape
        text = {key: read_text(file, key) or "" for key in ("status", "image_unit", "length_unit", "command")}
        kept = {key: read_json(file, key) or {} for key in ("settings", "versions", "provenance", "certificate")}
        item_status = read_json(file, "item_status") or []
        pixel_size = file.attrs.get("pixel_size")
        middle = read_array(file, "image", (slice(shape[0] // 2, shape[0] // 2 + 1),) if len(shape) > 2 else ())
    fact("result", f"{path} ({text['status'] or 'incomplete'}, {path.stat().st_size / 2**20:.3g} MiB)")
    pixels = f", pixels of {float(pixel_size):.6g} {text['length_unit']}" if pixel_size is not None else ""
    fact("image", f"{' x '.join(map(str, shape))}, in {text['image_unit'] or '1'}{pixels}")
    fact("values", _values(middle) + (" in the middle row" if len(shape) > 2 else ""))
    fact("settings", _pairs(kept["settings"]))
    fact("command", text["command"] or "not recorded")
    fact("versions", _pairs(kept["versions"]))
    for key, value in kept["provenance"].items():
        fact("", f"{key}: {value}")
    if kept["certificate"] and item_status:
        judge(kept["certificate"], item_status)


def _values(image: np.ndarray[Any, Any]) -> str:
    magnitude = np.abs(image) if np.iscomplexobj(image) else image
    finite = magnitude[np.isfinite(magnitude)]
    if not finite.size:
        return "none finite"
    return f"{finite.min():.6g} to {finite.max():.6g}, {image.size - finite.size} NaN or infinite"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {brief(value)}" for key, value in values.items()) or "not recorded"
