"""One HTML page about a result: it needs no network, runs no script, and can be printed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from invprob import metrics
from invprob.grid import printed_unit
from invprob.io.atomic import PAGE, check_output, write_text
from invprob.judgement import brief, statements, verdict
from invprob.operators.radar.base import Radar
from invprob.report.picture import Picture, axes_in_order, bulk, middle_item, picture_of_data, png_uri, show
from invprob.report.plots import curves, reliability
from invprob.report.projections import projections_png
from invprob.report.template import render

if TYPE_CHECKING:
    from invprob.result import ParameterMap, Result
    from invprob.scan import Scan

__all__ = ["save_report"]

_SIGNED, _HEAT, _MAPS = "RdBu_r", "magma", "viridis"
_GRADES = {"good": "speaks for it", "fair": "needs care", "bad": "speaks against it", "known": "for information"}
_ROUND = (1, 2, 5)
_PAINT = 4.0  # how much paint an edge gets: all of it for a quarter of the contrast from pixel to pixel
_SAMPLES = 3  # as many of them as are shown
_FAINT = "grey where the magnitude is below 2 % of white"
_FORMS = {
    "PSNR": "{:.2f} dB",
    "SSIM": "{:.4f}",
    "relative error": "{:.2%}",
    "inside 90 % intervals": "{:.1%}",
    "variance of draws / error of their mean": "{:.2f}",
}


@dataclass(frozen=True)
class Panel:
    """A picture with its heading, its unit, and what there is to say about it; `bar` is a length to scale."""

    title: str
    picture: Picture
    unit: str
    note: str = ""
    bar: str = ""
    bar_share: float = 0.0
    stretched: bool = False  # to a square, as its axes have nothing in common

    @property
    def words(self) -> str:
        """What is shown of the item, without what the title says already, and what else there is to say."""
        title = self.title.lower()
        said = [text.removeprefix(f"{title} ") for text in self.picture.caption.split(", ") if text not in ("", title)]
        return ", ".join([*said, self.note] if self.note else said)


def save_report(
    path: str | os.PathLike[str], result: Result, scan: Scan | None = None, *, overwrite: bool = False
) -> None:
    """Write the page of a result: pictures, what speaks for and against it, how it was made.

    Of a batch the middle item is shown, of a volume the middle slice (`invprob.show`).

    Arguments:
        path: of the HTML file.
        result: what the page is about.
        scan: what it was made from, of the same batch: the page then shows the data and, if there is one, the truth.
        overwrite: whether a file that is there may be replaced; by default not.

    OutputError or ResourceError if the page cannot be written, ValueError for a scan of other items or another batch.
    """
    text = _page(result, scan)
    path = check_output(path, max(PAGE, len(text)), overwrite=overwrite)
    write_text(path, text, overwrite=overwrite)


def _page(result: Result, scan: Scan | None) -> str:
    result = result if scan is None or result.grid is not None else result.of_scan(scan)
    if scan is not None:
        _check_scan(result, scan)
    found = statements(None if result.certificate is None else result.certificate.as_dict(), result.item_status)
    truth = None if scan is None or scan.truth is None else middle_item(scan.truth, result.ndim).to(result.x.device)
    return render(
        "invprob.report",
        "page.html",
        title=Path(result.provenance.get("source", "an image")).name,
        facts=_facts(result),
        verdict=verdict(found),
        statements=found,
        grades=_GRADES,
        panels=[*_images(result, scan, truth), *_unseen(result, scan), *_data(result, scan)],
        curves={**curves(result.history), **({} if truth is None else _reliability(result, truth))},
        along_axes=_along_axes(result, scan),
        quality={} if truth is None else _quality(result, truth),
        tables={"Method": _method(result), "Data": _plain(result.provenance), "Versions": _plain(result.versions)},
        command=result.command,
    )


def _check_scan(result: Result, scan: Scan) -> None:
    """Raise ValueError for a scan of items of another shape, or of another batch of them."""
    due, first = scan.operator.domain_shape, result.x.ndim - result.ndim
    batch, item = tuple(result.x.shape[:first]), tuple(result.x.shape[first:])
    way = "give the scan that it was made from"
    if len(due) != result.ndim:
        raise ValueError(f"the result has items of {result.ndim} axes, the scan of {len(due)}: {way}")
    if item != due:
        raise ValueError(f"the result has items of shape {item}, the scan of {due}: {way}")
    if batch != scan.batch_shape:
        raise ValueError(
            f"the result has a batch of shape {batch}, the scan of {scan.batch_shape}: {way}, "
            "of result.row(k) or result.item() that of its data alone"
        )


def _facts(result: Result) -> str:
    """Return size, method and time as one line."""
    parts = [result.size]
    if "method" in result.settings:
        parts.append(f"method {result.settings['method']}")
    if math.isfinite(result.seconds):
        parts.append(f"{result.seconds:.1f} s")
    return ", ".join(parts)


def _images(result: Result, scan: Scan | None, truth: Tensor | None) -> Iterator[Panel]:
    """Yield the image, then the phase of a complex one, spread, samples, truth and error as far as they are known."""
    draw = partial(show, ndim=result.ndim, grid=result.grid, channels=result.channels)
    unit, complex_image = printed_unit(result.units.image), result.x.is_complex()
    directions, window = _of_radar(result, scan)
    shown = draw(result.x, window=window)
    bar, share = _scale_bar(result)
    drawn = "" if result.samples is None else f"mean of {len(result.samples)} draws"
    yield Panel("Image", shown, unit, ", ".join(filter(None, (drawn, directions))), bar=bar, bar_share=share)
    same = (shown.low, shown.high)
    if complex_image and result.channels != "colour":
        yield Panel("Phase", draw(result.x, part="phase"), "rad", _FAINT)
    one = result.item()
    for name, found in one.maps.items():
        yield _of_map(name, found, result)
    if one.spread is not None:
        spread = replace(draw(one.spread), low=0.0)
        yield Panel("Spread", spread, unit, "standard deviation of every value")
    if one.half_change is not None:
        change = replace(draw(one.half_change, colours=_HEAT), low=0.0)
        yield Panel("Where not to trust", change, unit, "how much it changes without half of the readings")
    if one.samples is not None:
        count = len(one.samples)
        for i in range(min(_SAMPLES, count)):
            yield Panel(f"Sample {i + 1} of {count}", draw(one.samples[i], window=same), unit, "on the same scale")
    if truth is not None:
        yield Panel("Truth", draw(truth, part=_part(complex_image), window=same), unit, "on the same scale")
        if truth.is_complex() and result.channels != "colour":
            yield Panel("Phase of the truth", draw(truth, part="phase"), "rad", _FAINT)
        error = one.x - truth
        largest = bulk(error, 0.995)
        if error.is_complex() or result.channels == "colour":
            size = error.abs()
            yield Panel("Error", draw(size, window=(0.0, largest)), unit, "size of image minus truth")
        else:
            window = (-largest, largest)
            yield Panel("Error", draw(error, window=window, colours=_SIGNED), unit, "image minus truth")


def _unseen(result: Result, scan: Scan | None) -> Iterator[Panel]:
    """Yield a picture in the plane with the edges painted red that its data do not tell of."""
    one = result.item()
    if scan is None or one.x.ndim != 2 or one.x.is_complex():
        return
    slopes = scan.operator.unseen_edges(one.x)
    if slopes is None:
        return
    shown = show(one.x, ndim=2, grid=result.grid)
    grey = ((shown.values - shown.low) / max(shown.high - shown.low, 1e-30)).clip(0, 1)
    edges = slopes.double().numpy(force=True) / max(shown.high - shown.low, 1e-30)
    red = (_PAINT * edges).clip(0, 1)[..., None]
    painted = (1 - red) * grey[..., None] + red * np.array([1.0, 0.15, 0.1])
    picture = replace(shown, values=painted, low=0.0, high=1.0)
    yield Panel("Unseen edges", picture, "", "red: no ray runs along them, so that the method has drawn them")


def _of_map(name: str, found: ParameterMap, result: Result) -> Panel:
    """Return the picture of a map, in colours unless it is of the image's kind, from 0 to a round number above most."""
    draw = partial(show, found.values, ndim=result.space, grid=result.grid)
    if found.of_image:
        return Panel(name, draw(), printed_unit(result.units.image))
    most = bulk(found.values, 0.98)
    shown = draw(window=(0.0, most), colours=_MAPS)
    scale = f"0 to {most:.3g} {found.unit}".rstrip()
    note = f"{scale}, grey where the data do not say"
    return Panel(name, replace(shown, blank=np.isnan(shown.values)), found.unit, note)


