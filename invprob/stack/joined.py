"""From the results of the chunks of a stack to what is known of the whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invprob.loop import STATUS
from invprob.verdict import MISSING, against_truth

if TYPE_CHECKING:
    from invprob.loop import Result
    from invprob.scan import Scan

__all__ = ["JoinedResults"]

_WORST = [*STATUS, MISSING]


@dataclass
class JoinedResults:
    """What is kept of the chunks' results, in the order of the rows: everything but the images.

    `provenance` is that of the last chunk with the clamped readings of all, and the rows it names are those of the
    whole where the readers name any; `quality` compares each image with the truth, if there is one.
    """

    results: list[Result] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    item_status: list[str] = field(default_factory=list)
    quality: dict[str, list[float]] = field(default_factory=dict)

    def add(self, scan: Scan, result: Result) -> None:
        """Take note of a chunk."""
        self.results.append(replace(result, x=result.x.new_empty(0), state=None))  # a view would keep the images
        self.item_status += result.item_status
        before, self.provenance = self.provenance, dict(scan.provenance)
        if "clamped" in before:
            self.provenance["clamped"] = _added(before["clamped"], scan.provenance["clamped"])
        if scan.truth is not None:
            for name, values in against_truth(result.x, scan.truth).items():
                self.quality.setdefault(name, []).extend(values)

    def miss(self, count: int) -> None:
        """Take note of rows that have no image."""
        self.item_status += [MISSING] * count

    @property
    def status(self) -> str:
        """The worst status."""
        return max(self.item_status, key=_WORST.index)

    @property
    def seconds(self) -> float:
        """The time of all chunks."""
        return sum(result.seconds for result in self.results)

    @property
    def n_iter(self) -> Tensor:
        """Iterations per item that has an image."""
        counts = [result.n_iter for result in self.results]
        return counts[0] if len(counts) == 1 else torch.cat(counts)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, those per row as lists over all rows."""
        return _joined([result.settings for result in self.results])

    @property
    def certificate(self) -> dict[str, Any]:
        """The certificate, its numbers per row as lists over all rows; an assumption that fails anywhere fails."""
        facts = [result.certificate.as_dict() for result in self.results]
        whole = _joined(facts)
        worst: dict[str, Mapping[str, Any]] = {}
        for assumption in (a for each in facts for a in each["assumptions"]):
            known = worst.setdefault(assumption["statement"], assumption)
            if _doubt(assumption) > _doubt(known):
                worst[assumption["statement"]] = assumption
        return whole | {"assumptions": list(worst.values())}

    @property
    def history(self) -> dict[str, Tensor]:
        """The histories side by side, NaN where a chunk has no row of that iteration."""
        histories = [result.history for result in self.results if result.history]
        if len(histories) < 2:
            return dict(histories[0]) if histories else {}
        iterations = torch.unique(torch.cat([h["iteration"] for h in histories]))
        columns = {"iteration": iterations}
        for name in sorted(set.intersection(*(set(h) for h in histories)) - {"iteration", "seconds"}):
            columns[name] = torch.cat([_spread(h[name], h["iteration"], iterations) for h in histories], dim=1)
        return columns


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first part with its lists extended by those of the others."""
    whole = dict(parts[0])
    for key, value in whole.items():
        if isinstance(value, list) and len(parts) > 1:
            whole[key] = [entry for part in parts for entry in part[key] or ()]
    return whole


def _doubt(assumption: Mapping[str, Any]) -> int:
    return {True: 0, None: 1, False: 2}[assumption["holds"]]


def _spread(column: Tensor, at: Tensor, iterations: Tensor) -> Tensor:
    """Return a column (rows, *batch) at more iterations."""
    wide = torch.full((len(iterations), *column.shape[1:]), torch.nan, dtype=torch.float64)
    wide[torch.searchsorted(iterations, at)] = column.double()
    return wide


def _added(before: str, now: str) -> str:
    """Return "7 of 200 ..." for "3 of 100 ..." and "4 of 100 ..."; the later text if they look otherwise."""
    first, second = (re.fullmatch(r"(\d+) of (\d+)(.*)", text) for text in (before, now))
    if first is None or second is None:
        return now
    low, total = (int(first[i]) + int(second[i]) for i in (1, 2))
    return f"{low} of {total}{second[3]}"
