"""ASTRA's geometries against ASTRA: its own sinograms, its own vectors, there and back."""

import math
import sys

import numpy as np
import pytest
import torch
from laws import randn, relative

from invprob.operators import ConeBeam, FanBeam, Identity, ParallelBeam, from_astra, to_astra

astra = pytest.importorskip("astra")

ANGLES = np.linspace(0.1, 6.1, 30)
VOLUME = astra.create_vol_geom(48, 40, -30.0, 30.0, -36.0, 36.0)  # pixels of 1.5
PLANAR = {
    "parallel": astra.create_proj_geom("parallel", 1.3, 70, ANGLES),
    "fanflat": astra.create_proj_geom("fanflat", 2.1, 75, ANGLES, 120.0, 60.0),
}
CONE = astra.create_proj_geom("cone", 1.1, 1.3, 6, 7, ANGLES, 60.0, 30.0)
BOX = astra.create_vol_geom(8, 9, 5)


def same(a: object, b: object) -> bool:
    """Equal keys and equal numbers, arrays to rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, str):
        return a == b
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-12, atol=1e-12))


def shifted(geometry: dict, columns: float) -> dict:
    return astra.geom_postalignment(geometry, columns) if columns else geometry


def phantom() -> np.ndarray:
    """Two smooth bumps that no symmetry maps onto themselves."""
    y, x = np.mgrid[35.25:-36:-1.5, -29.25:30:1.5]
    return np.exp(-((x - 9) ** 2 + (y - 14) ** 2) / 60) + 0.5 * np.exp(-((x + 12) ** 2 + (y + 3) ** 2) / 100)


def astra_sinogram(geometry: dict, image: np.ndarray) -> np.ndarray:
    """ASTRA's own forward projection on the processor."""
    name = "line_fanflat" if "fanflat" in geometry["type"] else "linear"
    projector = astra.create_projector(name, geometry, VOLUME)
    try:
        number, sinogram = astra.create_sino(image, projector)
        astra.data2d.delete(number)
    finally:
        astra.projector.delete(projector)
    return sinogram


@pytest.mark.parametrize("kind", PLANAR)
@pytest.mark.parametrize("columns", [0.0, 3.4, -6.0])
def test_the_sinogram_is_astras(kind, columns):
    geometry = shifted(PLANAR[kind], columns)
    A = from_astra(geometry, VOLUME)
    assert A.axis_offset == pytest.approx(-columns, abs=1e-9)
    expected = torch.from_numpy(astra_sinogram(geometry, phantom()))
    found = A(torch.from_numpy(phantom()).float())
    assert relative(found, expected) < 0.03
    if columns:
        unaware = type(A)(**(A.config() | {"axis_offset": 0.0}))
        assert relative(unaware(torch.from_numpy(phantom()).float()), expected) > 0.1


@pytest.mark.parametrize("geometry", [*PLANAR.values(), CONE], ids=["parallel", "fanflat", "cone"])
@pytest.mark.parametrize("columns", [0.0, 3.4])
def test_there_and_back(geometry, columns):
    volume = BOX if geometry is CONE else VOLUME
    given = shifted(geometry, columns)
    assert same(to_astra(from_astra(given, volume))[0], given)
    assert same(to_astra(from_astra(given, volume))[1], volume)


@pytest.mark.parametrize("geometry", [*PLANAR.values(), CONE], ids=["parallel", "fanflat", "cone"])
def test_vectors_of_a_circle_are_the_circle(geometry):
    volume = BOX if geometry is CONE else VOLUME
    A, B = (from_astra(g, volume, dtype=torch.float64) for g in (geometry, astra.geom_2vec(geometry)))
    x = randn(A.domain_shape)
    assert relative(B(x), A(x)) <= 1e-12


