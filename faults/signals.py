"""Row 41: signals at random moments of a real command, its loading and its conclusion included.

The moments are processor seconds or lines of what the command says. Where Python gives a signal to nobody yet, or no
longer, the process may die of it: the shell is told the same. A reader that goes ends nothing.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from faults.commands import Command
from faults.program import Found, Outcome, judged, run
from faults.rows import lost, removed, same, stored
from faults.scans import stack
from invprob.cli.signals import PATIENCE

__all__ = ["campaign"]

_ROWS = 80
_COMMAND = ["reconstruct", "s.h5", "--method", "tv", "--strength", "0.05", "--set", "max_iter=20", "-o"]
_SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
_SLACK = 1.0  # seconds of the processor beyond those that are promised, for all that is not the main thread
_TWICE, _LATER = 7, 0.2  # every seventh signal is sent twice, the second so many seconds later at most


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield signals at random moments, each of its own run; what is not finished is gone on with to the same bits."""
    generator = np.random.default_rng(seed)
    stack(folder / "s.h5", rows=_ROWS)
    with Command([*_COMMAND, "whole.h5"], folder) as command:
        whole = command.end()
    yield judged("without a signal", whole, [0])
    for trial in range(trials):
        number, again = _SENT[trial % len(_SENT)], float(generator.uniform(0, _LATER))
        moment, when = _moment(generator, whole)
        what = f"{number.name} after {when}"
        if trial % _TWICE == _TWICE - 1 and number != signal.SIGPIPE:
            yield _signalled(folder, number, moment, f"{what}, and again", again)
        else:
            yield _signalled(folder, number, moment, what)
        if not (folder / "out.h5").exists():
            yield _gone_on(folder, f"resumed, {what}")


def _moment(generator: np.random.Generator, whole: Outcome) -> tuple[Callable[[Command], bool], str]:
    """Draw seconds of the processor, or a line, and return whether it has come, and its words."""
    if generator.random() < 0.5:
        seconds = float(generator.uniform(0, whole.seconds))
        return lambda command: command.seconds >= seconds, f"{seconds:.2f} s"
    lines = int(generator.integers(1, whole.out.count("\n")))
    return lambda command: command.words.count("\n") >= lines, f"{lines} lines"


def _signalled(
    folder: Path, number: signal.Signals, moment: Callable[[Command], bool], what: str, again: float | None = None
) -> Found:
    """Send a signal to a run at a moment, maybe once more so many seconds later; return what is to be thought of it."""
    output = removed(folder, "out.h5")
    with Command([*_COMMAND, output.name], folder) as command:
        sent = command.wait_for(moment)
        before, rows = command.seconds, set(stored(command.words))
        if sent and number == signal.SIGPIPE:
            command.leave()
        elif sent:
            command.send(number)
            if again is not None:
                time.sleep(again)
                command.send(number)
        whole = output.exists()  # looked at last: the file may be finished while the signal is on its way
        found = command.end()
    told = judged(what, _as_told_to_a_shell(found, number, output), _codes(number, sent, whole))
    rows |= _finished(found)
    if told.bad is None and sent and number != signal.SIGPIPE and found.seconds - before > PATIENCE + _SLACK:
        told = replace(told, bad=f"went on for {found.seconds - before:.1f} s of the processor")
    if told.bad is None and told.outcome == "exit 0" and not same(output, folder / "whole.h5"):
        told = replace(told, bad="the end is not the same")
    return replace(told, bad=told.bad or lost(output, rows))


def _codes(number: signal.Signals, sent: bool, whole: bool) -> list[int]:
    """Return the codes by which a run may end: a signal that comes when the file is whole may meet nothing but that."""
    if not sent or number == signal.SIGPIPE:
        return [0]
    return [128 + number, 0] if whole else [128 + number]


def _as_told_to_a_shell(found: Outcome, number: signal.Signals, output: Path) -> Outcome:
    """Return an outcome with a shell's code for the death by a signal that came before the work, or after it."""
    told = "error: interrupted" in found.err  # of the first: the second met nothing but Python's end
    if found.code == -number and ("\nrows " not in found.out or output.exists() or told):
        return replace(found, code=128 + number)
    return found


def _finished(found: Outcome) -> set[int]:
    """Return the rows that an interrupted run says to have finished; it does them in order."""
    told = re.search(rf"interrupted: (\d+) of {_ROWS} rows are finished", found.err)
    return set(range(int(told[1]))) if told else set()


def _gone_on(folder: Path, what: str) -> Found:
    """Go on with a run that was ended, and return whether its end is that of a run without a fall."""
    told = judged(what, run([*_COMMAND, "out.h5", "--resume"], folder), [0])
    if told.bad is None:
        told = replace(told, outcome="same bits")
        if not same(folder / "out.h5", folder / "whole.h5"):
            told = replace(told, outcome="other bits", bad="the end is not the same")
    return told
