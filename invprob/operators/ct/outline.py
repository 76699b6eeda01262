"""Where the object ends: a disc, an ellipse or a convex region from the edges of its shadows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

if TYPE_CHECKING:
    from invprob.operators.ct.planar import PlanarCT

__all__ = ["Edges", "Outline", "Shape", "find_outline", "fit_outline", "shadow_edges"]

Shape = Literal["disc", "ellipse", "convex"]
Edges = tuple[NDArray[np.float64], NDArray[np.float64]]  # n and h of rays that touch, (edges, 2) and (edges,)

# share of the peak that is no flat field and no scatter, and that below which a shadow's square is about linear in the
# distance from its edge, as it is of a round object; rules of thumb
_LOW, _HIGH = 0.05, 0.15
_FEWEST = 3  # readings that a line is fitted to
_TRUNCATED = 0.02  # share of the views whose shadow may touch the end of the detector
_ROBUST = 0.5  # bins off the edge from which a distance counts less and less
_FITS = 0.4  # bins, the root mean square beyond which a shape is not that of the object


@dataclass(frozen=True, eq=False)
class Outline:
    """The region {p : n . p <= h for all unit n} that holds the object, a length unit as the operator's.

    Arguments:
        shape: which kind of region was fitted.
        parameters: of a disc (x, y, radius), of an ellipse (x, y, Qxx, Qxy, Qyy) with h = n . c + (n . Q n)^1/2, of a
            convex region none.
        normals, heights: the edges that were seen, `(edges, 2)` and `(edges,)`.
        misfit: the root mean square distance of these edges from the outline; 0 of a convex region, which they make.
        uncertainty: how far the outline may be off anywhere, one standard deviation: the misfit, and what it leaves
            unknown of the parameters.
    """

    shape: Shape
    parameters: tuple[float, ...]
    normals: NDArray[np.float64]
    heights: NDArray[np.float64]
    misfit: float
    uncertainty: float

    def mask(self, A: PlanarCT, margin: float = 0.0) -> Tensor:
        """Return which pixels of the operator's grid have their middle inside, or at most `margin` outside of it."""
        height, width = A.domain_shape
        x = (np.arange(width) - (width - 1) / 2) * A.pixel_size
        y = -(np.arange(height) - (height - 1) / 2) * A.pixel_size
        points = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
        if self.shape == "convex":
            inside = np.ones((height, width), dtype=bool)
            for normal, h in zip(self.normals, self.heights, strict=True):
                inside &= points @ normal <= h + margin
            return torch.from_numpy(inside)
        from_centre = points - np.array(self.parameters[:2])
        if self.shape == "disc":
            radius = self.parameters[2] + margin
            return torch.from_numpy((from_centre**2).sum(-1) <= radius**2)
        values, axes = np.linalg.eigh(_form(self.parameters))
        along = from_centre @ axes / (np.sqrt(values.clip(min=0)) + margin).clip(min=1e-12)
        return torch.from_numpy((along**2).sum(-1) <= 1)

    def chords(self, A: PlanarCT) -> NDArray[np.float64]:
        """Return how long the rays of an operator are within a disc or an ellipse, `(angles, detectors)`.

        ValueError for a convex region.
        """
        if self.shape == "convex":
            raise ValueError("chords are known of discs and ellipses: project the mask of a convex region")
        form = np.eye(2) * self.parameters[2] ** 2 if self.shape == "disc" else _form(self.parameters)
        values, axes = np.linalg.eigh(form)
        to_circle = axes / np.sqrt(values.clip(min=1e-12))
        (a, b), (c, d) = to_circle
        chords = np.empty(A.range_shape)
        for views, points, directions in A.rays_by_views():
            (u, v), (x, y) = (np.moveaxis(t, -1, 0) for t in (directions, points))
            length, x, y = np.hypot(u, v), x - self.parameters[0], y - self.parameters[1]
            u, v = (u * a + v * c) / length, (u * b + v * d) / length
            x, y = x * a + y * c, x * b + y * d
            along, size = x * u + y * v, u * u + v * v
            half = along**2 - size * (x * x + y * y - 1)
            chords[views] = 2 * np.sqrt(half.clip(min=0)) / size
        return chords

    def describe(self) -> str:
        """Return the outline in words."""
        if self.shape == "disc":
            x, y, radius = self.parameters
            size = f"a disc of radius {radius:.4g} around ({x:.3g}, {y:.3g})"
        elif self.shape == "ellipse":
            values = np.sqrt(np.linalg.eigvalsh(_form(self.parameters)).clip(min=0))
            x, y = self.parameters[:2]
            size = f"an ellipse of half axes {values[1]:.4g} and {values[0]:.4g} around ({x:.3g}, {y:.3g})"
        else:
            size = f"a convex region between {len(self.heights)} edges"
        return f"{size}, known to {self.uncertainty:.2g}"


