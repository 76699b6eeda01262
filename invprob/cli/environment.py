"""The environment variables that libraries trip over, looked at before any of them is loaded."""

from __future__ import annotations

import os

from invprob.cli.errors import UsageError
from invprob.errors import printable

__all__ = ["check_environment"]

_THREADS = "NUMBA_NUM_THREADS"  # of others that are no numbers, libraries take no notice
_DIGITS = 6
_TERMINAL = ("COLUMNS", "LINES")


def check_environment() -> None:
    """Raise UsageError for a number of threads that is none; a terminal of no size counts as one that is not told."""
    for name in _TERMINAL:
        value = os.environ.get(name, "")
        if value.isdigit() and not value.strip("0"):
            del os.environ[name]
    value = os.environ.get(_THREADS, "").strip()
    if value and not (value.isascii() and value.isdigit() and 0 < len(value.lstrip("0")) < _DIGITS):
        raise UsageError(f"the variable {_THREADS} is {printable(value, 40)!r}: unset it, or let it be 1 or more")
