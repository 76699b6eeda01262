"""The standard benchmark, 128 pixels and eight images of every problem, as a table and a figure in docs and README.

invprob benchmark --output benchmark       # measures it, under an hour on two cores; goes on where it was stopped
python benchmarks/standard.py benchmark    # puts what is in that directory into docs/benchmark.md and README.md

The numbers go along as benchmarks/standard.json, the figure as docs/pictures/benchmark.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewriting import rewrite
from which_method import levels

ROOT = Path(__file__).parents[1]
COMMAND = "benchmarks/standard.py"
COLUMNS = ("direct", "tikhonov", "wavelet", "tv", "lpn", "red", "gs-pnp", "pnp")
# where the section stands that is not there yet: above these heads
PLACES = {"docs/benchmark.md": "## How it is measured", "README.md": "## Where things are"}


def section(found: Mapping[str, Any], folder: str) -> str:
    """Return the table with what was measured, and the figure, for a page from which pictures lie in `folder`."""
    facts = found["settings"]
    size = f"{facts['size']} x {facts['size']} pixels, {facts['tests']} test images a problem"
    about = f"PSNR in dB, mean over {size}, every method with the strength it chooses itself; the best is bold."
    figure = f"![Images of the standard benchmark: truth, data and what methods make of them]({folder}/benchmark.png)"
    return "\n".join([about, "", levels(found, COLUMNS), "", figure])


def sentences(found: Mapping[str, Any]) -> str:
    """Return what is sure about learned and classical methods, a line per family."""
    return "\n".join(f"- **{verdict['family']}**: {verdict['text']}." for verdict in found["verdicts"])


def write(found: Mapping[str, Any], root: Path) -> None:
    """Put the section into the pages below `root`, in the place of an older one."""
    for name, head in PLACES.items():
        page = root / name
        text = page.read_text(encoding="utf-8")
        if f"<!-- {COMMAND} -->" not in text:
            place = f"## The standard benchmark\n\n<!-- {COMMAND} -->\n<!-- end -->\n\n"
            page.write_text(text.replace(head, place + head, 1), encoding="utf-8")
        docs = name.startswith("docs/")
        told = section(found, "pictures" if docs else "docs/pictures")
        rewrite(f"{told}\n\n{sentences(found)}" if docs else told, COMMAND, page)


def main() -> int:
    """Write the pages, and keep the numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="the --output of invprob benchmark")
    folder = parser.parse_args().directory
    found = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    if not found["complete"]:
        print("parts of the benchmark are missing: the same command goes on", file=sys.stderr)
        return 1
    write(found, ROOT)
    shutil.copy(folder / "benchmark.json", ROOT / "benchmarks" / "standard.json")
    shutil.copy(folder / "benchmark.png", ROOT / "docs" / "pictures" / "benchmark.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
