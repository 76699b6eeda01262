"""The table of all kernels by processor in docs/performance.md, a column pair for each that was measured.

`python benchmarks/kernels.py --page` measures the processor at hand, and puts its columns beside those of others, or in
place of its own of before. Processors are told apart by their features.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from report import Fact, Finding, Ratio
from rewriting import rewrite

__all__ = ["COMMAND", "KEPT", "PAGE", "keep", "table"]

KEPT = Path(__file__).with_name("processors.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
COMMAND = "python benchmarks/kernels.py --page"
SHARE = ", share of the limit"
Kept = dict[str, dict[str, Any]]  # by features: the limits, and of kernels their directions


def told(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return what a table needs of the findings of `kernels.py`."""
    limits: dict[str, str] = {}
    kernels: dict[str, dict[str, dict[str, Any]]] = {}
    for finding in findings:
        if isinstance(finding, Fact) and finding.section == "limits":
            limits[finding.what] = f"{finding.value:.3g} {finding.unit}"
        elif isinstance(finding, Fact):
            way = kernels.setdefault(finding.section, {}).setdefault(finding.what.removesuffix(SHARE), {})
            if finding.what.endswith(SHARE):
                way |= {"share": finding.value, "limit": finding.unit.removeprefix("by ")}
            else:
                way["ms"] = finding.value
        elif isinstance(finding, Ratio) and finding.ours and finding.theirs:
            way = kernels.setdefault(finding.section, {}).setdefault(finding.what, {})
            way.setdefault("peers", {})[finding.peer] = finding.theirs / finding.ours
    return {"limits": limits, "kernels": kernels}


def keep(features: str, findings: Iterable[Finding], kept: Path = KEPT, page: Path = PAGE) -> None:
    """Put what was found on a processor into the file of all processors, and the table of all into the page."""
    known: Kept = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    known[features] = told(findings)
    kept.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    rewrite(table(known), COMMAND, page)


def table(known: Kept) -> str:
    """Return the processors by their features, and of each kernel time, share of the limit and speed beside peers."""
    names = dict(zip(known, ascii_uppercase, strict=False))
    lines = []
    for features, name in names.items():
        limits = "; ".join(f"{what} {most}" for what, most in known[features]["limits"].items())
        lines.append(f"- {name}: {features}. One thread: {limits}.")
    ways = [(name, features, way) for features, name in names.items() for way in ("forward", "adjoint")]
    lines += ["", "| kernel | limit | " + " | ".join(f"{name} {way}" for name, _, way in ways) + " |"]
    lines.append("|" + "---|" * (len(ways) + 2))
    kernels = dict.fromkeys(kernel for found in known.values() for kernel in found["kernels"])
    for kernel in kernels:
        found = [known[features]["kernels"].get(kernel, {}).get(way, {}) for _, features, way in ways]
        limit = next(cell["limit"] for cell in found if cell)
        lines.append(f"| {kernel} | {limit} | " + " | ".join(map(_cell, found)) + " |")
    return "\n".join(lines)


def _cell(way: dict[str, Any]) -> str:
    if not way:
        return ""
    peers = "".join(f", {ratio:.2g} x {peer}" for peer, ratio in way.get("peers", {}).items())
    return f"{way['ms']:.3g} ms, {way['share']:.0%}{peers}"
