"""What came of a check: one law per line, with the number that decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One number found, the largest allowed, and what to look at where it is larger."""

    measured: float
    allowed: float
    look: str = ""
    cause: BaseException | None = None

    @property
    def passed(self) -> bool:
        """Whether the number is allowed; NaN is not."""
        return self.measured <= self.allowed

    @property
    def severity(self) -> float:
        """How near the number is to what is allowed, in units of it."""
        if not self.passed:
            return float("inf") if self.allowed == 0 or self.measured != self.measured else self.measured / self.allowed
        return self.measured / self.allowed if self.allowed else 0.0


def fact(holds: bool, look: str = "") -> Finding:
    """Return the finding of something that is so or is not so."""
    return Finding(0.0 if holds else 1.0, 0.0, look)


@dataclass(frozen=True)
class Law:
    """A law and how well it is kept.

    Arguments:
        name: its short name, as in `only` of `examine`.
        sentence: what has to hold, in words and formulas.
        passed: whether it is kept.
        measured, allowed: the worst number found and the largest permitted; both 0 for laws that have no number.
        look: what to look at where the law is broken.
        cause: the exception that was raised, if one was.
    """

    name: str
    sentence: str
    passed: bool
    measured: float
    allowed: float
    look: str = ""
    cause: BaseException | None = None

    @classmethod
    def judged(cls, name: str, sentence: str, findings: Iterable[Finding]) -> Law | None:
        """Return the law by its worst finding; None without any, as it then has nothing to say."""
        worst = max(findings, key=lambda f: (not f.passed, f.severity, f.allowed), default=None)
        if worst is None:
            return None
        look = "" if worst.passed else worst.look
        return cls(name, sentence, worst.passed, worst.measured, worst.allowed, look, worst.cause)

    def __str__(self) -> str:
        numbers = f" ({self.measured:.2g}, allowed {self.allowed:.2g})" if self.allowed else ""
        if self.passed:
            return f"{self.name}: {self.sentence}{numbers}"
        return f"{self.name}: not so: {self.sentence}{numbers}{': ' if self.look else ''}{self.look}"


class LawError(AssertionError):
    """A law that is broken.

    Arguments:
        report: all laws, kept or broken.
    """

    def __init__(self, report: Report) -> None:
        broken = report.failures
        many = f"{len(broken)} of {len(report.laws)} laws are" if len(broken) > 1 else "a law is"
        super().__init__("\n".join([f"{report.subject}: {many} broken", *(f"  {law}" for law in broken)]))
        self.report = report


@dataclass(frozen=True)
class Report:
    """The laws of one thing; true if all are kept, and prints as a table.

    Arguments:
        subject: what was checked.
        laws: all that were asked for; `report[name]` is one of them.
    """

    subject: str
    laws: tuple[Law, ...]

    @property
    def failures(self) -> tuple[Law, ...]:
        """The laws that are broken."""
        return tuple(law for law in self.laws if not law.passed)

    def raise_for_failures(self) -> None:
        """Raise LawError, which names what is broken and what to look at, unless all laws are kept."""
        if self.failures:
            raise LawError(self) from self.failures[0].cause

    def __bool__(self) -> bool:
        return not self.failures

    def __iter__(self) -> Iterator[Law]:
        return iter(self.laws)

    def __getitem__(self, name: str) -> Law:
        """Return a law by its name; KeyError if it was not asked."""
        found = next((law for law in self.laws if law.name == name), None)
        if found is None:
            raise KeyError(f"no law {name!r} in this report; it has {', '.join(law.name for law in self.laws)}")
        return found

    def __str__(self) -> str:
        width = max((len(law.name) for law in self.laws), default=0)
        lines = [self.subject]
        for law in self.laws:
            numbers = f"{law.measured:8.1e} <= {law.allowed:.0e}" if law.allowed else " " * 17
            lines.append(f"  {'kept  ' if law.passed else 'BROKEN'}  {law.name:{width}}  {numbers:17}  {law.sentence}")
            if law.look:
                lines.append(f"  {'':6}  {'':{width}}  {'':17}  -> {law.look}")
        return "\n".join(lines)
