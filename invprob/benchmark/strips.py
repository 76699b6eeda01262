"""The pictures of a problem: truth, direct reconstruction and the best methods, with a zoom and errors on one scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.benchmark.board import Board, Entry
from invprob.benchmark.plan import BASELINE
from invprob.benchmark.problems import Problem, cases
from invprob.report.picture import Picture, show

__all__ = ["Column", "Strip", "strip"]

_SHOWN = 3  # methods besides the truth and the direct reconstruction
_ZOOM = 4  # the zoom shows this part of a side


@dataclass(frozen=True)
class Column:
    """One image with its zoom and its error, and the row of the table that holds its numbers."""

    title: str
    kind: str
    row: str
    psnr: float | None
    image: Picture
    zoom: Picture
    error: Picture | None


@dataclass(frozen=True)
class Strip:
    """The columns of a problem; `window` is the zoom's corner and side as shares of the image, `error` the scale."""

    columns: tuple[Column, ...]
    window: tuple[float, float, float]
    error: float
    image: str  # which scene it is


def strip(board: Board, problem: Problem) -> Strip | None:
    """Return the pictures of the first test image; None as long as nothing is measured."""
    chosen = _chosen(board, problem)
    if not chosen:
        return None
    suite = board.suite
    first = cases(problem, suite.size, "test", 1)
    truth = first.truth[0]
    images = [torch.from_numpy(entry.run.image) for entry in chosen if entry.run.image is not None]
    errors = [image - truth for image in images]
    scale = max(float(error.abs().quantile(0.99)) for error in errors[-_SHOWN:]) or 1.0
    grey = (float(truth.min()), float(truth.max()))
    row, column, side = _busiest(truth)
    cut = (slice(row, row + side), slice(column, column + side))

    def pictures(x: Tensor) -> tuple[Picture, Picture]:
        return show(x, window=grey), show(x[cut], window=grey)

    columns = [Column("truth", "truth", "", None, *pictures(truth), None)]
    for entry, image, error in zip(chosen, images, errors, strict=True):
        shown = show(error, window=(-scale, scale), colours="RdBu_r")
        level = entry.run.columns["psnr"][0]
        columns.append(
            Column(entry.method.name, entry.method.kind, entry.row(entry.mode), level, *pictures(image), shown)
        )
    window = (column / suite.size, row / suite.size, side / suite.size)
    return Strip(tuple(columns), window, scale, first.names[0])


def _chosen(board: Board, problem: Problem) -> list[Entry]:
    """Return the direct reconstruction, and the best methods, a learned and a classical one among them if there are."""
    ranking = [entry for entry in board.ranking(problem) if entry.measured]
    direct = [entry for entry in ranking if entry.method.name == BASELINE]
    others = [entry for entry in ranking if entry.method.kind != "baseline"]
    first = [next((e for e in others if e.method.kind == kind), None) for kind in ("learned", "classical", "peer")]
    picked = [entry for entry in first if entry is not None][:_SHOWN]
    picked += [entry for entry in others if entry not in picked][: _SHOWN - len(picked)]
    return direct + sorted(picked, key=others.index)


def _busiest(truth: Tensor) -> tuple[int, int, int]:
    """Return the corner and the side of the window with the strongest edges, in the middle half of the image."""
    size = truth.shape[-1]
    side = max(8, size // _ZOOM)
    slope = truth.diff(dim=0)[:, :-1].abs() + truth.diff(dim=1)[:-1].abs()
    total = torch.nn.functional.avg_pool2d(slope[None, None].double(), side - 1, stride=1)[0, 0]
    edge = min(size // 8, (len(total) - 1) // 2)
    inner = total[edge : len(total) - edge, edge : len(total) - edge]
    row, column = divmod(int(inner.argmax()), inner.shape[1])
    return row + edge, column + edge, side
