"""Read a file in a process that may die, before it is read in this one.

MATLAB and HDF5 files carry few checksums that a parser looks at first, and a damaged one can bring it to hang, to ask
for all memory, or to end the process. What a parser does depends on the file alone, so that a copy of this process
tries it first, within limits; a signal there is an InputError here.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from invprob.errors import InputError, printable
from invprob.machine import address_space

__all__ = ["rehearse"]

SECONDS, _PER_SECOND = 8, 2**24  # of processor time, and one more for so many bytes of the file
_WAIT = 15.0  # times as long may pass: the machine may be busy
_MEMORY = 2 * 2**30  # bytes on top of what this process has and of a few times the file
_OUT_OF_MEMORY, _TICK = 77, 0.002


def rehearse(path: Path, read: Callable[[], object], seconds: int | None = None) -> None:
    """Call `read` in a copy of this process; InputError if it crashes, takes too long or asks for too much memory.

    What it raises is no matter here: it will be raised again. Where there is no `fork` nothing is tried. The copy has
    no threads: `read` must not use any, as computing does.
    """
    if not hasattr(os, "fork"):
        return
    seconds = SECONDS + os.stat(path).st_size // _PER_SECOND if seconds is None else seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the copy starts none and uses none
        child = os.fork()
    if child == 0:
        _try(path, read, seconds)
    status, spent = _waited(child, seconds * _WAIT)
    name = printable(path)
    if status is None:
        if spent < seconds / 2:  # it waited for something, which no parser does: nothing is known
            return
        raise InputError(f"{name} takes over {seconds} s to read: it is damaged or not what it seems")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and spent >= seconds):
            raise InputError(f"{name} takes over {seconds} s to read: it is damaged or not what it seems")
        if number == signal.SIGKILL:  # nobody says who did it, and the system does where memory runs out
            raise InputError(f"{name} was not read to the end, its parser was killed: free memory, or copy it again")
        raise InputError(f"{name} is damaged: its parser died of {signal.Signals(number).name}: copy it again")
    if os.WEXITSTATUS(status) == _OUT_OF_MEMORY:
        raise InputError(f"{name} asks for more memory than a file of its size can need: copy it again")


def _try(path: Path, read: Callable[[], object], seconds: int) -> None:
    """Read within limits, and leave without a trace."""
    code = 0
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()  # it may write to a copy of the error stream
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit(resource.RLIMIT_CPU, seconds, seconds + 1)
        room = address_space() + _MEMORY + 4 * os.stat(path).st_size
        _limit(resource.RLIMIT_AS, room, room)
        warnings.simplefilter("ignore")
        read()
    except MemoryError:
        code = _OUT_OF_MEMORY
    except BaseException:
        code = 0  # the same will happen again, where it can be told
    finally:
        os._exit(code)


def _limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit, or leave the user's own where that is narrower."""
    own = resource.getrlimit(kind)[1]
    if own != resource.RLIM_INFINITY:
        soft, hard = min(soft, own), min(hard, own)
    resource.setrlimit(kind, (soft, hard))


def _waited(child: int, limit: float) -> tuple[int | None, float]:
    """Return how a child ended, None if it had to be ended, and the seconds of the processor that it took."""
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                return status, usage.ru_utime + usage.ru_stime
            time.sleep(_TICK)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    os.kill(child, signal.SIGKILL)
    usage = os.wait4(child, 0)[2]
    return None, usage.ru_utime + usage.ru_stime
