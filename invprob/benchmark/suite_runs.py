"""Measure a suite: unit by unit, what is known already from the store, the rest in processes."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

from invprob.benchmark.measurement import MODES, Mode, Run, measure
from invprob.benchmark.plan import Suite, Unit, describe, units
from invprob.benchmark.pool import Died, calls
from invprob.benchmark.problems import Problem
from invprob.benchmark.store import Store

__all__ = ["Runs", "measure_all", "stored"]

Runs = dict[Mode, Run]
Events = Generator[tuple[Unit, Runs], None, None]


def measure_all(suite: Suite, folder: Path | None = None, *, workers: int = 0, plugins: Collection[str] = ()) -> Events:
    """Yield every unit of a suite with its runs, in the order they are done; those in `folder` come first.

    `folder` is where runs are kept, each as soon as it is done; None keeps none. `workers` processes share the work, 0
    means this one; each imports the modules `plugins` first, which may have rows for the tables. The caller may leave
    at any time: what was yielded is safe, and so is what was kept.
    """
    missing = []
    for unit in units(suite):
        known = stored(unit, folder)
        if len(known) == len(MODES):
            yield unit, known
        else:
            missing.append(unit)
    function = partial(_remote, plugins=tuple(plugins)) if workers else _both
    for unit, runs in calls(partial(function, folder=folder), missing, workers):
        yield unit, {mode: Run("failed", runs.reason) for mode in MODES} if isinstance(runs, Died) else runs


def stored(unit: Unit, folder: Path | None) -> Runs:
    """Return the runs of a unit that are kept in a folder."""
    if folder is None:
        return {}
    found = {mode: Store(folder).get(unit.key(mode)) for mode in MODES}
    return {mode: run for mode, run in found.items() if run is not None}


_seen: dict[str, Problem] = {}  # of a worker


def _remote(unit: Unit, folder: Path | None, plugins: tuple[str, ...]) -> Runs:
    """Do a unit whose problem has come through a pipe: one seen before is taken again, with what is known of it."""
    for name in plugins:
        importlib.import_module(name)
    problem = _seen.setdefault(describe(unit.problem), unit.problem)
    return _both(replace(unit, problem=problem), folder)


def _both(unit: Unit, folder: Path | None) -> Runs:
    runs = stored(unit, folder)
    for mode in MODES:
        if mode not in runs:
            runs[mode] = measure(unit, mode, runs.get("auto"))
            if folder is not None:
                Store(folder).put(unit.key(mode), runs[mode])
    return runs
