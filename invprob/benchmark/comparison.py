"""What got better and what got worse since an older benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from invprob.benchmark.tables import FORMAT, TOLERANCE
from invprob.errors import InputError, printable

__all__ = ["Change", "Comparison", "compare", "read"]

Kind = Literal["better", "worse", "same", "new", "gone", "broken", "mended"]
_COMPARED = ("size", "tests", "validations", "tries")
_LARGEST = 2**26  # bytes


@dataclass(frozen=True)
class Change:
    """One entry then and now, PSNR in dB; None where there was, or is, no number, and then `reason` tells why."""

    name: str
    kind: Kind
    before: float | None
    now: float | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """All changes, those to worry about first."""

    changes: tuple[Change, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """What fell by more than the tolerance, or has no number any more."""
        return tuple(change for change in self.changes if change.kind in ("worse", "broken"))

    def count(self, kind: Kind) -> int:
        """Return how many changes are of a kind."""
        return sum(change.kind == kind for change in self.changes)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a benchmark's JSON file; InputError for anything else."""
    name = printable(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{name} is too large for the JSON of a benchmark")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read as JSON ({printable(error)})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("entries"), list):
        raise InputError(f"{name} is not the JSON of a benchmark: give a file that `invprob benchmark` wrote")
    return found


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """Return what changed between two contents, by the tolerance of the old one.

    Only what both suites hold is compared; entries of problems or methods that the new one leaves out are not missed.
    InputError where they were measured on other images, and where they share nothing.
    """
    then, now = old.get("settings", {}), new["settings"]
    differing = [f"{key} {then.get(key)} then, {now[key]} now" for key in _COMPARED if then.get(key) != now[key]]
    if differing:
        raise InputError(f"the older benchmark was measured otherwise ({'; '.join(differing)}): run it with the same")
    tolerance = float(old.get("tolerance", TOLERANCE)["psnr"])
    before, after = _levels(old), _levels(new)
    asked = {name.rsplit("/", 2)[0] for name in after}, {name.split("/")[-2] for name in after}
    names = [
        name for name in before if name in after or (name.split("/")[0] in asked[0] and name.split("/")[1] in asked[1])
    ]
    if not names:
        raise InputError("the older benchmark shares no problem and method with this one: there is nothing to compare")
    changes = [_change(name, before.get(name), after.get(name), tolerance) for name in dict.fromkeys([*names, *after])]
    order: tuple[Kind, ...] = ("broken", "worse", "gone", "mended", "better", "new", "same")
    return Comparison(tuple(sorted(changes, key=lambda change: (order.index(change.kind), _gain(change)))))


def _levels(content: Mapping[str, Any]) -> dict[str, tuple[float | None, str]]:
    try:
        return {
            f"{e['problem']}/{e['method']}/{e['mode']}": (
                float(e["psnr"]["mean"]) if e["status"] == "measured" else None,
                str(e.get("reason", "")),
            )
            for e in content["entries"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"an entry of the older benchmark is damaged ({printable(error)})") from error


def _change(
    name: str, before: tuple[float | None, str] | None, after: tuple[float | None, str] | None, tolerance: float
) -> Change:
    if before is None or after is None:
        first, second = (None if side is None else side[0] for side in (before, after))
        return Change(name, "new" if before is None else "gone", first, second)
    (then, _), (now, reason) = before, after
    if then is None or now is None:
        kind: Kind = "same" if then == now else "broken" if now is None else "mended"
        return Change(name, kind, then, now, reason)
    kind = "same" if abs(now - then) <= tolerance else "better" if now > then else "worse"
    return Change(name, kind, then, now)


def _gain(change: Change) -> float:
    return 0.0 if change.before is None or change.now is None else change.now - change.before
