"""Real commands in processes of their own, everything that they load included, which are heard while they run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from faults.program import TICK, Outcome, runs, waited

__all__ = ["Command"]

# what Python does before the program begins is not the program's: its first line says that it has begun
_PROGRAM = "import os, sys; from invprob.cli.start import main; os.write(1, b'begun\\n'); sys.exit(main())"
_ROOT = Path(__file__).parents[1]
_LIMIT = 60  # seconds of the processor
_PATIENCE = 600.0  # seconds until a moment comes, however busy the machine is


class Command:
    """A command of invprob with one thread, whose words are read as they come; a context manager that ends it."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self._errors = folder / ".err"
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self._pid, self._words, self._outcome = self._process.pid, b"", None
        os.set_blocking(self._process.stdout.fileno(), False)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._outcome is None:
            self._process.kill()
            self.end()
        self._process.stdout.close()

    @property
    def words(self) -> str:
        """What it has said so far, but for its first line."""
        self._hear()
        return self._words.decode(errors="replace").partition("\n")[2]

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return runs(self._pid)

    @property
    def seconds(self) -> float:
        """What it has taken of the processor so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for(self, moment: Callable[[Command], bool]) -> bool:
        """Wait until a moment comes after the program's beginning, and return whether it came before the end."""
        last = time.monotonic() + _PATIENCE
        while self.running and time.monotonic() < last:
            self._hear()
            if self._words.startswith(b"begun\n") and moment(self):
                return True
            time.sleep(TICK)
        return False

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)  # one that has ended waits for `end`, so that its number is nobody else's

    def leave(self) -> None:
        """Let nobody read any longer what it says."""
        self._process.stdout.close()

    def end(self) -> Outcome:
        """Wait for the end, and return what came of it."""
        code, seconds, peak = waited(self._pid, _LIMIT, self._hear)
        self._process.returncode = code
        self._hear()
        self._outcome = Outcome(code, self.words, self._errors.read_text(errors="replace"), seconds, peak)
        return self._outcome

    def _hear(self) -> None:
        while not self._process.stdout.closed and (said := self._process.stdout.read(2**16)):
            self._words += said
