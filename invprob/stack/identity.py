"""What a result is made from, in words and digests: whoever goes on with it must have the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invprob.io.digest import digest_of, fingerprint
from invprob.io.invprob_file import unlifted
from invprob.io.options import ROWS

if TYPE_CHECKING:
    from invprob.io import Stack
    from invprob.linop import Operator

__all__ = ["geometry", "options_told"]


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


def options_told(stack: Stack) -> dict[str, str]:
    """Return how a scan is read, by the options: of files their content, wherever they lie."""
    told = {name: value for name, value in stack.options.items() if name != ROWS.name}  # the indices are known
    files = {name: fingerprint(path) for name, path in stack.files.items()}
    return {f"option {name}": files.get(name) or _in_words(value) for name, value in told.items()}


def _in_words(value: Any) -> str:
    return str(value) if isinstance(value, str | bool | int | float | slice) else digest_of(value)
