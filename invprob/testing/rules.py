"""Laws as rows of a table: a name, a sentence, and a function that finds numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from invprob.testing.report import Finding, Law


class Rule(NamedTuple):
    """A law of things of one kind; `test` gets a probe of the thing and yields what it finds.

    Where a law that is `first` is broken, no other is asked: they would all be broken, by the same thing.
    """

    name: str
    sentence: str
    test: Callable[..., Iterator[Finding]]
    first: bool = False


def judged(rules: Sequence[Rule], probe: object, only: str | Sequence[str] | None) -> tuple[Law, ...]:
    """Return the laws, as far as they have something to say; ValueError for names in `only` that are none."""
    only = [only] if isinstance(only, str) else only
    unknown = sorted(set(only or ()) - {rule.name for rule in rules})
    if unknown:
        raise ValueError(f"unknown laws {', '.join(unknown)}; known: {', '.join(rule.name for rule in rules)}")
    chosen = [rule for rule in rules if only is None or rule.name in only]
    laws: list[Law] = []
    for rule in chosen:
        law = Law.judged(rule.name, rule.sentence, _found(rule, probe))
        if law is not None:
            laws.append(law)
            if rule.first and not law.passed:
                break
    return tuple(laws)


def _found(rule: Rule, probe: object) -> list[Finding]:
    """Return what a law finds; what it raises is a finding, too."""
    found: list[Finding] = []
    try:
        with torch.enable_grad():
            found.extend(rule.test(probe))
    except Exception as error:  # whatever the checked thing raises belongs in the report
        advice = getattr(probe, "advice", "")
        text = str(error).rstrip(".") if advice else str(error)
        found.append(Finding(1.0, 0.0, f"it raises {type(error).__name__}: {text}{advice}", error))
    return found
