"""One HTML page about a result: it needs no network, runs no script, and can be printed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from invprob.io.atomic import check_output, write_whole
from invprob.report.picture import Picture, show
from invprob.report.plots import curves
from invprob.report.template import render
from invprob.verdict import against_truth, brief, statements, verdict

if TYPE_CHECKING:
    from invprob.io import StoredResult
    from invprob.scan import Scan

__all__ = ["save_report"]

_SIZE = 2**22  # bytes, about what a page takes
_GREY, _SIGNED = "gray", "RdBu_r"
_GRADES = {"good": "speaks for it", "fair": "needs care", "bad": "speaks against it", "known": "for information"}
_ROUND = (1, 2, 5)


@dataclass(frozen=True)
class Panel:
    """A picture with its heading, its unit, and what there is to say about it; `bar` is a length to scale."""

    title: str
    picture: Picture
    unit: str
    note: str = ""
    colours: str = _GREY
    bar: str = ""
    bar_share: float = 0.0
    stretched: bool = False  # to a square, as its axes have nothing in common


def save_report(
    path: str | os.PathLike[str], result: StoredResult, *, scan: Scan | None = None, overwrite: bool = False
) -> None:
    """Write the page of a result whose `image` is one image (H, W), or a stack of which the middle one is shown.

    With its `scan` (one row of it for one image) the page shows the data and, if there is one, the truth.
    Raises OutputError or ResourceError if the page cannot be written.
    """
    text = _page(result, scan)

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    path = check_output(path, max(_SIZE, len(text)), overwrite=overwrite)
    write_whole(path, write)


def _page(result: StoredResult, scan: Scan | None) -> str:
    found = statements(result.certificate, result.item_status)
    return render(
        "invprob.report",
        "page.html",
        title=Path(result.provenance.get("source", "an image")).name,
        facts=_facts(result),
        verdict=verdict(found),
        statements=found,
        grades=_GRADES,
        panels=list(_panels(result, scan)),
        curves=curves(result.history),
        quality=_quality(result, scan),
        tables={"Method": _method(result), "Data": _plain(result.provenance), "Versions": _plain(result.versions)},
        command=result.command,
    )


def _facts(result: StoredResult) -> str:
    """Return size, method and time as one line."""
    shape = " x ".join(map(str, result.image.shape[-2:]))
    size = f" of {result.pixel_size:.4g} {result.units.length}" if result.pixel_size else ""
    parts = [f"{shape} pixels{size}"]
    if "method" in result.settings:
        parts.append(f"method {result.settings['method']}")
    if result.seconds is not None:
        parts.append(f"{result.seconds:.1f} s")
    return ", ".join(parts)


def _panels(result: StoredResult, scan: Scan | None) -> Iterator[Panel]:
    """Yield the image, then truth, error and data as far as they are known."""
    image, unit = _middle(result.image, 2), _unit(result.units.image)
    bar, share = _scale_bar(image.shape[-1], result.pixel_size, result.units.length)
    rows = len(result.item_status)
    shown = show(image)
    yield Panel("Image", shown, unit, f"middle one of {rows} rows" if rows > 1 else "", bar=bar, bar_share=share)
    if scan is None:
        return
    if scan.truth is not None:
        truth = _middle(scan.truth, 2)
        yield Panel("Truth", show(truth, window=(shown.low, shown.high)), unit, "on the same scale")
        error = _real(image) - _real(truth)
        largest = float(error.abs().nan_to_num().quantile(0.995)) if error.numel() < 2**24 else float(error.abs().max())
        largest = largest or 1.0
        yield Panel(
            "Error", show(error, window=(-largest, largest), colours=_SIGNED), unit, "image minus truth", _SIGNED
        )
    if len(scan.operator.range_shape) == 2:
        yield Panel("Data", show(_middle(scan.data, 2)), _unit(result.units.data), "a line per view", stretched=True)


def _middle(images: Tensor, ndim: int) -> Tensor:
    """Return the one item, or the middle one of a batch."""
    items = images.reshape(-1, *images.shape[images.ndim - ndim :])
    return items[len(items) // 2]


def _real(image: Tensor) -> Tensor:
    return image.abs() if image.is_complex() else image


def _scale_bar(width: int, pixel_size: float | None, unit: str) -> tuple[str, float]:
    """Return a round length of about a quarter of the image in words, and its share of the width."""
    whole = width * (pixel_size or 1.0)
    power = 10.0 ** math.floor(math.log10(whole / 4))
    length = max(step * power for step in _ROUND if step * power <= whole / 4)
    return f"{length:g} {unit if pixel_size else 'pixel'}", length / whole


def _quality(result: StoredResult, scan: Scan | None) -> dict[str, str]:
    if scan is None or scan.truth is None:
        return {}
    forms = {"PSNR": "{:.2f} dB", "SSIM": "{:.4f}", "relative error": "{:.2%}"}
    found = against_truth(_middle(result.image, 2), _middle(scan.truth, 2))
    return {name: form.format(found[name][0]) for name, form in forms.items() if name in found}


def _method(result: StoredResult) -> dict[str, str]:
    facts: dict[str, Any] = dict(result.settings)
    if result.n_iter is not None and result.n_iter.numel() and int(result.n_iter.max()):
        facts["iterations"] = brief(result.n_iter.flatten().tolist())
    if result.seconds is not None:
        facts["time"] = f"{result.seconds:.1f} s"
    return _plain(facts)


def _plain(facts: Mapping[str, Any]) -> dict[str, str]:
    return {key: brief(value) for key, value in facts.items()}


def _unit(text: str) -> str:
    return "" if text == "1" else text
