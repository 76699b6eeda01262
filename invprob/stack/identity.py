"""What a result is made from, in words and digests: whoever goes on with it must have the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invprob.io.digest import Seen, digest_of
from invprob.io.invprob_file import unlifted
from invprob.io.options import ROWS

if TYPE_CHECKING:
    from invprob.io import Stack
    from invprob.linop import Operator

__all__ = ["geometry", "options_told", "sources"]


def geometry(A: Operator) -> str:
    """Return the kind of an operator and a digest over all that makes it what it is.

    Coil maps do not count: their files do, among the options, and maps that are found in data differ in rounding by
    the number of threads, which does not keep a run from going on. Operators that no file can name are known by their
    description.
    """
    inner, lifts = unlifted(A)
    try:
        config = inner.config()
    except TypeError:
        return repr(A)
    coils = config.get("coils")
    counted = {**config, "coils": tuple(getattr(coils, "shape", ())) or coils}
    whole = {"kind": type(inner).__module__, "config": counted, "dtype": inner.dtype, "lift": lifts}
    return f"{type(inner).__qualname__} {digest_of(whole)}"


def sources(stack: Stack) -> dict[str, Seen]:
    """Return what the files that a stack is read from were when it was opened; of one made by hand what its scan is."""
    return dict(stack.sources) or {"scan": Seen.now(stack.path)}


def options_told(stack: Stack) -> dict[str, str]:
    """Return how a scan is read, by the options but the files that they name and the rows, whose indices are known."""
    told = {f"option {name}": _in_words(value) for name, value in stack.options.items() if name != ROWS.name}
    return {name: words for name, words in told.items() if name not in stack.sources}


def _in_words(value: Any) -> str:
    return str(value) if isinstance(value, str | bool | int | float | slice) else digest_of(value)
