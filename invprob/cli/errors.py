"""Exit codes, and which error leads to which; every error becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from invprob.errors import InputError, OutputError, ResourceError, printable

__all__ = ["ExitCode", "UsageError", "exit_code", "of_usage", "one_line"]

_FRUGAL = {  # by command, what needs less memory
    **dict.fromkeys(("reconstruct", "check"), "add --max-memory GB, or take fewer --views or --rows where it has any"),
    "inspect": "take fewer --views or --rows where it has any",
    "simulate": "choose a smaller --size, or fewer --rows or --views",
    "benchmark": "choose fewer --workers, or a smaller --size",
    "train": "choose a smaller batch, as in --set batch=8",
}
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


class ExitCode(IntEnum):
    """What the shell gets to know."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    RESOURCES = 4
    NUMERICAL = 5
    PARTIAL = 6
    INTERRUPTED = 130


class UsageError(ValueError):
    """The command line itself makes no sense (exit code 2)."""


@contextmanager
def of_usage() -> Iterator[None]:
    """Let what the library refuses be the fault of the command line, but for what is that of a file."""
    try:
        yield
    except (InputError, OutputError, UsageError):
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of an error that ends a command."""
    if isinstance(error, InputError):
        return ExitCode.INPUT
    if isinstance(error, ResourceError | MemoryError) or _is_out_of_memory(error):
        return ExitCode.RESOURCES
    if isinstance(error, OutputError | UsageError) or hasattr(error, "format_message"):  # typer's own
        return ExitCode.USAGE
    return ExitCode.INTERNAL


def one_line(error: BaseException, command: str = "") -> str:
    """Return what is wrong, where, and what to do about it in `command`, as one line without control characters."""
    if hasattr(error, "format_message"):
        return _usage(error)
    text = " ".join(printable(line, 1000) for line in str(error).splitlines())
    code = exit_code(error)
    if code == ExitCode.RESOURCES and not isinstance(error, ResourceError):
        return f"the memory does not suffice ({text or 'MemoryError'}): {_FRUGAL.get(command, 'free some')}"
    if code == ExitCode.INTERNAL:
        told = f"{type(error).__name__}: {printable(text, 300)}"
        return f"internal error, {told}; please report it with the output of --debug"
    return text


def _usage(error: BaseException) -> str:
    """Return a complaint of the option parser with the command whose help to read."""
    text = " ".join(str(error.format_message()).split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "invprob"
    text = text.replace("(Possible options: ", "(did you mean ").replace("Value error, ", "").rstrip(".")
    return f"{printable(text, 1000)}; see {command} --help"


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
