"""Which rays of a scan are mirror images of each other, so that one path serves up to eight copies of the image.

A quarter turn or a mirror g of the pixel grid turns a ray into a ray. The integral of x along g(ray) is that of the
copy x(g .) along the ray itself. So of every orbit of rays one is walked, through all copies at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
STEP, COPY = 1.0, 1.0  # time of one step of a ray, of writing one pixel of one copy


class Turn(NamedTuple):
    """A symmetry of the square: (x, y) -> (x, -y) if mirrored, then `quarters` quarter turns counter-clockwise."""

    quarters: int
    mirrored: bool

    def matrix(self) -> Array:
        """Return the 2 x 2 matrix, of whole numbers."""
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.quarters]
        return np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if self.mirrored else 1])

    def angle(self, angles: Array) -> Array:
        """Return where a source at these angles comes to stand; a mirror also turns the detector round."""
        return (np.pi - angles if self.mirrored else angles) + self.quarters * np.pi / 2


IDENTITY = Turn(0, False)


class PixelMap(NamedTuple):
    """Where a copy of an image takes its pixels: copy[a] = image[linear @ a + shift] for a = (row, column)."""

    linear: Array
    shift: Array

    def inverse(self) -> PixelMap:
        """Return where the image finds its pixels in the copy."""
        return PixelMap(self.linear.T, -self.linear.T @ self.shift)

    def strides(self, width: int) -> tuple[int, int, int]:
        """Return (offset, per row, per column) of the places in a flattened array of so many columns."""
        row, column = np.array([width, 1]) @ self.linear
        return int(np.array([width, 1]) @ self.shift), int(row), int(column)


def pixel_map(turn: Turn, image_shape: tuple[int, int], *, transposed: bool) -> PixelMap:
    """Return the map of the copy x(turn .) of an image (H, W), or of that copy's transpose."""
    to_plane = np.array([[0, 1], [-1, 0]])  # (row, column) from the centre -> (x, y)
    linear = to_plane.T @ turn.matrix() @ to_plane
    centre = np.array(image_shape) - 1  # twice the middle
    shift = (centre - linear @ (centre[::-1] if turn.quarters % 2 else centre)) // 2
    return PixelMap(linear[:, ::-1] if transposed else linear, shift)


@dataclass(frozen=True)
class Orbits:
    """The rays to walk, and for each of them which ray it is in each copy (-1 for none), (rays, turns)."""

    rays: Array
    members: Array
    turns: tuple[Turn, ...]

    @classmethod
    def none(cls, count: int) -> Orbits:
        """Return every one of `count` rays by itself."""
        rays = np.arange(count)
        return cls(rays, rays[:, None], (IDENTITY,))


