"""Rows 2 and 3: files cut short, and files with changed bytes. In own files no change may pass in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faults.program import Found, Outcome, judged, run
from faults.scans import layouts

__all__ = ["campaign"]

_SLOW = 10.0  # seconds of the processor


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield the trials: cuts at every tenth, then changes of 1 to 16 bytes, of runs, and of zeroed blocks."""
    generator = np.random.default_rng(seed)
    for layout, source in layouts(folder).items():
        content = source.read_bytes()
        target = folder / f"mutant{source.suffix}"
        target.write_bytes(content)
        command = ["inspect" if layout == "own result" else "check", target.name]
        sound = run(command, folder)
        for cut in np.linspace(0, 1, 11)[:-1]:
            target.write_bytes(content[: int(cut * len(content))])
            yield judged(f"{layout} cut at {cut:.0%}", run(command, folder), [3])
        for trial in range(trials):
            target.write_bytes(_mutated(content, generator))
            found = run(command, folder)
            yield _silent(judged(f"{layout} mutant {trial}", found), layout, found, sound, target, content)


def _mutated(content: bytes, generator: np.random.Generator) -> bytes:
    mutant = bytearray(content)
    kind, at = int(generator.integers(3)), int(generator.integers(len(content)))
    if kind == 0:
        for place in generator.integers(len(content), size=int(generator.integers(1, 17))):
            mutant[place] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        length = int(generator.integers(1, 64))
        mutant[at : at + length] = generator.bytes(len(mutant[at : at + length]))
    else:
        length = int(generator.integers(4, 1024))
        mutant[at : at + length] = bytes(len(mutant[at : at + length]))
    return bytes(mutant)


def _silent(trial: Found, layout: str, found: Outcome, sound: Outcome, target: Path, content: bytes) -> Found:
    """Return the trial, bad too if an own file says something else than it did, without a complaint."""
    if trial.bad is None and found.seconds > _SLOW:
        return Found(trial.what, trial.outcome, f"took {found.seconds:.0f} s")
    if trial.bad is not None or not layout.startswith("own") or found.code or target.read_bytes() == content:
        return trial
    return (
        trial if _steady(found.out) == _steady(sound.out) else Found(trial.what, "silent", "a change passed in silence")
    )


def _steady(text: str) -> list[str]:
    """Return the lines that are the same whenever a command is run."""
    return [line for line in text.splitlines() if not line.startswith(("time", "memory"))]