def _of_radar(result: Result, scan: Scan | None) -> tuple[str, tuple[float, float] | None]:
    """Return how a radar's axes lie in pictures, whose projections have x across, and what is white; of others neither.

    Targets are few voxels, so the usual window, in which almost all values lie, would show what is faint as white.
    """
    if scan is None or not isinstance(scan.operator, Radar):
        return "", None
    down, right = axes_in_order(scan.operator.domain_shape)[-2:]
    return f"{'xyz'[down]} down, {'xyz'[right]} to the right", (0.0, bulk(result.item().x, 1.0))


def _along_axes(result: Result, scan: Scan | None) -> str:
    """Return a radar's image as its maximum projections, as data; nothing of other scans."""
    if scan is None or not isinstance(scan.operator, Radar):
        return ""
    return png_uri(projections_png(result.item().x, scan.operator.axes, unit=scan.operator.grid.unit))


def _part(complex_image: bool) -> Any:
    return "magnitude" if complex_image else None


def _data(result: Result, scan: Scan | None) -> Iterator[Panel]:
    """Yield the data of the middle item where they can be seen: views, pictures, or a plane of samples."""
    picture = None if scan is None else picture_of_data(scan)
    if scan is None or picture is None:
        return
    A = scan.operator
    in_decibels = A.data_kind == "samples" and scan.data.is_complex()
    flat = A.data_kind == "views" and len(A.range_shape) == 2
    unit = "" if in_decibels else printed_unit(result.units.data)
    yield Panel("Data", picture, unit, "a line per view" if flat else "", stretched=flat)


