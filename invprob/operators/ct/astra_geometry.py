"""ASTRA's dictionaries of geometries as operators, and back; ASTRA itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.operators.ct.cone_beam import ConeBeam
from invprob.operators.ct.fan_beam import FanBeam
from invprob.operators.ct.parallel_beam import ParallelBeam
from invprob.operators.ct.planar import PlanarCT

Array = NDArray[np.float64]
Geometry = dict[str, Any]
ROUNDING = 1e-6  # of the largest length: how far vectors may stray from a circular orbit
KINDS = ("parallel", "fanflat", "cone")


def from_astra(
    proj_geom: Mapping[str, Any], vol_geom: Mapping[str, Any], *, dtype: torch.dtype = torch.float32
) -> ParallelBeam | FanBeam | ConeBeam:
    """Return the operator of ASTRA's projection and volume geometry (`astra.create_proj_geom`, `create_vol_geom`).

    Types: parallel, fanflat and cone, and their `_vec` forms where these describe a circular orbit around the axis
    with the detector across the central ray (shifts of the detector become `axis_offset` and `row_offset`). The
    window must be centred on the axis and its voxels equal along all axes. In the plane ASTRA and this operator share
    every convention; in 3-D ASTRA keeps data as (detector rows, angles, columns) and counts the rows of a volume
    upwards: `data.transpose(0, 1)` and `volume.flip(1)` lead from one to the other. ValueError else.
    """
    kind = _entry(proj_geom, "type")
    plain = str(kind).removesuffix("_vec")
    if plain not in KINDS:
        raise ValueError(f"from_astra: unknown projection geometry {kind!r}; known: {', '.join(KINDS)}, each with _vec")
    shape, pixel = _grid(vol_geom, 3 if plain == "cone" else 2)
    vectors = _orbit(plain, np.asarray(_entry(proj_geom, "Vectors"), np.float64)) if plain != kind else None
    found = _plain(proj_geom, plain) if vectors is None else vectors
    if plain == "cone":
        detector = int(_entry(proj_geom, "DetectorRowCount")), int(_entry(proj_geom, "DetectorColCount"))
        return ConeBeam(shape, found.pop("angles"), detector, voxel_size=pixel, dtype=dtype, **found)
    bins = int(_entry(proj_geom, "DetectorCount"))
    if plain == "fanflat":
        return FanBeam(shape, found.pop("angles"), bins, pixel_size=pixel, dtype=dtype, **found)
    return ParallelBeam(shape, found.pop("angles"), bins, pixel_size=pixel, dtype=dtype, **found)


def to_astra(A: ParallelBeam | FanBeam | ConeBeam) -> tuple[Geometry, Geometry]:
    """Return ASTRA's projection and volume geometry of A; see `from_astra` for the order of 3-D data.

    With an offset the projection geometry is of the `_vec` form, the only one in which ASTRA can say it.
    """
    if isinstance(A, ConeBeam):
        (rows, columns), (row_pitch, column_pitch) = A.detector_shape, A.detector_size
        kind, pixel, shift = "cone", A.voxel_size, (A.axis_offset * column_pitch, A.row_offset * row_pitch)
        counts = {"DetectorRowCount": rows, "DetectorColCount": columns}
        pitch = {"DetectorSpacingX": column_pitch, "DetectorSpacingY": row_pitch}
    elif isinstance(A, PlanarCT):
        kind, pixel = "fanflat" if isinstance(A, FanBeam) else "parallel", A.pixel_size
        shift = A.axis_offset * A.detector_size, 0.0
        counts, pitch = {"DetectorCount": A.detectors}, {"DetectorWidth": A.detector_size}
    else:
        raise TypeError(f"to_astra: ASTRA has no geometry for {type(A).__name__}")
    volume = _window(A.domain_shape, pixel)
    if any(shift):
        return {"type": f"{kind}_vec", **counts, "Vectors": _vectors(A, shift)}, volume
    projection = {"type": kind, **pitch, **counts, "ProjectionAngles": A.angles.copy()}
    if not isinstance(A, ParallelBeam):
        projection |= {"DistanceOriginSource": A.source_distance, "DistanceOriginDetector": A.detector_distance}
    return projection, volume


def _entry(geometry: Mapping[str, Any], key: str) -> Any:
    if key not in geometry:
        raise ValueError(f"from_astra: the geometry has no {key!r}; it has {', '.join(map(str, geometry))}")
    return geometry[key]


def _grid(geometry: Mapping[str, Any], ndim: int) -> tuple[tuple[int, ...], float]:
    """Return the shape of the image and the size of its pixels."""
    names = (("GridSliceCount", "Z"), ("GridRowCount", "Y"), ("GridColCount", "X"))[3 - ndim :]
    if ndim == 2 and "GridSliceCount" in geometry:
        raise ValueError("from_astra: the volume has slices but the projection lies in the plane")
    shape = tuple(int(_entry(geometry, count)) for count, _ in names)
    option = geometry.get("option", {})
    low = np.array([option.get(f"WindowMin{a}", -n / 2) for n, (_, a) in zip(shape, names, strict=True)], float)
    high = np.array([option.get(f"WindowMax{a}", n / 2) for n, (_, a) in zip(shape, names, strict=True)], float)
    pixels = (high - low) / shape
    if not np.allclose(low, -high, rtol=ROUNDING, atol=ROUNDING * float(np.abs(high).max())):
        raise ValueError(f"from_astra: the window {low} .. {high} is not centred on the rotation axis, as it must be")
    if not np.allclose(pixels, pixels[-1], rtol=ROUNDING, atol=0):
        raise ValueError(f"from_astra: the pixels measure {pixels} along the axes of the volume, and must be equal")
    return shape, float(pixels[-1])


def _plain(geometry: Mapping[str, Any], kind: str) -> Geometry:
    found: Geometry = {"angles": np.asarray(_entry(geometry, "ProjectionAngles"), np.float64)}
    if kind == "cone":
        pitch = float(_entry(geometry, "DetectorSpacingY")), float(_entry(geometry, "DetectorSpacingX"))
        found["detector_size"] = pitch
    else:
        found["detector_size"] = float(_entry(geometry, "DetectorWidth"))
    if kind != "parallel":
        found["source_distance"] = float(_entry(geometry, "DistanceOriginSource"))
        found["detector_distance"] = float(_entry(geometry, "DistanceOriginDetector"))
    return found


def _orbit(kind: str, vectors: Array) -> Geometry:
    """Return the circular orbit that ASTRA's vectors (source or ray, detector's middle, u[, v]) describe."""
    parts, size = (4, 3) if kind == "cone" else (3, 2)
    if vectors.ndim != 2 or vectors.shape[1] != parts * size or not len(vectors) or not np.isfinite(vectors).all():
        raise ValueError(f"from_astra: Vectors must be finite and of shape (angles, {parts * size}): {vectors.shape}")
    source, middle, u, *rest = vectors.reshape(len(vectors), parts, size).swapaxes(0, 1)
    angles = np.arctan2(u[:, 1], u[:, 0])
    right, out = _axes(angles, size)
    found: Geometry = {"angles": angles}
    pitch = float(np.linalg.norm(u, axis=1).mean())
    found["axis_offset"] = _mean_along(middle, right) * -1 / pitch
    detector = _mean_along(middle, -out)
    expected = [pitch * right, detector * -out - found["axis_offset"] * pitch * right]
    if kind == "parallel":
        # a ray has no sense and no place of its own, nor has the detector along it
        source = source / np.linalg.norm(source, axis=1, keepdims=True)
        source = source * np.sign((source * out).sum(1, keepdims=True))
        middle = middle - (middle * out).sum(1, keepdims=True) * out - detector * out
        expected.append(out)
        found["detector_size"] = pitch
    else:
        found |= {"source_distance": _mean_along(source, out), "detector_distance": detector, "detector_size": pitch}
        expected.append(found["source_distance"] * out)
    given = [u, middle, source]
    if kind == "cone":
        up = np.broadcast_to([0.0, 0.0, 1.0], u.shape)
        row_pitch = _mean_along(rest[0], up)
        found |= {"detector_size": (row_pitch, pitch), "row_offset": -_mean_along(middle, up) / (row_pitch or 1)}
        expected[1] = expected[1] - found["row_offset"] * row_pitch * up
        given, expected = [*given, rest[0]], [*expected, row_pitch * up]
    for a, b in zip(given, expected, strict=True):
        if np.abs(a - b).max() > ROUNDING * max(float(np.abs(vectors).max()), pitch):
            raise ValueError(
                f"from_astra: these {kind}_vec vectors are no circular orbit around the axis with a detector across "
                "the central ray, which is all that is computed"
            )
    return found


def _axes(angles: Array, size: int) -> tuple[Array, Array]:
    """Return the unit vectors along the detector's columns and towards the source, (angles, size)."""
    zero = [np.zeros_like(angles)] * (size - 2)
    right = np.stack([np.cos(angles), np.sin(angles), *zero], axis=1)
    return right, np.stack([np.sin(angles), -np.cos(angles), *zero], axis=1)


