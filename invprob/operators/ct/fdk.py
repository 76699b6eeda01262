"""Filtered back-projection of cone beams (Feldkamp, Davis & Kress, J. Opt. Soc. Am. A 1, 1984)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.operators.ct.fbp import ViewMap, line_weights, ramp_filter, widened
from invprob.threads import jit, team

Array = NDArray[Any]
PAD_LEFT, PAD_RIGHT = 1, 2  # zero border that makes clamped reads harmless
LINES = 8  # slices that a thread copies out at a time, so that it reads whole cache lines


@dataclass(frozen=True)
class ConeMap:
    """The middle plane's view map, and the heights of the detector rows on the axis, `row_size` apart."""

    plane: ViewMap
    heights: Array
    row_size: float
    slices: int


def feldkamp(data: Array, cone: ConeMap, window: str, threads: int) -> Array:
    """Return the volume (Z, Y, X) of line integrals (views, rows, columns).

    Every row is weighted by the cosine of its rays' angle to the central one and filtered as in a fan beam of its
    own; the lines of the middle plane share their weight where they were measured twice.
    """
    plane, distance = cone.plane, cone.plane.source_distance
    if distance is None:
        raise ValueError("feldkamp: a cone beam has a source; this geometry is parallel")
    cosine = distance / np.sqrt(distance**2 + cone.heights[:, None] ** 2 + plane.bins**2)
    weights = line_weights(plane.angles, plane.fan_angles, plane.bins)[:, None] * cosine
    weighted, first_bin = widened(data * weights.astype(data.dtype), plane)
    filtered = ramp_filter(weighted, plane.bin_size, window)
    views, rows, columns = filtered.shape
    border = PAD_LEFT + PAD_RIGHT
    profiles = np.zeros((views, columns + border, rows + border), data.dtype)
    profiles[:, PAD_LEFT:-PAD_RIGHT, PAD_LEFT:-PAD_RIGHT] = filtered.transpose(0, 2, 1)
    height, width = plane.image_shape
    lines = np.zeros((height, width, cone.slices), data.dtype)
    volume = np.empty((cone.slices, height, width), data.dtype)
    step = plane.pixel_size / plane.bin_size, plane.pixel_size / cone.row_size, plane.pixel_size / distance
    origin = -first_bin / plane.bin_size + PAD_LEFT, -cone.heights[0] / cone.row_size + PAD_LEFT
    work = partial(_gather_lines, lines, profiles, np.cos(plane.angles), np.sin(plane.angles), step, origin)
    with team(threads) as share:
        share(work, height, 1)
        share(partial(_slices_out, lines, volume), cone.slices, LINES)
    return volume


@jit
def _gather_lines(
    lines: Array,
    profiles: Array,
    cos: Array,
    sin: Array,
    step: tuple[float, float, float],
    origin: tuple[float, float],
    first: int,
    end: int,
) -> None:
    """Add to the voxels above the pixels of rows first .. end what they see, times (source_distance / depth)^2."""
    real = lines.dtype.type
    height, width, slices = lines.shape
    rows = profiles.shape[2]
    right, top = float(profiles.shape[1] - PAD_RIGHT), real(rows - PAD_RIGHT)
    profile = np.empty(rows, lines.dtype)
    for row in range(first, end):
        y = (height - 1) / 2 - row
        for column in range(width):
            x = column - (width - 1) / 2
            line = lines[row, column]
            for view in range(len(cos)):
                near = 1 / (1 + step[2] * (y * cos[view] - x * sin[view]))
                p = min(max(step[0] * (x * cos[view] + y * sin[view]) * near + origin[0], 0.0), right)
                j = int(p)
                f = real(p - j)
                low, high = profiles[view, j], profiles[view, j + 1]
                weight = real(near * near)
                for k in range(rows):
                    profile[k] = weight * (low[k] + f * (high[k] - low[k]))
                drift = step[1] * near
                start, pace = real(origin[1] - drift * (slices - 1) / 2), real(drift)
                for z in range(slices):
                    q = min(max(start + pace * real(z), real(0)), top)
                    i = np.uint32(q)
                    line[z] += profile[i] + (q - real(np.int32(q))) * (profile[i + 1] - profile[i])


@jit
def _slices_out(lines: Array, volume: Array, first: int, end: int) -> None:
    """Turn the slices first .. end of (Y, X, Z) into (Z, Y, X)."""
    for row in range(volume.shape[1]):
        for z in range(first, end):
            for column in range(volume.shape[2]):
                volume[z, row, column] = lines[row, column, z]
