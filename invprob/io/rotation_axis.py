"""Where the rotation axis of a parallel-beam scan projects to on the detector.

Two projections half a turn apart are mirror images of each other about the axis: p(theta + pi, s) = p(theta,
2c - s). Registering such pairs gives c to about half a bin, and where the views go all round, even an axis near the
edge of the detector (half acquisition). What remains is found from all views at once: half a turn, followed by its own
mirror image about c, is a full turn, and the Fourier transform of a full turn is confined to a double wedge, |k| <=
radius * |omega| (Rattey & Lindgren 1981), only if c is right (Vo et al. 2014, Opt. Express 22, 19078, section 3:
minimise the energy outside). Where half a turn has holes, or its mirror image covers too little of the detector, what
remains is found from the pairs instead (`invprob.io.mirror_views`).

That energy needs neither search nor interpolation. With F_k(omega) the transform of the half turn over 2 pi
of angle, mirroring about c turns it into (-1)^k exp(-2 i c omega) F_-k(omega)*, so the energy outside the
wedge is

    E(c) = constant + 2 Re sum_omega exp(2 i c omega) G(omega),
    G(omega) = sum_k (-1)^k F_k(omega) F_-k(omega),

with k outside the wedge: a trigonometric polynomial in c, exact between the bins as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invprob.errors import InputError
from invprob.io.checks import called_degrees
from invprob.io.mirror_views import MirrorPairs, axis_of_pairs, lowest, register
from invprob.operators.ct.arcs import ARC, GAP

__all__ = ["RotationAxis", "find_rotation_axis"]

# The wedge is widened: a window narrower than the object leaves energy just outside the nominal one. Of the
# factors 0.7 to 4, three has the least error on truncated sinograms and loses nothing on complete ones.
_WEDGE = 3.0
_TAPER = 0.2  # of the half-width: the smooth end of the window about the axis
_REACH = 4.0  # bins searched either side of the registered axis
_STEP = 0.05  # bins between trial axes; a parabola through three of them gives the rest
_REFINEMENTS = 3  # the window is centred on the axis, so it moves with the estimate
_GROUPS = 8  # of angular frequencies, each left out once for the uncertainty
_CENTRAL = 0.25  # of the detector: an axis nearer to an edge leaves the wedge too narrow a window
_SAME = 1e-6  # radians between two views of one direction

_SUPPLY = "give the axis with --axis COLUMN"


@dataclass(frozen=True)
class RotationAxis:
    """The detector column (bins from 0, fractional) of the axis and its standard error."""

    column: float
    uncertainty: float


def find_rotation_axis(sinogram: ArrayLike, angles: ArrayLike) -> RotationAxis:
    """Find the axis from line integrals `(views, bins)` or `(rows, views, bins)` at `angles` (radians, of any turn).

    The views must cover half a turn, up to one step, or hold pairs half a turn apart. Of half a turn the axis is sought
    in the middle half of the detector, of more on all of it. The standard error is a jackknife over angular frequencies
    or pairs: it sees noise, not a drifting sample. Raises InputError if there are no such views, or if mirrored
    projections do not match.
    """
    rows, theta = _around(np.array(sinogram, dtype=np.float64, ndmin=3), np.asarray(angles, dtype=np.float64))
    views, bins = rows.shape[1:]
    if views < 3 or bins < 8:
        raise InputError(f"{views} views of {bins} bins are too few to find the axis: {_SUPPLY}")
    window = _without_holes(theta)
    pairs = MirrorPairs.of(rows, theta)
    if not pairs.count:
        span = np.rad2deg(theta[-1] - theta[0])
        held = "span" if span < 180 else "have holes in every half turn of the"
        unit = "is the unit of the angles radians instead? Else " if called_degrees(theta) else ""
        raise InputError(f"the views {held} {span:.4g} degrees, and finding the axis takes 180: {unit}{_SUPPLY}")
    column, correlation = register(pairs)
    if column is None:
        raise InputError(
            f"projections half a turn apart are not mirror images (correlation {correlation:.2f}), "
            f"so the axis cannot be found: check the angles and the order of the axes, or {_SUPPLY}"
        )
    central = _CENTRAL * (bins - 1) <= column <= (1 - _CENTRAL) * (bins - 1)
    found = axis_of_pairs(pairs, column) if pairs.around else None
    if found is None and window is not None and central:
        found = _by_wedge(_half_turn(rows, theta, *window), column)
    found = found or axis_of_pairs(pairs, column)
    if found is None:
        raise InputError(f"the views show the rotation axis near column {column:.1f} but not where: {_SUPPLY}")
    return RotationAxis(*found)


def _around(rows: NDArray[np.float64], angles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the views around the circle, each direction once, those after the widest gap first."""
    turned = np.mod(angles, 2 * np.pi)
    order = np.argsort(turned, kind="stable")
    theta = turned[order]
    first = np.append(True, np.diff(theta) > _SAME)
    first[0] = theta[0] + 2 * np.pi - theta[-1] > _SAME or not first[1:].any()
    order, theta = order[first], theta[first]
    widest = int(np.argmax(np.diff(theta, append=theta[0] + 2 * np.pi)))
    order, theta = np.roll(order, -widest - 1), np.roll(theta, -widest - 1)
    return rows[:, order], theta[0] + np.mod(theta - theta[0], 2 * np.pi)


