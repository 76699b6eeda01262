"""How scanners sample k-space: masks of lines and points, trajectories of spokes and spirals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invprob.phantoms.random import as_generator

__all__ = ["equispaced_lines", "poisson_disc", "radial", "radial_volume", "random_lines", "spiral"]

GOLDEN = math.pi * (math.sqrt(5) - 1) / 2  # radians between spokes
GOLDEN_MEANS = 0.4656, 0.6823  # of the polar and the azimuthal angle (Chan et al., MRM 61, 2009)
SLOPE = 3.0  # by which the distance of points grows from the centre of k-space to its border
TRIES = 8  # distances tried to meet an acceleration
FINE = 64  # steps per sample in which the length of a spiral is summed


def equispaced_lines(lines: int, acceleration: int, *, calibration: int = 24, offset: int = 0) -> Tensor:
    """Return which of the lines are measured, `(lines,)`: every so many, and a block in the middle.

    Arguments:
        lines: of the full grid.
        acceleration: R, the distance of lines outside the block; with the block the true one is lower.
        calibration: lines of the block; 0 for none.
        offset: of the first line.

    ValueError for an acceleration below 1 or a block that does not fit.
    """
    _check(lines, acceleration, calibration)
    mask = (torch.arange(lines) - lines // 2 - offset) % acceleration == 0
    return mask | _block(lines, calibration)


def random_lines(lines: int, acceleration: float, generator: int | torch.Generator, *, calibration: int = 12) -> Tensor:
    """Return which of the lines are measured, `(lines,)`: a block in the middle and others, dense near it.

    Arguments:
        lines: of the full grid.
        acceleration: R, block included: lines / R are measured.
        generator: a generator, or a seed.
        calibration: lines of the block.

    ValueError for an acceleration below 1, and where the block alone is more than asked for.
    """
    _check(lines, acceleration, calibration)
    mask = _block(lines, calibration)
    count = round(lines / acceleration) - calibration
    if count < 0:
        raise ValueError(f"random_lines: {calibration} calibration lines are more than {lines} / {acceleration:g}")
    distance = (torch.arange(lines, dtype=torch.float64) - lines // 2).abs() / (lines / 2)
    chance = torch.where(mask, 0.0, (1 - distance).clamp(min=0).square() + 0.05)
    if count:
        mask[torch.multinomial(chance, count, generator=as_generator(generator))] = True
    return mask


def poisson_disc(
    shape: Sequence[int], acceleration: float, generator: int | torch.Generator, *, calibration: int = 16
) -> Tensor:
    """Return which points are measured, `(H, W)`: none near another, denser towards the middle (Bridson 2007).

    The distance kept is r (1 + 3 |k|), |k| = 1 at the border, r such that the acceleration is met to about 1 %.

    Arguments:
        shape: of the grid.
        acceleration: R, block included.
        generator: a generator, or a seed.
        calibration: side of a full block in the middle; 0 for none.

    ValueError for an acceleration below 1 or a block that does not fit.
    """
    height, width = shape
    _check(min(height, width), acceleration, calibration)
    key = int(torch.randint(2**31 - 1, (1,), generator=as_generator(generator)))
    block = torch.outer(_block(height, calibration), _block(width, calibration))
    least, best, closest = 0.4 * math.sqrt(acceleration), block, math.inf
    for _ in range(TRIES):
        mask = _thrown(height, width, least, torch.Generator().manual_seed(key)) | block
        found = mask.numel() / int(mask.sum())
        if abs(found / acceleration - 1) < closest:
            best, closest = mask, abs(found / acceleration - 1)
        if closest < 0.01:
            break
        least *= math.sqrt(acceleration / found)
    return best


def _thrown(height: int, width: int, least: float, generator: torch.Generator) -> Tensor:
    """Return a mask of points, in random order, each of which has no other nearer than its distance."""
    rows = (torch.arange(height, dtype=torch.float64) - height // 2) / (height / 2)
    columns = (torch.arange(width, dtype=torch.float64) - width // 2) / (width / 2)
    radius = torch.hypot(rows[:, None], columns)
    reach = least * (1 + SLOPE * radius.clamp(max=1))
    grid = torch.zeros(height, width, dtype=torch.bool).numpy()
    distances = reach.numpy()
    for place in torch.randperm(height * width, generator=generator).tolist():
        row, column = divmod(place, width)
        r = float(distances[row, column])
        top, left, span = max(0, math.ceil(row - r)), max(0, math.ceil(column - r)), math.floor(r)
        near = grid[top : row + span + 1, left : column + span + 1]
        if near.any():
            y, x = near.nonzero()
            if (((y + top - row) ** 2 + (x + left - column) ** 2) < r * r).any():
                continue
        grid[row, column] = True
    return torch.from_numpy(grid)


def radial(spokes: int, samples: int, *, golden: bool = True) -> Tensor:
    """Return spokes through the centre, `(spokes, samples, 2)`, (omega_y, omega_x) in radians per pixel.

    Samples lie at 2 pi (i - samples // 2) / samples, so that the centre is one of them.

    Arguments:
        spokes: how many.
        samples: per spoke; as many as pixels along an axis, or twice as many with a readout sampled twice as densely.
        golden: whether spokes are pi (sqrt(5) - 1) / 2 apart (Winkelmann et al. 2007), the default, or pi / spokes.

    ValueError for no spoke or fewer than two samples.
    """
    if spokes < 1 or samples < 2:
        raise ValueError(f"radial: at least one spoke of two samples, got {spokes} of {samples}")
    angle = torch.arange(spokes, dtype=torch.float64) * (GOLDEN if golden else math.pi / spokes)
    radius = 2 * math.pi * (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    return radius[None, :, None] * torch.stack([angle.sin(), angle.cos()], -1)[:, None]


def radial_volume(spokes: int, samples: int) -> Tensor:
    """Return spokes evenly over the sphere by golden means, `(spokes, samples, 3)`, (omega_z, omega_y, omega_x)."""
    if spokes < 1 or samples < 2:
        raise ValueError(f"radial_volume: at least one spoke of two samples, got {spokes} of {samples}")
    n = torch.arange(spokes, dtype=torch.float64)
    z, azimuth = n * GOLDEN_MEANS[0] % 1, 2 * math.pi * (n * GOLDEN_MEANS[1] % 1)
    flat = (1 - z.square()).sqrt()
    directions = torch.stack([z, flat * azimuth.sin(), flat * azimuth.cos()], -1)
    radius = 2 * math.pi * (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    return radius[None, :, None] * directions[:, None]


def spiral(shots: int, samples: int, *, turns: float, density: float = 1.0) -> Tensor:
    """Return interleaved spirals from the centre, `(shots, samples, 2)`, (omega_y, omega_x) in radians per pixel.

    omega = pi tau^density exp(2 pi i turns tau) with tau from 0 to 1 so that the speed is constant (cf. Kim,
    Adalsteinsson & Spielman, MRM 50, 2003).

    Arguments:
        shots: how many interleaves, evenly turned.
        samples: per interleaf.
        turns: of one interleaf; size / (2 shots) of them sample an image of that size fully.
        density: 1 for even sampling, more for a denser centre.

    ValueError for counts below one or a density below 1.
    """
    if shots < 1 or samples < 2 or turns <= 0 or density < 1:
        raise ValueError("spiral: shots, samples >= 2 and turns are positive, density is at least 1")
    fine = torch.linspace(0, 1, FINE * samples, dtype=torch.float64)
    speed = torch.hypot(density * fine ** (density - 1), 2 * math.pi * turns * fine**density)
    way = torch.cumulative_trapezoid(speed, fine)
    t = way[-1] * torch.arange(samples, dtype=torch.float64) / (samples - 1)
    tau = fine[torch.searchsorted(way, t).clamp(max=len(way) - 1) + 1]
    tau[0] = 0
    radius, angle = math.pi * (1 - 1e-9) * tau**density, 2 * math.pi * turns * tau
    turned = angle + 2 * math.pi * torch.arange(shots, dtype=torch.float64)[:, None] / shots
    return radius[None, :, None] * torch.stack([turned.sin(), turned.cos()], -1)


def _block(size: int, calibration: int) -> Tensor:
    """Return a block about floor(n / 2)."""
    place = torch.arange(size) - (size // 2 - calibration // 2)
    return (place >= 0) & (place < calibration)


def _check(lines: int, acceleration: float, calibration: int) -> None:
    if not 1 <= acceleration < math.inf:
        raise ValueError(f"an acceleration is at least 1, got {acceleration}")
    if not 0 <= calibration <= lines:
        raise ValueError(f"a calibration block of {calibration} does not fit {lines} lines")
