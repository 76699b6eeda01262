"""`invprob list`: the names that other commands and files know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from invprob.cli.console import table

__all__ = ["list_names"]

_PHANTOMS = {
    "shepp-logan": "the head of Shepp and Logan (1974), in the version with visible contrast",
    "ellipses": "a random body of ellipses",
    "organ": "a random, textured slice of a chest or an abdomen",
}
_RECOGNISED = {
    "invprob-scan": "HDF5 written by invprob; see docs/file-format.md",
    "data-exchange": "HDF5 with a group exchange: counts, flats, darks, angles",
    "matlab": "MATLAB 5 or 7 with CtDataFull or CtDataLimited",
}


def list_names(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """List methods with their settings, operators, phantoms and the layouts of files."""
    del debug
    from invprob import registry
    from invprob.cli.methods import defaults, summary
    from invprob.io import READERS

    table(
        "Methods: reconstruct --method NAME --set KEY=VALUE",
        ("name", "settings and defaults", "what it does"),
        ((name, _settings(defaults(name)), method.about) for name, method in registry.METHODS.items()),
    )
    operators = {name: registry.load(registry.OPERATORS, name) for name in registry.OPERATORS}
    table(
        "Operators: what a scan file may name",
        ("name", "what it measures"),
        ((name, summary(operator)) for name, operator in operators.items()),
    )
    table("Phantoms: simulate --phantom NAME", ("name", "what it is"), _PHANTOMS.items())
    table(
        "Files: recognised by their content",
        ("name", "layout", "what it is"),
        ((name, reader.layout, _RECOGNISED.get(name, "")) for name, reader in READERS.items()),
    )
    return 0


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={'unset' if value is None else value}" for key, value in values.items())
