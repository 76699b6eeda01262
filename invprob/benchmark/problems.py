"""The problems: a small table. A row is an instrument, families of scenes, and noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from invprob.benchmark.instruments import Instrument, blur, box, camera, coarse, compressed, ct, gauss, holes, motion
from invprob.benchmark.noise import Noise, coloured, gaussian, photons
from invprob.benchmark.scenes import FAMILIES, Scene, seeded
from invprob.scan import Scan

__all__ = ["PROBLEMS", "QUICK", "Cases", "Problem", "case_names", "cases"]

BODIES, PICTURES = ("organs", "ellipses"), ("leaves", "organs", "text")


@dataclass(frozen=True)
class Problem:
    """`name` and `title` for people, `family` for the verdicts; `instrument(size)` measures, `noise` spoils.

    `scenes` are names of `FAMILIES`, which take turns. All parts pickle, as they go to other processes.
    """

    name: str
    family: str
    title: str
    instrument: Callable[[int], Instrument]
    scenes: tuple[str, ...]
    noise: Noise


@dataclass(frozen=True, eq=False)
class Cases:
    """Several scans of one operator as a batch, with the truths; `names` say which scene each is."""

    scan: Scan
    names: tuple[str, ...]

    @property
    def truth(self) -> Tensor:
        """The true images, (count, size, size)."""
        if self.scan.truth is None:
            raise ValueError("the cases of a benchmark know their truth")
        return self.scan.truth


@lru_cache(maxsize=8)
def cases(problem: Problem, size: int, purpose: str, count: int) -> Cases:
    """Return the first `count` cases for a purpose, "test" or "validation", whose scenes and noise never meet.

    A scene depends on family, purpose and number alone, so that problems share scenes and can be compared. The last
    few are remembered, with what their operators have computed of themselves.
    """
    tool = problem.instrument(size)
    names = case_names(problem, purpose, count)
    scenes: list[Scene] = [FAMILIES[name.split()[0]](size, seeded(name)) for name in names]
    clean = torch.stack([tool.measure(scene) for scene in scenes])
    spoilt = [problem.noise(y, seeded("noise", problem.name, name)) for y, name in zip(clean, names, strict=True)]
    data, noise, weights = zip(*spoilt, strict=True)
    weighted = weights[0] is not None
    scan = Scan(
        operator=tool.operator,
        data=torch.stack(data),
        noise=torch.stack(noise),
        truth=torch.stack([scene.truth for scene in scenes]),
        weights=torch.stack(weights) if weighted else None,
    )
    return Cases(scan, names)


def case_names(problem: Problem, purpose: str, count: int) -> tuple[str, ...]:
    """Return "FAMILY PURPOSE NUMBER" for each case, which is also the key of its random numbers."""
    return tuple(f"{problem.scenes[k % len(problem.scenes)]} {purpose} {k}" for k in range(count))


_ONE_PERCENT = partial(gaussian, level=0.01)
_DEGREE = math.pi / 180
_SPARSE, _LIMITED, _DOSE, _BLUR = "sparse-view CT", "limited-angle CT", "low-dose CT", "deblurring"
_HOLES, _FINER, _FEW = "inpainting", "super-resolution", "compressed sensing"

PROBLEMS: tuple[Problem, ...] = (
    Problem("ct-60", _SPARSE, "60 views", partial(ct, views=60), BODIES, _ONE_PERCENT),
    Problem("ct-30", _SPARSE, "30 views", partial(ct, views=30), BODIES, _ONE_PERCENT),
    Problem("ct-18", _SPARSE, "18 views", partial(ct, views=18), BODIES, _ONE_PERCENT),
    Problem("arc-90", _LIMITED, "90 degrees", partial(ct, views=60, arc=90 * _DEGREE), BODIES, _ONE_PERCENT),
    Problem("arc-60", _LIMITED, "60 degrees", partial(ct, views=40, arc=60 * _DEGREE), BODIES, _ONE_PERCENT),
    Problem("dose-1e4", _DOSE, "10 000 photons per ray", partial(ct, views=90), BODIES, partial(photons, count=1e4)),
    Problem("dose-1e3", _DOSE, "1 000 photons per ray", partial(ct, views=90), BODIES, partial(photons, count=1e3)),
    Problem("fan-45", "fan-beam CT", "45 views", partial(ct, views=45, fan=True), BODIES, _ONE_PERCENT),
    Problem("blur-gaussian", _BLUR, "Gaussian blur", partial(blur, kernel=gauss), PICTURES, _ONE_PERCENT),
    Problem("blur-motion", _BLUR, "motion blur", partial(blur, kernel=motion), PICTURES, _ONE_PERCENT),
    Problem("noise-coloured", "denoising", "coloured noise", camera, PICTURES, partial(coloured, level=0.1, slope=0.5)),
    Problem("holes-random", _HOLES, "80 % of the pixels missing", partial(holes, seen=0.2), PICTURES, _ONE_PERCENT),
    Problem("holes-box", _HOLES, "a box missing", box, PICTURES, _ONE_PERCENT),
    Problem("finer-2", _FINER, "pixels twice as fine", partial(coarse, factor=2), PICTURES, _ONE_PERCENT),
    Problem("finer-4", _FINER, "pixels four times as fine", partial(coarse, factor=4), PICTURES, _ONE_PERCENT),
    Problem("few-4", _FEW, "one number for 4 pixels", partial(compressed, pixels=4), PICTURES, _ONE_PERCENT),
    Problem("few-16", _FEW, "one number for 16 pixels", partial(compressed, pixels=16), PICTURES, _ONE_PERCENT),
)
QUICK = ("ct-30", "dose-1e3", "blur-gaussian", "noise-coloured", "holes-random", "finer-2")
