"""What a result file says about itself, read without its image, which may be larger than the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from invprob.cli.console import fact
from invprob.cli.judging import judge
from invprob.errors import InputError
from invprob.grid import size_in_words
from invprob.io.result_layout import read_certificate, read_item_status, read_layout, read_mapping
from invprob.io.safe_hdf5 import dataset, exists, find, open_hdf5, read_array, read_text
from invprob.judgement import brief
from invprob.status import INCOMPLETE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["describe_result"]

_OTHERS = {"samples": "samples", "spread": "the spread of every value", "half_change": "where not to trust it"}


def describe_result(path: Path) -> None:
    """Say what a result holds, how it was made, and what speaks for and against it."""
    with open_hdf5(path) as file:
        layout = read_layout(file)
        shape, command = layout.shape, read_text(file, "command")
        others = [what for name, what in _OTHERS.items() if exists(file, name)]
        kept = {key: read_mapping(file, key) for key in ("settings", "versions", "provenance")}
        certificate = read_certificate(file)
        item_status = read_item_status(file)
        maps = {name: _map(file, f"maps/{name}") for name in (find(file, "maps") if exists(file, "maps") else ())}
        middle = _middle(file, shape, layout.status)
    fact("result", f"{path} ({layout.status}, {path.stat().st_size / 2**20:.3g} MiB)")
    kind = ", complex" if np.iscomplexobj(middle) else ""
    size = size_in_words(shape, layout.ndim, layout.grid, layout.channels)
    fact("image", f"{size}, in {layout.units.image}{kind}")
    part = "" if len(shape) < 3 else " in the middle image" if len(shape) > layout.ndim else " in the middle slice"
    fact("magnitudes" if kind else "values", _values(middle) + part)
    for name, told in maps.items():
        fact(name, told)
    if others:
        fact("besides", ", ".join(others))
    fact("settings", _pairs(kept["settings"]))
    fact("command", command or "not recorded")
    fact("versions", _pairs(kept["versions"]))
    for key, value in kept["provenance"].items():
        fact("", f"{key}: {value}")
    if item_status:
        judge(certificate, item_status)


def _middle(file: h5py.File, shape: tuple[int, ...], status: str) -> np.ndarray[Any, Any]:
    """Return the middle of the first axis of an image; NaN where an unfinished one has nothing yet."""
    try:
        return read_array(file, "image", (slice(shape[0] // 2, shape[0] // 2 + 1),) if len(shape) > 2 else ())
    except InputError:
        if status != INCOMPLETE:
            raise
        return np.full(shape[1:], np.nan)


def _values(image: np.ndarray[Any, Any]) -> str:
    magnitude = np.abs(image) if np.iscomplexobj(image) else image
    finite = magnitude[np.isfinite(magnitude)]
    if not finite.size:
        return "none finite"
    return f"{finite.min():.6g} to {finite.max():.6g}, {image.size - finite.size} NaN or infinite"


def _map(file: h5py.File, name: str) -> str:
    """Return in words how large the values of a map are, and how many of them there are."""
    values, unit = read_array(file, name), read_text(dataset(file, name), "unit")
    finite = np.abs(values[np.isfinite(values)])
    if not finite.size:
        return "none finite"
    low, middle, high = np.percentile(finite, (1, 50, 99))
    known = f"{finite.size / values.size:.0%} of the pixels known"
    return f"{middle:.4g}{f' {unit}' if unit else ''} in the median, {low:.4g} to {high:.4g}, {known}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {brief(value)}" for key, value in values.items()) or "not recorded"
