"""Faults and bad inputs, tried on the real program: `python -m faults [NAME ...] [--trials N] [--seed S] [--write]`.

Every campaign is bounded and seeded; it yields what was tried and what was found. What is bad makes the exit code 1.
The rows are those of docs/reliability.md, whose tables `--write` brings up to date, row by row: a run that is ended
(Ctrl-C, `kill`) keeps what it found.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from inspect import signature
from pathlib import Path
from typing import Any

from faults import (
    attacks,
    caps,
    cost,
    flat,
    geometry,
    kills,
    memory,
    mutants,
    numbers,
    outputs,
    signals,
    table,
    together,
    workers,
)
from faults.program import Found

CAMPAIGNS = {
    "kills": kills.campaign,
    "signals": signals.campaign,
    "together": together.campaign,
    "outputs": outputs.campaign,
    "mutants": mutants.campaign,
    "attacks": attacks.campaign,
    "geometry": geometry.campaign,
    "numbers": numbers.campaign,
    "memory": memory.campaign,
    "caps": caps.campaign,
    "flat": flat.campaign,
    "workers": workers.campaign,
    "cost": cost.campaign,
}


def main() -> int:
    """Run campaigns and print a line for each kind of trial, one for every bad one, and the rows of the tables."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("campaigns", nargs="*", choices=[*CAMPAIGNS, []], help="all by default")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant, to go on with others")
    parser.add_argument("--layouts", nargs="+", metavar="NAME", help="whose mutants to try; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write what was found into docs/reliability.md")
    given = parser.parse_args()
    return int(sum(_run(name, given) for name in given.campaigns or CAMPAIGNS) > 0)


def _run(name: str, given: argparse.Namespace) -> int:
    """Run a campaign, and return how many trials were bad; what one that is ended has found is kept."""
    start, found, campaign = time.monotonic(), [], CAMPAIGNS[name]
    more = {name: getattr(given, name) for name in ("first", "layouts") if name in signature(campaign).parameters}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for trial in campaign(Path(folder), given.trials, given.seed, **more):
                found.append(trial)
                if trial.bad:
                    print(f"  BAD {trial.what}: {trial.bad}", flush=True)
                if trial.row:
                    print(f"  {' | '.join(trial.row)}", flush=True)
                if trial.row and given.write:
                    table.write_row(name, trial.row)
    except KeyboardInterrupt:
        _tell(name, given, more, found, time.monotonic() - start)
        raise
    return _tell(name, given, more, found, time.monotonic() - start)


def _tell(name: str, given: argparse.Namespace, more: dict[str, Any], found: list[Found], seconds: float) -> int:
    """Print what a campaign found, write it if asked to, and return how many trials were bad."""
    bad = sum(trial.bad is not None for trial in found)
    kinds = Counter(trial.outcome for trial in found)
    told = ", ".join(f"{count} {outcome}" for outcome, count in kinds.most_common())
    print(f"{name:10} {len(found):5} trials, {bad} bad, {seconds:.0f} s: {told}", flush=True)
    if given.write:
        of = f" of {', '.join(more['layouts'])}" if more.get("layouts") else ""
        first = f" --first {more['first']}" if more.get("first") else ""
        table.write(f"`{name}`{of}", f"--trials {given.trials} --seed {given.seed}{first}", found)
    return bad


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends a run as Ctrl-C does
    sys.exit(main())
