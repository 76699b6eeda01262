"""The numbers as CSV, a row per image, and as JSON, an entry per method; what was not measured is empty, not 0."""

from __future__ import annotations

import csv
import io
import math
import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from invprob.benchmark.measurement import DATA_RANGE, MODES, Mode
from invprob.benchmark.plan import code_version
from invprob.benchmark.problems import case_names
from invprob.benchmark.results import Entry, Results
from invprob.benchmark.statistics import CONFIDENCE, Estimate
from invprob.benchmark.store import plain

__all__ = ["COLUMNS", "FORMAT", "TOLERANCE", "as_csv", "as_json", "machine"]

FORMAT = "invprob benchmark 1"
TOLERANCE = {"psnr": 0.25}  # dB: what another processor may make of rounding, by way of another choice of strength
METRICS = {  # with the digits kept
    "psnr": 3,
    "ssim": 5,
    "nrmse": 5,
    "spread": 5,
    "coverage": 4,
    "calibration": 3,  # of methods that tell how sure they are
    "seconds": 4,
    "iterations": 0,
}
COLUMNS = ("row", "problem", "family", "method", "kind", "mode", "image", "status", *METRICS, "strength", "reason")
_LIBRARIES = ("invprob", "torch", "numpy", "scipy", "scikit-image", "numba")
_PEERS = ("astra-toolbox", "deepinv", "bm3d")


def as_csv(results: Results) -> str:
    """Return a table with one line per image, and one for every method without numbers, which says why."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in results.entries():
        for mode in MODES:
            writer.writerows(_lines(results, entry, mode))
    return stream.getvalue()


def _lines(results: Results, entry: Entry, mode: Mode) -> Iterator[dict[str, Any]]:
    run, problem, method = entry.runs[mode], entry.problem, entry.method
    facts = {"problem": problem.name, "family": problem.family, "method": method.name, "kind": method.kind}
    facts |= {"mode": mode, "reason": run.reason}
    if run.status != "measured":
        yield facts | {"row": f"{problem.name}/{method.name}/{mode}", "status": run.status}
        return
    for k, name in enumerate(case_names(problem, "test", results.suite.tests)):
        numbers = {metric: _rounded(run.columns[metric][k], digits) for metric, digits in METRICS.items()}
        strength = f"{run.strengths[k]:.4g}" if k < len(run.strengths) else ""
        yield facts | numbers | {"row": entry.row(mode, k), "image": name, "status": run.ends[k], "strength": strength}


def _rounded(value: float, digits: int) -> float | str:
    return round(value, digits) if math.isfinite(value) else ""


def as_json(results: Results, *, command: str = "") -> dict[str, Any]:
    """Return everything but the images: settings, verdicts, entries with all values, machine and versions."""
    found = {
        "format": FORMAT,
        "complete": results.complete,
        "settings": results.suite.facts
        | {"data_range": DATA_RANGE, "confidence": CONFIDENCE, "seeds": _seeds(results)},
        "tolerance": TOLERANCE,
        "command": command,
        "machine": machine(),
        "verdicts": [
            {
                "family": v.family,
                "text": v.text,
                "learned": v.learned,
                "classical": v.classical,
                "difference": None if v.difference is None else _numbers(v.difference, 3),
            }
            for v in map(results.verdict, results.families())
        ],
        "entries": [_entry(entry, mode) for entry in results.entries() for mode in MODES],
    }
    whole: dict[str, Any] = plain(found)
    return whole


def _seeds(results: Results) -> dict[str, list[str]]:
    """Return the names of the images, which are the keys of their random numbers."""
    return {p.name: list(case_names(p, "test", results.suite.tests)) for p in results.suite.problems}


def _entry(entry: Entry, mode: Mode) -> dict[str, Any]:
    run = entry.runs[mode]
    facts: dict[str, Any] = {"problem": entry.problem.name, "family": entry.problem.family}
    facts |= {"method": entry.method.name, "kind": entry.method.kind, "mode": mode, "status": run.status}
    if run.status != "measured":
        return facts | {"reason": run.reason}
    numbers = {name: entry.of(name, mode) for name in METRICS}
    facts |= {name: None if e is None else _numbers(e, METRICS[name]) for name, e in numbers.items()}
    strengths = [float(f"{value:.4g}") for value in run.strengths]
    tried = [[float(f"{strength:.4g}"), round(score, 3)] for strength, score in run.tried if score > -1e9]
    return facts | {"ends": run.ends, "strengths": strengths, "validation_psnr": run.validation, "tried": tried}


def _numbers(e: Estimate, digits: int) -> dict[str, Any]:
    ends = {name: None if value is None else round(value, 3) for name, value in (("low", e.low), ("high", e.high))}
    return {"mean": round(e.mean, max(digits, 3)), **ends, "values": [round(value, digits) for value in e.values]}


def machine() -> Mapping[str, str]:
    """Return the processor, the system, and the versions of what was at work."""
    found = {
        "processor": f"{_processor()}, {os.cpu_count()} cores; one thread per method",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "code": code_version(),
    }
    for library in (*_LIBRARIES, *_PEERS):
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, "") or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
