"""How much memory a run takes beside the smallest `--max-memory` that lets it begin.

The limit counts with what tv takes, so that simpler methods stay below it. A peak of over 1.1 times is bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from faults.program import Found, judged, run
from invprob.io import save_scan
from invprob.operators import Blur, ParallelBeam
from invprob.scan import Scan

__all__ = ["campaign"]

_METHODS = {
    "CT": ("fbp", "tikhonov", "wavelet", "tv", "limited-angle", "pnp"),
    "blur": ("wiener", "wavelet", "tv", "pnp"),
}
_ITERATIONS = 12
_STEP = 1.05  # between limits that are tried
_MOST = 1.1  # times the limit
_SECONDS = 900


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield every method on a stack of CT and on a photograph, `trials` and `seed` change nothing."""
    del trials, seed
    for kind, scan in _scans().items():
        save_scan(folder / f"{kind}.h5", scan, overwrite=True)
        limit = _smallest(f"{kind}.h5", folder)
        for method in _METHODS[kind]:
            few = [] if method in ("fbp", "wiener") else ["--set", f"max_iter={_ITERATIONS}"]
            command = [
                "reconstruct",
                f"{kind}.h5",
                "--method",
                method,
                *few,
                "--max-memory",
                f"{limit:.4g}",
                "--overwrite",
            ]
            found = run(command, folder, limit=_SECONDS)
            told = judged(f"{kind} {method}", found, [0, 5])
            if told.bad:
                yield told
                continue
            peak = found.peak / 2**30
            row = (f"{kind}, `{method}`", f"{limit:.2f}", f"{peak:.2f}", f"{peak / limit:.2f}")
            yield replace(told, bad=f"{peak / limit:.2f} times the limit" if peak > _MOST * limit else None, row=row)


def _scans() -> dict[str, Scan]:
    """Return slices of 512 x 512 pixels from 180 views, and a photograph of 1 megapixel, both with noise."""
    generator, found = torch.Generator().manual_seed(0), {}
    truth = {"CT": torch.zeros(3, 512, 512), "blur": torch.zeros(800, 1200)}
    operators = {
        "CT": ParallelBeam((512, 512), np.arange(180) * np.pi / 180, 736),
        "blur": Blur((800, 1200), torch.ones(5, 5) / 25),
    }
    for kind, A in operators.items():
        x = truth[kind]
        x[..., 100:200, 150:350] = 1.0
        y = A(x)
        level = 0.02 * float(y.abs().max())
        found[kind] = Scan(A, y + level * torch.randn(y.shape, generator=generator), level)
    return found


def _smallest(name: str, folder: Path) -> float:
    """Return the smallest limit, in GiB, of those that are tried with which `check` says that a row fits."""
    limit = 0.3
    while run(["check", name, "--max-memory", f"{limit:.4g}"], folder).code == 4:
        limit *= _STEP
    return limit
