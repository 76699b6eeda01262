"""The tables of docs/reliability.md, written by the campaigns that measured them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faults.program import Found

__all__ = ["write", "write_rows"]

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def write(name: str, of: str, trials: int, seed: int, found: Sequence[Found]) -> None:
    """Write what a campaign, or the part of it that `of` names, found into its row."""
    bad = sum(trial.bad is not None for trial in found)
    kinds = Counter(trial.outcome for trial in found)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in kinds.most_common(8))
    command = f"`--trials {trials} --seed {seed}`"
    write_rows("campaigns", {f"`{name}`{of}": [command, f"{len(found):,}", str(bad), outcomes]})


def write_rows(table: str, rows: dict[str, list[str]]) -> None:
    """Replace rows of the table behind `<!-- table -->`, by their first cell, and add those that are new."""
    text = PAGE.read_text(encoding="utf-8")
    where = re.search(rf"(<!-- {table} -->\n\n(?:\|.*\n){{2}})((?:\|.*\n)*)", text)
    if where is None:
        raise LookupError(f"{PAGE.name} has no table {table}")
    lines = {line.split("|")[1].strip(): line for line in where[2].splitlines()}
    lines |= {first: f"| {' | '.join([first, *cells])} |" for first, cells in rows.items()}
    PAGE.write_text(text[: where.start(2)] + "".join(f"{line}\n" for line in lines.values()) + text[where.end(2) :])
