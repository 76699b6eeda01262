"""Row 26: absurd numbers in every setting of every method, and in options of other commands.

None ends in a signal, a traceback or an internal error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.program import Found, Trial, judged, made, run
from faults.scans import blur, echoes, mri, radar, stack
from invprob.methods.entry import find_recipe, settings_of
from invprob.registry import METHODS

__all__ = ["ABSURD", "campaign", "planned"]

ABSURD = ("0", "1e-300", "1e300", "-1", "1e-40", "1e30", "nan", "inf")
_WHOLE = ("1", "99999999999999999999")  # which no 64 bits hold
_EASY = {"max_iter": "2", "steps": "2", "n_chains": "1", "echo_times": "10,20,30", "inversion_times": "10,20,30"}
_OTHERS = {  # methods with settings, of other scans than those of CT
    "blur": ("sobolev-tv",),
    "mri": ("cg-sense", "l1-wavelet"),
    "echoes": ("low-rank-sparse", "t1-map", "t2-map"),
    "radar": ("l1-magnitude", "tv-magnitude", "wavelet-magnitude", "pnp-magnitude"),
}
_SIMULATE, _MRI = "simulate a.h5 --size 16 --views 8", "simulate a.h5 --size 16 --geometry cartesian --coils 2"
OPTIONS = (  # of a command, those that take a number
    *((_SIMULATE, option) for option in ("--arc", "--noise", "--photons", "--seed")),
    *((_MRI, option) for option in ("--acceleration", "--noise")),
    ("simulate a.h5 --phantom radar-target --geometry x-array --frequencies 1", "--snr"),
    ("reconstruct ct.h5 --method fbp -o out.h5", "--max-memory"),
    ("show result.h5 --png a.png", "--slice"),
)


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield strengths of 0, 1e-300 and 1e300 of every method, then numbers in drawn options and settings."""
    return made(planned(folder, trials, seed))


def planned(folder: Path, trials: int, seed: int) -> Iterator[Trial]:
    """Yield the same as trials that are still to be made; of enough of them, every setting has had every number."""
    taken = _taken(folder)
    for method, scan in taken.items():
        yield partial(_plainly, folder, scan, method)
        for strength in ABSURD[:3] if "strength" in settings_of(find_recipe(method)) else ():
            yield partial(_tried, folder, scan, method, "strength", strength)
    generator = np.random.default_rng(seed)
    run(["reconstruct", "ct.h5", "--method", "fbp", "-o", "result.h5", "--overwrite"], folder)
    settings = [
        (scan, method, setting, value)
        for method, scan in taken.items()
        for setting in settings_of(find_recipe(method))
        for value in (*ABSURD, *_WHOLE, _of_any_size(generator))
        if setting not in _EASY or value not in _WHOLE  # work, and not a fault
    ]
    order, scans = generator.permutation(len(settings)), sorted(set(taken.values()))
    for number in range(trials):
        command, option = OPTIONS[int(generator.integers(len(OPTIONS)))]
        value = str(generator.choice(ABSURD)) if generator.random() < 0.5 else _of_any_size(generator)
        yield partial(_optioned, folder, command, f"{option}={value}")
        scan, *rest = settings[order[number % len(settings)]]
        other = str(generator.choice(scans)) if generator.random() < 0.1 else scan  # which the method may refuse
        yield partial(_tried, folder, other, *rest)


def _taken(folder: Path) -> dict[str, str]:
    """Return a scan that each method takes, by the name of the method."""
    stack(folder / "ct.h5", rows=1)
    for write in (blur, mri, echoes, radar):
        write(folder / f"{write.__name__}.h5")
    of = {method: f"{scan}.h5" for scan, methods in _OTHERS.items() for method in methods}
    return {
        method: of.get(method, "ct.h5")
        for method in METHODS
        if settings_of(find_recipe(method)) and method != "gauss-newton"  # for operators that no file holds
    }


def _of_any_size(generator: np.random.Generator) -> str:
    """Return a number of any size that double precision knows."""
    return f"{generator.choice([-1, 1]) * 10.0 ** generator.uniform(-320, 308):.3g}"


def _reconstructing(scan: str, method: str, but: str = "") -> list[str]:
    """Return the command, with little work in all settings `but` one."""
    easy = [f"{name}={value}" for name, value in _EASY.items() if name in settings_of(find_recipe(method))]
    few = [word for setting in easy if not setting.startswith(f"{but}=") for word in ("--set", setting)]
    return ["reconstruct", scan, "--method", method, "-o", "out.h5", "--overwrite", *few]


def _plainly(folder: Path, scan: str, method: str) -> Found:
    """Try a method without any absurd number: trials on a scan that it does not take would say nothing."""
    return judged(f"{scan} {method}", run(_reconstructing(scan, method), folder), expected=(0, 5))


def _tried(folder: Path, scan: str, method: str, setting: str, value: str) -> Found:
    arguments = [*_reconstructing(scan, method, setting), "--set", f"{setting}={value}"]
    return judged(f"{scan} {method} {setting}={value}", run(arguments, folder))


def _optioned(folder: Path, command: str, option: str) -> Found:
    return judged(f"{command} {option}", run([*command.split(), option, "--overwrite"], folder))
