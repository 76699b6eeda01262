"""What the registered methods are called and which settings they take."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from invprob import registry
from invprob.cli.errors import UsageError
from invprob.cli.plugins import check_name
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
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"the method {name} has no setting {key!r}; {registry.nearest(key, known)}")
        truth = isinstance(known[key], bool) or str(kinds[key].annotation).startswith("bool")
        _check_type(f"{key} of {name}", value, known[key], truth=truth)
    try:
        check_settings(find_recipe(name), settings)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_type(what: str, value: Any, default: Any, *, truth: bool) -> None:
    """Raise UsageError where a number or a truth value is needed and something else is given."""
    if truth:
        fits, kind = isinstance(value, bool) or (value is None and default is None), "true or false"
    elif isinstance(default, int):
        fits, kind = isinstance(value, int) and not isinstance(value, bool), f"a number like {default}"
    elif isinstance(default, float):
        fits, kind = isinstance(value, int | float) and not isinstance(value, bool), f"a number like {default}"
    else:
        return
    if not fits:
        raise UsageError(f"{what} is {kind}, not {value!r}")


def defaults(name: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults."""
    return settings_of(find_recipe(name))


def summary(thing: Any) -> str:
    """Return the first sentence of a docstring, as one line."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".")
