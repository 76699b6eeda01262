"""Does `half_change` lie where an image is wrong? A tooth from every fourth view, beside its image from all of them.

DATA is a folder with the scan in ct/tooth/tooth.h5 (TomoPy's, 181 views); of the tenth of the pixels with the largest
real difference, the half change is judged by the area under the curve of the receiver operating characteristic.

    python benchmarks/where_not_to_trust.py DATA --write             # the table of docs/verdict.md
    python benchmarks/where_not_to_trust.py DATA --picture tooth.png # to look at
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rewriting import rewrite
from scipy.stats import rankdata
from skimage.filters import threshold_otsu
from torch import Tensor

from invprob import Result, Scan, load_scan, reconstruct
from invprob.judgement import statements, verdict
from invprob.methods.second_look import local_change

METHODS = ("tv", "lpn", "pnp")
EVERY, WORST = 4, 0.1
PAGE = Path(__file__).parents[1] / "docs" / "verdict.md"
COMMAND = "python benchmarks/where_not_to_trust.py DATA --write"
COLOURS = {"good": "green", "fair": "amber", "bad": "red"}


def main() -> None:
    """Reconstruct from all and from few views, and print how well the half change tells where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into docs/verdict.md")
    parser.add_argument("--picture", type=Path, help="image, reference, real difference and half change, side by side")
    options = parser.parse_args()
    full = tooth(options.data, 1)
    few = tooth(options.data, EVERY)
    lines = [
        "| method | verdict | all views | real difference | half change | area, image | area, tooth alone |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = []
    for method in METHODS:
        whole, found = reconstruct(full, method), reconstruct(few, method)
        real = local_change(found.x, whole.x, 2, 2)
        inside = whole.x > float(threshold_otsu(whole.x.numpy()))
        areas = [area_under_curve(found.half_change, real, where) for where in (torch.ones_like(inside), inside)]
        moved = float(torch.dist(found.x, whole.x) / torch.linalg.vector_norm(whole.x))
        changed = float(found.certificate.half_change)
        cells = [
            f"`{method}`",
            said(found),
            said(whole),
            f"{moved:.1%}",
            f"{changed:.1%}",
            *(f"{a:.2f}" for a in areas),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        rows.append([whole.x, found.x, real, found.half_change])
    if options.write:
        rewrite("\n".join(lines), COMMAND, PAGE)
    if options.picture is not None:
        draw(rows, options.picture)


def tooth(data: Path, every: int) -> Scan:
    """Return one slice on 320 x 320 pixels, from every n-th view; the axis is that of all views."""
    path, row = data / "ct" / "tooth" / "tooth.h5", slice(0, 1)
    A = load_scan(path, rows=row).operator
    axis = (A.detectors - 1) / 2 + A.axis_offset
    scan = load_scan(path, rows=row, views=slice(0, None, every), axis=axis, image_shape=(320, 320))
    return replace(scan, data=scan.data[0])


def said(result: Result) -> str:
    """Return colour and residual, as the page has them."""
    facts = result.certificate.as_dict()
    grade = verdict(statements(facts, result.item_status)).grade
    ratio = float(torch.as_tensor(facts["residual_to_noise"]).flatten()[0])
    return f"{COLOURS[grade]}, residual {ratio:.2f} times the noise"


def area_under_curve(score: Tensor, real: Tensor, where: Tensor) -> float:
    """Return how often a pixel of the worst tenth has a higher score than another one (Mann & Whitney 1947)."""
    score, real = score[where], real[where]
    worst = (real >= torch.quantile(real, 1 - WORST)).numpy()
    ranks, n = rankdata(score.numpy()), int(worst.sum())
    return float((ranks[worst].sum() - n * (n + 1) / 2) / (n * (worst.size - n)))


def draw(rows: list[list[Tensor]], path: Path) -> None:
    """Draw a row per method."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 4, figsize=(16, 4 * len(rows)), squeeze=False)
    titles = ("all views", f"every {EVERY}th view", "real difference", "half change")
    for method, of_row, images in zip(METHODS, axes, rows, strict=True):
        top, most = float(images[0].max()), float(np.quantile(images[2].numpy(), 0.998))
        for axis, title, image, limit in zip(of_row, titles, images, (top, top, most, most), strict=True):
            axis.imshow(image.numpy(), cmap="gray", vmin=0, vmax=limit)
            axis.set_title(f"{method}: {title}")
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
