"""How much memory every method takes, as a multiple of image and data, and that it does not grow with the iterations.

Each run is in a copy of this process that has done the same before, so that libraries and compiled code do not count.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faults.program import Found, begun, heard
from invprob.methods import reconstruct
from invprob.methods.entry import find_recipe, settings_of
from invprob.operators import Blur, CartesianMRI, NearFieldMIMO, ParallelBeam
from invprob.registry import METHODS
from invprob.scan import Scan

__all__ = ["Peaks", "campaign", "grows", "peaks", "peaks_of_method", "problems"]

FEW, MANY = 12, 60  # both beyond the first look of the loop at the objective; allocators keep up to 16 images by chance
_MMAP_THRESHOLD = -3  # of mallopt: from this size on memory goes back to the system when it is freed
_SLACK = 2**21  # bytes: what allocators keep


@dataclass(frozen=True)
class Peaks:
    """Bytes above what the process had: after few iterations, and after many; and those of an image and its data."""

    few: int
    many: int
    image: int
    data: int

    @property
    def multiple(self) -> float:
        """The larger peak in images with their data."""
        return max(self.few, self.many) / (self.image + self.data)


def grows(found: Peaks) -> bool:
    """Return whether memory grows: a state kept of every iteration is an image each at least."""
    return found.many - found.few > (MANY - FEW) // 2 * found.image + _SLACK


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield every method once, on the first kind of scan that it takes; `trials` and `seed` change nothing."""
    del folder, trials, seed
    scans = problems()
    for method in METHODS:
        for kind, scan in scans.items():
            found = peaks_of_method(method, scan)
            if found is not None:
                grown = (found.many - found.few) / found.image
                row = (f"`{method}`", kind, f"{found.multiple:.1f}", f"{grown:+.1f} images")
                yield Found(method, kind, "memory grows with the iterations" if grows(found) else None, row)
                break


def problems(side: int = 256) -> dict[str, Scan]:
    """Return a scan of every kind, of a rectangle with noise."""
    mask = torch.zeros(side, side)
    mask[:, ::2] = 1
    where = (np.arange(side // 4) - side // 8) * 0.01
    aperture = np.stack(np.meshgrid(where[::4], where[::4], [0.0], indexing="ij"), -1).reshape(-1, 3)
    radar = NearFieldMIMO((where, where, [0.5]), aperture, aperture[:4], np.linspace(8e9, 12e9, 8))
    operators = {
        "CT": ParallelBeam((side, side), np.arange(side // 2) * 2 * np.pi / side, side + 64),
        "blur": Blur((side, side), torch.ones(5, 5) / 25),
        "MRI": CartesianMRI(mask),
        "radar": radar,
    }
    generator, found = torch.Generator().manual_seed(0), {}
    for kind, A in operators.items():
        x = torch.zeros(A.domain_shape, dtype=A.domain_dtype)
        x[side // 16 : side // 8, side // 16 : side // 4] = 1.0
        y = A(x)
        level = 0.02 * float(y.abs().max())
        found[kind] = Scan(A, y + level * torch.randn(y.shape, generator=generator, dtype=y.dtype), level)
    return found


def peaks_of_method(method: str, scan: Scan) -> Peaks | None:
    """Return the peaks of a method, None if it is not for such a scan."""
    counted = "max_iter" in settings_of(find_recipe(method))

    def work(iterations: int) -> None:
        reconstruct(scan, method, **({"max_iter": iterations} if counted else {}))

    return peaks(work, scan)


def peaks(work: Callable[[int], object], scan: Scan) -> Peaks | None:
    """Return the peaks of `work(iterations)`, None if it raises ValueError or InputError.

    What seems to grow is measured once more: a state that is kept is kept again, what an allocator keeps is chance.
    """
    image = torch.empty(0, dtype=scan.operator.domain_dtype).element_size() * int(np.prod(scan.operator.domain_shape))
    found = None
    for _ in range(2):
        measured = _in_a_copy(lambda: [_peak(lambda n=n: work(n)) for n in (2, FEW, MANY)][1:])
        if measured is None:
            return None
        found = Peaks(*measured, image, scan.data.numel() * scan.data.element_size())
        if not grows(found):
            break
    return found


def _peak(work: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is no room for what comes
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _in_a_copy(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in a copy of this process with one thread, None if it raises ValueError."""

    def told(pipe: int) -> None:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**16)
        found = None
        with suppress(ValueError):
            found = work()
        os.write(pipe, pickle.dumps(found))

    with heard(*begun(told)) as stream:
        answer = stream.read()
    if not answer:
        raise RuntimeError("the copy of the process died")
    return pickle.loads(answer)
