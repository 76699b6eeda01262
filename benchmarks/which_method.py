"""What every method reaches on each problem of the quick benchmark, for docs/which-method.md, from its reference.

python benchmarks/which_method.py          # print the tables
python benchmarks/which_method.py --write  # put them into the page
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewriting import rewrite

from invprob.benchmark import PROBLEMS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "which-method.md"
REFERENCE = ROOT / "benchmarks" / "reference.json"
COLUMNS = ("direct", "tikhonov", "wavelet", "tv", "lpn", "gs-pnp", "pnp")


def tables(reference: Mapping[str, Any]) -> str:
    """Return a table of PSNR and seconds with the strengths that methods choose, and a sentence per family."""
    told = [f"- **{verdict['family']}**: {verdict['text']}." for verdict in reference["verdicts"]]
    return "\n".join([levels(reference, COLUMNS), "", *told])


def levels(reference: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return a table of PSNR and seconds of some methods with the strengths they choose, a line per problem."""
    cells = {(e["problem"], e["method"]): e for e in reference["entries"] if e["mode"] == "auto"}
    problems = list(dict.fromkeys(problem for problem, _ in cells))
    lines = ["| problem | " + " | ".join(f"`{name}`" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for problem in problems:
        found = [cells.get((problem, method), {}).get("psnr") for method in columns]
        best = max(level["mean"] for level in found if level)
        told = ["-" if level is None else _marked(level["mean"], best) for level in found]
        lines.append(f"| {_about(problem)} | " + " | ".join(told) + " |")
    seconds = [[e["seconds"]["mean"] for (_, name), e in cells.items() if name == m and e["seconds"]] for m in columns]
    means = [f"{sum(s) / len(s):.1g}" if s else "-" for s in seconds]
    return "\n".join([*lines, "| seconds of a processor, mean | " + " | ".join(means) + " |"])


def _marked(level: float, best: float) -> str:
    return f"**{level:.1f}**" if level > best - 0.05 else f"{level:.1f}"


def _about(name: str) -> str:
    (problem,) = (p for p in PROBLEMS if p.name == name)
    return f"{problem.title} (`{name}`)"


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them into docs/which-method.md")
    told = tables(json.loads(REFERENCE.read_text(encoding="utf-8")))
    if parser.parse_args().write:
        rewrite(told, "benchmarks/which_method.py", PAGE)
    else:
        print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
