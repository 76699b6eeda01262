"""Sparse-view CT of held-out phantoms: manifold constrained gradients beside other samplers and total variation.

    python benchmarks/sparse_view.py --store FILE --write   # the tables of docs/diffusion.md
    python benchmarks/sparse_view.py --phantoms 12          # fewer of them
    python benchmarks/sparse_view.py --time                 # how long 100 steps on 16 images take

Data are simulated on a finer grid, with noise of 1 % whose level is known. Every method has one number that is tuned by
as many tries on the same validation phantoms with 18 views, `total variation` too. All samplers have the same prior and
take 100 steps. What is measured is kept in the store, and the same command goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from rewriting import rewrite
from torch import Tensor

from invprob import Scan, metrics, reconstruct
from invprob.benchmark.measurement import search
from invprob.benchmark.noise import gaussian
from invprob.benchmark.problems import Problem, cases
from invprob.benchmark.statistics import Estimate, estimate
from invprob.io.atomic import write_text
from invprob.methods.calibration import conformal_factor
from invprob.phantoms.instruments import instrument
from invprob.priors import DiffusionPrior, load_pretrained
from invprob.sampling import PRESETS, sample
from invprob.sampling.data_steps import Guide, Prox
from invprob.sampling.presets import Preset

SIZE, TUNED_AT, TRIES, VALIDATIONS = 64, 18, 6, 4
VIEWS, FAMILIES = (18, 30), {"organs": "bodies, as the prior knows them", "ellipses": "ellipses, which it never saw"}
LEVEL, SHARES = 0.9, 400  # of intervals; how finely the errors of an image are kept, in units of the spread
STEPS = 100
Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A method with one number to tune: where the search begins, how many chains, and how the number is put in."""

    start: float
    chains: int = 0
    preset: Callable[[float], Preset] | None = None


def _changed(name: str, **changes: Any) -> Preset:
    return replace(PRESETS[name], steps=STEPS, **changes)


def _flower(weight: float) -> Preset:
    return _changed("flower", step=Prox("posterior", weight, noise=1.0))


METHODS: Mapping[str, Method] = {
    "tv": Method(3e-3),
    "song": Method(0.16, 2, lambda snr: _changed("song", snr=snr)),
    "mcg": Method(0.1, 2, lambda zeta: _changed("mcg", step=Guide(zeta, null_space=True))),
    "dps": Method(1.0, 2, lambda zeta: _changed("dps", step=Guide(zeta))),
    "diffpir": Method(1.0, 4, lambda weight: _changed("diffpir", step=Prox("flat", weight))),
    "flower": Method(1.0, 4, _flower),
}
NUMBERS = "strength for tv, the step snr for song, zeta for mcg and dps, the weight of the data step for the others"


def scans(family: str, views: int, purpose: str, count: int) -> Scan:
    """Return scans of a family as one batch, with their truths."""
    tool, noise = instrument("parallel-beam", views=views), partial(gaussian, level=0.01)
    return cases(Problem(f"{family}-{views}", "", "", tool, (family,), noise), SIZE, purpose, count).scan


@cache
def prior_of(folder: Path | None) -> DiffusionPrior:
    """Return the weights named diffusion as a prior."""
    return DiffusionPrior(load_pretrained("diffusion", folder))


def images(name: str, number: float, scan: Scan, folder: Path | None, chains: int | None = None) -> Tensor:
    """Return draws `(chains, n, H, W)` for scans."""
    method = METHODS[name]
    if method.preset is None:
        return reconstruct(scan, "tv", strength=number).x[None]
    run = partial(sample, prior_of(folder), scan.operator, scan.data, scan.noise, method.preset(number))
    return run(chains=chains or method.chains).samples


def judged(draws: Tensor, truth: Tensor) -> Row:
    """Return what is kept of the draws for one image: PSNR in dB of their mean and of one, errors over the spread."""
    row: Row = {
        "psnr": float(metrics.psnr(draws.mean(0), truth, data_range=1.0)),
        "ssim": float(metrics.ssim(draws.mean(0), truth, data_range=1.0)),
        "one": float(metrics.psnr(draws[0], truth, data_range=1.0)),
    }
    if len(draws) > 2:
        x, spread = draws.mean(0), draws.std(0)
        share = (torch.arange(SHARES, dtype=torch.float64) + 0.5) / SHARES
        row["errors"] = torch.quantile(((x - truth).abs() / spread).double().flatten(), share).tolist()
        row["ratio"] = float(metrics.calibration(draws, truth))
    return row


class Store:
    """Rows by their keys, in a file that is whole after every one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return what is known, or measure it."""
        if key not in self.rows:
            self.rows[key] = measure()
            write_text(self.path, json.dumps(self.rows), overwrite=True)
        return self.rows[key]


def tuned(store: Store, name: str, folder: Path | None) -> float:
    """Return the number of a method that is best on the validation phantoms, one chain each."""
    held = scans("organs", TUNED_AT, "validation", VALIDATIONS)

    def score(number: float) -> float:
        draws = images(name, number, held, folder, chains=1)
        level = float(metrics.psnr(draws[0], held.truth, data_range=1.0).mean())
        return level if math.isfinite(level) else -math.inf

    def measure() -> list[tuple[float, float]]:
        return search(lambda number: store.get(f"try/{name}/{number:.4g}", lambda: score(number)), start, TRIES)

    start = METHODS[name].start
    tried = store.get(f"tuned/{name}", measure)
    return float(max(tried, key=lambda pair: pair[1])[0])


