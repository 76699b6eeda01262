"""Rows 39 and 40: outputs that cannot be, and disks that end, here by the largest size of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faults.program import Found, judged, run
from faults.scans import stack

__all__ = ["campaign"]


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield names that are no outputs, then runs whose files may become so large and no larger."""
    stack(folder / "s.h5")
    (folder / "d").mkdir()
    (folder / "link.h5").symlink_to("s.h5")
    (folder / "taken.h5").write_text("precious")
    (folder / "mine.h5.partial").write_text("precious")
    for name in ("d", "link.h5", "taken.h5", "s.h5", "no/such.h5", "x" * 300, "mine.h5"):
        yield judged(f"-o {name[:20]}", _reconstructed(folder, name), [2])
    whole = _reconstructed(folder, "whole.h5")
    yield judged("without a limit", whole, [0])
    size = (folder / "whole.h5").stat().st_size
    generator = np.random.default_rng(seed)
    for limit in generator.integers(1, 2 * size, trials).tolist():
        for name in ("out.h5", "out.h5.partial", "out.h5.journal"):
            (folder / name).unlink(missing_ok=True)
        trial = judged(f"files of {limit} bytes", _reconstructed(folder, "out.h5", limit), [0, 4])
        yield trial
        if trial.bad is None and trial.outcome == "exit 4":
            yield judged(f"resumed after {limit} bytes", _reconstructed(folder, "out.h5", more=["--resume"]), [0])


def _reconstructed(folder: Path, name: str, limit: int | None = None, more: list[str] | None = None):
    arguments = ["reconstruct", "s.h5", "--method", "fbp", "-o", name, *(more or [])]
    return run(arguments, folder, file_size=limit)
