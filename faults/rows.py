"""What a run of a stack says of its rows, which of them its files hold, and what all of that leaves behind."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from faults.scans import said_in
from invprob.io import load_result

__all__ = ["lost", "removed", "same", "stored", "there"]


def stored(words: str) -> range:
    """Return which rows are stored by the words of a run, which does them in order: all before those under way."""
    return range(max((int(row) for row in re.findall(r"^progress +rows (\d+) to", words, re.MULTILINE)), default=0))


def there(output: Path) -> list[bool]:
    """Return of every row whether a result, or what there is of it, has an image."""
    partial = output.with_name(f"{output.name}.partial")
    path = output if output.exists() else partial if partial.exists() else None
    return [] if path is None else load_result(path).x.isfinite().all(dim=(1, 2)).tolist()


def lost(output: Path, rows: Collection[int]) -> str | None:
    """Return in words which of these rows are not there, None if all are."""
    found = there(output)
    missing = [row for row in sorted(rows) if row >= len(found) or not found[row]]
    return f"lost the rows {missing}" if missing else None


def same(one: Path, other: Path) -> bool:
    """Return whether two results say the same, but for the commands that made them and the time that those took."""
    but = ("seconds", "digest", "command")
    return said_in(one, but=but) == said_in(other, but=but)


def removed(folder: Path, name: str) -> Path:
    """Return where a result goes, with nothing there of it or of an unfinished one."""
    for suffix in ("", ".partial", ".journal"):
        (folder / (name + suffix)).unlink(missing_ok=True)
    return folder / name
