"""`invprob list`: the names that other commands and files know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invprob.cli.console import table
from invprob.cli.simulate_command import Phantom

if TYPE_CHECKING:
    from invprob.io import Reader

__all__ = ["list_names"]


def list_names(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """List methods with their settings, operators, weights, problems, phantoms and readers with their options."""
    del debug
    from invprob import registry
    from invprob.benchmark.problems import PROBLEMS
    from invprob.cli.methods import defaults, summary
    from invprob.io.readers import READERS, known_options

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
    table(
        "Weights: reconstruct --set denoiser=NAME|FILE.safetensors, for lpn --set network=...",
        ("name", "what it is"),
        _weights(),
    )
    table(
        "Problems: benchmark --problems NAME",
        ("name", "family", "what it is"),
        ((problem.name, problem.family, problem.title) for problem in PROBLEMS),
    )
    table("Phantoms: simulate --phantom NAME", ("name", "what it is"), ((str(p), p.about) for p in Phantom))
    table(
        "Readers: files are recognised by their content",
        ("name", "layout", "what it is", "options"),
        ((name, reader.layout, reader.about, _names(reader)) for name, reader in READERS.items()),
    )
    table(
        "Options of readers: reconstruct, inspect, check --read NAME=VALUE",
        ("name", "value", "what it is"),
        ((option.name, option.form, option.about) for option in known_options().values()),
    )
    return 0


def _weights() -> list[tuple[str, str]]:
    """Return name and description of the weights that come with the package, from their cards."""
    from invprob.priors.networks.pretrained import WEIGHTS

    cards = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(WEIGHTS.glob("*.json"))}
    return [(name, str(card.get("what", card.get("architecture", "")))) for name, card in cards.items()]


def _names(reader: Reader) -> str:
    return ", ".join(option.name for option in reader.accepts)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={'unset' if value is None else value}" for key, value in values.items())
