"""All that was measured, ranked: entries per problem and method, and one sentence per family of problems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from invprob.benchmark.measurement import Mode, Run
from invprob.benchmark.plan import Method, Suite, Unit, units
from invprob.benchmark.problems import Problem
from invprob.benchmark.statistics import Estimate, estimate
from invprob.benchmark.suite_runs import Runs

__all__ = ["Entry", "Results", "Verdict"]

Grade = Literal["good", "bad", "open"]


@dataclass(frozen=True, eq=False)
class Entry:
    """A method on a problem: its two runs, of which `mode` names the one that counts for its rank."""

    problem: Problem
    method: Method
    runs: Mapping[Mode, Run]
    mode: Mode

    @property
    def run(self) -> Run:
        """The run that counts."""
        return self.runs[self.mode]

    @property
    def measured(self) -> bool:
        """Whether there are numbers."""
        return self.run.status == "measured"

    def row(self, mode: Mode, image: int = 0) -> str:
        """Return the name of the row of the table that holds one image's numbers."""
        return f"{self.problem.name}/{self.method.name}/{mode}/{image}"

    def of(self, column: str, mode: Mode | None = None) -> Estimate | None:
        """Return the mean of a column with its interval, None where it was not measured."""
        values = self.runs[mode or self.mode].columns.get(column)
        return estimate(values) if values and all(map(math.isfinite, values)) else None

    @property
    def end(self) -> str:
        """The worst status of its images."""
        order = ("converged", "stopped", "max_iter", "diverged")
        return max(self.run.ends, key=order.index) if self.measured else self.run.status


@dataclass(frozen=True)
class Verdict:
    """Whether learning pays for a family: a sentence, the difference behind it, and what it rests on."""

    family: str
    grade: Grade
    text: str
    learned: str | None
    classical: str | None
    difference: Estimate | None


class Results:
    """What is known of a suite so far; units that are not done yet are absent."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._runs: dict[tuple[str, str], Runs] = {}

    def add(self, unit: Unit, runs: Runs) -> None:
        """Take the runs of a unit."""
        self._runs[unit.problem.name, unit.method.name] = runs

    @property
    def complete(self) -> bool:
        """Whether every unit is there."""
        return all((unit.problem.name, unit.method.name) in self._runs for unit in units(self.suite))

    @property
    def missing(self) -> int:
        """How many units are not."""
        return sum((unit.problem.name, unit.method.name) not in self._runs for unit in units(self.suite))

    def entry(self, problem: Problem, method: Method) -> Entry | None:
        """Return what is known of a method on a problem."""
        runs = self._runs.get((problem.name, method.name))
        if runs is None:
            return None
        tuned = runs["tuned"].status == "measured"
        return Entry(problem, method, runs, "tuned" if tuned else "auto")

    def ranking(self, problem: Problem) -> list[Entry]:
        """Return the entries of a problem, best mean PSNR first, what was not measured last."""
        found = [self.entry(problem, method) for method in self.suite.methods]
        return sorted((entry for entry in found if entry is not None), key=_rank)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, problem by problem, best first."""
        for problem in self.suite.problems:
            yield from self.ranking(problem)

    def behind(self, entry: Entry) -> Estimate | None:
        """Return the paired difference in dB to the best of the problem, None for the best and what has no numbers."""
        best = self.ranking(entry.problem)[0]
        if best.method == entry.method or not (best.measured and entry.measured):
            return None
        return _minus(entry.run, best.run)

    def families(self) -> list[str]:
        """Return the families of problems in order."""
        return list(dict.fromkeys(problem.family for problem in self.suite.problems))

    def verdict(self, family: str) -> Verdict:
        """Return whether the best learned method beats the best classical one, each the best on validation images.

        The difference of an image is the mean over the family's problems, so that images are what is counted.
        """
        problems = [problem for problem in self.suite.problems if problem.family == family]
        learned, classical = (self._champion(problems, kind) for kind in ("learned", "classical"))
        if classical is None:
            return Verdict(family, "open", "no classical method was measured", None, None, None)
        if learned is None:
            pairs = [self._pair(problem, classical) for problem in problems]
            level = estimate([value for entry in pairs for value in entry.run.columns["psnr"]])
            text = f"no learned method was measured; the best classical one is {classical.name} ({level.mean:.1f} dB)"
            return Verdict(family, "open", text, None, classical.name, None)
        difference = self._difference(problems, learned, classical, None)
        grade: Grade = ("good" if difference.mean > 0 else "bad") if difference.sure else "open"
        text = _compared(learned.name, classical.name, difference)
        own = self._difference(problems, learned, classical, "auto")
        return Verdict(family, grade, f"{text}; {_own(own)}", learned.name, classical.name, difference)

    def _pair(self, problem: Problem, method: Method) -> Entry:
        entry = self.entry(problem, method)
        if entry is None:
            raise ValueError(f"{method.name} was not measured on {problem.name}")
        return entry

    def _champion(self, problems: list[Problem], kind: str) -> Method | None:
        """Return the method of a kind with the best mean PSNR on the validation images of all problems."""
        scores = {}
        for method in self.suite.methods:
            entries = [self.entry(problem, method) for problem in problems]
            levels = [entry.run.validation for entry in entries if entry is not None and entry.measured]
            known = [level for level in levels if level is not None and math.isfinite(level)]
            if method.kind == kind and len(known) == len(problems):
                scores[method] = math.fsum(known)
        return max(scores, key=lambda method: scores[method]) if scores else None

    def _difference(self, problems: list[Problem], a: Method, b: Method, mode: Mode | None) -> Estimate:
        """Return the difference of two methods per image, the mean over problems."""
        table = []
        for problem in problems:
            first, second = self._pair(problem, a), self._pair(problem, b)
            runs = [entry.runs[mode or entry.mode] for entry in (first, second)]
            table.append(_minus(*runs).values)
        return estimate([math.fsum(column) / len(column) for column in zip(*table, strict=True)])


def _minus(a: Run, b: Run) -> Estimate:
    return estimate([x - y for x, y in zip(a.columns["psnr"], b.columns["psnr"], strict=True)])


def _rank(entry: Entry) -> tuple[bool, float, str]:
    level = entry.of("psnr")
    diverged = entry.end == "diverged"
    return (level is None, diverged * 1e3 - (level.mean if level else 0.0), entry.method.name)


def _compared(learned: str, classical: str, d: Estimate) -> str:
    count, beats = len(d.values), "beats" if d.sure else "is ahead of"
    if d.mean >= 0:
        ahead = f"the best learned method ({learned}) {beats} the best classical one ({classical}) by {d.mean:.1f} dB"
        where = f"on {d.positive} of {count} images"
    else:
        ahead = f"the best classical method ({classical}) {beats} the best learned one ({learned}) by {-d.mean:.1f} dB"
        where = f"on {count - d.positive} of {count} images"
    low, high = (d.low, d.high) if d.mean >= 0 else (_negative(d.high), _negative(d.low))
    sure = "" if d.sure else ", which is not certain"
    interval = "" if low is None or high is None else f" [{low:.1f}, {high:.1f}]"
    return f"{ahead}{interval}, {where}{sure}"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _own(d: Estimate) -> str:
    interval = "" if d.low is None or d.high is None else f" [{d.low:.1f}, {d.high:.1f}]"
    return f"with the strengths they choose themselves the difference is {d.mean:+.1f} dB{interval}"