def find_outline(A: PlanarCT, sinogram: NDArray[np.floating], shape: str = "disc") -> Outline:
    """Return the outline of the object in a sinogram `(views, bins)`, from both edges of every shadow.

    Near the edge of a round object its chord grows as the root of the distance from the edge, so that a line through
    the squares of the first readings meets zero there. A disc and an ellipse are fitted with little weight on what is
    far off; the convex region is what all edges leave, in a limited angle as wide as its views allow.

    ValueError for an unknown shape, for shadows that reach the end of the detector, and for edges that are not those of
    such a shape.
    """
    if shape not in get_args(Shape):
        raise ValueError(f"support must be a mask, or one of {', '.join(get_args(Shape))}, got {shape!r}")
    return fit_outline(A, shadow_edges(A, sinogram), shape)


def fit_outline(A: PlanarCT, edges: Edges, shape: str) -> Outline:
    """Return the outline that fits edges of shadows; ValueError where they are not those of such a shape."""
    normals, heights = edges
    bin_size = _bin_at_axis(A)
    if shape == "convex":
        return Outline("convex", (), normals, heights, 0.0, 0.5 * bin_size)
    off = _disc_off if shape == "disc" else _ellipse_off
    radius = 0.5 * float(heights.max() - heights.min()) if heights.max() > heights.min() else float(heights.max())
    centre = [0.0, 0.0]
    first = [*centre, max(radius, float(np.median(heights)))]
    if shape == "ellipse":
        first = [*centre, first[2] ** 2, 0.0, first[2] ** 2]
    found = least_squares(
        off, first, args=(normals, heights), loss="soft_l1", f_scale=_ROBUST * bin_size, x_scale="jac"
    )
    rest = off(found.x, normals, heights)
    misfit = float(np.sqrt((rest**2).mean()))
    if misfit > _FITS * bin_size:
        other = "ellipse or convex" if shape == "disc" else "convex"
        raise ValueError(
            f"the edges of the shadows lie {misfit:.3g} off those of the best {shape} ({misfit / bin_size:.1f} bins): "
            f"the object is none; say support={other}, a mask, or none"
        )
    spread = np.linalg.pinv(found.jac.T @ found.jac) * misfit**2
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    around = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    slopes = _slopes(off, found.x, around)
    unknown = float(np.sqrt(np.einsum("ni,ij,nj->n", slopes, spread, slopes).max()))
    return Outline(
        "disc" if shape == "disc" else "ellipse",
        tuple(map(float, found.x)),
        normals,
        heights,
        misfit,
        float(np.hypot(misfit, unknown)),
    )


def _form(parameters: tuple[float, ...]) -> NDArray[np.float64]:
    xx, xy, yy = parameters[2:]
    return np.array([[xx, xy], [xy, yy]])


