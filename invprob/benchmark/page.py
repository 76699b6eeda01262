"""The page: verdicts first, then everything at one glance, then problem by problem; it needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from invprob import judgement as words
from invprob.benchmark import charts
from invprob.benchmark.images import ProblemImages, problem_images
from invprob.benchmark.measurement import LEVEL
from invprob.benchmark.problems import Problem
from invprob.benchmark.results import Entry, Results
from invprob.benchmark.statistics import Estimate
from invprob.benchmark.tables import machine
from invprob.report.template import render as fill

__all__ = ["render"]

_NEAR = (0.1, 0.5, 1.0, 2.0, 4.0)  # dB behind the best at which the shade of a cell changes
_FAR, _AHEAD = -8.0, 2.0  # dB to the best that the drawing of a table shows at most
_DOTS = (6.0, 154.0)  # where the drawing of a table's row begins and ends
_GRADES = {"good": "learned ahead", "bad": "classical ahead", "open": "undecided"}


@dataclass(frozen=True)
class Cell:
    """A number of a table: as text, as what it is sorted by (None: not measured), and its shade from 0, the best."""

    text: str
    value: float | None = None
    shade: int | None = None
    row: str = ""


@dataclass(frozen=True)
class Line:
    """A method in the table of a problem."""

    place: int
    entry: Entry
    dots: Markup | None
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Section:
    """A problem: how far it is, its table, its pictures and its drawings."""

    problem: Problem
    number: int
    lines: list[Line]
    idle: list[Entry]
    scale: list[tuple[float, str]]
    images: ProblemImages | None
    scatter: Markup | None
    convergence: Markup | None
    certificates: list[tuple[Entry, words.Statement, list[words.Statement]]]


def render(results: Results, *, command: str = "") -> str:
    """Return the page about all that is measured so far."""
    suite = results.suite
    sections = [_section(results, problem, k) for k, problem in enumerate(suite.problems)]
    return fill(
        "invprob.benchmark",
        "page.html",
        verdicts=[results.verdict(family) for family in results.families()],
        grades=_GRADES,
        sections=sections,
        overview=[
            (problem, [_overview(results, problem, method) for method in suite.methods]) for problem in suite.problems
        ],
        methods=suite.methods,
        colours=charts.COLOURS,
        wordy=("to the best, dB", "ended"),  # columns whose cells may break
        facts=_facts(results),
        missing=results.missing,
        command=command,
        settings={**suite.facts, "data range": "1, for all images"},
        machine=machine(),
    )


def _facts(results: Results) -> str:
    suite = results.suite
    images = "1 image" if suite.tests == 1 else f"{suite.tests} images"
    return (
        f"{len(suite.problems)} problems, {len(suite.methods)} methods, {images} each, pictures of "
        f"{suite.size} x {suite.size} pixels, with known truth"
    )


def _overview(results: Results, problem: Problem, method: Any) -> Cell:
    entry = results.entry(problem, method)
    if entry is None:
        return Cell("not yet")
    level = entry.of("psnr")
    if level is None:
        return Cell("–" if entry.run.status == "not for this" else "failed")
    best = results.ranking(problem)[0].of("psnr")
    behind = 0.0 if best is None else best.mean - level.mean
    return Cell(f"{level.mean:.1f}", level.mean, sum(behind > limit for limit in _NEAR), entry.row(entry.mode)[:-2])


def _section(results: Results, problem: Problem, number: int) -> Section:
    ranking = results.ranking(problem)
    measured = [entry for entry in ranking if entry.measured]
    axis = charts.Axis.over(_differences(results, measured), *_DOTS)
    unsure = any(entry.of("spread") is not None for entry in measured)
    return Section(
        problem=problem,
        number=number,
        lines=[_line(results, entry, k + 1, axis, unsure=unsure) for k, entry in enumerate(measured)],
        idle=[entry for entry in ranking if not entry.measured],
        scale=[(axis(value), f"{value:g}") for value in axis.ticks(4)],
        images=problem_images(results, problem),
        scatter=charts.scatter(measured) if measured else None,
        convergence=charts.convergence(measured),
        certificates=[_certificate(entry) for entry in measured],
    )


def _line(results: Results, entry: Entry, place: int, axis: charts.Axis, *, unsure: bool) -> Line:
    """Return a method's line; `unsure` where some method of the problem tells how sure it is."""
    tuned = entry.of("psnr", "tuned")
    cells = {
        "tuned, dB": Cell("nothing to tune", None) if tuned is None else _level(tuned),
        "own choice, dB": _level(entry.of("psnr", "auto")),
        "to the best, dB": _behind(results.behind(entry)),
        "SSIM": _plain(entry.of("ssim"), "{:.3f}"),
        "rel. error": _plain(entry.of("nrmse"), "{:.3f}"),
        **(_uncertainty(entry) if unsure else {}),
        "seconds": _plain(entry.of("seconds"), "{:.2g}"),
        "iterations": _plain(entry.of("iterations"), "{:.0f}", "none told"),
        "ended": Cell(entry.end),
    }
    best, own = results.ranking(entry.problem)[0].of("psnr"), entry.of("psnr", "auto")
    ring = None if best is None or own is None else own.mean - best.mean
    return Line(place, entry, charts.dots(entry, axis, results.behind(entry), ring), cells)


def _uncertainty(entry: Entry) -> dict[str, Cell]:
    """Return the cells of what a method says of its errors: 90 % covered and a calibration of 1 would be right."""
    return {
        "spread": _plain(entry.of("spread"), "{:.3f}", "none told"),
        f"in {LEVEL:.0%} intervals": _plain(entry.of("coverage"), "{:.0%}", "none told"),
        "calibration": _plain(entry.of("calibration"), "{:.2f}", "none told"),
    }


def _differences(results: Results, measured: list[Entry]) -> list[float]:
    """Return the differences to the best that a drawing shows: a method far off must not squeeze the others."""
    found = [results.behind(entry) for entry in measured]
    ends = [v for e in found if e is not None for v in (e.mean, e.low, e.high) if v is not None]
    return [0.0, -1.0, *(min(v, _AHEAD) for v in ends if v > _FAR)]


def _level(level: Estimate | None) -> Cell:
    if level is None:
        return Cell("not measured")
    half = "" if level.high is None else f" ± {level.high - level.mean:.1f}"
    return Cell(f"{level.mean:.2f}{half}", level.mean)


def _behind(difference: Estimate | None) -> Cell:
    if difference is None:
        return Cell("the best", 0.0)
    if difference.low is None or difference.high is None:
        return Cell(f"{difference.mean:.2f}", difference.mean)
    sure = "" if difference.sure else ", not certain"
    text = f"{difference.mean:.2f} [{difference.low:.1f}, {difference.high:.1f}]{sure}"
    return Cell(text, difference.mean)


def _plain(level: Estimate | None, form: str, absent: str = "not measured") -> Cell:
    return Cell(absent) if level is None else Cell(form.format(level.mean), level.mean)


def _certificate(entry: Entry) -> tuple[Entry, words.Statement, list[words.Statement]]:
    found = words.statements(entry.run.certificate, entry.run.ends)
    return entry, words.verdict(found), found
