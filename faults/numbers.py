"""Row 26: absurd numbers in every setting of every method, and in options of other commands.

None ends in a signal, a traceback or an internal error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.program import Found, Trial, judged, made, run
from faults.scans import blur, mri, stack
from invprob.methods.entry import find_recipe, settings_of
from invprob.registry import METHODS

__all__ = ["ABSURD", "campaign", "planned"]

ABSURD = ("0", "1e-300", "1e300", "-1", "1e-40", "1e30", "nan", "inf")
_SIMULATE, _MRI = "simulate a.h5 --size 16 --views 8", "simulate a.h5 --size 16 --geometry cartesian --coils 2"
OPTIONS = (  # of a command, those that take a number
    *((_SIMULATE, option) for option in ("--arc", "--noise", "--photons", "--seed")),
    *((_MRI, option) for option in ("--acceleration", "--noise")),
    ("simulate a.h5 --phantom radar-target --geometry x-array --frequencies 1", "--snr"),
    ("reconstruct ct.h5 --method fbp -o out.h5", "--max-memory"),
    ("show result.h5 --png a.png", "--slice"),
)


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield strengths of 0, 1e-300 and 1e300 of every method, then drawn numbers in some option and any setting."""
    return made(planned(folder, trials, seed))


def planned(folder: Path, trials: int, seed: int) -> Iterator[Trial]:
    """Yield the same as trials that are still to be made."""
    scans = [stack(folder / "ct.h5", rows=1), blur(folder / "blur.h5"), mri(folder / "mri.h5")]
    for method in METHODS:
        for strength in ABSURD[:3] if "strength" in settings_of(find_recipe(method)) else ():
            for scan in scans:
                yield partial(_tried, folder, scan.name, method, ["--strength", strength])
    generator = np.random.default_rng(seed)
    run(["reconstruct", "ct.h5", "--method", "fbp", "-o", "result.h5", "--overwrite"], folder)
    for _ in range(trials):
        command, option = OPTIONS[int(generator.integers(len(OPTIONS)))]
        yield partial(_optioned, folder, command, f"{option}={_number(generator)}")
        method = str(generator.choice(list(METHODS)))
        names = [name for name in settings_of(find_recipe(method)) if name != "max_iter"]
        if names:
            setting, value = str(generator.choice(names)), _number(generator)
            scan = scans[int(generator.integers(len(scans)))]
            yield partial(_tried, folder, scan.name, method, ["--set", f"{setting}={value}"])


def _number(generator: np.random.Generator) -> str:
    """Return an absurd number, or one of any size that double precision knows."""
    if generator.random() < 0.5:
        return str(generator.choice(ABSURD))
    return f"{generator.choice([-1, 1]) * 10.0 ** generator.uniform(-320, 308):.3g}"


def _tried(folder: Path, scan: str, method: str, more: list[str]) -> Found:
    few = ["--set", "max_iter=3"] if "max_iter" in settings_of(find_recipe(method)) else []
    arguments = ["reconstruct", scan, "--method", method, "-o", "out.h5", "--overwrite", *few, *more]
    return judged(" ".join(arguments[1:4] + more), run(arguments, folder))


def _optioned(folder: Path, command: str, option: str) -> Found:
    return judged(f"{command} {option}", run([*command.split(), option, "--overwrite"], folder))
