"""What notebooks show of a result and of a scan: a picture, the verdict, the numbers; and the plot of a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from invprob.grid import printed_unit, space_axes
from invprob.io.summary import noise_in_words
from invprob.judgement import statements, verdict
from invprob.report.picture import Picture, axes_in_order, picture_of_data, show
from invprob.result import Result
from invprob.scan import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["html_of_result", "html_of_scan", "plot_result", "slices_of"]

_COLOURS = {"good": "#1d7a46", "fair": "#a86400", "bad": "#b3261e", "known": "#5b6675"}
_SIZE = 384  # pixels of the picture
_MOST = 24  # slices that a slider goes through; each is a picture in the page
_SLIDE = (
    "var p=this.parentNode,i=p.querySelectorAll('img'),k=0;for(;k<i.length;k++)"
    "i[k].style.display=k==this.value?'':'none';p.querySelector('span').textContent=i[this.value].alt"
)


def html_of_result(result: Result) -> str:
    """Return the picture of the middle item, the verdict, and what was found, as HTML."""
    found = statements(None if result.certificate is None else result.certificate.as_dict(), result.item_status)
    whole = verdict(found)
    facts = {"image": result.size, "method": str(result.settings.get("method", "")), "unit": result.units.image}
    facts["time"] = f"{result.seconds:.1f} s" if math.isfinite(result.seconds) else ""
    lines = "".join(
        f'<li style="color:{_COLOURS[s.grade]}">{escape(s.words)}</li>' for s in found if s.grade in ("fair", "bad")
    )
    words = f'<p style="color:{_COLOURS[whole.grade]}"><b>{escape(whole.text)}</b></p><ul>{lines}</ul>'
    return _beside(slices_of(result), words + _table(facts))


def html_of_scan(scan: Scan) -> str:
    """Return the picture of the data, where they can be seen, and what is known of them, as HTML."""
    facts = {
        "geometry": repr(scan.operator),
        "data": " x ".join(map(str, scan.data.shape)),
        "noise": noise_in_words(scan),
        "lengths": scan.units.length,
        "source": scan.provenance.get("source", ""),
    }
    seen = picture_of_data(scan)
    return _beside([] if seen is None else [seen], _table(facts))


def slices_of(result: Result) -> list[Picture]:
    """Return pictures of the items of a batch or the slices of a volume, 24 or so in one window, or else the one."""
    whole = show(result)
    x, ndim = result.x, result.ndim
    if x.ndim > ndim:
        planes, left, what = x.reshape(-1, *x.shape[x.ndim - ndim :]), ndim, "image"
    elif space_axes(ndim, result.grid, result.channels) == 3 and min(x.shape[-3:]) > 1:
        planes, left, what = x.movedim(-3, 0), ndim - 1, "slice"
    else:
        return [whole]
    chosen = sorted({len(planes) // 2, *range(0, len(planes), -(-len(planes) // _MOST))})
    window, grid = (whole.low, whole.high), result.grid if left == ndim else None
    pictures = [show(planes[k], left, window=window, grid=grid, channels=result.channels) for k in chosen]
    count = len(planes)
    return [
        replace(picture, sides=whole.sides, caption=f"{what} {k} of {count}")
        for k, picture in zip(chosen, pictures, strict=True)
    ]


def plot_result(result: Result, axes: Axes | None = None, **options: Any) -> Axes:
    """Draw the image with its axes in units of length and a bar of its values, into `axes` or a new figure."""
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(layout="constrained")[1]
    picture = show(result, **options)
    height, width = picture.values.shape[:2]
    grid = result.grid if result.grid is not None and result.grid.known and result.grid.ndim > 1 else None
    shown = [] if grid is None else axes_in_order(result.x.shape[-grid.ndim :])[-2:]
    sides = picture.sides if grid is None else tuple(grid.spacing[axis] for axis in shown)
    extent = (0.0, width * sides[1], height * sides[0], 0.0)
    drawn = axes.imshow(
        picture.values if picture.values.ndim == 2 else picture.values.clip(0, 1),
        cmap=picture.colours,
        vmin=picture.low,
        vmax=picture.high,
        extent=extent,
        interpolation="nearest",
    )
    unit = "pixels" if grid is None else grid.unit
    axes.set_xlabel(unit)
    axes.set_title(", ".join(t for t in (str(result.settings.get("method", "")), picture.caption) if t))
    if picture.values.ndim == 2 and axes.figure is not None:
        bar = axes.figure.colorbar(drawn, ax=axes)
        bar.set_label(printed_unit(result.units.image))
    return axes


def _beside(pictures: Sequence[Picture], words: str) -> str:
    """Return pictures, of several the middle one above a slider, beside words."""
    middle = len(pictures) // 2
    images = "".join(_image(picture, hidden=k != middle) for k, picture in enumerate(pictures))
    if len(pictures) > 1:
        images = (
            f'<div>{images}<br><input type="range" min="0" max="{len(pictures) - 1}" value="{middle}" '
            f'style="width:{_SIZE - 120}px" oninput="{_SLIDE}"> <span>{escape(pictures[middle].caption)}</span></div>'
        )
    return f'<div style="display:flex;gap:1em;flex-wrap:wrap">{images}<div style="max-width:36em">{words}</div></div>'


def _image(picture: Picture, *, hidden: bool) -> str:
    width, height = picture.size
    shown = _SIZE / max(width, height)
    display = ";display:none" if hidden else ""
    return (
        f'<img src="{picture.uri(1024)}" width="{max(1, round(width * shown))}" '
        f'height="{max(1, round(height * shown))}" style="image-rendering:pixelated{display}" '
        f'alt="{escape(picture.caption or "picture")}">'
    )


def _table(facts: dict[str, str]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{key}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for key, value in facts.items()
        if value not in ("", "1")
    )
    return f"<table>{rows}</table>"
