"""How much of a real object does a limited arc show? Acrylic discs with holes, from arcs of every width and beginning.

DATA holds the discs of the Helsinki Tomography Challenge 2022 (doi:10.5281/zenodo.7418878), full turns with a view
every half degree and the official segmentations of their full reconstructions. Methods choose everything themselves;
the score is Matthews' correlation of the image, segmented by Otsu's threshold, with the official segmentation.

made0, made1, ... are generated discs, of holes of one kind each (ellipses, slots, triangles), packed0, packed1, ... of
as many polygons as have room, under a beam of four energies with 0.3 % of noise; choices are made on these.

    python benchmarks/limited_angle.py DATA --json arcs.json --size 256  # the rows that the file lacks, then the table
    python benchmarks/limited_angle.py --json arcs.json --discs made0 made1 packed0 --degrees 30 60 --begin 0
    python benchmarks/limited_angle.py DATA --json arcs.json --degrees 60 --begin 0 --methods limited-angle
    python benchmarks/limited_angle.py --json arcs.json --write          # what the file has, into docs/limited-angle.md
    python benchmarks/limited_angle.py --bodies arc-60 arc-90 --size 64  # of several materials, in decibels
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from rewriting import rewrite

from invprob import Scan, load_scan, reconstruct
from invprob.benchmark.problems import PROBLEMS, cases
from invprob.judgement import statements, verdict
from invprob.methods import progress, segment
from invprob.metrics import psnr
from invprob.operators import FanBeam
from invprob.phantoms.detector import detected

PAGE = Path(__file__).parents[1] / "docs" / "limited-angle.md"
DISCS, METHODS = ("ta", "tb"), ("tv", "limited-angle")
DEGREES, BEGINS = (30, 40, 50, 60, 70, 80, 90), (0, 120, 235)
PER_DEGREE = 2
MADE, PACKED = "made", "packed"
STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2)
BEAM = ((0.2, 0.025), (0.4, 0.033), (0.25, 0.045), (0.15, 0.09))  # shares and attenuations per mm of four energies
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


def plate(seed: int, pixels: int) -> NDArray[np.bool_]:
    """Return a disc of one material with holes of one kind, random in number, place, size and direction."""
    rng = np.random.default_rng(seed)
    across = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    x, y = np.meshgrid(across, -across)
    radius, (centre_x, centre_y), kind = rng.uniform(0.7, 0.9), rng.uniform(-0.05, 0.05, 2), seed % 3
    x, y = x - centre_x, y - centre_y
    material, whole = x**2 + y**2 < radius**2, x**2 + y**2 < (0.93 * radius) ** 2
    for _ in range(rng.integers(4, 11)):
        way, off, turn = rng.uniform(0, 2 * np.pi), 0.8 * radius * np.sqrt(rng.uniform()), rng.uniform(0, np.pi)
        u, v = x - off * np.cos(way), y - off * np.sin(way)
        p, q = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        size, long, wide = radius * rng.uniform(0.06, 0.2), rng.uniform(1, 2.5), rng.uniform(0.3, 0.8)
        hole = (
            (p / size) ** 2 + (q / (size * (0.5 + 0.5 * wide))) ** 2 < 1,
            (abs(p) < long * size) & (abs(q) < wide * size),
            np.maximum(np.maximum(-q, q / 2 + 0.866 * p), q / 2 - 0.866 * p) < 0.6 * size,
        )[kind]
        material &= ~(hole & whole)
    return material


def packed(seed: int, pixels: int) -> NDArray[np.bool_]:
    """Return a disc of one material with as many convex polygons cut out as have room, walls between them."""
    rng = np.random.default_rng(1000 + seed)
    across = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    x, y = np.meshgrid(across, -across)
    radius, (centre_x, centre_y) = rng.uniform(0.7, 0.9), rng.uniform(-0.05, 0.05, 2)
    x, y = x - centre_x, y - centre_y
    material, wall, holes = x**2 + y**2 < radius**2, radius * rng.uniform(0.03, 0.07), []
    for _ in range(4000):
        size, way = radius * rng.uniform(0.06, 0.22), rng.uniform(0, 2 * np.pi)
        off = (0.95 * radius - size) * np.sqrt(rng.uniform())
        u, v = off * np.cos(way), off * np.sin(way)
        if len(holes) == 18 or any(math.hypot(u - p, v - q) < size + other + wall for p, q, other in holes):
            continue
        holes.append((u, v, size))
        corners, turn = rng.integers(3, 8), rng.uniform(0, 2 * np.pi)
        hole = (x - u) ** 2 + (y - v) ** 2 < size**2
        for normal in turn + 2 * np.pi * np.arange(corners) / corners:
            height = size * max(0.6, math.cos(math.pi / corners))
            hole &= (x - u) * np.cos(normal) + (y - v) * np.sin(normal) < height
        material &= ~hole
    return material


def made(disc: str, degrees: int, begin: int, size: int) -> tuple[Scan, NDArray[np.bool_]]:
    """Return the readings of a generated disc, simulated on finer pixels and bins, and its truth."""
    angles = np.deg2rad(begin + np.arange(PER_DEGREE * degrees + 1) / PER_DEGREE)
    width = 0.14832 * 512 / size
    A = FanBeam(
        (size, size),
        angles,
        280 * size // 256,
        source_distance=410.66,
        detector_distance=143.08,
        pixel_size=width,
        detector_size=0.4 * 256 / size,
    )
    seed = int(disc.removeprefix(MADE).removeprefix(PACKED))
    truth = (packed if disc.startswith(PACKED) else plate)(seed, 4 * size)
    lengths = detected(torch.from_numpy(truth).float(), A)
    y = -torch.stack([share * torch.exp(-mu * lengths) for share, mu in BEAM]).sum(0).log()
    noise = 0.003 * float(y.max()) * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    return Scan(A, y + noise), truth


def measured(data: Path, disc: str, degrees: int, begin: int, size: int) -> tuple[Scan, NDArray[np.bool_]]:
    """Return a scan of a disc and what it is."""
    if disc.startswith((MADE, PACKED)):
        return made(disc, degrees, begin, size)
    truth = scipy.io.loadmat(data / f"htc2022_{disc}_full_recon_fbp_seg.mat")["reconFullFbpSeg"] > 0
    return arc(data, disc, degrees, begin, size), truth


def row(data: Path, disc: str, degrees: int, begin: int, method: str, size: int) -> dict[str, float | str]:
    """Return score, user seconds and verdict of one reconstruction."""
    (scan, truth), begun = measured(data, disc, degrees, begin, size), time.process_time()
    (last,) = deque(progress(scan, method), maxlen=1)
    image, seconds = last.image().float(), time.process_time() - begun
    result = last.result()
    fine = torch.nn.functional.interpolate(image[None, None], truth.shape, mode="bilinear", align_corners=False)[0, 0]
    facts = None if result.certificate is None else result.certificate.as_dict()
    grade = verdict(statements(facts, result.item_status)).grade
    score = matthews(segment(fine, 2).numpy() > 0, truth)
    return {"score": round(score, 4), "seconds": round(seconds, 1), "verdict": grade}


def table(rows: dict[str, dict[str, float | str]], discs: Sequence[str], size: int) -> str:
    """Return the table of what there is, arcs by discs and methods."""
    lines = [
        f"| {size} x {size}: disc, degrees, from | {' | '.join(METHODS)} | seconds | verdicts |",
        "|---|" + "---|" * 4,
    ]
    scores: dict[tuple[int, str], list[float]] = {}
    for disc, degrees, begin in itertools.product(discs, DEGREES, BEGINS):
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
    return "\n".join(lines) if scores else ""


def key(disc: str, degrees: int, begin: int, method: str, size: int) -> str:
    return f"{disc} {degrees} {begin} {method} {size}"


def of_several_materials(size: int, problems: Sequence[str], count: int) -> str:
    """Return a table of how near to the truth bodies of several materials come out: tuned tv, limited-angle."""
    lines = [f"| {size} x {size} | tv, best of {len(STRENGTHS)} strengths | limited-angle |", "|---|---|---|"]
    for problem in (problem for problem in PROBLEMS if problem.name in problems):
        of = cases(problem, size, "test", count)
        for k, body in enumerate(of.names):
            scan = replace(of.scan, data=of.scan.data[k], noise=of.scan.noise[k], truth=None)
            span = float(of.truth[k].max() - of.truth[k].min())
            tuned = [reconstruct(scan, "tv", strength=strength).x for strength in STRENGTHS]
            best = max(float(psnr(x, of.truth[k], data_range=span)) for x in tuned)
            automatic = float(psnr(reconstruct(scan, "limited-angle").x, of.truth[k], data_range=span))
            lines.append(f"| {problem.name}, {body.replace(' test', '')} | {best:.2f} dB | {automatic:.2f} dB |")
    return "\n".join(lines)


def saved(path: Path) -> dict[str, dict[str, float | str]]:
    """Return the rows of a file, to which other runs may add meanwhile."""
    rows: dict[str, dict[str, float | str]] = json.loads(path.read_text()) if path.exists() else {}
    return rows


def generated(rows: Iterable[str]) -> list[str]:
    """Return the generated discs among rows, in order."""
    return sorted({name.split()[0] for name in rows} - set(DISCS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path())
    parser.add_argument("--bodies", nargs="+", help="problems of the benchmark of several materials, and nothing else")
    parser.add_argument("--count", type=int, default=2, help="how many bodies a problem")
    parser.add_argument("--json", type=Path, default=Path("limited_angle.json"))
    parser.add_argument("--discs", nargs="+", default=DISCS)
    parser.add_argument("--degrees", nargs="+", type=int, default=DEGREES)
    parser.add_argument("--begin", nargs="+", type=int, default=BEGINS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--size", type=int, default=512, help="512, 256 or 128")
    parser.add_argument("--write", action="store_true", help="the rows of the file into the page, and measure nothing")
    asked = parser.parse_args()
    if asked.bodies:
        text = of_several_materials(asked.size, asked.bodies, asked.count)
        rewrite(text, "python benchmarks/limited_angle.py --bodies arc-60 arc-90 --size 64", PAGE)
        print(text)
        return
    units = itertools.product(asked.methods[::-1], asked.degrees, asked.begin, asked.discs)
    for method, degrees, begin, disc in () if asked.write else units:
        name = key(disc, degrees, begin, method, asked.size)
        if name not in saved(asked.json):
            found = row(asked.data, disc, degrees, begin, method, asked.size)
            asked.json.write_text(json.dumps(saved(asked.json) | {name: found}, indent=1))
            print(name, found, flush=True)
    rows = saved(asked.json)
    if asked.write:
        tables = (table(rows, discs, size) for discs in (DISCS, generated(rows)) for size in (256, 512))
        rewrite("\n\n".join(filter(None, tables)), "python benchmarks/limited_angle.py --write", PAGE)
    else:
        print(table(rows, asked.discs, asked.size))
    broken = [name for name, found in rows.items() if found["verdict"] == GREEN and float(found["score"]) < 0.9]
    if broken:
        raise SystemExit(f"green verdicts of images that are not: {', '.join(broken)}")


if __name__ == "__main__":
    main()
