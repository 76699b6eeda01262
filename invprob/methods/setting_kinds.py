"""Is a setting of the kind that its recipe's signature names? One whose default is None says it nowhere else."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from torch import Tensor

__all__ = ["as_real", "wrong_kind"]

_WORDS: dict[Any, str] = {
    bool: "True, False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "None",
}


def wrong_kind(recipe: Callable[..., Any], name: str, value: object) -> str | None:
    """Return in words what a setting has to be, None where it is that, or where the signature does not tell."""
    try:
        kinds = _kinds(inspect.signature(recipe, eval_str=True).parameters[name].annotation)
    except (NameError, KeyError, TypeError):  # written for a type checker alone
        return None
    if not kinds or any(_is(value, kind) for kind in kinds):
        return None
    words = ", ".join(_WORDS[kind] for kind in kinds).split(", ")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _kinds(hint: Any) -> list[Any]:
    """Return the simple kinds that a hint is made of; none if it holds any other."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return list(parts) if all(part in _WORDS for part in parts) else []


def _is(value: object, kind: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real | Tensor)
    return isinstance(value, Integral | Tensor if kind is int else kind)


def as_real(value: Any) -> Any:
    """Return a whole number as a real one, as no tensor holds a large one, and anything else as it is."""
    if not isinstance(value, Integral):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
