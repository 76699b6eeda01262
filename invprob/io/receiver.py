"""What calibration makes of the receiver of a scan: coil maps and a noise level for every item, with words on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from invprob.operators.mri.calibration import calibrate
from invprob.operators.mri.coil_maps import Maps
from invprob.operators.mri.encoding import Encoding
from invprob.scan import Scan

__all__ = ["Receiver", "calibrated", "with_coil_maps"]


@dataclass(frozen=True, eq=False)
class Receiver:
    """What is known of the coils: maps `(*batch, [sets], C, *image)`, sets of them, sigma per item, words on both."""

    maps: Tensor | None
    sets: int
    noise: float | Tensor | None
    words: Mapping[str, str]


def calibrated(
    found: Sequence[Maps], batch: Sequence[int], noise: float | Tensor | None, words: Mapping[str, str]
) -> Receiver:
    """Return what the calibration of every item of a batch found, together; a noise level that is known stays."""
    sets = max(maps.sets for maps in found)
    together = torch.stack([maps.with_sets(sets) for maps in found])
    told = dict.fromkeys(maps.in_words() for maps in found)
    levels = [maps.noise for maps in found if maps.noise is not None]
    if noise is None and len(levels) == len(found):
        noise = torch.tensor(levels, dtype=torch.float64).reshape(*batch) if batch else levels[0]
        level = f"{levels[0]:.4g}" if len(levels) == 1 else f"{min(levels):.4g} to {max(levels):.4g}"
        words = dict(words) | {"noise": f"sigma {level}, seen in the middle of k-space"}
    maps = together.reshape(*batch, *together.shape[1:])
    return Receiver(maps, sets, noise, dict(words) | {"coil maps": "; ".join(told)})


def with_coil_maps(scan: Scan) -> Scan:
    """Return a scan of MRI that knows the number of its coils alone with the maps that its data speak for.

    Any other scan is returned as it is. A truth, which would be one of coil images, stays only where it fits.

    ValueError where maps cannot be found (`calibrate`), and for items whose masks differ.
    """
    A = scan.operator
    if not isinstance(A, Encoding) or not A.lacks_maps:
        return scan
    if A.parameter_batch:
        raise ValueError("coil maps of items with masks of their own: reconstruct them one by one, or give maps")
    batch = scan.batch_shape
    found = [calibrate(y, A) for y in scan.data.reshape(-1, *A.range_shape)]
    receiver = calibrated(found, batch, scan.noise, {})
    known = A.with_coils(receiver.maps, sets=receiver.sets)
    fits = scan.truth is not None and tuple(scan.truth.shape) == (*batch, *known.domain_shape)
    return replace(
        scan,
        operator=known,
        noise=receiver.noise,
        truth=scan.truth if fits else None,
        provenance=dict(scan.provenance) | dict(receiver.words),
    )
