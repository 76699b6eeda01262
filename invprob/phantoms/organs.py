"""Random textured phantoms that look like CT slices of a chest or an abdomen.

The patient lies on the back and is seen from the feet: front up, the patient's right at the left. The
values are a display window, not attenuation: air 0, fat 1/3, soft tissue about 1/2, dense bone near 1.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from invprob.phantoms.plane import Plane, random_field
from invprob.phantoms.random import as_generator, uniform

__all__ = ["organ"]

_AIR, _LUNG, _FAT, _FLUID, _MUSCLE, _SPONGY, _CORTICAL = 0.0, 0.12, 0.32, 0.45, 0.52, 0.70, 0.95
_CAVITY_A, _CAVITY_B, _CAVITY_POWER, _WALL = 0.74, 0.52, 2.3, 0.07


def organ(shape: tuple[int, int], generator: int | torch.Generator, *, batch: tuple[int, ...] = ()) -> Tensor:
    """Return random CT-like slices of a body, textured organs and bones, (*batch, H, W) float32 in [0, 1].

    Each item is a new chest or abdomen, drawn one after the other: `batch=(n,)` gives what n calls with one
    generator give. The body fits the shorter image edge, and a seed shows the same body at every resolution:
    for data without an inverse crime measure a fine image and take its block means as the truth. Raises
    `ValueError` for an empty image.
    """
    height, width = shape
    if min(height, width) < 1:
        raise ValueError(f"organ: shape must be (H, W) with at least one pixel each, got {tuple(shape)}")
    generator = as_generator(generator)
    plane = Plane.of((height, width))
    items = [_slice(plane, generator) for _ in range(math.prod(batch))]
    return torch.cat(items or [plane.x[:0]]).reshape(*batch, height, width).to(torch.float32)


def _slice(plane: Plane, generator: torch.Generator) -> Tensor:
    scene = _Scene(plane, generator)
    cavity = _paint_trunk(scene)
    if scene.draw(0, 1) < 0.5:
        _paint_chest(scene, cavity)
    else:
        _paint_abdomen(scene, cavity)
    _paint_spine(scene)
    return scene.image.clamp(0, 1)


class _Scene:
    """The image in the making, with its coordinates, textures and random numbers.

    Bones are painted on the plane `bony`, soft organs on the more deformed plane `soft`.
    """

    def __init__(self, plane: Plane, generator: torch.Generator) -> None:
        def field(corner: float, slope: float, modes: int) -> Tensor:
            return random_field(plane, generator, corner=corner, slope=slope, modes=modes)

        self._generator = generator
        turn = cmath.rect(1, self.draw(-0.1, 0.1))
        x, y = plane.x - self.draw(-0.03, 0.03), plane.y - self.draw(-0.03, 0.03)
        x, y = x * turn.real + y * turn.imag, y * turn.real - x * turn.imag
        upright = Plane(x * self.draw(1.02, 1.15), y * self.draw(0.9, 1.1), plane.pixel)
        self.bony = upright.warped(0.02 * field(2, 4, 6), 0.02 * field(2, 4, 6))
        self.soft = self.bony.warped(0.035 * field(4, 4, 16), 0.035 * field(4, 4, 16))
        self.swell = field(2, 4, 6)
        self.texture = field(5, 2.5, 48) + field(40, 1, 96)
        self.image = torch.full_like(plane.x, _AIR)

    def draw(self, low: float, high: float) -> float:
        """One uniform random number."""
        return float(uniform(self._generator, low, high))

    def near(self, value: float, spread: float = 0.1) -> float:
        """`value` varied by the relative `spread`."""
        return value * self.draw(1 - spread, 1 + spread)

    def fill(self, region: Tensor, level: float | Tensor, texture: float = 0.01) -> None:
        """Paint a tissue of mean `level` and contrast `texture`."""
        tissue = level + texture * self.texture
        self.image = self.image + self.bony.coverage(region) * (tissue - self.image)

    def organ(self, region: Tensor, level: float | Tensor, texture: float = 0.01) -> None:
        """Paint an organ and the thin layer of fat that parts it from its neighbours."""
        self.fill(region - 0.008, _FAT)
        self.fill(region, level, texture)

    def bone(self, region: Tensor, shell: float = 0.01) -> None:
        """Paint a bone: a dense shell of that thickness around a spongy core."""
        self.fill(region, _CORTICAL)
        self.fill(region + shell, self.near(_SPONGY, 0.06), 0.04)

    def vessels(self, organ: Tensor, trunk: tuple[complex, float, float, float], depth: int) -> Tensor:
        """Region of a tree of vessels in an organ; `trunk`: its root x + iy, heading, length and width."""
        inside = organ < -0.01
        plane = self.soft.where(inside)
        distance = torch.full_like(plane.x, math.inf)
        for start, end, width in self._branches(*trunk, depth):
            distance = torch.minimum(distance, plane.segment(start, end, width))
        return torch.full_like(organ, math.inf).masked_scatter(inside, distance)

    def _branches(
        self, start: complex, heading: float, length: float, width: float, depth: int
    ) -> Iterator[tuple[complex, complex, float]]:
        end = start + cmath.rect(self.near(length, 0.3), heading)
        if self.draw(0, 1) < 0.65:  # the others run outside the slice
            yield start, end, width
        if depth > 1:
            for side in (-1, 1):
                fork = heading + side * self.draw(0.25, 0.8)
                yield from self._branches(end, fork, 0.8 * length, 0.6 * width, depth - 1)


def _paint_trunk(scene: _Scene) -> Tensor:
    """Paint skin, fat, and the muscle wall with its ribs; return the region of the cavity inside."""
    cavity = scene.bony.ellipse(0, 0, _CAVITY_A, _CAVITY_B, power=_CAVITY_POWER)
    fat = scene.draw(0.04, 0.11) * (1 + 0.2 * scene.swell)
    skin = cavity - _WALL - fat
    scene.fill(skin, 0.48)
    scene.fill(skin + 0.012, _FAT, 0.015)
    scene.fill(cavity - _WALL, _MUSCLE, 0.015)
    scene.fill(cavity, _FAT, 0.012)
    _paint_ribs(scene)
    return cavity + 0.01


def _paint_ribs(scene: _Scene) -> None:
    a, b = _CAVITY_A + _WALL / 2, _CAVITY_B + _WALL / 2
    count = int(scene.draw(9, 14))
    for k in range(count):
        angle = 2 * math.pi * (k + scene.draw(-0.25, 0.25)) / count
        cos, sin = math.cos(angle), math.sin(angle)
        if abs(sin) > 0.85:  # the sternum and the spine are there
            continue
        r = (abs(cos / a) ** _CAVITY_POWER + abs(sin / b) ** _CAVITY_POWER) ** (-1 / _CAVITY_POWER)
        tangent = math.atan2(b * cos, -a * sin) + scene.draw(-0.1, 0.1)
        scene.bone(scene.bony.ellipse(r * cos, r * sin, scene.draw(0.04, 0.12), scene.near(0.026), tangent))


def _paint_spine(scene: _Scene) -> None:
    bony, y = scene.bony, -0.28
    for side in (-1, 1):
        muscle = scene.soft.ellipse(side * 0.15, y - 0.17, 0.14, 0.1, side * 0.3)
        scene.organ(muscle, _MUSCLE, 0.025)
    for side in (-1, 1):
        scene.bone(bony.ellipse(side * 0.15, y - 0.12, 0.11, 0.028, -side * scene.draw(0.2, 0.5)))
    scene.bone(bony.ellipse(0, y - 0.21, 0.03, 0.1))
    scene.fill(bony.ellipse(0, y - 0.11, 0.085, 0.075), _CORTICAL)
    scene.bone(bony.ellipse(0, y, scene.near(0.125), scene.near(0.095), power=2.5), 0.014)
    scene.fill(bony.ellipse(0, y - 0.115, 0.055, 0.045), 0.5)


def _paint_chest(scene: _Scene, cavity: Tensor) -> None:
    soft = scene.soft
    scene.fill(cavity, 0.42, 0.015)
    for side in (-1, 1):
        _paint_lung(scene, cavity, side)
    blood = scene.draw(0.52, 0.68)  # as bright as muscle, or brighter by a contrast agent
    scene.organ(soft.ellipse(0.1, 0.12, scene.near(0.27), scene.near(0.2), -0.5), _MUSCLE)
    scene.fill(soft.ellipse(0.17, 0.1, 0.12, 0.07, -0.6), blood)
    scene.fill(soft.ellipse(-0.02, 0.18, 0.09, 0.07, 0.4), blood)
    scene.organ(soft.ellipse(0.12, -0.18, 0.065, 0.065), blood)
    scene.organ(soft.ellipse(0.02, -0.12, 0.04, 0.03), _MUSCLE)
    scene.bone(scene.bony.ellipse(0, _CAVITY_B + 0.02, scene.near(0.13), 0.035), 0.012)


def _paint_lung(scene: _Scene, cavity: Tensor, side: int) -> None:
    centre = side * scene.near(0.4, 0.05)
    lung = scene.soft.ellipse(centre, 0.0, scene.near(0.3), scene.near(0.5), -0.15 * side)
    lung = torch.maximum(lung, cavity + 0.005)
    scene.fill(lung, _LUNG - 0.05 * scene.soft.y, 0.015)  # blood sinks: the back is denser
    outward = 0.0 if side > 0 else math.pi
    for turn in (0.9, 0.0, -0.9):
        trunk = (complex(0.14 * side, 0.02), outward + turn + scene.draw(-0.2, 0.2), 0.15, 0.022)
        scene.fill(scene.vessels(lung, trunk, depth=5), _FLUID)


def _paint_abdomen(scene: _Scene, cavity: Tensor) -> None:
    soft = scene.soft
    blood = scene.draw(0.55, 0.72)
    for _ in range(8):
        root = complex(scene.draw(-0.4, 0.4), scene.draw(-0.1, 0.3))
        scene.fill(scene.vessels(cavity, (root, scene.draw(-3, 3), 0.06, 0.01), depth=3), _MUSCLE)
    spleen = soft.ellipse(0.52, -0.12, 0.13, scene.near(0.24), 0.3)
    scene.organ(torch.maximum(spleen, cavity), scene.draw(0.54, 0.6))
    _paint_kidneys(scene)
    for _ in range(16):
        _paint_bowel(scene, cavity)
    stomach = soft.ellipse(0.35, 0.2, scene.near(0.24), scene.near(0.15), 0.5)
    _paint_hollow(scene, torch.maximum(stomach, cavity), 0.22)
    liver = torch.maximum(soft.ellipse(-0.42, 0.08, scene.near(0.42), scene.near(0.32), 0.35), cavity)
    scene.organ(liver, scene.draw(0.54, 0.6))
    for heading in (2.2, 2.9, 3.6):
        scene.fill(scene.vessels(liver, (-0.12 + 0.02j, scene.near(heading), 0.12, 0.022), depth=4), blood)
    scene.organ(soft.ellipse(0.06, -0.12, 0.06, 0.06), blood)
    scene.organ(soft.ellipse(-0.1, -0.11, 0.065, 0.05), blood - 0.04)


def _paint_kidneys(scene: _Scene) -> None:
    cortex = scene.draw(0.58, 0.72)
    for side in (-1, 1):
        y = scene.draw(-0.25, -0.15)
        kidney = scene.soft.ellipse(side * scene.near(0.34), y, 0.12, 0.16, side * 0.3)
        scene.organ(kidney, cortex)
        scene.fill(kidney + 0.05, cortex - 0.07, 0.02)
        scene.fill(scene.soft.ellipse(side * 0.29, y, 0.06, 0.04), _FAT)


def _paint_bowel(scene: _Scene, cavity: Tensor) -> None:
    x, y = scene.draw(-0.35, 0.6), scene.draw(-0.1, 0.42)
    a, b = scene.draw(0.06, 0.14), scene.draw(0.05, 0.09)
    loop = scene.soft.ellipse(x, y, a, b, scene.draw(-1.5, 1.5))
    _paint_hollow(scene, torch.maximum(loop, cavity), y + scene.draw(-0.1, 0.2))


def _paint_hollow(scene: _Scene, region: Tensor, surface: float) -> None:
    """Paint a wall, the fluid in it, and the gas above the height `surface`."""
    scene.organ(region, _MUSCLE)
    scene.fill(region + 0.02, scene.near(_FLUID))
    scene.fill(torch.maximum(region + 0.02, surface - scene.bony.y), _AIR, 0.0)
