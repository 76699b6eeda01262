"""The pictures of a problem: truth, direct reconstruction and the best methods, with a zoom and errors on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from invprob.benchmark.plan import BASELINE
from invprob.benchmark.problems import Problem, cases
from invprob.benchmark.results import Entry, Results
from invprob.report.picture import Picture, bulk, show

__all__ = ["MethodImages", "ProblemImages", "problem_images"]

_SHOWN = 3  # methods besides the truth and the direct reconstruction
_ZOOM = 4  # the zoom shows this part of a side
_SIGNED, _UNSIGNED = "RdBu_r", "Reds"  # colours of errors: with a sign, and sizes of those in colour or complex
_UNSURE = "viridis"


@dataclass(frozen=True, eq=False)
class MethodImages:
    """One image with its zoom and its error, and the row of the table that holds its numbers.

    `phase` is there for complex images, whose magnitude is shown otherwise, `spread` where a method tells how sure it
    is of every pixel, `sample` where it draws from the posterior.
    """

    title: str
    kind: str
    row: str
    psnr: float | None
    image: Picture
    zoom: Picture
    phase: Picture | None
    error: Picture | None
    spread: Picture | None
    sample: Picture | None


@dataclass(frozen=True, eq=False)
class ProblemImages:
    """The columns of a problem; `window` is left, top, width and height of the zoom as shares of the picture.

    Errors are shown from `low` to `high`.
    """

    columns: tuple[MethodImages, ...]
    window: tuple[float, float, float, float]
    low: float
    high: float
    scene: str
    about: str  # the kind of images

    @property
    def caption(self) -> str:
        """Which part of the images is shown, such as "slice 20 of 40"; nothing where it is all of them."""
        return self.columns[0].image.caption

    @property
    def ratio(self) -> float:
        """Width over height of the pictures."""
        width, height = self.columns[0].image.size
        return width / height


def problem_images(results: Results, problem: Problem) -> ProblemImages | None:
    """Return the pictures of the first test image; None as long as nothing is measured."""
    chosen = _chosen(results, problem)
    if not chosen:
        return None
    first = cases(problem, results.suite.size, "test", 1)
    A, truth = first.scan.operator, first.truth[0]
    view = partial(show, ndim=truth.ndim, grid=A.grid, channels=A.channels)
    images = [torch.from_numpy(entry.run.image) for entry in chosen if entry.run.image is not None]
    errors = [image - truth for image in images]
    signed = A.channels != "colour" and not any(error.is_complex() for error in errors)
    scale = max(bulk(error, 0.99) for error in errors[-_SHOWN:])
    low = -scale if signed else 0.0
    plane = torch.from_numpy(view(truth).values)
    row, column, height, width = _busiest(plane.mean(-1) if plane.ndim == 3 else plane)
    grey = _range(truth)

    def shown(x: Tensor) -> tuple[Picture, Picture, Picture | None]:
        cut = x[..., row : row + height, column : column + width]
        return view(x, window=grey), view(cut, window=grey), view(x, part="phase") if truth.is_complex() else None

    def size(x: Tensor, colours: str) -> Picture:
        """Show magnitudes, of colours their root mean square."""
        if A.channels != "colour":
            return view(x, part="magnitude", window=(0.0, scale), colours=colours)
        return show(x.abs().square().mean(0).sqrt(), grid=A.grid, window=(0.0, scale), colours=colours)

    columns = [MethodImages("truth", "truth", "", None, *shown(truth), None, None, None)]
    for entry, image, error in zip(chosen, images, errors, strict=True):
        level, spread, sample = entry.run.columns["psnr"][0], entry.run.spread, entry.run.sample
        wrong = view(error, window=(low, scale), colours=_SIGNED) if signed else size(error, _UNSIGNED)
        unsure = None if spread is None else size(torch.from_numpy(spread), _UNSURE)
        drawn = None if sample is None else view(torch.from_numpy(sample), window=grey)
        name = entry.method.name, entry.method.kind, entry.row(entry.mode)
        columns.append(MethodImages(*name, level, *shown(image), wrong, unsure, drawn))
    rows, wide = plane.shape[:2]
    window = (column / wide, row / rows, width / wide, height / rows)
    return ProblemImages(tuple(columns), window, low, scale, first.names[0], first.about)


def _chosen(results: Results, problem: Problem) -> list[Entry]:
    """Return the direct reconstruction, and the best methods, a learned and a classical one among them if there are."""
    ranking = [entry for entry in results.ranking(problem) if entry.measured]
    direct = [entry for entry in ranking if entry.method.name == BASELINE]
    others = [entry for entry in ranking if entry.method.kind != "baseline"]
    first = [next((e for e in others if e.method.kind == kind), None) for kind in ("learned", "classical", "peer")]
    picked = [entry for entry in first if entry is not None][:_SHOWN]
    picked += [entry for entry in others if entry not in picked][: _SHOWN - len(picked)]
    return direct + sorted(picked, key=others.index)


def _range(truth: Tensor) -> tuple[float, float]:
    """Return the values shown as black and white."""
    if truth.is_complex():
        return 0.0, float(truth.abs().max())
    return float(truth.min()), float(truth.max())


def _busiest(truth: Tensor) -> tuple[int, int, int, int]:
    """Return corner, height and width of the window with the strongest edges, in the middle half of a picture (H, W).

    It is a square, but for pictures that are narrower than one.
    """
    side = max(8, max(truth.shape) // _ZOOM)
    height, width = (min(side, n) for n in truth.shape)
    slope = truth.diff(dim=0)[:, :-1].abs() + truth.diff(dim=1)[:-1].abs()
    total = torch.nn.functional.avg_pool2d(slope[None, None].double(), (height - 1, width - 1), stride=1)[0, 0]
    top, left = (min(n // 8, (k - 1) // 2) for n, k in zip(truth.shape, total.shape, strict=True))
    inner = total[top : total.shape[0] - top, left : total.shape[1] - left]
    row, column = divmod(int(inner.argmax()), inner.shape[1])
    return row + top, column + left, height, width
