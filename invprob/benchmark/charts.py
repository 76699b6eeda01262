"""Drawings for the page, as SVG inside it; every mark that stands for numbers names their row in the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from markupsafe import escape as escape_html

from invprob.benchmark.measurement import Mode
from invprob.benchmark.results import Entry
from invprob.benchmark.statistics import Estimate
from invprob.errors import printable

__all__ = ["COLOURS", "Axis", "convergence", "dots", "scatter"]

# one colour per kind, distinguishable without colour vision, and by print
COLOURS = {"learned": "#7b3fb5", "classical": "#1f6f8b", "peer": "#c2571a", "baseline": "#8a94a3"}
_INK, _FAINT = "#1c2430", "#dde3ea"
_DASHES = ("none", "7 3", "2 3", "9 3 2 3")  # of lines of one colour
_CURVES = 6  # lines in a plot
_WIDTH, _HEIGHT = 360.0, 230.0  # of a plot
_DOT, _REACH = 5.5, 9.0  # half the side of a mark with some room; how near a label is without a line to its mark
_LETTER = 6.6  # width of a letter at most
_STEPS = (0, -6, 6, -12, 12, -20, 20, -30, 30, -42, 42)  # how far up or down a label may go
_LEADER = 'stroke="#8a94a3" stroke-width=".7"'
_NAME = f'font-size="11" fill="{_INK}"'
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 12.0, 34.0


@dataclass(frozen=True)
class Axis:
    """A range of values on a stretch of pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, log: bool = False, pad: float = 0.06) -> Axis:
        """Return the axis that shows all values with some room around."""
        shown = [math.log10(v) for v in values if v > 0] if log else list(values)
        low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
        room = pad * (high - low) or 0.5
        return cls(low - room, high + room, start, end, log)

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        at = math.log10(max(value, 1e-300)) if self.log else value
        share = (at - self.low) / (self.high - self.low)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the range."""
        if self.log:
            decades = range(math.ceil(self.low), math.floor(self.high) + 1)
            found = [10.0**d for d in decades]
            if len(found) < 2:
                found = [m * 10.0**d for d in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 5)]
                found = [v for v in found if self.low <= math.log10(v) <= self.high]
            return found[:: max(1, math.ceil(len(found) / most))]
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Box:
    """A rectangle of a drawing, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """Half way between top and bottom."""
        return (self.top + self.bottom) / 2

    def overlap(self, other: Box) -> float:
        """Return the area that two boxes share."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(across, 0.0) * max(down, 0.0)

    def near_x(self, x: float) -> float:
        """Return the place along x that is nearest."""
        return min(max(x, self.left), self.right)

    def near(self, x: float, y: float) -> bool:
        """Return whether a point is so near that it is plain which label is its."""
        return abs(self.near_x(x) - x) <= _REACH and abs(min(max(y, self.top), self.bottom) - y) <= _REACH


def _free_place(x: float, y: float, name: str, taken: Sequence[Box]) -> Box:
    """Return the box of a label beside a point: the first place that hides nothing, else where it hides least."""
    wide, high, frame = _LETTER * len(name), 12.0, Box(_LEFT, _TOP, _WIDTH, _HEIGHT - _BOTTOM)
    corners = [(x + 8 + aside, y - high / 2 + down) for aside in (0, 10, 24) for down in _STEPS]
    corners += [(x - 8 - aside - wide, y - high / 2 + down) for aside in (0, 10, 24) for down in _STEPS]
    corners += [(x - wide / 2, y - high - 6), (x - wide / 2, y + 6)]
    boxes = [Box(left, top, left + wide, top + high) for left, top in corners]
    return min(boxes, key=lambda box: sum(map(box.overlap, taken)) + wide * high - box.overlap(frame))


def dots(entry: Entry, axis: Axis, behind: Estimate | None, own: float | None) -> Markup:
    """Return the paired difference to the best as a dot with its interval; `own`, the difference of the strength a
    method chooses itself, as a ring. None for `behind` is the best itself.
    """
    colour = COLOURS[entry.method.kind]
    parts = [f'<line x1="{t:.1f}" x2="{t:.1f}" y1="0" y2="22" stroke="{_FAINT}"/>' for t in map(axis, axis.ticks(4))]
    if behind is not None and behind.low is not None and behind.high is not None:
        ends = f'x1="{axis(behind.low):.1f}" x2="{axis(behind.high):.1f}"'
        parts.append(f'<line {ends} y1="11" y2="11" stroke="{colour}" stroke-width="2" opacity=".45"/>')
    if own is not None and own > axis.low and entry.mode != "auto":
        parts.append(f'<circle cx="{axis(own):.1f}" cy="11" r="4.5" fill="#fff" stroke="{colour}"/>')
    at = 0.0 if behind is None else behind.mean
    edge = axis.start
    beyond = f'<polygon points="{edge + 6},6 {edge - 3},11 {edge + 6},16" fill="{colour}"/>'  # farther than is drawn
    parts.append(beyond if at < axis.low else f'<circle cx="{axis(at):.1f}" cy="11" r="4" fill="{colour}"/>')
    told = f"{entry.method.name}: {'the best' if behind is None else f'{behind.mean:.1f} dB'}"
    return _svg(axis.end + axis.start, 22, parts, told, data=entry.row(entry.mode).rpartition("/")[0], css="dots")


def scatter(entries: Sequence[Entry]) -> Markup:
    """Return PSNR over the time an image takes, a mark per method."""
    points = [(e, _mean(e, "seconds"), _mean(e, "psnr")) for e in entries if e.measured]
    x = Axis.over([max(t, 1e-4) for _, t, _ in points], _LEFT, _WIDTH - 70, log=True)
    y = Axis.over([p for _, _, p in points], _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(x, y, "seconds per image, one thread", "PSNR, dB")
    marks = [(entry, x(max(seconds, 1e-4)), y(level)) for entry, seconds, level in points]
    taken = [Box(px - _DOT, py - _DOT, px + _DOT, py + _DOT) for _, px, py in marks]
    labels = []
    for entry, px, py in sorted(marks, key=lambda mark: mark[2]):
        colour, row = COLOURS[entry.method.kind], entry.row(entry.mode).rpartition("/")[0]
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{colour}" data-row="{_safe(row)}"/>')
        box = _free_place(px, py, entry.method.name, taken)
        taken.append(box)
        if not box.near(px, py):
            ends = f'x1="{px:.1f}" y1="{py:.1f}" x2="{box.near_x(px):.1f}" y2="{box.middle:.1f}"'
            labels.append(f"<line {ends} {_LEADER}/>")
        labels.append(f'<text x="{box.left:.1f}" y="{box.bottom - 2.5:.1f}" {_NAME}>{_safe(entry.method.name)}</text>')
    parts += labels
    return _svg(_WIDTH, _HEIGHT, parts, "PSNR over the time per image")


def convergence(entries: Sequence[Entry]) -> Markup | None:
    """Return the relative change over the iterations on the first image, a line per method; None without any."""
    lines = []
    for entry in entries:
        run = entry.run
        steps, values = (run.history.get(name, []) for name in ("iteration", "residual"))
        pairs = [(float(n), v) for n, v in zip(steps, values, strict=False) if v is not None and n > 0 and v > 0]
        if len(pairs) > 1:
            lines.append((entry, pairs))
    lines = lines[:_CURVES]
    if not lines:
        return None
    x = Axis.over([n for _, pairs in lines for n, _ in pairs], _LEFT, _WIDTH - 70, log=True)
    y = Axis.over([v for _, pairs in lines for _, v in pairs], _HEIGHT - _BOTTOM, _TOP, log=True)
    parts = _frame(x, y, "iteration", "relative change")
    paths = [[(x(n), y(v)) for n, v in pairs] for _, pairs in lines]
    taken = [Box(px - 1, py - 1, px + 1, py + 1) for path in paths for px, py in path]
    kinds: list[str] = []
    for (entry, _), places in zip(lines, paths, strict=True):
        colour, dash = COLOURS[entry.method.kind], _DASHES[kinds.count(entry.method.kind) % len(_DASHES)]
        kinds.append(entry.method.kind)
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        row = _safe(entry.row(entry.mode))
        look = f'fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{path}" {look} data-row="{row}"/>')
        box = _free_place(*places[-1], entry.method.name, taken)
        taken.append(box)
        place = f'x="{box.left:.1f}" y="{box.bottom - 2.5:.1f}"'
        parts.append(f'<text {place} font-size="11" fill="{colour}">{_safe(entry.method.name)}</text>')
    return _svg(_WIDTH, _HEIGHT, parts, "relative change over the iterations")


def _frame(x: Axis, y: Axis, across: str, up: str) -> list[str]:
    parts = []
    for value in x.ticks():
        at = x(value)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y.end}" y2="{y.start}" stroke="{_FAINT}"/>')
        parts.append(_text(at, y.start + 14, f"{value:g}", "middle"))
    for value in y.ticks():
        at = y(value)
        parts.append(f'<line x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}" stroke="{_FAINT}"/>')
        parts.append(_text(x.start - 5, at + 3.5, f"{value:g}" if not y.log else f"{value:.0e}", "end"))
    parts.append(_text((x.start + x.end) / 2, y.start + 28, across, "middle"))
    parts.append(_text(x.start + 4, y.end + 8, up, "start"))
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" text-anchor="{anchor}" fill="#5b6675">{_safe(words)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], told: str, *, data: str = "", css: str = "plot") -> Markup:
    row = f' data-row="{_safe(data)}"' if data else ""
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = f'<svg class="{css}" {box} role="img" aria-label="{_safe(told)}"{row}>'
    return Markup(head + "".join(parts) + "</svg>")  # every text in it was escaped above


def _mean(entry: Entry, column: str, mode: Mode | None = None) -> float:
    found = entry.of(column, mode)
    return math.nan if found is None else found.mean


def _safe(text: str) -> Markup:
    """Return a text with what matters to HTML and to terminals escaped."""
    return escape_html(printable(text, 1000))
