"""Which names of methods count: registered ones, and code of the user's own where he says so, by `--plugin MODULE`.

Asked before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from invprob import registry
from invprob.cli.errors import UsageError
from invprob.errors import printable

__all__ = ["Plugin", "check_name", "completed", "load_plugins"]

Plugin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE|FILE.py",
        help="Code of your own to run: methods are then MODULE:FUNCTION; repeatable.",
    ),
]


def check_name(method: str, plugins: Collection[str] = ()) -> None:
    """Raise UsageError, with the nearest names, for a method that is neither registered nor code of a plugin."""
    module, colon, _ = method.partition(":")
    if colon and module not in plugins:
        raise UsageError(f"{method!r} is code: say --plugin {module}, too, if you trust it")
    if not colon and method not in registry.METHODS:
        raise UsageError(f"no method is called {method!r}; {registry.nearest(method, registry.METHODS)}")


def completed(incomplete: str) -> list[tuple[str, str]]:
    """Return what the last of the names before the cursor may become, `"tv,pn"` say, and what it does, for a shell."""
    before, comma, begun = incomplete.rpartition(",")
    named = registry.METHODS.items()
    return [(before + comma + name, method.about) for name, method in named if name.startswith(begun)]


def load_plugins(names: Sequence[str]) -> frozenset[str]:
    """Import modules, of this directory or installed, or files, and return what they are called; UsageError if not."""
    return frozenset(map(_load, names))


def _load(name: str) -> str:
    path = Path(name)
    folder, module = (path.resolve().parent, path.stem) if path.suffix == ".py" else (Path.cwd(), name)
    if str(folder) not in sys.path:  # a script that was installed looks where it lies, and nowhere else
        sys.path.insert(0, str(folder))
    try:
        importlib.import_module(module)
    except Exception as error:
        raise UsageError(f"--plugin {printable(name)}: {type(error).__name__}: {printable(error)}") from error
    return module