def _scale_bar(result: Result) -> tuple[str, float]:
    """Return a round length of about a quarter of the image in words, and its share of the width."""
    known = result.grid is not None and result.grid.known
    across = axes_in_order(result.x.shape[-result.space :])[-1] - result.space
    pixel_size = result.grid.spacing[across] if result.grid is not None and known else 1.0
    whole = result.x.shape[across] * pixel_size
    power = 10.0 ** math.floor(math.log10(whole / 4))
    length = max(step * power for step in _ROUND if step * power <= whole / 4)
    unit = result.grid.unit if result.grid is not None and known else "pixels"
    return f"{length:g} {unit}", length / whole


def _quality(result: Result, truth: Tensor) -> dict[str, str]:
    one = result.item()
    found = metrics.quality(one.x, truth, ndim=result.ndim, space=result.space)
    if one.spread is not None:
        found["inside 90 % intervals"] = metrics.coverage(one.x, one.spread, truth, level=0.9, ndim=result.ndim)
    if one.samples is not None and len(one.samples) > 1:
        ratio = metrics.calibration(one.samples, truth, ndim=result.ndim)
        found["variance of draws / error of their mean"] = ratio
    return {name: form.format(float(found[name])) for name, form in _FORMS.items() if name in found}


def _reliability(result: Result, truth: Tensor) -> dict[str, str]:
    """Return the drawing of what intervals of every level cover, of results that tell a spread."""
    one = result.item()
    return {} if one.spread is None else reliability(one.x, one.spread, truth, result.ndim)


def _method(result: Result) -> dict[str, str]:
    facts: dict[str, Any] = dict(result.settings)
    if result.n_iter.numel() and int(result.n_iter.max()):
        facts["iterations"] = brief(result.n_iter.flatten().tolist())
    if math.isfinite(result.seconds):
        facts["time"] = f"{result.seconds:.1f} s"
    return _plain(facts)


def _plain(facts: Mapping[str, Any]) -> dict[str, str]:
    return {key: brief(value) for key, value in facts.items()}