def test_a_cone_with_both_offsets():
    A = ConeBeam(
        (5, 8, 9),
        ANGLES,
        (6, 7),
        source_distance=60,
        detector_distance=30,
        detector_size=(1.3, 1.1),
        axis_offset=-0.7,
        row_offset=0.4,
        dtype=torch.float64,
    )
    geometry, volume = to_astra(A)
    assert same(geometry, astra.geom_postalignment(CONE, (0.7, -0.4)))
    B = from_astra(geometry, volume, dtype=torch.float64)
    assert B.detector_size == pytest.approx(A.detector_size)
    x = randn(A.domain_shape)
    assert relative(B(x), A(x)) <= 1e-12


def test_what_an_operator_is_made_of():
    A = from_astra(PLANAR["fanflat"], VOLUME, dtype=torch.float64)
    assert isinstance(A, FanBeam)
    assert (A.source_distance, A.detector_distance, A.detector_size, A.detectors) == (120, 60, 2.1, 75)
    assert (A.domain_shape, A.pixel_size, A.dtype) == ((48, 40), 1.5, torch.float64)
    assert isinstance(from_astra(PLANAR["parallel"], VOLUME), ParallelBeam)
    C = from_astra(CONE, BOX)
    assert (C.domain_shape, C.detector_shape, C.detector_size) == ((5, 8, 9), (6, 7), (1.3, 1.1))


def test_plain_dictionaries_need_no_astra(monkeypatch):
    monkeypatch.setitem(sys.modules, "astra", None)
    geometry = {"type": "parallel", "DetectorWidth": 1.0, "DetectorCount": 5, "ProjectionAngles": [0.0, 1.0]}
    A = from_astra(geometry, {"GridRowCount": 4, "GridColCount": 6})
    assert (A.domain_shape, A.range_shape, A.pixel_size) == ((4, 6), (2, 5), 1.0)


def bent(geometry: dict, place: tuple[int, int], by: float) -> dict:
    vectors = astra.geom_2vec(geometry)
    vectors["Vectors"][place] += by
    return vectors


@pytest.mark.parametrize(
    ("geometry", "volume", "message"),
    [
        (PLANAR["parallel"] | {"type": "sparse"}, VOLUME, "unknown projection geometry 'sparse'"),
        ({"type": "parallel"}, VOLUME, "no 'ProjectionAngles'"),
        ({}, VOLUME, "no 'type'"),
        (PLANAR["parallel"], {"GridRowCount": 4}, "no 'GridColCount'"),
        (PLANAR["parallel"], astra.create_vol_geom(4, 4, -1, 3, -2, 2), "not centred"),
        (PLANAR["parallel"], astra.create_vol_geom(4, 4, -4, 4, -2, 2), "must be equal"),
        (PLANAR["parallel"], BOX, "lies in the plane"),
        (CONE, VOLUME, "no 'GridSliceCount'"),
        (bent(PLANAR["parallel"], (3, 0), 0.1), VOLUME, "no circular orbit"),
        (bent(PLANAR["fanflat"], (3, 1), 0.5), VOLUME, "no circular orbit"),
        (bent(PLANAR["fanflat"], (3, 5), 0.01), VOLUME, "no circular orbit"),
        (bent(CONE, (2, 2), 0.1), BOX, "no circular orbit"),
        (bent(CONE, (2, 8), 0.1), BOX, "no circular orbit"),
        (bent(CONE, (2, 10), 0.1), BOX, "no circular orbit"),
        ({"type": "fanflat_vec", "DetectorCount": 3, "Vectors": np.zeros((2, 5))}, VOLUME, "must be finite and of"),
        (bent(CONE, (2, 10), math.nan), BOX, "must be finite and of"),
    ],
)
def test_what_cannot_be_is_told(geometry, volume, message):
    with pytest.raises(ValueError, match=f"from_astra.*{message}"):
        from_astra(geometry, volume)


def test_only_tomography_has_an_astra_geometry():
    with pytest.raises(TypeError, match="no geometry for Identity"):
        to_astra(Identity((3, 3)))
