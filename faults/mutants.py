"""Rows 2 and 3: files cut short, and files with changed bytes. In own files no change may pass in silence.

The first mutants of a layout go through the command line. The others are read, one after another, by a copy of this
process, which is replaced when it dies; what it dies of, what hangs it, and what it cannot say in words is tried again
on the command line, whose word counts.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faults.program import Found, begun, heard, judged, run
from faults.scans import challenge, layouts, said_in
from invprob.errors import InputError, ResourceError
from invprob.io import load_result, open_stack, rehearsal
from invprob.io.readers import known_options
from invprob.machine import address_space

__all__ = ["campaign"]

_SLOW = 10.0  # seconds of the processor
_MEMORY = 2**30  # bytes above what the process has
_WORDS, _BAD = ("read", "refused", "unharmed"), "a change passed in silence"
_PATIENCE = 1  # seconds that a parser gets here, not 8: HDF5 hangs on every fifth file of ISMRMRD for all of them
_COMMANDS = 2  # mutants of a layout that go through the command line
_CUTS = (0.0, 0.1, 0.5, 0.99)
# of text a part may be whole; and where the last bytes are missing, a header of texts and what lies before an end mark
_WHOLE_IN_PART = {0.99: ("multistatic", "bart", "xtekct", "picture")}
_AT_ONCE = 1000  # mutants that one process reads: what parsers leave behind stays bounded


@dataclass(frozen=True)
class _Layout:
    """A sound file, and how it is read, with the options that it needs; `said` is all that an own file says."""

    name: str
    content: bytes
    target: Path
    read: Callable[[Path], object]
    options: dict[str, str]
    said: dict[str, object] | None

    @property
    def command(self) -> list[str]:
        """What reads it on the command line."""
        options = [part for option in self.options.items() for part in ("--read", "=".join(option))]
        return ["inspect" if self.read is load_result else "check", self.target.name, *options]

    def mutant(self, seed: int, trial: int) -> bytes:
        """Return the file with some of its bytes changed, the same ones for the same trial."""
        return _mutated(self.content, np.random.default_rng([seed, len(self.content), trial]))

    def word(self, mutant: bytes) -> str:
        """Read a mutant, and return what came of it."""
        self.target.write_bytes(mutant)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.read(self.target)
        except InputError:
            return "refused"
        except (ResourceError, MemoryError):
            return "memory"
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace("\n", " ")
        if self.said is None or mutant == self.content:
            return "read"
        with suppress(OSError, RuntimeError, ValueError, KeyError):  # what is not read may be damaged: reading it tells
            return "unharmed" if said_in(self.target, but=("digest",)) == self.said else "silent"
        return "unharmed"


def campaign(
    folder: Path, trials: int, seed: int, first: int = 0, layouts: Collection[str] | None = None
) -> Iterator[Found]:
    """Yield the trials from number `first` on, of all or some layouts: cuts, then changes of bytes, of runs,
    zeroed blocks.
    """
    for layout in _layouts(folder):
        if layouts and layout.name not in layouts:
            continue
        if (word := layout.word(layout.content)) != "read":
            raise RuntimeError(f"the sound file of {layout.name} is not read ({word}): its mutants would try nothing")
        if first == 0:
            for cut in _CUTS:
                layout.target.write_bytes(layout.content[: int(cut * len(layout.content))])
                allowed = [0, 3] if layout.name in _WHOLE_IN_PART.get(cut, ("multistatic",)) else [3]
                yield judged(f"{layout.name} cut at {cut:.0%}", run(layout.command, folder), allowed)
        last = first + trials
        for trial in range(first, min(last, max(first, _COMMANDS))):
            yield _commanded(layout, folder, seed, trial)
        yield from _served(layout, folder, seed, max(first, _COMMANDS), last)


def _layouts(folder: Path) -> Iterator[_Layout]:
    """Yield every layout of `invprob.io.READERS`, results, and MATLAB's with and without compression."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from layout_files import WRITERS, needed

    for name, path in layouts(folder).items():
        if not name.startswith("own"):
            continue
        yield _layout(name, path, folder, load_result if name == "own result" else _loaded)
    for compressed in (True, False):
        source = challenge(folder / "sound.mat", compressed=compressed)
        yield _layout("matlab" if compressed else "matlab, plain", source, folder, _loaded)
    for name, write in WRITERS.items():
        if name in ("invprob-scan", "matlab"):
            continue
        source = folder / "scan"
        source.unlink(missing_ok=True)
        write(source)
        options = needed(name, folder)
        parsed = {option: known_options()[option].parse(text) for option, text in options.items()}
        yield _layout(name, source, folder, partial(_loaded, **parsed), options)


def _layout(
    name: str, source: Path, folder: Path, read: Callable[[Path], object], options: dict[str, str] | None = None
) -> _Layout:
    target = folder / f"mutant{source.suffix}"
    if (folder / "scan.hdr").is_symlink():  # the values of the pair
        shutil.copyfile(folder / "scan.cfl", target.with_suffix(".cfl"))
        (folder / "mutant.hdr").unlink(missing_ok=True)
        (folder / "mutant.hdr").symlink_to(target.name)
        (folder / "scan.hdr").unlink()
    content = source.read_bytes()
    target.write_bytes(content)
    said = said_in(target, but=("digest",)) if name.startswith("own") else None
    return _Layout(name, content, target, read, options or {}, said)


def _loaded(path: Path, **options: Any) -> object:
    return open_stack(path, **options).load()


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


def _commanded(layout: _Layout, folder: Path, seed: int, trial: int) -> Found:
    """Let the command line read a mutant."""
    mutant = layout.mutant(seed, trial)
    layout.target.write_bytes(mutant)
    found = run(layout.command, folder)
    told = judged(f"{layout.name} mutant {trial}", found, slow=_SLOW)
    if told.bad is None and found.code == 0:
        word = layout.word(mutant)
        return Found(told.what, word, _BAD if word == "silent" else None if word in _WORDS else f"Python raises {word}")
    return told


def _served(layout: _Layout, folder: Path, seed: int, first: int, last: int) -> Iterator[Found]:
    """Let copies of this process read mutants; whatever else than an answer comes of one goes to the command line."""
    while first < last:
        stop = min(last, first + _AT_ONCE)
        with heard(*_server(layout, seed, range(first, stop))) as answers:
            for line in answers:
                word = line.decode(errors="replace").rstrip("\n")
                if word == "silent":
                    yield Found(f"{layout.name} mutant {first}", word, _BAD)
                elif word in _WORDS:
                    yield Found(f"{layout.name} mutant {first}", word)
                else:
                    yield _commanded(layout, folder, seed, first)
                first += 1
        if first < stop:  # it died of this one
            yield _commanded(layout, folder, seed, first)
            first += 1


def _server(layout: _Layout, seed: int, trials: range) -> tuple[int, int]:
    """Begin to read mutants in a copy of this process, and return it with what it tells, a line for each."""

    def work(pipe: int) -> None:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + _MEMORY,) * 2)
        rehearsal.SECONDS = _PATIENCE
        for trial in trials:
            mutant = layout.mutant(seed, trial)
            signal.setitimer(signal.ITIMER_PROF, _SLOW)  # its signal ends the process
            os.write(pipe, f"{layout.word(mutant)[:500]}\n".encode("utf-8", "replace"))

    return begun(work)