def _mean_along(vectors: Array, axes: Array) -> float:
    return float((vectors * axes).sum(1).mean())


def _vectors(A: ParallelBeam | FanBeam | ConeBeam, shift: tuple[float, float]) -> Array:
    """Return the rows of ASTRA's vector geometries (as its `geom_2vec`), the detector moved back by `shift`."""
    right, out = _axes(A.angles, 3 if isinstance(A, ConeBeam) else 2)
    if isinstance(A, ParallelBeam):
        return np.concatenate([out, -shift[0] * right, A.detector_size * right], axis=1)
    source, middle = A.source_distance * out, -A.detector_distance * out - shift[0] * right
    if isinstance(A, FanBeam):
        return np.concatenate([source, middle, A.detector_size * right], axis=1)
    up = np.broadcast_to([0.0, 0.0, 1.0], right.shape)
    row_pitch, column_pitch = A.detector_size
    return np.concatenate([source, middle - shift[1] * up, column_pitch * right, row_pitch * up], axis=1)


def _window(shape: tuple[int, ...], pixel: float) -> Geometry:
    option: Geometry = {}
    for n, axis in zip(shape[::-1], "XYZ", strict=False):
        option |= {f"WindowMin{axis}": -n * pixel / 2, f"WindowMax{axis}": n * pixel / 2}
    counts = dict(zip(("GridColCount", "GridRowCount", "GridSliceCount"), shape[::-1], strict=False))
    return {"option": option, **counts}
