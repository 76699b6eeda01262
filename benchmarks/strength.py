"""What the automatic strength loses against the best one: `python benchmarks/strength.py --write docs/strength.md`.

Every problem of the benchmark and six photographs out of focus, by every method with a strength, with the noise level
stated and without it. The best strength is that of a sweep around what was chosen. Results are kept in a file as they
come, so that a run goes on where another was stopped; --only measures some problems or methods anew, and --verify
chooses anew and measures what has changed since.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor

from invprob.benchmark.problems import PROBLEMS, cases
from invprob.methods import progress
from invprob.metrics import quality
from invprob.operators import Blur
from invprob.phantoms.instruments import gauss
from invprob.phantoms.random import seeded
from invprob.scan import Scan

PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "rocket")
METHODS = ("tv", "wavelet", "tikhonov", "least-squares", "pnp", "red", "gs-pnp", "lpn")
# of the strength that was chosen: wide for weights of a prior, narrow for noise levels that are assumed
WIDE, NARROW = (1 / 8, 1 / 4, 1 / 2, 0.71, 1.4, 2, 4, 8), (1 / 2.8, 1 / 2, 0.71, 1.4, 2, 2.8)
SIZE, NOISE = 128, 0.01
SAME = 0.02  # dB, and share of a strength: nothing that the table shows
START, END = "<!-- figures -->\n", "<!-- end of figures -->"


@dataclass(frozen=True)
class Loss:
    """What one reconstruction lost; `of_search` is the time of choosing over that of solving from scratch."""

    problem: str
    item: int
    method: str
    stated: bool
    psnr: float
    best: float
    strength: float
    best_strength: float
    of_search: float
    rule: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What the measurement is called."""
        return self.problem, self.item, self.method, self.stated


