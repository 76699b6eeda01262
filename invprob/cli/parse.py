"""From what was typed to values; each function raises typer.BadParameter, which says how the option is written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

_MOST_ANGLES = 10**6  # a typing error rather than a scan

__all__ = ["AngleRange", "ImageShape", "angles", "image_shape", "positive", "settings", "slices", "strength"]


@dataclass(frozen=True)
class AngleRange:
    """`count` equally spaced angles, the first and the last included."""

    first: float
    last: float
    count: int


@dataclass(frozen=True)
class ImageShape:
    """The sides of an image in pixels."""

    height: int
    width: int


def slices(text: str) -> slice:
    """Return the slice START:STOP or START:STOP:STEP, each part of which may be left out."""
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise typer.BadParameter(f"{text!r} is not START:STOP or START:STOP:STEP, as in 0:60 or ::2")
    chosen = slice(*numbers)
    if chosen.step is not None and chosen.step < 1:
        raise typer.BadParameter(f"{text!r} has the step {chosen.step}, which must be at least 1")
    return chosen


def angles(text: str) -> AngleRange:
    """Return the range FIRST:LAST:COUNT, the last angle included."""
    try:
        first, last, count = text.split(":")
        chosen = AngleRange(float(first), float(last), int(count))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not FIRST:LAST:COUNT, as in 0:179:180") from None
    if chosen.count > _MOST_ANGLES:
        raise typer.BadParameter(f"{text!r} asks for {chosen.count} angles, more than {_MOST_ANGLES}")
    if chosen.count < 1 or not (math.isfinite(chosen.first) and math.isfinite(chosen.last)):
        raise typer.BadParameter(f"{text!r} must hold finite angles and a count of at least 1")
    return chosen


def image_shape(text: str) -> ImageShape:
    """Return the height and the width of HxW."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not HxW, as in 512x512") from None
    if min(height, width) < 1:
        raise typer.BadParameter(f"{text!r}: both sides must be at least 1 pixel")
    return ImageShape(height, width)


def positive(text: str) -> float:
    """Return a number greater than zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text!r} is not a number greater than 0")
    return value


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


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the settings of `key=value` pairs: numbers, true, false and null as such, all else as text."""
    chosen: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE, as in max_iter=500", param_hint="'--set'")
        if key in chosen:
            raise typer.BadParameter(f"{key} is given twice", param_hint="'--set'")
        chosen[key] = _value(value.strip())
    return chosen


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | None) else text
