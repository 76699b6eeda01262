"""How much of a real object does a limited arc show? Acrylic discs with holes, from arcs of every width and beginning.

DATA holds the discs of the Helsinki Tomography Challenge 2022 (doi:10.5281/zenodo.7418878), full turns with a view
every half degree and the official segmentations of their full reconstructions. Methods choose everything themselves;
the score is Matthews' correlation of the image, segmented by Otsu's threshold, with the official segmentation.

    python benchmarks/limited_angle.py DATA --json arcs.json             # the rows that the file lacks, then the table
    python benchmarks/limited_angle.py DATA --json arcs.json --degrees 60 --begin 0 --methods limited-angle
    python benchmarks/limited_angle.py DATA --json arcs.json --table     # what the file has
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections import deque
from pathlib import Path
from statistics import mean

import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray

from invprob import Scan, load_scan
from invprob.judgement import statements, verdict
from invprob.methods import progress, segment

DISCS, METHODS = ("ta", "tb"), ("tv", "limited-angle")
DEGREES, BEGINS = (30, 40, 50, 60, 70, 80, 90), (0, 120, 235)
PER_DEGREE = 2
GREEN = "good"


def matthews(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return Matthews' correlation coefficient of two segmentations."""
    tp, tn = float((found & truth).sum()), float((~found & ~truth).sum())
    fp, fn = float((found & ~truth).sum()), float((~found & truth).sum())
    size = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    return (tp * tn - fp * fn) / size if size > 0 else 0.0


def arc(data: Path, disc: str, degrees: int, begin: int, size: int) -> Scan:
    """Return the views of an arc, and of images smaller than the official ones the readings binned likewise."""
    first = PER_DEGREE * begin
    scan = load_scan(data / f"htc2022_{disc}_full.mat", views=slice(first, first + PER_DEGREE * degrees + 1))
    A, y = scan.operator, scan.data
    while A.domain_shape[0] > size:
        A, restrict, _ = A.coarser()
        y = restrict(y)
    return Scan(A, y, units=scan.units)


def row(data: Path, disc: str, degrees: int, begin: int, method: str, size: int) -> dict[str, float | str]:
    """Return score, user seconds and verdict of one reconstruction."""
    scan, begun = arc(data, disc, degrees, begin, size), time.process_time()
    (last,) = deque(progress(scan, method), maxlen=1)
    image, seconds = last.image().float(), time.process_time() - begun
    result = last.result()
    truth = scipy.io.loadmat(data / f"htc2022_{disc}_full_recon_fbp_seg.mat")["reconFullFbpSeg"] > 0
    fine = torch.nn.functional.interpolate(image[None, None], truth.shape, mode="bilinear", align_corners=False)[0, 0]
    facts = None if result.certificate is None else result.certificate.as_dict()
    grade = verdict(statements(facts, result.item_status)).grade
    score = matthews(segment(fine, 2).numpy() > 0, truth)
    return {"score": round(score, 4), "seconds": round(seconds, 1), "verdict": grade}


def table(rows: dict[str, dict[str, float | str]], size: int) -> str:
    """Return the table of what there is, arcs by discs and methods."""
    lines = [
        f"| {size} x {size}: disc, degrees, from | {' | '.join(METHODS)} | seconds | verdicts |",
        "|---|" + "---|" * 4,
    ]
    scores: dict[tuple[int, str], list[float]] = {}
    for disc, degrees, begin in itertools.product(DISCS, DEGREES, BEGINS):
        have = [rows.get(key(disc, degrees, begin, method, size)) for method in METHODS]
        if not any(have):
            continue
        for method, found in zip(METHODS, have, strict=True):
            if found:
                scores.setdefault((degrees, method), []).append(float(found["score"]))
        told = [f"{found['score']:.3f}" if found else "-" for found in have]
        seconds = ", ".join(f"{found['seconds']:.0f}" if found else "-" for found in have)
        words = ", ".join(str(found["verdict"]) if found else "-" for found in have)
        lines.append(f"| {disc}, {degrees}, {begin} | {' | '.join(told)} | {seconds} | {words} |")
    for degrees in sorted({d for d, _ in scores}):
        means = [scores.get((degrees, method)) for method in METHODS]
        lines.append(f"| mean, {degrees} | {' | '.join(f'{mean(m):.3f}' if m else '-' for m in means)} | | |")
    return "\n".join(lines)


def key(disc: str, degrees: int, begin: int, method: str, size: int) -> str:
    return f"{disc} {degrees} {begin} {method} {size}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, default=Path("limited_angle.json"))
    parser.add_argument("--discs", nargs="+", default=DISCS)
    parser.add_argument("--degrees", nargs="+", type=int, default=DEGREES)
    parser.add_argument("--begin", nargs="+", type=int, default=BEGINS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--size", type=int, default=512, help="512, 256 or 128")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    rows = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    units = itertools.product(asked.methods[::-1], asked.degrees, asked.begin, asked.discs)
    for method, degrees, begin, disc in () if asked.table else units:
        name = key(disc, degrees, begin, method, asked.size)
        if name not in rows:
            rows[name] = row(asked.data, disc, degrees, begin, method, asked.size)
            asked.json.write_text(json.dumps(rows, indent=1))
            print(name, rows[name], flush=True)
    print(table(rows, asked.size))
    broken = [name for name, found in rows.items() if found["verdict"] == GREEN and float(found["score"]) < 0.9]
    if broken:
        raise SystemExit(f"green verdicts of images that are not: {', '.join(broken)}")


if __name__ == "__main__":
    main()
