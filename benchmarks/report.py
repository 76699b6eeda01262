"""What a run has found: ratios against peers, and plain facts; as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Ratio:
    """Our time beside a peer's, in milliseconds per image; `target` is what theirs / ours should reach."""

    section: str
    what: str
    ours: float | None
    peer: str
    theirs: float | None
    target: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """A number that is no ratio; `limit` is what it should not exceed."""

    section: str
    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A peer that took no part, and why."""

    section: str
    peer: str
    reason: str


Finding = Ratio | Fact | Absent


def line(finding: Finding) -> str:
    """Return a finding in one line, for whoever is watching."""
    if isinstance(finding, Absent):
        return f"{finding.section}: {finding.peer}: {finding.reason}"
    if isinstance(finding, Fact):
        return f"{finding.section}: {finding.what}: {finding.value:.4g} {finding.unit} {finding.note}".rstrip()
    ratio = _over(finding.theirs, finding.ours)
    times = f"{_ms(finding.ours)} against {_ms(finding.theirs)} of {finding.peer}"
    return f"{finding.section}: {finding.what}: {times}: {_times(ratio)} {finding.note}".rstrip()


@dataclass
class Report:
    """All findings of all repeats, in the order in which they first came."""

    repeats: list[list[Finding]] = field(default_factory=list)

    def rows(self) -> dict[tuple[str, str, str], list[Finding]]:
        """Return the findings of all repeats by (section, what, peer)."""
        found: dict[tuple[str, str, str], list[Finding]] = {}
        for repeat in self.repeats:
            for finding in repeat:
                key = (finding.section, getattr(finding, "what", ""), getattr(finding, "peer", ""))
                found.setdefault(key, []).append(finding)
        return found

    def show(self, console: Console) -> None:
        """Print the tables: ratios, facts, and who was not there."""
        ratios = Table("what", "ours ms", "peer", "peer ms", "ratio per repeat", "target", "reached", "note")
        facts = Table("what", "value per repeat", "unit", "limit", "kept", "note")
        absent = []
        for (section, what, peer), findings in self.rows().items():
            last = findings[-1]
            if isinstance(last, Ratio):
                every = [f for f in findings if isinstance(f, Ratio)]
                values = [_over(f.theirs, f.ours) for f in every]
                target = "" if last.target is None else f">= {last.target:g}"
                kept = "" if last.target is None else _most(v is not None and v >= last.target for v in values)
                ours, theirs = (_middle(v) for v in ([f.ours for f in every], [f.theirs for f in every]))
                shown = " ".join(map(_times, values))
                ratios.add_row(f"{section}: {what}", _ms(ours), peer, _ms(theirs), shown, target, kept, last.note)
            elif isinstance(last, Fact):
                numbers = [f.value for f in findings if isinstance(f, Fact)]
                limit = "" if last.limit is None else f"<= {last.limit:g}"
                kept = "" if last.limit is None else _most(v <= last.limit for v in numbers)
                shown = " ".join(f"{v:.4g}" for v in dict.fromkeys(numbers))
                facts.add_row(f"{section}: {what}", shown, last.unit, limit, kept, last.note)
            else:
                absent.append(line(last))
        for table in (ratios, facts):
            if table.row_count:
                console.print(table)
        for text in absent:
            console.print(text, highlight=False)

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write everything as JSON."""
        repeats = [[{"kind": type(f).__name__} | asdict(f) for f in repeat] for repeat in self.repeats]
        path.write_text(json.dumps({"about": about, "repeats": repeats}, indent=1) + "\n")


def _over(theirs: float | None, ours: float | None) -> float | None:
    return None if theirs is None or not ours else theirs / ours


def _middle(values: Iterable[float | None]) -> float | None:
    known = sorted(v for v in values if v is not None)
    return known[len(known) // 2] if known else None


def _most(outcomes: Iterable[bool]) -> str:
    """Say whether more than half came out well."""
    kept = list(outcomes)
    return "yes" if 2 * sum(kept) > len(kept) else "NO"


def _ms(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.3g} ms"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g}x"
