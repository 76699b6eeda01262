"""What a reader is told on the command line: `--read KEY=VALUE`, or the flags that are short for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invprob import registry
from invprob.cli import parse
from invprob.cli.errors import UsageError

if TYPE_CHECKING:
    from invprob.io.options import Option

__all__ = ["known_options", "reading_options"]


def reading_options(pairs: Sequence[str] | None, **flags: str | None) -> dict[str, Any]:
    """Return the options of `load_scan`; UsageError for one that no reader has, or that is not typed as it should be.

    A flag stands for the option of its name, and None for one that is not given.
    """
    from invprob.io.options import ANGLES, ANGLES_UNIT

    known = known_options()
    texts = {name: text for name, text in flags.items() if text is not None}
    for name, text in parse.pairs(pairs or (), "--read", "axis=296").items():
        if name not in known:
            raise UsageError(f"no reader has an option {name!r}; {registry.nearest(name, known)}")
        if name in texts:
            raise UsageError(f"{name} is given twice: by {known[name].typed} and by --read")
        texts[name] = text
    if ANGLES.name in texts and ANGLES_UNIT.name not in texts:
        raise UsageError(f"{ANGLES.typed} needs a unit: add {ANGLES_UNIT.typed} deg or {ANGLES_UNIT.typed} rad")
    values = {}
    for name, text in texts.items():
        try:
            values[name] = known[name].parse(text)
        except ValueError as error:
            raise UsageError(f"{known[name].typed}: {error}") from error
    return values


def known_options() -> dict[str, Option]:
    """Return the options of all readers without loading these; one of a plugin has loaded their table itself."""
    from invprob.io.option_table import OPTIONS

    readers = sys.modules.get("invprob.io.readers")
    return dict(OPTIONS) if readers is None else {**OPTIONS, **readers.known_options()}