@dataclass(frozen=True)
class Cover:
    """Half detectors of views, number 2 view + half, that are walked, and what each turn makes of them.

    `images` (units, turns) are the half detectors whose rays are found on the way, -1 for none. The first half of
    `detectors` bins ends before the bin `split`.
    """

    units: Array
    images: Array
    turns: tuple[Turn, ...]
    detectors: int
    split: int

    @property
    def walked(self) -> int:
        """How many rays are walked."""
        seconds = int(np.count_nonzero(self.units % 2))
        return (len(self.units) - seconds) * self.split + seconds * (self.detectors - self.split)

    def orbits(self) -> Orbits:
        """Return the same ray by ray."""
        rays, members = [], []
        for unit, images in zip(self.units, self.images, strict=True):
            bins = np.arange(self.split) if unit % 2 == 0 else np.arange(self.split, self.detectors)
            rays.append(unit // 2 * self.detectors + bins)
            members.append(np.stack([self._members(int(unit), int(image), bins) for image in images], axis=1))
        return Orbits(np.concatenate(rays), np.concatenate(members), self.turns)

    def _members(self, unit: int, image: int, bins: Array) -> Array:
        """Return the rays that the bins of a unit become; the middle bin of a flipped detector is left to its view."""
        if image < 0:
            return np.full(len(bins), -1)
        places = bins if unit % 2 == image % 2 else self.detectors - 1 - bins
        return np.where((places < self.split) == (image % 2 == 0), image // 2 * self.detectors + places, -1)


def find_cover(
    angles: Array,
    detectors: int,
    image_shape: tuple[int, int],
    *,
    centred: bool,
    reversible: bool,
    tolerance: float,
) -> Cover:
    """Return the cover that costs least, of rays numbered (angle, detector), in time that only the views decide.

    `centred`: the detector is its own mirror image about the axis; `reversible`: the ray (angle + pi, -s) is the ray
    (angle, s), as for parallel beams. Angles count as equal to `tolerance`.
    """
    partners = _Partners(np.asarray(angles), detectors, centred, reversible, tolerance)

    def cost(found: Cover) -> float:
        return STEP * found.walked * max(image_shape) + COPY * len(found.turns) * image_shape[0] * image_shape[1]

    return min((partners.cover(turns) for turns in _candidates(image_shape)), key=cost)


def _candidates(image_shape: tuple[int, int]) -> list[tuple[Turn, ...]]:
    """Return the sets of turns worth trying: the groups of a rectangle or a square, and a quarter turn alone."""
    quarters = range(4) if image_shape[0] == image_shape[1] else (0, 2)
    mirrors = [Turn(k, True) for k in quarters]
    rotations = [Turn(k, False) for k in quarters]
    pairs = [(IDENTITY, turn) for turn in (*rotations[1:], *mirrors)]
    return [(IDENTITY,), *pairs, tuple(rotations), (*rotations, *mirrors)]


class _Partners:
    """Half detectors of views as units, number 2 view + half, and which unit a turn makes of a unit."""

    def __init__(self, angles: Array, detectors: int, centred: bool, reversible: bool, tolerance: float) -> None:
        self.angles, self.detectors = np.mod(angles, 2 * np.pi), detectors
        self.centred, self.reversible, self.tolerance = centred, reversible, tolerance
        self.order = np.argsort(self.angles, kind="stable")
        self.split = (detectors + 1) // 2 if centred else detectors

    def cover(self, turns: Sequence[Turn]) -> Cover:
        """Return a cover of all units by orbits of single ones, found in order; turns never used are left out."""
        views = len(self.angles)
        units = [2 * v + half for half in range(2 if self.split < self.detectors else 1) for v in range(views)]
        found = [self._images(turn) for turn in turns]
        done = np.zeros(2 * views, bool)
        chosen: list[tuple[int, list[int]]] = []
        for unit in units:
            if done[unit]:
                continue
            row = []
            for options in found:
                free = next((int(o[unit]) for o in options if o[unit] >= 0 and not done[o[unit]]), -1)
                row.append(free)
                if free >= 0:
                    done[free] = True
            chosen.append((unit, row))
        images = np.array([row for _, row in chosen])
        used = np.flatnonzero((images >= 0).any(axis=0))
        walked = np.array([unit for unit, _ in chosen])
        return Cover(walked, images[:, used], tuple(turns[int(k)] for k in used), self.detectors, self.split)

    def _images(self, turn: Turn) -> list[Array]:
        """Return the units that a turn makes of all units, -1 for none: as they come, and read backwards."""
        own = np.arange(2 * len(self.angles))  # also where another view has the same angle
        images = [own if turn == IDENTITY else self._lookup(turn.angle(self.angles), turn.mirrored)]
        if self.reversible:
            images.append(self._lookup(turn.angle(self.angles) + np.pi, not turn.mirrored))
        return images

    def _lookup(self, wanted: Array, flipped: bool) -> Array:
        """Return the unit at each wanted angle, flipped (only a first half may become a second) or not."""
        full = 2 * np.pi
        target = np.mod(wanted, full)
        ring = np.concatenate([self.angles[self.order] - full, self.angles[self.order], self.angles[self.order] + full])
        at = np.searchsorted(ring, target - self.tolerance)
        hit = np.abs(ring[at] - target) <= self.tolerance
        view = np.where(hit, self.order[at % len(self.order)], -1)
        first, second = (2 * view + 1, np.full_like(view, -1)) if flipped else (2 * view, 2 * view + 1)
        if flipped and not self.centred:
            first = second
        units = np.stack([first, second], axis=1)
        units[view < 0] = -1
        return units.reshape(-1)
