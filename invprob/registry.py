"""Plain tables from the short names of files and command lines to `"module:Class"`; the whole plug-in system."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

OPERATORS: Mapping[str, str] = {
    "identity": "invprob.transforms.identity:Identity",
    "gradient": "invprob.transforms.gradient:Gradient",
    "parallel-beam": "invprob.operators.parallel_beam:ParallelBeam",
    "fan-beam": "invprob.operators.fan_beam:FanBeam",
}


def load(table: Mapping[str, str], name: str) -> Any:
    """Return what `name` stands for in `table`; ValueError with the nearest names if it is not there."""
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(table)}"
        raise ValueError(f"unknown name {name!r}; {hint}")
    return resolve(table[name])


def resolve(target: str) -> Any:
    """Return the object `"module:name"`, registered or a user's own (in Python, never from a file)."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def name_of(table: Mapping[str, str], cls: type) -> str | None:
    """Return the name under which a class is registered, None if it is not."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, value in table.items() if value == target), None)
