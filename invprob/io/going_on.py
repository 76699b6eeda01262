"""Going on: what an interrupted run has left of a result, and what it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from invprob.errors import OutputError, ResourceError, printable
from invprob.io.atomic import partial_path
from invprob.io.growing_file import GrowingFile
from invprob.io.journal import Journal, journal_path

__all__ = [
    "Block",
    "check_identity",
    "check_own",
    "check_unfinished",
    "opened_partial",
    "reason",
    "remove_unnamed",
    "unfinished",
]

_FLAGS = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of a result, and what its writer had to tell of them.

    Arguments:
        final: whether they need not be done again.
    """

    start: int
    stop: int
    final: bool
    facts: Mapping[str, Any]

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Self:
        """Return the block of an entry in the journal."""
        return cls(entry["start"], entry["stop"], entry["final"], entry.get("facts", {}))

    def entry(self, sums: str) -> dict[str, Any]:
        """Return what the journal is to tell of it; facts are of no use where it will be done again."""
        facts = {"facts": dict(self.facts)} if self.final else {}
        return {"start": self.start, "stop": self.stop, "final": self.final, "sums": sums, **facts}


def unfinished(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """Return what the unfinished result at `path` was begun with (`ResultWriter(identity=...)`), None without one.

    OutputError if it is in use, or is no unfinished result.
    """
    return check_unfinished(Path(path), may=True)


def check_unfinished(path: Path, may: bool) -> Mapping[str, Any] | None:
    """Return what an unfinished result was begun with, None if there is none.

    OutputError if it is in use, is not of this program, or is there and `may` is False.
    """
    partial, name = partial_path(path), printable(partial_path(path))
    there = os.path.lexists(partial)
    if not os.path.lexists(journal_path(path)):
        if there:
            raise OutputError(f"{name} exists, and is no unfinished result: move it away, or choose another name")
        return None
    try:
        journal = Journal(path)
    except OSError as error:
        raise ResourceError(f"{printable(path)} could not be written ({reason(error)}): make room") from error
    begun = journal.latest("begun")
    layout = journal.latest("layout")
    try:
        check_own(journal, partial)
    finally:
        journal.close()
    if there and not may:
        raise OutputError(
            f"{name} is left from an interrupted run: add --resume to go on, or --overwrite to start anew"
        )
    return begun if layout is not None else None


def check_identity(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OutputError, naming it, if anything of what a result is made from is another."""
    for key in dict.fromkeys([*begun, *now]):
        if begun.get(key) != now.get(key):
            raise OutputError(
                f"{printable(path)} was begun with {printable(key)} {_words(begun.get(key))}, and now it is "
                f"{_words(now.get(key))}: go on with what it was begun with, or start anew with --overwrite"
            )


def check_own(journal: Journal, partial: Path) -> None:
    """Raise OutputError if there is a file that is not the one that a journal tells of, but somebody's own."""
    try:
        descriptor = os.open(partial, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return
    except OSError:  # a link, for instance
        descriptor = -1
    try:
        own = descriptor >= 0 and any(GrowingFile.is_of(descriptor, *layout) for layout in _layouts(journal))
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    if not own:
        raise OutputError(
            f"{printable(partial)} exists, and is no unfinished result: move it away, or choose another name"
        )


def opened_partial(journal: Journal, partial: Path) -> int | None:
    """Return a descriptor of the file that a journal tells of, None if it has gone; OutputError for another file."""
    check_own(journal, partial)
    made = partial.with_name(journal.latest("layout")["file"])
    if os.path.lexists(made):  # the run died before it could name it
        os.replace(made, partial)
    try:
        return os.open(partial, os.O_RDWR | _FLAGS)
    except FileNotFoundError:
        return None


def remove_unnamed(journal: Journal, partial: Path) -> None:
    """Take away the files that an earlier run died over."""
    for entry in journal.entries:
        name = entry.get("making") if isinstance(entry, dict) else None
        if isinstance(name, str) and name.endswith(".partial") and Path(name).name == name:
            partial.with_name(name).unlink(missing_ok=True)


def _layouts(journal: Journal) -> Iterator[tuple[Mapping[str, Any], list[tuple[int, int, str]]]]:
    """Yield every layout that the file had, the last first, with the blocks that were written by it."""
    entries = [entry for entry in journal.entries if isinstance(entry, Mapping)]
    blocks: list[tuple[int, int, str]] = []
    for entry in reversed(entries):
        if "block" in entry:
            blocks.append((entry["block"]["start"], entry["block"]["stop"], entry["block"]["sums"]))
        elif "layout" in entry:
            yield entry["layout"], blocks
            blocks = []


def reason(error: BaseException) -> str:
    """Return why the system refused something."""
    return printable(getattr(error, "strerror", None) or error, 120)


def _words(value: Any) -> str:
    return "nothing" if value is None else printable(value, 120)
