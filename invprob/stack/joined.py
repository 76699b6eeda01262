"""From the results of the chunks of a stack to what is known of the whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invprob.status import MISSING, worst

if TYPE_CHECKING:
    from invprob.stack.chunk_facts import ChunkFacts

__all__ = ["JoinedResults"]


@dataclass
class JoinedResults:
    """What is known of the chunks so far, in the order of the rows: everything but the images.

    Arguments:
        settings: lists over all items where they belong to an item.
        certificate: likewise its numbers; of the assumptions each is as it holds worst.
        n_iter: iterations of the items that have an image.
        history: the columns of `Result.history`, NaN where a chunk has no row of that iteration.
        seconds: how long all chunks took.
        item_status: of every item, "missing" of one without an image.
        provenance: that of the last chunk, with the clamped readings of all.
        quality: the images compared with the truth, if there is one, a list over the items per number.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    certificate: dict[str, Any] = field(default_factory=dict)
    n_iter: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    history: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    item_status: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    quality: dict[str, list[float]] = field(default_factory=dict)

    def add(self, chunk: ChunkFacts) -> None:
        """Take note of a chunk.

        It is joined at once: small things kept from every chunk would lie scattered between its large ones, so that the
        memory of those could not be used again as a whole.
        """
        self.settings = _joined(self.settings, chunk.settings)
        if chunk.certificate is not None:
            self.certificate = _joined_certificates(self.certificate, chunk.certificate)
        self.n_iter = torch.cat([self.n_iter, chunk.n_iter]) if self.n_iter.numel() else chunk.n_iter
        self.history = _side_by_side(self.history, chunk.history)
        self.seconds += chunk.seconds
        self.item_status += chunk.item_status
        before, self.provenance = self.provenance, dict(chunk.provenance)
        if "clamped" in before:
            self.provenance["clamped"] = _added(before["clamped"], chunk.provenance["clamped"])
        for name, values in chunk.quality.items():
            self.quality.setdefault(name, []).extend(values)

    def miss(self, count: int) -> None:
        """Take note of items that have no image."""
        self.item_status += [MISSING] * count

    @property
    def status(self) -> str:
        """The worst status."""
        return worst(self.item_status)


def _joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was known before, its lists extended by those of now."""
    if not before:
        return dict(now)
    return {key: [*value, *(now[key] or ())] if isinstance(value, list) else value for key, value in before.items()}


def _joined_certificates(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return both certificates as one; an assumption that fails anywhere fails.

    Of notes and doubts that differ in their numbers alone the first one stays, unless a later one is worse.
    """
    worst: dict[str, Mapping[str, Any]] = {}
    for assumption in (*before.get("assumptions", ()), *now["assumptions"]):
        known = worst.setdefault(assumption["statement"], assumption)
        if _doubt(assumption) > _doubt(known):
            worst[assumption["statement"]] = assumption
    notes: dict[str, str] = {}
    for note in (*before.get("notes", ()), *now.get("notes", ())):
        notes.setdefault(re.sub(r"[\d.]+", "0", note), note)
    doubts: dict[str, Mapping[str, Any]] = {}
    for doubt in (*before.get("doubts", ()), *now.get("doubts", ())):
        known = doubts.setdefault(re.sub(r"[\d.]+", "0", doubt["text"]), doubt)
        if known["grade"] != "bad" == doubt["grade"]:
            doubts[re.sub(r"[\d.]+", "0", doubt["text"])] = doubt
    kept = {"assumptions": list(worst.values()), "doubts": list(doubts.values()), "notes": list(notes.values())}
    return _joined(before, now) | kept


def _doubt(assumption: Mapping[str, Any]) -> int:
    return {True: 0, None: 1, False: 2}[assumption["holds"]]


def _side_by_side(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return two histories as one."""
    if not before or not now:
        return dict(before or now)
    iterations = torch.unique(torch.cat([before["iteration"], now["iteration"]]))
    columns = {"iteration": iterations}
    for name in sorted((set(before) & set(now)) - {"iteration", "seconds"}):
        if name.startswith("trial_"):  # of the search for a strength, which has rows of its own
            rows = torch.arange(max(len(before[name]), len(now[name])))
            columns[name] = torch.cat([_spread(h[name], rows[: len(h[name])], rows) for h in (before, now)], dim=1)
        else:
            columns[name] = torch.cat([_spread(h[name], h["iteration"], iterations) for h in (before, now)], dim=1)
    return columns


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
