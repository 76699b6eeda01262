"""From detector counts to line integrals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invprob.errors import InputError
from invprob.io.checks import no_reading, refuse_where
from invprob.io.missing_readings import HINT

__all__ = ["MIN_TRANSMISSION", "line_integrals", "mean_field"]

# One step of a 16-bit detector: a beam weaker than this was not measured.
MIN_TRANSMISSION = 2.0**-16
_CORRECTED = "or say --read values=integrals if these are line integrals and no counts"
_MAX_CLAMPED = 0.01
# Further from the pixel's median than this many times what is usual, and than this share of the level, an exposure was
# none of the open beam, or of the dark current; no measurement on record.
_STRAY, _LEAST = 8.0, 0.01


def mean_field(exposures: NDArray[Any], name: str, differing: float) -> tuple[NDArray[np.float64], list[str]]:
    """Return the mean over exposures `(exposures, rows, columns)` without strays, and sentences on what is doubtful.

    A stray, such as an open shutter or a cosmic ray, differs from the median of its pixel by far more than is usual in
    the field; of less than three exposures all count. Whole exposures that were left out are named, and so is that the
    levels of the others differ by more than the share `differing` of their mean.
    """
    levels = np.median(exposures, axis=(1, 2)).astype(np.float64)
    mean: NDArray[np.float64] = exposures.mean(axis=0, dtype=np.float64)
    stray = np.zeros(len(exposures), dtype=bool)
    if len(exposures) > 2:
        median = np.median(exposures, axis=0)
        with np.errstate(invalid="ignore"):
            distance = np.abs(exposures - median)
        known = np.isfinite(distance)  # what is not finite stays in the mean, for others to refuse
        usual = float(np.median(distance[known])) if known.any() else 0.0
        level = float(np.median(np.abs(median[known.all(axis=0)]))) if known.all(axis=0).any() else 0.0
        sound = ~(distance > max(_STRAY * 1.4826 * usual, _LEAST * level))
        count, total = sound.sum(axis=0), np.where(sound, exposures, 0).sum(axis=0, dtype=np.float64)
        mean = np.where(count > 0, total / np.maximum(count, 1), median)
        stray = sound.mean(axis=(1, 2)) < 0.5
    doubts = []
    if stray.any():
        which = ", ".join(map(str, np.flatnonzero(stray)))
        doubts.append(
            f"of {len(stray)} exposures of {name} those unlike the others were left out, counted from 0: {which}"
        )
    kept = levels[~stray] if not stray.all() else levels
    spread = float(np.ptp(kept)) / max(abs(float(kept.mean())), 1e-30)
    if spread > differing:
        doubts.append(f"the exposures of {name} differ by {spread:.0%} of their mean, so that the image may be wrong")
    return mean, doubts


def line_integrals(
    counts: NDArray[Any],
    white: NDArray[Any],
    dark: NDArray[Any],
    axes: Mapping[str, range],
    where: str,
    retrieved: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
) -> tuple[NDArray[np.float32], int]:
    """Return -ln((counts - dark) / (white - dark)) and how many transmissions were too low and were raised.

    `counts` is `(views, rows, columns)`, `white` and `dark` (means over exposures, float64) are `(rows,
    columns)`; `axes` maps the indices of `counts` to those of the file, for messages. Transmissions below
    `MIN_TRANSMISSION`, negative ones included, are raised to it, and `retrieved` may change them then. Raises
    InputError where the beam is not
    brighter than the dark current, where counts are not finite, and if more than 1 % had to be raised.
    """
    repair = "repair these pixels, or leave them out with --rows or --views"
    pixel_axes = {name: axes[name] for name in list(axes)[1:]}
    for field, name in ((white, "white"), (dark, "dark")):
        refuse_where(no_reading(field), pixel_axes, f"{where}: the {name} field is NaN or infinite", repair)
    beam = white - dark
    refuse_where(beam <= 0, pixel_axes, f"{where}: the white field is not above the dark field", repair)
    refuse_where(no_reading(counts), axes, f"{where}: the counts are NaN or infinite", f"{repair}, {HINT}")
    # In place and in single precision: the counts may be most of the memory.
    transmission = np.subtract(counts, dark, dtype=np.float32, casting="same_kind")
    transmission /= beam.astype(np.float32)
    low = int(np.count_nonzero(transmission < MIN_TRANSMISSION))
    if low > _MAX_CLAMPED * transmission.size:
        others = "or leave rows out with --rows" if low < transmission.size / 2 else _CORRECTED
        raise InputError(
            f"{where}: {low} of {transmission.size} transmissions are zero or negative, more than "
            f"{_MAX_CLAMPED:.0%}: check that the fields belong to these data, {others}"
        )
    np.maximum(transmission, MIN_TRANSMISSION, out=transmission)
    if retrieved is not None:
        np.maximum(retrieved(transmission), MIN_TRANSMISSION, out=transmission)
    np.log(transmission, out=transmission)
    return np.negative(transmission, out=transmission), low