def measured(store: Store, count: int, folder: Path | None) -> None:
    """Measure all methods on so many phantoms of every family, one family after the other."""
    numbers = {name: tuned(store, name, folder) for name in METHODS}
    for family in FAMILIES:
        for k in range(count):
            for views in VIEWS:
                scan = scans(family, views, "test", count).row(k)
                for name, number in numbers.items():
                    store.get(
                        f"{family}/{views}/{name}/{k}",
                        lambda name=name, number=number, scan=scan: _timed(name, number, scan, folder),
                    )


def _timed(name: str, number: float, scan: Scan, folder: Path | None) -> Row:
    began = time.process_time()
    draws = images(name, number, scan, folder)
    return judged(draws, scan.truth) | {"seconds": time.process_time() - began}


def covered(rows: list[Row]) -> tuple[float, float] | None:
    """Return the share inside 90 % intervals, raw and with the factor that all other images give."""
    if len(rows) < 11 or "errors" not in rows[0]:
        return None
    errors = torch.tensor([row["errors"] for row in rows], dtype=torch.float64)
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(LEVEL, dtype=torch.float64)))
    raw = float((errors <= z).double().mean())
    kept = []
    for k in range(len(rows)):
        factor = conformal_factor(torch.cat((errors[:k], errors[k + 1 :])), LEVEL)
        kept.append(float((errors[k] <= factor).double().mean()))
    return raw, sum(kept) / len(kept)


def _told(e: Estimate, form: str = ".2f") -> str:
    return (
        f"{e.mean:{form}}" if e.low is None or e.high is None else f"{e.mean:{form}} [{e.low:{form}}, {e.high:{form}}]"
    )


def tables(store: Store, most: int) -> str:
    """Return the tables in Markdown, of the phantoms that all methods have been measured on."""
    parts = []
    for family, words in FAMILIES.items():
        for views in VIEWS:
            groups = {name: [store.rows.get(f"{family}/{views}/{name}/{k}") for k in range(most)] for name in METHODS}
            whole = [k for k in range(most) if all(group[k] is not None for group in groups.values())]
            if len(whole) < 2:
                continue
            rows = {name: [group[k] for k in whole] for name, group in groups.items()}
            parts.append(_table(f"{views} views, {len(whole)} phantoms: {words}", rows))
    tried = ", ".join(
        f"{name} {max(store.rows[f'tuned/{name}'], key=lambda pair: pair[1])[0]:.3g}"
        for name in METHODS
        if f"tuned/{name}" in store.rows
    )
    parts.append(f"Tuned on {VALIDATIONS} validation phantoms with {TRIES} tries each: {tried} ({NUMBERS}).\n")
    return "\n".join(parts)


def _table(title: str, rows: Mapping[str, list[Row]]) -> str:
    lines = [
        f"### {title}",
        "",
        "| method | PSNR, dB | minus tv, dB | one draw, dB | SSIM | in 90 % intervals | calibrated | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        gain = estimate([a["psnr"] - b["psnr"] for a, b in zip(found, rows["tv"], strict=True)])
        one = "" if name == "tv" else f"{estimate([row['one'] for row in found]).mean:.2f}"
        cover = covered(found)
        inside = ("", "") if cover is None else (f"{cover[0]:.0%}", f"{cover[1]:.0%}")
        cells = [
            name,
            _told(estimate([row["psnr"] for row in found])),
            "" if name == "tv" else _told(gain, "+.2f"),
            one,
            f"{estimate([row['ssim'] for row in found]).mean:.3f}",
            *inside,
            f"{estimate([row['seconds'] for row in found]).mean:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def timed(folder: Path | None) -> str:
    """Return how long 100 steps on 16 images take, in seconds of the processor."""
    scan = scans("organs", 18, "test", 16)
    lines = ["| preset | seconds of one processor |", "|---|---|"]
    for name in ("diffpir", "flower", "dps", "mcg"):
        began = time.process_time()
        sample(prior_of(folder), scan.operator, scan.data, scan.noise, name, chains=1, steps=STEPS)
        lines.append(f"| {name} | {time.process_time() - began:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("sparse_view.json"))
    parser.add_argument("--phantoms", type=int, default=50)
    parser.add_argument("--weights", type=Path, default=None, help="folder of other weights named diffusion")
    parser.add_argument("--time", action="store_true", help="only how long 100 steps on 16 images take")
    parser.add_argument("--show", action="store_true", help="only what the store has")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/diffusion.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = "benchmarks/sparse_view.py --time" if given.time else "benchmarks/sparse_view.py"
    if given.time:
        text = timed(given.weights)
    else:
        store = Store(given.store)
        if not given.show:
            measured(store, given.phantoms, given.weights)
        text = tables(store, given.phantoms)
    print(text)
    if given.write:
        rewrite(text, command)


if __name__ == "__main__":
    main()
