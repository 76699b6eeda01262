"""Several results of one scan side by side on one page, shown in one window."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invprob import metrics
from invprob.io.atomic import PAGE, check_output, write_text
from invprob.judgement import Statement, brief, statements, verdict
from invprob.report.picture import Picture, middle_item, show
from invprob.report.template import render
from invprob.result import Result
from invprob.scan import Scan

__all__ = ["save_comparison", "strip_of"]

_GAP = 4  # pixels between the pictures of a strip


@dataclass(frozen=True)
class Column:
    """One of the results: what sets it apart, its picture, what is to be said of it, and its numbers."""

    title: str
    picture: Picture
    verdict: Statement
    numbers: Mapping[str, str]


def save_comparison(
    path: str | os.PathLike[str],
    results: Mapping[str, Result],
    scan: Scan,
    *,
    overwrite: bool = False,
    command: str = "",
) -> None:
    """Write a page of results by what sets them apart; all pictures have the window of the first, or of the truth.

    OutputError or ResourceError if the page cannot be written.
    """
    columns = _columns(results, scan)
    text = render(
        "invprob.report",
        "comparison.html",
        title=Path(scan.provenance.get("source", "an image")).name,
        columns=columns,
        names=list(dict.fromkeys(name for column in columns for name in column.numbers)),
        command=command,
    )
    path = check_output(path, max(PAGE, len(text)), overwrite=overwrite)
    write_text(path, text, overwrite=overwrite)


def strip_of(results: Mapping[str, Result]) -> Image.Image:
    """Return the pictures side by side, in the order given and in the window of the first."""
    pictures = [_pixels(picture) for picture in _pictures(results, None).values()]
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    return Image.fromarray(np.concatenate(parts, axis=1))


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture.png())) as image:
        return np.asarray(image.convert("RGB"))


def _pictures(results: Mapping[str, Result], window: tuple[float, float] | None) -> dict[str, Picture]:
    found: dict[str, Picture] = {}
    for title, result in results.items():
        found[title] = show(result, window=window)
        window = (found[title].low, found[title].high)
    return found


def _columns(results: Mapping[str, Result], scan: Scan) -> list[Column]:
    first = next(iter(results.values()))
    truth = None if scan.truth is None else middle_item(scan.truth, first.ndim)
    shown = None if truth is None else show(truth, first.ndim, grid=first.grid, channels=first.channels)
    window = None if shown is None else (shown.low, shown.high)
    columns = []
    for title, picture in _pictures(results, window).items():
        result = results[title]
        facts = None if result.certificate is None else result.certificate.as_dict()
        numbers: dict[str, str] = {}
        if truth is not None:
            found = metrics.quality(result.item().x, truth, ndim=result.ndim, space=result.space)
            forms = {"PSNR": "{:.2f} dB", "SSIM": "{:.4f}", "relative error": "{:.2%}"}
            numbers |= {name: form.format(float(found[name])) for name, form in forms.items() if name in found}
        if facts and facts.get("residual_to_noise") is not None:
            numbers["residual / noise"] = brief(facts["residual_to_noise"])
        if "strength" in result.settings:
            numbers["strength"] = brief(result.settings["strength"])
        if result.n_iter.numel() and int(result.n_iter.max()):
            numbers["iterations"] = brief(result.n_iter.flatten().tolist())
        if math.isfinite(result.seconds):
            numbers["time"] = f"{result.seconds:.1f} s"
        columns.append(Column(title, picture, verdict(statements(facts, result.item_status)), numbers))
    if shown is not None:
        columns.append(Column("truth", shown, Statement("known", "what was scanned"), {}))
    return columns
