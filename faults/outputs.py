"""Rows 39 and 40: outputs that cannot be, and disks that end, by the largest size of a file and in truth.

The rows of the stack are small, so that its journal grows beyond what is claimed before anything is computed: some of
the limits are met in the middle of the work. What was reported then is there, and the run that goes on ends the same.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from faults.program import Found, Outcome, judged, run
from faults.rows import lost, removed, same, stored
from faults.scans import stack

__all__ = ["campaign"]

_ROWS, _SIDE = 200, 4
_LARGEST = 1.25  # times the size of the whole result
_DISKS = 5  # every fifth limit is that of a disk, where one can be made
_PAGE = 4096  # bytes by which a disk in memory is filled


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield names that are no outputs, then runs whose files, or whose disk, may become so large and no larger."""
    stack(folder / "s.h5", rows=_ROWS, size=_SIDE)
    (folder / "d").mkdir()
    (folder / "link.h5").symlink_to("s.h5")
    (folder / "taken.h5").write_text("precious")
    (folder / "mine.h5.partial").write_text("precious")
    for name in ("d", "link.h5", "taken.h5", "s.h5", "no/such.h5", "x" * 300, "mine.h5"):
        yield judged(f"-o {name[:20]}", _reconstructed(folder, name), [2])
    yield judged("without a limit", _reconstructed(folder, "whole.h5"), [0])
    size = (folder / "whole.h5").stat().st_size
    generator = np.random.default_rng(seed)
    for trial, limit in enumerate(generator.integers(1, int(_LARGEST * size), trials).tolist()):
        if trial % _DISKS == _DISKS - 1:
            yield from _filled(folder, _PAGE * (1 + limit // _PAGE))
        else:
            yield from _limited(folder, limit)


def _limited(folder: Path, limit: int) -> Iterator[Found]:
    """Yield a run whose files may have so many bytes, and the one that goes on without a limit."""
    output = removed(folder, "out.h5")
    found = _reconstructed(folder, output.name, limit)
    yield _kept(f"files of {limit} bytes", found, output)
    if found.code == 4:
        yield _gone_on(f"resumed after {limit} bytes", folder, output)


def _filled(folder: Path, size: int) -> Iterator[Found]:
    """Yield a run on a disk of so many bytes, and the one that goes on when the disk has room."""
    with _disk(folder / "disk", size) as disk:
        if disk is None:
            return
        output = disk / "out.h5"
        found = _reconstructed(folder, f"disk/{output.name}")
        yield _kept(f"a disk of {size} bytes", found, output)
        if found.code == 4:
            subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
            yield _gone_on(f"resumed after a disk of {size} bytes", folder, output)


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Path | None]:
    """Give a file system of so many bytes in memory, None where none can be mounted."""
    folder.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if not made or made.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _kept(what: str, found: Outcome, output: Path) -> Found:
    """Return what is to be thought of a run with a limit: what it told of as stored must be readable."""
    told, rows = judged(what, found, [0, 4]), stored(found.out)
    if told.outcome == "exit 4" and rows:
        told = replace(told, outcome="exit 4 in mid-run")
    return replace(told, bad=told.bad or lost(output, rows))


def _gone_on(what: str, folder: Path, output: Path) -> Found:
    """Return what is to be thought of going on: the end must be that of a run without a limit."""
    told = judged(what, _reconstructed(folder, str(output.relative_to(folder)), more=["--resume"]), [0])
    if told.bad is None and not same(output, folder / "whole.h5"):
        return replace(told, outcome="other bits", bad="the end is not the same")
    return replace(told, outcome="same bits" if told.bad is None else told.outcome)


def _reconstructed(folder: Path, name: str, limit: int | None = None, more: list[str] | None = None) -> Outcome:
    arguments = ["reconstruct", "s.h5", "--method", "fbp", "-o", name, *(more or [])]
    return run(arguments, folder, file_size=limit)
