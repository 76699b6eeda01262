"""Write an HDF5 file of the project's own at once: whole, sealed by a digest, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from invprob.io.atomic import write_whole
from invprob.io.sealing import seal
from invprob.io.shielded import ShieldedFile

__all__ = ["write_hdf5"]


def write_hdf5(path: Path, fill: Callable[[h5py.File], None], libver: tuple[str, str], *, overwrite: bool) -> None:
    """Let `fill` write into a new file, seal it, and give it its name; ResourceError if the disk is full."""
    write_whole(path, lambda partial: _write(partial, fill, libver), overwrite=overwrite)


def _write(path: Path, fill: Callable[[h5py.File], None], libver: tuple[str, str]) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        shield = ShieldedFile(descriptor)
        with h5py.File(shield, "w", libver=libver) as file:
            fill(file)
            file.flush()
            shield.check()
            seal(file, shield.read_at)
        shield.check()
    finally:
        os.close(descriptor)
