"""How fast and how true invprob's tomography is beside other packages, as ratios within one run: see README.md."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from pathlib import Path
from typing import Any

SECTIONS = {
    "projectors": "plane:projectors",
    "fan": "plane:fan",
    "blocks": "slices:blocks",
    "slices": "slices:slices",
    "stacks": "stacks:stacks",
    "roofline": "plane:roofline",
    "cone": "volume:cone",
    "memory": "volume:memory",
    "tv": "tv:tv",
    "disc": "tv:disc",
    "prox": "restoration:tv_prox",
    "deblur": "restoration:deblur",
    "learned": "learned:prox",
    "denoise": "learned:denoise",
}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--repeats", type=int, default=3, help="how often all is measured; most must reach a target")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    parser.add_argument("--peers-budget", type=float, default=60.0, metavar="SECONDS", help="for one run of a peer")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the optima of the tv problems there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="with htc2022_ta_full.mat, for the section disc")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for torch and our kernels")
    parser.add_argument("--quick", action="store_true", help="tiny problems: does it all still run?")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Run the sections, print every finding as it comes and the tables at the end."""
    args = arguments(given)
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # before torch is imported

    import torch
    from report import Report, line
    from rich.console import Console

    torch.set_num_threads(args.threads)
    about = {
        "GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"],
        "threads": args.threads,
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load before": _load(),
    }
    console = Console(width=None if os.isatty(1) else 180)
    for what, value in about.items():
        console.print(f"{what}: {value}", highlight=False)
    report, started = Report(), time.perf_counter()
    options: dict[str, Any] = {"quick": args.quick, "patience": min(args.peers_budget, 10.0)}
    for repeat in range(args.repeats):
        report.repeats.append([])
        for name in args.only:
            module, function = SECTIONS[name].split(":")
            extra = {"budget": args.peers_budget, "cache": args.cache} if name == "tv" else {}
            extra |= {"data": args.data} if name == "disc" else {}
            for finding in getattr(importlib.import_module(module), function)(**options, **extra):
                report.repeats[-1].append(finding)
                stamp = f"[{repeat + 1}/{args.repeats}, {time.perf_counter() - started:.0f} s]"
                console.print(f"{stamp} {line(finding)}", markup=False, highlight=False)
    about["load after"] = _load()
    report.show(console)
    console.print(
        f"load of the machine before and after: {about['load before']}, {about['load after']}", highlight=False
    )
    if args.json:
        report.save(args.json, about)


def _load() -> str:
    """Return the load averages: others at work make every number here doubtful."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    main()
