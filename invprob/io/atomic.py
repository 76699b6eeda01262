"""Write files so that there is either the whole file or none, and never half of one under its final name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from invprob.errors import OutputError, ResourceError, printable

__all__ = ["check_output", "commit", "partial_path", "write_whole"]

_MARGIN = 64 * 2**20


def check_output(
    path: str | os.PathLike[str],
    n_bytes: int,
    *,
    overwrite: bool,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Return `path` if `n_bytes` can be written there; call it before computing anything.

    Raises OutputError if the path exists and `overwrite` is False, if it is a directory, a link or one of
    `sources`, or if its directory is missing or read-only; ResourceError if the disk is too full.
    """
    path = Path(path)
    name = printable(path)
    if not path.name:
        raise OutputError(f"'{name}' is no file name: choose another name")
    _exists(partial_path(path))  # the longer name: refused here rather than after hours of work
    if _exists(path):
        _check_replaceable(path, overwrite, sources)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{name}: the directory {printable(folder)} does not exist: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{name}: no permission to write into {printable(folder)}: choose another name")
    free = shutil.disk_usage(folder).free
    if free < 1.05 * n_bytes + _MARGIN:
        raise ResourceError(
            f"{name} needs {n_bytes / 2**20:.0f} MiB, and {printable(folder)} has {free / 2**20:.0f}: "
            "make room, or choose another name"
        )
    return path


def partial_path(path: Path) -> Path:
    """Return where the file is while it is being written."""
    return path.with_name(path.name + ".partial")


def commit(path: Path) -> None:
    """Give the finished partial file its final name, on the disk as well as in the cache."""
    _sync(partial_path(path))
    os.replace(partial_path(path), path)
    _sync(path.absolute().parent)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on the partial path, then commit; a failed attempt leaves nothing behind."""
    partial = partial_path(path)
    try:
        partial.unlink(missing_ok=True)
        write(partial)
        commit(path)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as RuntimeError
        raise ResourceError(
            f"{printable(path)} could not be written ({printable(error)}): is the disk full?"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _check_replaceable(path: Path, overwrite: bool, sources: Iterable[str | os.PathLike[str]]) -> None:
    name = printable(path)
    if path.is_symlink() or not path.is_file():
        raise OutputError(f"{name} is not a plain file (a directory, a link, a device): choose another name")
    if any(os.path.exists(source) and path.samefile(source) for source in sources):
        raise OutputError(f"{name} is the input, which is never written to: choose another name")
    if not overwrite:
        raise OutputError(f"{name} exists: choose another name, or add --overwrite")


def _exists(path: Path) -> bool:
    """Return whether anything, a dangling link included, has this name; OutputError if nothing ever could."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:  # too long, a NUL, a file where a directory should be
        reason = printable(error)
        raise OutputError(f"{printable(path)} cannot be a file ({reason}): choose another name") from error
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
