"""Where the rotation axis of a parallel-beam scan projects to on the detector.

Two projections half a turn apart are mirror images of each other about the axis: p(theta + pi, s) = p(theta,
2c - s). Registering such a pair gives c to about half a bin. What remains is found from all views at once:
half a turn, followed by its own mirror image about c, is a full turn, and the Fourier transform of a full
turn is confined to a double wedge, |k| <= radius * |omega| (Rattey & Lindgren 1981), only if c is right (Vo
et al. 2014, Opt. Express 22, 19078, section 3: minimise the energy outside).

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

__all__ = ["RotationAxis", "find_rotation_axis"]

# The wedge is widened: a window narrower than the object leaves energy just outside the nominal one. Of the
# factors 0.7 to 4, three has the least error on truncated sinograms and loses nothing on complete ones.
_WEDGE = 3.0
_TAPER = 0.2  # of the half-width: the smooth end of the window about the axis
_REACH = 4.0  # bins searched either side of the registered axis
_STEP = 0.05  # bins between trial axes; a parabola through three of them gives the rest
_REFINEMENTS = 3  # the window is centred on the axis, so it moves with the estimate
_GROUPS = 8  # of angular frequencies, each left out once for the uncertainty
_MAX_PAIRS = 8  # mirror pairs that registration looks at
_MIN_CORRELATION = 0.5  # between mirrored projections; noise alone stays near 0

_SUPPLY = "give the axis with --axis COLUMN"


@dataclass(frozen=True)
class RotationAxis:
    """The detector column (bins from 0, fractional) of the axis and its standard error."""

    column: float
    uncertainty: float


def find_rotation_axis(sinogram: ArrayLike, angles: ArrayLike) -> RotationAxis:
    """Find the axis from line integrals `(views, bins)` or `(rows, views, bins)` at `angles` (radians).

    The views must cover half a turn, up to one step; of more, the first half turn is refined on. The axis is
    sought in the middle half of the detector. The standard error is a jackknife over angular frequencies: it
    sees noise, not a drifting sample. Raises InputError if half a turn is not covered or mirrored projections
    do not match.
    """
    rows = np.array(sinogram, dtype=np.float64, ndmin=3)
    theta, first = np.unique(np.asarray(angles, dtype=np.float64), return_index=True)
    rows = rows[:, first]
    if theta.size < 3 or rows.shape[-1] < 8:
        raise InputError(f"{theta.size} views of {rows.shape[-1]} bins are too few to find the axis: {_SUPPLY}")
    step = float(np.ptp(theta)) / (theta.size - 1)
    if np.ptp(theta) < np.pi - 1.5 * step:
        span = np.rad2deg(np.ptp(theta))
        raise InputError(f"the views span {span:.4g} degrees, and finding the axis takes 180: {_SUPPLY}")
    half_turn = _half_turn(rows, theta, step)
    column = _registered_axis(rows, theta, step)
    for _ in range(_REFINEMENTS):
        groups, omega = _outside_wedge(half_turn, column)
        trial = column + np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
        energy = _energy(groups, omega, trial)
        column = _minimum(trial, energy.sum(axis=0))
    left_out = [_minimum(trial, energy.sum(axis=0) - part) for part in energy]
    return RotationAxis(column, float(np.sqrt((_GROUPS - 1) * np.var(left_out))))


def _half_turn(rows: NDArray[np.float64], theta: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the first half turn at equal steps of pi / M, linear between neighbouring views."""
    count = max(round(np.pi / step), 2)
    wanted = theta[0] + np.arange(count) * np.pi / count
    left = np.clip(np.searchsorted(theta, wanted, side="right") - 1, 0, theta.size - 2)
    weight = np.clip((wanted - theta[left]) / (theta[left + 1] - theta[left]), 0, 1)[:, None]
    half_turn: NDArray[np.float64] = rows[:, left] * (1 - weight) + rows[:, left + 1] * weight
    return half_turn


def _registered_axis(rows: NDArray[np.float64], theta: NDArray[np.float64], step: float) -> float:
    """Return the axis, to half a bin, about which projections half a turn apart mirror each other best."""
    after = np.clip(np.searchsorted(theta, theta + np.pi), 1, theta.size - 1)
    partner = after - (theta + np.pi - theta[after - 1] < theta[after] - theta - np.pi)
    pairs = np.flatnonzero(np.abs(theta[partner] - theta - np.pi) < 1.5 * step)
    pairs = pairs[:: -(-pairs.size // _MAX_PAIRS)]
    direct, opposite = rows[:, pairs], rows[:, partner[pairs]]
    bins = rows.shape[-1]
    sums = np.arange(bins // 2, 2 * (bins - 1) - bins // 2 + 1)  # s + s' = 2c of a bin and its mirror image
    errors = [_mirror_error(direct, opposite, int(total)) for total in sums]
    best = int(np.argmin(errors))
    correlation = 1 - errors[best] / 2
    if not correlation > _MIN_CORRELATION or best in (0, len(errors) - 1):
        raise InputError(
            f"projections half a turn apart are not mirror images (correlation {max(correlation, 0):.2f}), "
            f"so the axis cannot be found: check the angles, or {_SUPPLY}"
        )
    return float(sums[best] / 2)


def _mirror_error(direct: NDArray[np.float64], opposite: NDArray[np.float64], total: int) -> float:
    """Return the mean squared difference of p(s) and p'(total - s) over their overlap, per variance."""
    bins = direct.shape[-1]
    overlap = slice(max(0, total - (bins - 1)), min(bins - 1, total) + 1)
    p, q = direct[..., overlap], opposite[..., overlap][..., ::-1]
    variance = (np.var(p) + np.var(q)) / 2
    return float(np.mean((p - q) ** 2) / variance) if variance > 0 else 2.0


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


def _minimum(trial: NDArray[np.float64], energy: NDArray[np.float64]) -> float:
    """Return where a sampled function is least, by the parabola through the three lowest neighbours."""
    i = int(np.clip(energy.argmin(), 1, trial.size - 2))
    before, here, after = energy[i - 1 : i + 2]
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature > 0 else 0.0
    return float(trial[i] + np.clip(shift, -1, 1) * _STEP)
