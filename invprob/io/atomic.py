"""Write files so that there is either the whole file or none, and never half of one under its final name."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from invprob.errors import OutputError, ResourceError, printable

__all__ = [
    "FULL",
    "PAGE",
    "check_output",
    "check_room",
    "commit",
    "create_beside",
    "partial_path",
    "sync_folder",
    "write_bytes",
    "write_text",
    "write_whole",
]

PAGE = 2**22  # bytes: about what a page or a picture takes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit on files
_FORM, _FILES = 2**16, 4  # bytes around the values, files at a time: what a small output takes besides


def check_output(
    path: str | os.PathLike[str],
    n_bytes: int,
    *,
    overwrite: bool,
    sources: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Return `path` if `n_bytes` can be written there; call it before computing anything.

    Raises OutputError if the path exists and `overwrite` is False, if it is a directory, a link or one of
    `sources`, or if its directory is missing or read-only; ResourceError if the disk is too full, or such a file
    larger than this process may write.
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
    check_room(path, n_bytes)
    return path


def check_room(path: Path, n_bytes: int) -> None:
    """Raise ResourceError if the disk has too little room for `n_bytes` at `path`."""
    folder, name = path.absolute().parent, printable(path)
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _FORM:
        raise ResourceError(
            f"{name} needs {_size(n_bytes + _FORM)}, and {printable(folder)} has {_size(free)}: "
            "make room, or choose another name"
        )
    limit = _file_limit()
    if limit is not None and limit < n_bytes:
        raise ResourceError(
            f"{name} needs {_size(n_bytes)}, and this process may write files of {_size(limit)}: raise `ulimit -f`"
        )
    with suppress(AttributeError, OSError):
        inodes = os.statvfs(folder)
        if inodes.f_files and inodes.f_favail < _FILES:
            raise ResourceError(f"{name}: {printable(folder)} can hold no more files: remove some")


def partial_path(path: Path) -> Path:
    """Return where a long result is while it is being written."""
    return path.with_name(path.name + ".partial")


def create_beside(path: Path) -> tuple[Path, int]:
    """Create an empty file beside `path` under a name that nothing has, and return it and its open descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    while True:
        tag = f".{secrets.token_hex(4)}.partial"
        with suppress(FileExistsError):
            try:
                return (own := path.with_name(path.name + tag)), os.open(own, flags, 0o666)
            except OSError as error:
                if isinstance(error, FileExistsError) or len(os.fsencode(path.name + tag)) < 255:
                    raise
            return (own := path.with_name(tag)), os.open(own, flags, 0o666)  # beside a very long name


def commit(partial: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished file its final name, on the disk as well as in the cache.

    OutputError if something has come to that name in the meantime that may not be replaced; both stay as they are.
    """
    _sync(partial)
    try:
        if overwrite:
            os.replace(partial, path)
        else:
            _move(partial, path)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise OutputError(f"{printable(path)} has appeared in the meantime, and is not replaced") from error
    sync_folder(path)


def write_whole(path: Path, write: Callable[[Path], object], *, overwrite: bool) -> None:
    """Call `write` on a path of its own, then commit; a failed attempt leaves nothing behind."""
    try:
        partial, descriptor = create_beside(path)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        os.close(descriptor)
        write(partial)
        commit(partial, path, overwrite=overwrite)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as RuntimeError
        if isinstance(error, ResourceError):
            raise
        raise _refused(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _refused(path: Path, error: OSError | RuntimeError) -> ResourceError:
    """Return what the system said of a file that could not be written, and what to do about it."""
    told = printable(getattr(error, "strerror", None) or error)
    full = getattr(error, "errno", None) in FULL or os.strerror(errno.ENOSPC) in str(error)
    way = "make room, or choose another name" if full else "choose another name"
    return ResourceError(f"{printable(path)} could not be written ({told}): {way}")


def write_bytes(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write these bytes, all or none."""
    write_whole(path, lambda partial: partial.write_bytes(content), overwrite=overwrite)


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a text in UTF-8, all of it or none."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"), overwrite=overwrite)


def sync_folder(path: Path) -> None:
    """Let the names in the folder of a path survive a power failure."""
    _sync(path.absolute().parent)


def _move(partial: Path, path: Path) -> None:
    """Rename, unless the name is taken."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(partial, path)
    else:
        partial.unlink()


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


def _file_limit() -> int | None:
    """Return how large a file of this process may become, None for any size."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.4g} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.4g} KiB"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)
        else:
            with suppress(OSError):  # some network mounts know no fsync of a directory
                os.fsync(descriptor)
    finally:
        os.close(descriptor)
