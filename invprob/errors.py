"""The errors a user can mend, as one-line messages: what is wrong, where, and what to do about it.

The command line turns each class into its exit code and prints the message without a traceback.
"""

from __future__ import annotations

__all__ = ["InputError", "InputWarning", "OutputError", "ResourceError", "printable"]


class InputError(ValueError):
    """A file or its content cannot be used as it is (exit code 3)."""


class InputWarning(UserWarning):
    """The input can be used, but something about it is unlikely to be meant."""


class OutputError(ValueError):
    """The result cannot be written where it is wanted (exit code 2, before anything is computed)."""


class ResourceError(RuntimeError):
    """The machine has too little disk or memory for the job (exit code 4)."""


def printable(text: object, limit: int = 256) -> str:
    """Return `text` cut to `limit` characters, with control characters escaped.

    Names out of files go through here before they reach a terminal: `\\x1b[2J` would clear it.
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:limit])
    return escaped + "..." if len(str(text)) > limit else escaped
