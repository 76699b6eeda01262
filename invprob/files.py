"""Is the file there, or the files? Asked first, before anything heavy is loaded to read them."""

from __future__ import annotations

import os
import re
import stat
from glob import glob, has_magic
from pathlib import Path

from invprob.errors import InputError, printable

__all__ = ["check_file", "check_source", "files_of", "is_series"]


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a file that can be read and is not empty."""
    name = printable(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{name} is a directory: name a file in it")
        if not stat.S_ISREG(kind):  # to open a pipe would be to wait for who writes into it
            raise InputError(f"{name} is {_strange(kind)}, no file: copy what comes out of it to a file")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(f"{name} is empty (0 bytes): copy it again")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path") from None
    except (OSError, ValueError) as error:  # a name with a NUL, or one too long
        raise InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def check_source(path: Path) -> None:
    """Raise InputError unless `path` is a file that can be read, or a folder or a pattern that holds such."""
    if not is_series(path):
        check_file(path)
        return
    if not files_of(path):
        if path.is_dir():
            raise InputError(f"{printable(path)} is a directory without files: name a file, or another folder")
        raise InputError(f"no file is called like {printable(path)}: check the pattern")


def is_series(path: Path) -> bool:
    """Return whether `path` is a folder, or a pattern such as scan/*.tif, which may stand for many files."""
    try:
        return path.is_dir() or (has_magic(str(path)) and not path.exists())
    except (OSError, ValueError):  # a name with a NUL, or one too long
        return False


def files_of(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of a folder or a pattern in the order of the numbers in their names, or the one file itself.

    Hidden files do not count, nor do folders.
    """
    path = Path(path)
    if not is_series(path):
        return (path,)
    found = path.iterdir() if path.is_dir() else map(Path, glob(str(path)))
    return tuple(sorted((f for f in found if f.is_file() and not f.name.startswith(".")), key=_by_numbers))


def _strange(kind: int) -> str:
    """Return what is no regular file and no folder."""
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"))
    return next((word for is_one, word in kinds if is_one(kind)), "a device")


def _by_numbers(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return what sorts view_9 before view_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)
