"""The verdict on an image, as lines; it needs no torch, so that a file's is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from invprob.cli.console import fact
from invprob.judgement import Grade, statements, verdict

__all__ = ["judge"]

_MARKS: Mapping[Grade, str] = {"good": "  ok", "fair": "  care", "bad": "  BAD", "known": "  -"}


def judge(certificate: Mapping[str, Any] | None, item_status: Sequence[str]) -> None:
    """Say what speaks for and against an image."""
    found = statements(certificate, item_status)
    whole = verdict(found)
    fact("verdict", whole.text, whole.grade)
    for statement in found:
        fact(_MARKS[statement.grade], statement.words, statement.grade)
