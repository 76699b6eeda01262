"""One picture of a benchmark, for those who look rather than read."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from invprob.benchmark.charts import COLOURS
from invprob.benchmark.images import MethodImages, ProblemImages, problem_images
from invprob.benchmark.results import Results
from invprob.io.atomic import write_whole
from invprob.report.picture import Picture

__all__ = ["save_figure"]

_ROWS = 3  # problems, each of another family
_SIDE = 1.45  # inches of an image
_GREYS = 64  # colours of the file
_LARGEST = 512  # pixels along the longer side of an image; the figure has fewer
_INK = {"truth": "#1c2430", **COLOURS}


def save_figure(path: Path, results: Results) -> bool:
    """Write a PNG with the images of one problem per family; return whether there was anything to show."""
    rows: list[tuple[str, ProblemImages]] = []
    for family in results.families()[::2]:  # neighbours in the table show the same scenes
        problem = next(problem for problem in results.suite.problems if problem.family == family)
        found = problem_images(results, problem)
        if found is not None and len(rows) < _ROWS:
            rows.append((f"{problem.family}\n{problem.title}", found))
    if not rows:
        return False
    columns = max(len(found.columns) for _, found in rows)
    figure = Figure(figsize=(_SIDE * columns + 0.3, (_SIDE + 0.25) * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, found) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, column in zip(line, found.columns, strict=False):
            axes.imshow(_decoded(column.image), cmap="gray", vmin=0, vmax=255)
            axes.set_title(_caption(column), fontsize=8, color=_INK[column.kind], pad=3)
        line[0].text(-0.06, 0.5, title, rotation=90, ha="right", va="center", fontsize=8, transform=line[0].transAxes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    small = Image.open(stream).convert("RGB").quantize(_GREYS, dither=Image.Dither.NONE)
    write_whole(path, lambda partial: small.save(partial, format="PNG", optimize=True), overwrite=True)
    return True


def _caption(column: MethodImages) -> str:
    return column.title if column.psnr is None else f"{column.title} {column.psnr:.1f} dB"


def _decoded(shown: Picture) -> Image.Image:
    return Image.open(io.BytesIO(shown.png(_LARGEST)))
