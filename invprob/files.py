"""Is the file there? Asked first, before anything heavy is loaded to read it."""

from __future__ import annotations

from pathlib import Path

from invprob.errors import InputError, printable

__all__ = ["check_file"]


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a file that can be read and is not empty."""
    name = printable(path)
    try:
        if path.is_dir():
            raise InputError(f"{name} is a directory: name a file in it")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(f"{name} is empty (0 bytes): copy it again")
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path") from None
    except (OSError, ValueError) as error:  # a name with a NUL, or one too long
        raise InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