def _disc_off(p: NDArray[np.float64], n: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    off: NDArray[np.float64] = n @ p[:2] + p[2] - h
    return off


def _ellipse_off(p: NDArray[np.float64], n: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    square = p[2] * n[:, 0] ** 2 + 2 * p[3] * n[:, 0] * n[:, 1] + p[4] * n[:, 1] ** 2
    off: NDArray[np.float64] = n @ p[:2] + np.sqrt(square.clip(min=1e-12)) - h
    return off


def _slopes(off, p: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """Return how h(n) changes with the parameters, by differences."""
    zero, columns = np.zeros(len(n)), []
    for i in range(p.size):
        step = np.zeros_like(p)
        step[i] = 1e-6 * max(1.0, abs(p[i]))
        columns.append((off(p + step, n, zero) - off(p - step, n, zero)) / (2 * step[i]))
    return np.stack(columns, axis=-1)


def _bin_at_axis(A: PlanarCT) -> float:
    middle = A.distance_from_axis(np.array([-0.5, 0.5]) * A.detector_size)
    return float(middle[1] - middle[0])


def shadow_edges(A: PlanarCT, sinogram: NDArray[np.floating]) -> Edges:
    """Return n and h of the rays that touch the object, all of it in n . p <= h: two per view.

    ValueError where the shadows of many views reach the end of the detector.
    """
    sinogram = np.asarray(sinogram, dtype=np.float64)
    peak, last = float(np.quantile(sinogram, 0.99)), sinogram.shape[1] - 1
    tried = [(view, way, _edge(row[::way], peak)) for view, row in enumerate(sinogram) for way in (1, -1)]
    at = [(view, way, place) for view, way, place in tried if place is not None]
    if len(tried) - len(at) > _TRUNCATED * len(tried) or not at:
        raise ValueError(
            "the shadow of the object reaches the end of the detector, or there is none: its outline cannot be seen; "
            "give a mask as support, or none"
        )
    view, way, place = (np.array(column) for column in zip(*at, strict=True))
    left = np.floor(place).astype(int).clip(0, last - 1)
    share = (place - left).clip(0, 1)[:, None]
    ends = _lines(A, view, np.zeros_like(left)), _lines(A, view, np.full_like(left, last))
    sign = np.where(ends[1][:, 2] >= ends[0][:, 2], 1.0, -1.0)
    near, far = (_lines(A, view, np.where(way > 0, bins, last - bins)) for bins in (left, left + 1))
    edges = (near + share * (far - near)) * (-sign * way)[:, None]
    length = np.linalg.norm(edges[:, :2], axis=1)
    return edges[:, :2] / length[:, None], edges[:, 2] / length


def _lines(A: PlanarCT, view: NDArray[Any], place: NDArray[Any]) -> NDArray[np.float64]:
    """Return unit normals and distances from the axis of rays, (rays, 3)."""
    points, directions = A.lines(view * A.detectors + place)
    normals = np.stack([directions[:, 1], -directions[:, 0]], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.concatenate([normals, (points * normals).sum(-1, keepdims=True)], axis=-1)


def _edge(row: NDArray[np.float64], peak: float) -> float | None:
    """Return the fractional bin where the shadow begins, from the left; None where it is cut off there."""
    high = row > _HIGH * peak
    if not high.any():
        return None
    last = int(np.argmax(high))
    first = last
    while first > 0 and row[first - 1] > _LOW * peak and row[first - 1] < row[first]:
        first -= 1
    if first == 0:
        return None
    last = min(max(last, first + _FEWEST - 1), row.size - 1)
    bins = np.arange(first, last + 1)
    squares = row[bins] ** 2
    from_mean = squares - squares.mean()
    spread = float(from_mean @ from_mean)
    # an edge at right angles to the detector gives nothing to extrapolate
    if not spread > 1e-12 * float(squares @ squares):
        return first - 0.5
    slope = float(from_mean @ bins) / spread
    offset = float(bins.mean() - slope * squares.mean())
    return offset if slope > 0 and first - 2 <= offset <= first + 1 else first - 0.5
