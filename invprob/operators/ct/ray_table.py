"""The rays of a geometry as Joseph's projector walks them: four numbers each, worked out once for an image grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.operators.ct.symmetry import Orbits, Turn, pixel_map

Array = NDArray[Any]
Lines = Callable[[Array], tuple[Array, Array]]
LANES = 16  # images side by side: one register, or a few
PREPARED = 1024  # rays that are worked out at a time
WORTH = 500_000  # steps of rays that are worth the start of one more thread
PAD_LEFT, PAD_RIGHT = 1, 2  # zero border that makes clamped reads harmless


@dataclass(frozen=True)
class RayFamily:
    """Rays that step over the same axis: position(row) = start + slope * row in pixels, `length` per step.

    A ray meets the image in the rows `enter` .. `leave`. The rays see `steps` rows of `across` pixels; `turned` says
    that these are the image's columns. `members` (rays, copies) is the place of each ray in the flattened sinogram,
    copy by copy; `maps` (copies, 3) where the flattened copies take their pixels as offset, per row, per column, and
    `inverses` where the image finds them in the padded copies.
    """

    start: Array
    slope: Array
    length: Array
    enter: Array
    leave: Array
    members: Array
    maps: Array
    inverses: Array
    steps: int
    across: int
    turned: bool


@dataclass(frozen=True)
class RayTable:
    """All rays of a geometry for one image grid: those stepping over rows and those stepping over columns."""

    families: tuple[RayFamily, ...]
    image_shape: tuple[int, int]
    count: int
    turns: tuple[Turn, ...]

    @classmethod
    def build(
        cls,
        lines: Lines,
        count: int,
        image_shape: tuple[int, int],
        pixel_size: float,
        dtype: Any,
        orbits: Orbits | None = None,
        steep: Array | None = None,
    ) -> RayTable:
        """Return the table of `count` rays, worked out in float64, some at a time: the table is all that takes memory.

        Arguments:
            lines: returns points on rays of given numbers and directions, (n, 2) each as (x, y) in length units.
            count: how many rays there are.
            image_shape: (H, W).
            pixel_size: the side of a pixel.
            dtype: the precision of the table.
            orbits: which rays are walked; by default all.
            steep: which rays step over rows, by default those that are steeper to them.
        """
        height, width = image_shape
        walked = count if orbits is None else len(orbits.rays)
        turns = Orbits.none(0).turns if orbits is None else orbits.turns
        parts = [slice(first, min(first + PREPARED, walked)) for first in range(0, walked, PREPARED)]

        def numbers(part: slice) -> Array:
            return np.arange(part.start, part.stop) if orbits is None else orbits.rays[part]

        def is_steep(part: slice) -> Array:
            rays = numbers(part)
            return _steeper(lines(rays)[1] / pixel_size) if steep is None else steep[rays]

        down = [int(np.count_nonzero(is_steep(part))) for part in parts]
        over_rows = _Draft(sum(down), turns, image_shape, dtype, turned=False)
        over_columns = _Draft(walked - sum(down), turns, image_shape, dtype, turned=True)
        for part in parts:
            rays = numbers(part)
            members = rays[:, None] if orbits is None else orbits.members[part]
            points, directions = lines(rays)
            column = points[:, 0] / pixel_size + (width - 1) / 2
            row = (height - 1) / 2 - points[:, 1] / pixel_size
            dc, dr = directions[:, 0] / pixel_size, -directions[:, 1] / pixel_size
            chosen = is_steep(part)
            over_rows.add(chosen, row, dr, column, dc, members, pixel_size)
            over_columns.add(~chosen, column, dc, row, dr, members, pixel_size)
        found = tuple(draft.family for draft in (over_rows, over_columns) if draft.filled)
        return cls(found, image_shape, count, turns)

    @property
    def copies(self) -> int:
        """How many copies of an image are walked at once."""
        return len(self.turns)

    def steep(self) -> Array:
        """Return which rays, of all, step over the rows of the image."""
        flags = np.zeros(self.count, bool)
        for family in self.families:
            for turn, members in zip(self.turns, family.members.T, strict=True):
                flags[members[members >= 0]] = family.turned == bool(turn.quarters % 2)
        return flags

    def threads(self, items: int, most: int) -> int:
        """Return how many threads the work is worth, `most` at most."""
        steps = sum(len(family.start) * family.steps for family in self.families)
        return max(1, min(most, items * steps // WORTH))

    def passes(self, items: int) -> Iterator[tuple[slice, int]]:
        """Deal out a batch: which items are worked on together, and in how many lanes (a power of two)."""
        together = max(1, LANES // self.copies)
        for first in range(0, items, together):
            chosen = slice(first, min(first + together, items))
            yield chosen, 1 << ((chosen.stop - first) * self.copies - 1).bit_length()


class _Draft:
    """A family of rays with room for so many, which is filled part by part."""

    def __init__(self, count: int, turns: tuple[Turn, ...], image_shape: tuple[int, int], dtype: Any, *, turned: bool):
        height, width = image_shape
        steps, size = (width, height) if turned else (height, width)
        found = [pixel_map(turn, image_shape, transposed=turned) for turn in turns]
        inverses = np.array([m.inverse().strides(PAD_LEFT + size + PAD_RIGHT) for m in found])
        inverses[:, 0] += PAD_LEFT
        start, slope, length = (np.empty(count, dtype) for _ in range(3))
        enter, leave = (np.empty(count, np.int32) for _ in range(2))
        members, maps = np.empty((count, len(turns)), np.int32), np.array([m.strides(width) for m in found])
        self.family = RayFamily(start, slope, length, enter, leave, members, maps, inverses, steps, size, turned)
        self.filled = 0

    def add(
        self,
        chosen: Array,
        along: Array,
        step: Array,
        across: Array,
        drift: Array,
        members: Array,
        pixel_size: float,
    ) -> None:
        """Add the chosen rays: where they are and go along the axis that they step over, and across it."""
        family, first = self.family, self.filled
        slope = drift[chosen] / step[chosen]
        start = across[chosen] - slope * along[chosen]
        place = slice(first, first + len(slope))
        family.start[place], family.slope[place] = start, slope
        family.length[place] = pixel_size * np.sqrt(1 + slope**2)
        family.enter[place], family.leave[place] = _meets(start, slope, family.steps, family.across)
        family.members[place] = members[chosen]
        self.filled = place.stop


def _steeper(directions: Array) -> Array:
    """Return which rays cross more rows than columns."""
    found: Array = np.abs(directions[:, 1]) >= np.abs(directions[:, 0])
    return found


def _meets(start: Array, slope: Array, steps: int, across: int) -> tuple[Array, Array]:
    """Return the rows enter .. leave (not included) in which -1 <= start + slope * row <= across."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(-1 - start) / slope, (across - start) / slope])
    level = slope == 0
    ends[:, level] = np.where((start[level] >= -1) & (start[level] <= across), [[0], [steps]], -1)
    enter = np.clip(np.ceil(ends.min(axis=0)), 0, steps).astype(np.int32)
    leave = np.clip(np.floor(ends.max(axis=0)) + 1, enter, steps).astype(np.int32)
    return enter, leave
