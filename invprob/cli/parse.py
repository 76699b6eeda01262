"""From what was typed to values; each function raises typer.BadParameter, which says how the option is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import typer

__all__ = ["between", "pairs", "positive", "settings", "strength", "times"]


def positive(text: str) -> float:
    """Return a number greater than zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text!r} is not a number greater than 0")
    return value


def between(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number greater than `least`, and at most `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value <= most:
            raise typer.BadParameter(f"{text!r} is not a number greater than {least:g}, and at most {most:g}")
        return value

    return read


def times(text: str, option: str) -> tuple[float, ...]:
    """Return numbers greater than zero, separated by commas, that rise."""
    found = tuple(positive(part) for part in text.split(","))
    if list(found) != sorted(set(found)):
        raise typer.BadParameter(f"{text!r} are times that do not rise", param_hint=f"'{option}'")
    return found


def strength(text: str) -> str | float:
    """Return "auto", or a number that is not negative."""
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise typer.BadParameter(f"{text!r} is neither auto nor a number >= 0", param_hint="'--strength'")
    return value


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of `key=value` pairs: numbers, true, false and null as such, all else as text."""
    return {key: _value(value) for key, value in pairs(texts, "--set", "max_iter=500").items()}


def pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Return the values of `key=value` pairs as text; a hyphen in a key stands for an underscore."""
    chosen: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE, as in {example}", param_hint=f"'{option}'")
        if key in chosen:
            raise typer.BadParameter(f"{key} is given twice", param_hint=f"'{option}'")
        chosen[key] = value.strip()
    return chosen


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | None) else text
