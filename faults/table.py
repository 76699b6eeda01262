"""The tables of docs/reliability.md, written by the campaigns that measured them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faults.program import Found

__all__ = ["write", "write_row"]

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def write(campaign: str, command: str, found: Sequence[Found]) -> None:
    """Write what a campaign, or a part of it, found by a command into its row of the table of campaigns."""
    bad = sum(trial.bad is not None for trial in found)
    kinds = Counter(trial.outcome for trial in found)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in kinds.most_common(8))
    write_row("campaigns", (campaign, f"`{command}`", f"{len(found):,}", str(bad), outcomes))


def write_row(table: str, row: Sequence[str]) -> None:
    """Put a row into the table behind `<!-- table -->`, in the place of the one with its first cell or at the end."""
    text = PAGE.read_text(encoding="utf-8")
    where = re.search(rf"(<!-- {table} -->\n\n(?:\|.*\n){{2}})((?:\|.*\n)*)", text)
    if where is None:
        raise LookupError(f"{PAGE.name} has no table {table}")
    lines = {line.split("|")[1].strip(): f"{line}\n" for line in where[2].splitlines()}
    lines[row[0]] = f"| {' | '.join(row)} |\n"
    PAGE.write_text(text[: where.start(2)] + "".join(lines.values()) + text[where.end(2) :], encoding="utf-8")