def main() -> int:
    """Measure what is not in the file yet, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(".bench/strength.json"), help="where results are kept")
    parser.add_argument("--write", type=Path, help="the page whose table is to be written anew")
    parser.add_argument("--items", type=int, default=2, help="images per problem")
    parser.add_argument("--only", nargs="*", default=[], help="names of problems and methods to measure anew")
    parser.add_argument("--verify", action="store_true", help="measure anew where the choice has changed")
    options = parser.parse_args()
    found = _read(options.results)
    found = {key: loss for key, loss in found.items() if not {loss.problem, loss.method} & set(options.only)}
    for name, item, scan in scans(options.items):
        for method in METHODS:
            for stated in (True, False):
                told, known = scan if stated else replace(scan, noise=None), found.get((name, item, method, stated))
                if known is None or (options.verify and not still(known, told)):
                    try:
                        loss = measured(name, item, told, method, stated=stated)
                    except ValueError as refusal:  # a method that is not for such data
                        print(f"{name}, {method}: {refusal}", flush=True)
                        continue
                    found[loss.key] = loss
                    options.results.parent.mkdir(parents=True, exist_ok=True)
                    options.results.write_text(json.dumps([asdict(loss) for loss in found.values()], indent=1))
                    print(f"{loss.key}: {loss.psnr - loss.best:.2f} dB, {loss.of_search:.1f}", flush=True)
    text = table(list(found.values()))
    print(text)
    if options.write is not None:
        page = options.write.read_text()
        before, rest = page.split(START)
        options.write.write_text(before + START + text + END + rest.split(END)[1])
    return 0


def scans(items: int) -> Iterator[tuple[str, int, Scan]]:
    """Yield name, number and scan of every case."""
    for name in PHOTOGRAPHS:
        yield name, 0, photograph(name)
    for problem in PROBLEMS:
        scan = cases(problem, SIZE, "test", items).scan
        for item in range(items):
            of = {name: _of(getattr(scan, name), item) for name in ("data", "noise", "truth", "weights")}
            yield problem.name, item, replace(scan, **of)


def _of(t: Any, item: int) -> Any:
    return t[item] if isinstance(t, Tensor) else t


def photograph(name: str) -> Scan:
    """Return a photograph of scikit-image in grey, halved to about 128 pixels, out of focus with 1 % noise."""
    image = torch.from_numpy(getattr(peers.load("skimage.data"), name)()).double() / 255
    grey = image.mean(-1) if image.ndim == 3 else image
    factor = min(grey.shape) // SIZE
    pooled = torch.nn.functional.avg_pool2d(grey[None, None], factor)[0, 0, :SIZE, :SIZE].float()
    A = Blur(tuple(pooled.shape), gauss(SIZE / 96), boundary="valid")
    clean = A(pooled)
    noise = NOISE * float(clean.max())
    return Scan(A, clean + noise * torch.randn(clean.shape, generator=seeded("photograph", name)), noise, pooled)


def measured(name: str, item: int, scan: Scan, method: str, *, stated: bool) -> Loss:
    """Return what the automatic strength lost, by a sweep around it."""
    psnr, strength, searching, rule = _run(scan, method, {})
    scratch = time.process_time()
    fixed = [_run(scan, method, {"strength": strength})]
    scratch = time.process_time() - scratch
    fixed += [_run(scan, method, {"strength": factor * strength}) for factor in _factors(method)]
    best = max([(psnr, strength), *((p, s) for p, s, _, _ in fixed)])
    return Loss(name, item, method, stated, psnr, best[0], strength, best[1], searching / scratch, rule)


def still(known: Loss, scan: Scan) -> bool:
    """Return whether a method chooses as it did, and makes the image that it made, so that the sweep holds."""
    psnr, strength, _, _ = _run(scan, known.method, {})
    return abs(psnr - known.psnr) < SAME and abs(strength - known.strength) <= SAME * known.strength


def _factors(method: str) -> Sequence[float]:
    return WIDE if method in ("tv", "wavelet", "tikhonov", "least-squares") else NARROW


def _run(scan: Scan, method: str, settings: Mapping[str, Any]) -> tuple[float, float, float, str]:
    """Return PSNR, strength, seconds of processor spent on choosing it, and the rule."""
    begun, searching, last = time.process_time(), 0.0, None
    for last in progress(scan, method, **settings):
        if last.phase.startswith("choosing"):
            searching = time.process_time() - begun
    if last is None or scan.truth is None:
        raise RuntimeError(f"{method} ended without a result, or the scan has no truth")
    result = last.result()
    psnr = float(quality(result.x, scan.truth, ndim=result.ndim)["PSNR"])
    strength = torch.as_tensor(result.settings["strength"]).flatten()[0]
    return psnr, float(strength), searching, last.choice.rule if last.choice is not None else ""


def table(found: Sequence[Loss]) -> str:
    """Return the losses as Markdown: a row per problem, a column per method, the noise level stated / not."""
    methods = [m for m in METHODS if any(loss.method == m for loss in found)]
    lines = ["| problem | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for problem in dict.fromkeys(loss.problem for loss in found):
        cells = (_cell([loss for loss in found if (loss.problem, loss.method) == (problem, m)]) for m in methods)
        lines.append(f"| {problem} | " + " | ".join(cells) + " |")
    for title, number in (("**mean**", statistics.fmean), ("**worst**", max)):
        cells = (_cell([loss for loss in found if loss.method == m], number) for m in methods)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for stated, words in ((True, "stated"), (False, "not stated")):
        losses = [loss.best - loss.psnr for loss in found if loss.stated == stated]
        if losses:
            mean, worst = statistics.fmean(losses), max(losses)
            lines.append(f"\nNoise level {words}: {mean:.2f} dB lost on average, {worst:.2f} at worst.")
    of = [loss.of_search for loss in found if loss.method in ("tv", "wavelet", "tikhonov")]
    if of:
        lines.append(f"\nChoosing took {statistics.median(of):.1f} times as long as solving at the choice (median).")
    return "\n".join(lines) + "\n"


def _cell(losses: Sequence[Loss], number: Any = statistics.fmean) -> str:
    """Return the mean loss with the noise level stated and, behind a stroke, without."""
    parts = []
    for stated in (True, False):
        of = [loss.best - loss.psnr for loss in losses if loss.stated == stated]
        parts.append(f"{number(of):.2f}" if of else "")
    return " / ".join(parts)


def _read(path: Path) -> dict[tuple[Any, ...], Loss]:
    known = [Loss(**row) for row in json.loads(path.read_text())] if path.exists() else []
    return {loss.key: loss for loss in known}


if __name__ == "__main__":
    sys.exit(main())
