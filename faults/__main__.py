"""Faults and bad inputs, tried on the real program: `python -m faults [NAME ...] [--trials N] [--seed S] [--write]`.

Every campaign is bounded and seeded; it yields what was tried and what was found. What is bad makes the exit code 1.
The rows are those of docs/reliability.md, whose tables `--write` brings up to date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faults import attacks, caps, cost, flat, geometry, kills, memory, mutants, numbers, outputs, table, workers
from faults.program import Found

CAMPAIGNS = {
    "kills": kills.campaign,
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
    """Run campaigns and print a line for each kind of trial, and one for every bad one."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("campaigns", nargs="*", choices=[*CAMPAIGNS, []], help="all by default")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant, to go on with others")
    parser.add_argument("--layouts", nargs="+", metavar="NAME", help="whose mutants to try; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write what was found into docs/reliability.md")
    given = parser.parse_args()
    bad = 0
    for name in given.campaigns or CAMPAIGNS:
        start, found = time.monotonic(), []
        more = {"first": given.first, "only": given.layouts} if name == "mutants" else {}
        with tempfile.TemporaryDirectory() as folder:
            for trial in CAMPAIGNS[name](Path(folder), given.trials, given.seed, **more):
                found.append(trial)
                if trial.bad:
                    print(f"  BAD {trial.what}: {trial.bad}", flush=True)
        bad += _tell(name, found, time.monotonic() - start)
        if given.write:
            of = f" of {', '.join(given.layouts)}" if name == "mutants" and given.layouts else ""
            table.write(name, of, given.trials, given.seed, found)
    return int(bad > 0)


def _tell(name: str, found: list[Found], seconds: float) -> int:
    bad = sum(trial.bad is not None for trial in found)
    kinds = Counter(trial.outcome for trial in found)
    told = ", ".join(f"{count} {outcome}" for outcome, count in kinds.most_common())
    print(f"{name:10} {len(found):5} trials, {bad} bad, {seconds:.0f} s: {told}", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
