"""What `invprob reconstruct` says before and after: what was assumed, where the files are, whether to trust them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invprob.cli.console import fact, warn
from invprob.cli.judging import judge
from invprob.cli.methods import defaults
from invprob.io.options import PIXEL_SIZE
from invprob.io.readers import known_options
from invprob.io.summary import noise_in_words

if TYPE_CHECKING:
    from torch import Tensor

    from invprob.io import Stack
    from invprob.stack import JoinedResults

__all__ = ["conclude", "count_weights", "files", "introduce"]

_FORMATS = {"PSNR": "{:.1f} dB", "SSIM": "{:.3f}", "relative error": "{:.3f}"}


def introduce(stack: Stack, method: str, settings: Mapping[str, Any], at_once: int) -> None:
    """Say what is going to be reconstructed, and everything that was not chosen on the command line."""
    scan, rows = stack.sample, stack.rows
    fact("scan", f"{stack.path} ({stack.layout})")
    fact("geometry", repr(scan.operator))
    if rows is not None:
        step = f" in steps of {rows.step}" if rows.step > 1 else ""
        fact("rows", f"{len(rows)}, from {rows[0]} to {rows[-1]}{step}, {at_once} at a time")
    for what, words in stack.found.items():
        option = known_options().get(what)
        fact(what, f"{words} ({option.typed} {option.form} gives another)" if option else words)
    if scan.units.length == "pixel":
        remedy = f" ({PIXEL_SIZE.typed} MM does)" if PIXEL_SIZE in stack.accepts else ""
        fact("units", f"lengths in pixels, as the file gives no pixel size{remedy}")
    else:
        fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}")
    fact("noise", noise_in_words(scan))
    if scan.weights is not None:
        fact("weights", count_weights(scan.weights))
    told = ", ".join(f"{key} {'auto' if v is None else v}" for key, v in _complete(method, settings).items())
    fact("method", f"{method} ({told})")
    for doubt in stack.doubts():
        if doubt not in stack.warned:  # of which reading warns
            warn(doubt)


def conclude(story: JoinedResults, method: str, settings: Mapping[str, Any]) -> None:
    """Say how it went, what was chosen for the user, and what speaks for and against the image."""
    left_open = (key for key, value in _complete(method, settings).items() if value in ("auto", None))
    chosen = [key for key in left_open if key in story.settings]
    steps = _median(story.n_iter.double().flatten().tolist(), "{:.0f}")
    fact("done", f"{steps} iterations in {story.seconds:.1f} s" if story.history else f"{story.seconds:.1f} s")
    if chosen:
        fact("chosen", ", ".join(f"{key} {_chosen(story.settings[key])}" for key in chosen))
    if story.quality:
        told = (f"{name} {_median(values, _FORMATS[name])}" for name, values in story.quality.items())
        fact("truth", ", ".join(told))
    judge(story.certificate, story.item_status)


def files(output: Path, others: Iterable[tuple[str, Path]]) -> None:
    """Say where everything is."""
    fact("result", f"{output}")
    for what, path in others:
        fact("", f"{path} ({what})")


def count_weights(weights: Tensor) -> str:
    """Return in words how many readings count, and how unequally."""
    positive = weights[weights > 0]
    missing = weights.numel() - positive.numel()
    span = f"from {float(positive.min()):.3g} to {float(positive.max()):.3g}, from the file"
    return span if not missing else f"{span}; {missing} of {weights.numel()} readings have none"


def _complete(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return defaults(method) | dict(settings)


def _chosen(value: Any) -> str:
    numbers = _flat(value)
    plain = any(isinstance(number, bool | str) for number in numbers)
    return str(value) if plain else _median(numbers, "{:.3g}")


def _flat(value: Any) -> list[Any]:
    return [entry for part in value for entry in _flat(part)] if isinstance(value, list) else [value]


def _median(values: list[float], form: str) -> str:
    """Return the one value, or the median and the range of several."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "not known"
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return middle if low == high else f"{middle} (median of {len(values)} rows, {low} to {high})"
