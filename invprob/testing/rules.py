"""Laws as rows of a table: a name, a sentence, and a function that finds numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch

from invprob.testing.report import Finding, Law

P = TypeVar("P")


class Rule(NamedTuple):
    """A law of things of one kind; `test` gets a probe of the thing and yields what it finds."""

    name: str
    sentence: str
    test: Callable[..., Iterator[Finding]]


def judged(rules: Sequence[Rule], probe: object, only: Sequence[str] | None) -> tuple[Law, ...]:
    """Return the laws, as far as they have something to say; ValueError for names in `only` that are none."""
    unknown = sorted(set(only or ()) - {rule.name for rule in rules})
    if unknown:
        raise ValueError(f"unknown laws {', '.join(unknown)}; known: {', '.join(rule.name for rule in rules)}")
    chosen = [rule for rule in rules if only is None or rule.name in only]
    laws = (Law.judged(rule.name, rule.sentence, _found(rule, probe)) for rule in chosen)
    return tuple(law for law in laws if law is not None)


def _found(rule: Rule, probe: object) -> list[Finding]:
    """Return what a law finds; what it raises is a finding, too."""
    found: list[Finding] = []
    try:
        with torch.enable_grad():
            found.extend(rule.test(probe))
    except Exception as error:  # whatever the checked thing raises belongs in the report
        found.append(Finding(1.0, 0.0, f"it raises {type(error).__name__}: {error}", error))
    return found
