"""What the registered methods are called and which settings they take."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from invprob.cli.errors import UsageError
from invprob.cli.plugins import check_name
from invprob.cli.signatures import Written, check_kinds
from invprob.methods import check_settings, find_recipe, settings_of

__all__ = ["check_method", "defaults", "summary"]


def check_method(name: str, settings: Mapping[str, Any], plugins: Collection[str] = ()) -> None:
    """Raise UsageError, with the nearest names, for a method or a setting that is not registered.

    A command line names no code but that of the modules given as plugins, "module:function".
    """
    check_name(name, plugins)
    try:
        known = defaults(name)
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{name!r} is no method: {error}") from error
    kinds = inspect.signature(find_recipe(name)).parameters
    check_kinds(name, settings, {key: Written(value, str(kinds[key].annotation)) for key, value in known.items()})
    try:
        check_settings(find_recipe(name), settings)
    except ValueError as error:
        raise UsageError(str(error)) from error


def defaults(name: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults."""
    return settings_of(find_recipe(name))


def summary(thing: Any) -> str:
    """Return the first sentence of a docstring, as one line."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".")
