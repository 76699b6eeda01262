"""Settings of methods and names of problems, read from their source: wrong ones are told before torch is loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invprob import registry
from invprob.cli.errors import UsageError
from invprob.errors import printable

__all__ = ["Written", "check_kinds", "check_problem", "check_written", "written_problems", "written_settings"]


@dataclass(frozen=True)
class Written:
    """A setting as its recipe is written: the default, Ellipsis where that is no plain value, and the annotation."""

    default: Any
    annotation: str


def written_settings(method: str) -> Mapping[str, Written] | None:
    """Return the settings of a method by their names, in the order of its signature; None for one that is not ours."""
    module, _, name = registry.METHODS[method].target.partition(":") if method in registry.METHODS else ("", "", "")
    if module.partition(".")[0] != "invprob":
        return None
    function = _function(_home(module, name), name)
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {a.arg: Written(_plain(default), ast.unparse(a.annotation) if a.annotation else "") for a, default in pairs}


def _home(module: str, name: str) -> Path:
    """Return the file that defines what a room hands on."""
    path = _path(module)
    handed = re.search(rf"^from (\S+) import {name} as {name}$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return path if handed is None else _path(handed[1])


def _path(module: str) -> Path:
    path = Path(registry.__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _function(path: Path, name: str) -> ast.FunctionDef:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)


def _plain(default: ast.expr | None) -> Any:
    try:
        return ... if default is None else ast.literal_eval(default)
    except ValueError:  # a name
        return ...


def check_written(method: str, settings: Mapping[str, Any]) -> None:
    """Raise UsageError, with the nearest names, for a setting that a method of ours does not have."""
    if (known := written_settings(method)) is not None:
        check_kinds(method, settings, known)


def check_kinds(method: str, settings: Mapping[str, Any], known: Mapping[str, Written]) -> None:
    """Raise UsageError for a setting that is not known, or where a number or a truth value is another kind of thing."""
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"the method {method} has no setting {key!r}; {registry.nearest(key, known)}")
        default, annotation = known[key].default, known[key].annotation
        if isinstance(default, bool) or annotation.startswith("bool"):
            fits, kind = isinstance(value, bool) or (value is None and default is None), "true or false"
        elif isinstance(default, int):
            fits, kind = isinstance(value, int) and not isinstance(value, bool), f"a number like {default}"
        elif isinstance(default, float):
            fits, kind = isinstance(value, int | float) and not isinstance(value, bool), f"a number like {default}"
        else:
            continue
        if not fits:
            raise UsageError(f"{key} of {method} is {kind}, not {value!r}")


def check_problem(name: str) -> None:
    """Raise UsageError, with the nearest names, for a problem that the benchmark does not have."""
    if name not in (known := written_problems()):
        raise UsageError(f"no problem is called {printable(name)!r}; {registry.nearest(name, known)}")


def written_problems() -> list[str]:
    """Return the names of the benchmark's problems."""
    source = _path("invprob.benchmark.problems").read_text(encoding="utf-8")
    return re.findall(r'^    Problem\("([^"]+)"', source, re.MULTILINE)
