"""Which samples of k-space are set aside together to be predicted from the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST = 24  # samples per axis of a block that counts as calibration region
SMALLEST = 4  # samples per axis from which on there is one
SHOTS = 10  # from which on whole shots are set aside
FEWEST = 3  # units set aside where there are thrice as many: a single one may be easy or hard to predict


def stratified(distance: Tensor, free: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return a mask of units, True for about `share` of those that are free, spread evenly over the distances.

    The free units are sorted by distance and cut in as many strata as are to be set aside, of which one each is drawn.

    Arguments:
        distance: of each unit from the centre of k-space.
        free: which units may be set aside, of the same shape.
        share: how many; 1 sets everything aside, free or not.
        generator: where the random numbers come from.
    """
    if share >= 1:
        return torch.ones(distance.shape, dtype=torch.bool)
    mask = torch.zeros(distance.numel(), dtype=torch.bool)
    places = torch.nonzero(free.flatten()).flatten()
    count = round(share * len(places))
    if share > 0 and len(places) >= 3 * FEWEST:
        count = max(count, FEWEST)
    if count:
        order = places[torch.sort(distance.flatten()[places], stable=True).indices]
        draws = torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64, generator=generator)
        mask[order[(draws * len(places) / count).long().clamp(max=len(places) - 1)]] = True
    return mask.reshape(distance.shape)


def centred_block(measured: Tensor) -> tuple[slice, ...]:
    """Return the largest block about the centre, floor(n / 2) per axis, in which all is measured, grown evenly.

    Empty slices where the centre itself is not measured.
    """
    sizes = measured.shape
    centre = [n // 2 for n in sizes]
    if not bool(measured[tuple(centre)]):
        return tuple(slice(c, c) for c in centre)
    low, high = list(centre), [c + 1 for c in centre]
    grown = True
    while grown:
        grown = False
        for axis in range(len(sizes)):
            for below in (True, False):
                trial_low, trial_high = list(low), list(high)
                if below:
                    trial_low[axis] -= 1
                else:
                    trial_high[axis] += 1
                inside = trial_low[axis] >= 0 and trial_high[axis] <= sizes[axis]
                if not inside or trial_high[axis] - trial_low[axis] > LARGEST:
                    continue
                block = tuple(slice(a, b) for a, b in zip(trial_low, trial_high, strict=True))
                if bool(measured[block].all()):
                    low, high, grown = trial_low, trial_high, True
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def outside_the_block(measured: Tensor) -> Tensor:
    """Return what is measured but for the calibration region; all of it where that leaves too little or there is none.

    `measured` has the axes along which it varies alone.
    """
    block = centred_block(measured)
    if min(part.stop - part.start for part in block) < min(SMALLEST, *measured.shape):
        return measured
    free = measured.clone()
    free[block] = False
    return free if int(free.sum()) >= SHOTS else measured


def distance_from_centre(sizes: Sequence[int]) -> Tensor:
    """Return |k| on a grid whose centre is floor(n / 2), relative to the border."""
    total = torch.zeros(tuple(sizes), dtype=torch.float64)
    for axis, n in enumerate(sizes):
        k = (torch.arange(n, dtype=torch.float64) - n // 2) / n
        total = total + k.square().reshape(n, *(1,) * (len(sizes) - axis - 1))
    return total.sqrt()
