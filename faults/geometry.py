"""Rows 17, 22 and 33: geometry that no scanner has, through the constructors of the operators and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.program import Found, Trial, judged, made, run
from faults.scans import exchange

__all__ = ["campaign", "planned"]

_VALUES = (0.0, 1e-300, 1e-100, 1e-30, 1e-12, 1e-6, 1.0, 1e6, 1e12, 1e30, 1e100, 1e300, -1.0)
_OPTIONS = ("--axis", "--pixel-size", "image_pixel_size")
_LENGTHS = ("pixel_size", "detector_size", "axis_offset", "source_distance", "detector_distance")


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield options of the command line, then own files with drawn geometry, applied with their adjoint."""
    return made(planned(folder, trials, seed))


def planned(folder: Path, trials: int, seed: int) -> Iterator[Trial]:
    """Yield the same as trials that are still to be made."""
    exchange(folder / "x.h5")
    for option in _OPTIONS:
        for value in _VALUES:
            given = [option, f"{value:g}"] if option.startswith("--") else ["--read", f"{option}={value:g}"]
            yield partial(_given, folder, given)
    generator = np.random.default_rng(seed)
    for _ in range(trials):
        config = {name: float(generator.choice(_VALUES)) if generator.random() < 0.4 else 1.0 for name in _LENGTHS}
        config["axis_offset"] -= 1.0
        config["source_distance"] *= 20.0
        yield partial(_in_a_file, folder, config)


def _given(folder: Path, given: list[str]) -> Found:
    axis = [] if "--axis" in given else ["--axis", "7.5"]
    arguments = ["reconstruct", "x.h5", "--method", "fbp", "-o", "o.h5", "--overwrite", *axis, *given]
    return judged(" ".join(given), run(arguments, folder))


def _in_a_file(folder: Path, config: dict[str, float]) -> Found:
    return judged(f"fan beam {config}", _applied(folder, config))


def _applied(folder: Path, config: dict[str, float]):
    """Make an operator in a file of ours, as far as it can be made, and let `check` apply it."""
    import torch

    from invprob.io import save_scan
    from invprob.operators import FanBeam
    from invprob.scan import Scan

    try:
        A = FanBeam((12, 12), np.arange(8) * np.pi / 4, 16, **config)
    except ValueError:
        return run(["--version"], folder)  # refused by name
    save_scan(folder / "f.h5", Scan(A, torch.ones(8, 16), 0.1), overwrite=True)
    return run(["check", "f.h5"], folder)
