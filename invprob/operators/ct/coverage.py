"""Does the detector see the whole object, and do the views see it from all sides?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invprob.doubt import Doubt, Grade
from invprob.operators.ct.arcs import find_arcs

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["coverage_doubts", "field_of_view", "is_limited", "is_truncated"]

# But for _SAME rules of thumb, not measured: they lead to hints, never to errors.
_SAME = 1e-7  # radians between two views of one direction: what single precision makes of it
_EDGE, _VISIBLE = 0.01, 0.05  # share of the bins that make an edge; of the peak that is more than a bad flat field
_BRIGHT = 0.9  # of the peak at both edges: so are counts, where nothing is in the way
_SURE = 4.0  # standard errors that the noise at the edge explains
_GROUPS = 8  # arcs in which truncation is sought: an oblong object is cut in some views only
_MISSING = 0.03  # share of the directions that may be missing
_HARDLY = 2 / 3  # share of the directions below which nothing that is seen can be relied on
_OFF_CENTRE = 0.05  # of the bins: an axis that far from the middle doubles the field of view of a full turn


def coverage_doubts(A: PlanarCT, data: NDArray[np.floating] | None = None) -> list[str]:
    """Return, as sentences, what the rays of a tomographic operator leave out, or measure twice.

    With `data`, line integrals of one item, truncation is what they show at the edges of the detector; without, a
    detector that does not cover the image's inscribed circle is doubted.
    """
    if not field_of_view(A):
        truncated = ["the rotation axis lies off the detector: the middle of the object is in no view"]
    elif data is None:
        truncated = _beyond_detector(A)
    else:
        truncated = _cut_off(A, np.asarray(data, dtype=np.float64))
    return [*truncated, *_repeated(A.angles), *_limited(A)]


def field_of_view(A: PlanarCT) -> float:
    """Return the radius around the axis of what is seen over half a turn: to the nearer edge of the detector.

    Of a full turn, to the farther one: what one view misses the opposite one sees. 0 for an axis off the detector,
    which nothing around it casts a shadow on.
    """
    edges = A.distance_from_axis(np.array([A.bins[0] - A.detector_size / 2, A.bins[-1] + A.detector_size / 2]))
    reach = -edges[0], edges[1]
    return max(0.0, float(max(reach) if _full_turn(A.angles) and min(reach) >= 0 else min(reach)))


def _beyond_detector(A: PlanarCT) -> list[str]:
    seen, radius = field_of_view(A), 0.5 * A.pixel_size * min(A.domain_shape)
    if seen >= radius * (1 - 1e-6):
        return []
    return [
        f"the detector sees a circle of radius {seen:.4g} around the axis, and the image reaches {radius:.4g}: "
        "an object that fills it is truncated"
    ]


def is_truncated(A: PlanarCT, data: NDArray[np.floating]) -> bool:
    """Return whether line integrals of one item do not fall to zero at an edge, be it so on purpose."""
    return bool(_levels(A, np.asarray(data, dtype=np.float64)))


def _levels(A: PlanarCT, sinogram: NDArray[np.float64]) -> dict[str, float]:
    """Return at which edges the line integrals do not fall to zero, with their share of the peak there."""
    peak = float(np.quantile(sinogram, 0.99))
    width = max(1, int(_EDGE * A.detectors))
    edges = {"left": sinogram[:, :width].mean(axis=1), "right": sinogram[:, -width:].mean(axis=1)}
    highest = {side: _highest(values) for side, values in edges.items()}
    return {side: level / peak for side, level in highest.items() if peak > 0 and level > _VISIBLE * peak}


def _cut_off(A: PlanarCT, sinogram: NDArray[np.float64]) -> list[str]:
    """Say at which edges the line integrals do not fall to zero."""
    cut = _levels(A, sinogram)
    if _full_turn(A.angles) and abs(A.axis_offset) > _OFF_CENTRE * A.detectors:
        cut.pop("left" if A.axis_offset < 0 else "right", None)  # on purpose: the opposite view sees it
    if not cut:
        return []
    where = "both edges" if len(cut) == 2 else f"the {next(iter(cut))} edge"
    counts = ", or these are counts and no line integrals" if len(cut) == 2 and min(cut.values()) > _BRIGHT else ""
    text = (
        f"the line integrals do not fall to zero at {where} of the detector ({max(cut.values()):.0%} of their peak): "
        f"the object is truncated{counts}, and its values near the border cannot be trusted"
    )
    return [Doubt(text, "fair", "trust edges, not values, or measure with a wider field of view")]


def _highest(edge: NDArray[np.float64]) -> float:
    """Return the highest mean over an arc of views that noise does not explain."""
    noise = float(np.std(np.diff(edge)) / math.sqrt(2)) if edge.size > 2 else 0.0
    arcs = np.array_split(edge, min(_GROUPS, edge.size))
    return max(float(arc.mean()) - _SURE * noise / math.sqrt(arc.size) for arc in arcs)


def _repeated(angles: NDArray[np.float64]) -> list[str]:
    turned = np.sort(np.mod(angles + _SAME / 2, 2 * np.pi))
    again = int(np.count_nonzero(np.diff(turned) < _SAME))
    if not again:
        return []
    exactly = angles.size - np.unique(angles).size
    if exactly:
        return [Doubt(f"{exactly} of {angles.size} angles occur more than once: these directions count more", "known")]
    if again == 1 and abs(np.ptp(angles) - 2 * np.pi) < _SAME:
        text = "the last view closes the turn and repeats the first, which counts twice: --views :-1 leaves it out"
    else:
        text = f"{again} of {angles.size} views repeat another, whole turns apart: these directions count more"
    return [Doubt(text, "known")]


def is_limited(A: PlanarCT) -> bool:
    """Return whether the views leave out directions that a full scan has."""
    return _leaves_out(*_directions(A))


def _leaves_out(covered: float, needed: float) -> bool:
    return covered < (1 - _MISSING) * needed


def _directions(A: PlanarCT) -> tuple[float, float]:
    """Return how many radians the views cover, and how many they need to."""
    covered = find_arcs(A.angles, np.pi if A.reversible else 2 * np.pi).covered
    needed, source_distance = np.pi, A.view_map().source_distance
    if source_distance is not None:
        radius = min(field_of_view(A), 0.5 * A.pixel_size * min(A.domain_shape))
        needed += 2 * math.asin(radius / source_distance)
    return covered, needed


def _limited(A: PlanarCT) -> list[str]:
    covered, needed = _directions(A)
    if not _leaves_out(covered, needed):
        return []
    if not _leaves_out(covered, np.pi):
        goal = f"half a turn and the fan angle, {np.rad2deg(needed):.4g}"
    else:
        goal = "half a turn, 180"
    text = (
        f"the views cover {np.rad2deg(covered):.4g} degrees, less than {goal}: a limited angle, from which edges "
        "along the missing directions cannot be seen"
    )
    grade: Grade = "bad" if covered < _HARDLY * needed else "fair"
    return [Doubt(text, grade, "measure the missing views, or trust only edges that some ray runs along")]


def _full_turn(angles: NDArray[np.float64]) -> bool:
    return find_arcs(angles).covered >= (1 - _MISSING) * 2 * np.pi