def _without_holes(theta: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the first and the last view, counted on around the circle, of the half turn with the narrowest gaps.

    None where no half turn is without holes; its end may lack a step and a half.
    """
    gaps = np.tile(np.diff(theta, append=theta[0] + 2 * np.pi), 2)
    turned = np.append(theta, theta + 2 * np.pi)
    narrowest, window = max(GAP * float(np.median(gaps)), ARC), None
    hole = narrowest
    for first in range(len(theta)):
        last = int(np.searchsorted(turned, turned[first] + np.pi + _SAME)) - 1
        if last - first < 2:
            continue
        reached = turned[last] - turned[first]
        if reached < np.pi - _SAME and gaps[last] < hole:
            last, reached = last + 1, np.pi  # the next view is near enough to interpolate to
        widest = float(gaps[first:last].max())
        if np.pi - reached < 1.5 * (turned[last] - turned[first]) / (last - first) and widest < narrowest - _SAME:
            narrowest, window = widest, (first, last)
    return window


def _half_turn(rows: NDArray[np.float64], theta: NDArray[np.float64], first: int, last: int) -> NDArray[np.float64]:
    """Return the half turn from one view on at equal steps of pi / M, linear between neighbouring views."""
    chosen = np.arange(first, last + 1)
    turned = theta[chosen % len(theta)] + 2 * np.pi * (chosen // len(theta))
    count = max(round(np.pi * (last - first) / (turned[-1] - turned[0])), 2)
    wanted = turned[0] + np.arange(count) * np.pi / count
    left = np.clip(np.searchsorted(turned, wanted, side="right") - 1, 0, turned.size - 2)
    weight = np.clip((wanted - turned[left]) / (turned[left + 1] - turned[left]), 0, 1)[:, None]
    rows = rows[:, chosen % len(theta)]
    half_turn: NDArray[np.float64] = rows[:, left] * (1 - weight) + rows[:, left + 1] * weight
    return half_turn


def _by_wedge(half_turn: NDArray[np.float64], column: float) -> tuple[float, float] | None:
    """Return the axis near a column and its standard error; None where the energy has no minimum there."""
    for _ in range(_REFINEMENTS):
        groups, omega = _outside_wedge(half_turn, column)
        trial = column + np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
        energy = _energy(groups, omega, trial)
        if energy.sum(axis=0).argmin() in (0, trial.size - 1):
            return None
        column = lowest(trial, energy.sum(axis=0))
    left_out = [lowest(trial, energy.sum(axis=0) - part) for part in energy]
    return column, float(np.sqrt((_GROUPS - 1) * np.var(left_out)))


def _outside_wedge(half_turn: NDArray[np.float64], column: float) -> tuple[NDArray[Any], NDArray[np.floating]]:
    """Return G(omega) of the module's docstring in groups of k, and omega in radians per bin."""
    count, bins = half_turn.shape[-2:]
    reach = min(column, bins - 1 - column)
    inside = np.clip((1 - np.abs(np.arange(bins) - column) / reach) / _TAPER, 0, 1)
    window = inside**2 * (3 - 2 * inside)
    length = 1 << (2 * bins - 1).bit_length()
    k = np.fft.fftfreq(2 * count, 1 / (2 * count)).round().astype(int)
    omega = 2 * np.pi * np.fft.rfftfreq(length)
    # The wedge leaves nothing at high omega, which spares most of the work.
    omega = omega[: np.searchsorted(omega, count / (_WEDGE * reach)) + 1]
    transform = np.fft.rfft(half_turn * window, length)[..., : omega.size]
    transform = np.fft.fft(transform, 2 * count, axis=-2)
    product = (transform * transform[:, -np.arange(2 * count)]).sum(axis=0) * np.where(k % 2, -1, 1)[:, None]
    product[np.abs(k)[:, None] <= _WEDGE * reach * omega + 2] = 0
    product[:, 1:] *= 2  # omega > 0 stands for -omega as well
    groups = np.stack([product[np.abs(k) % _GROUPS == group].sum(axis=0) for group in range(_GROUPS)])
    return groups, omega


def _energy(groups: NDArray[Any], omega: NDArray[np.floating], trial: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of E(c) that depends on c, `(groups, trial)`."""
    energy: NDArray[np.float64] = np.real(groups @ np.exp(2j * np.outer(omega, trial)))
    return energy
