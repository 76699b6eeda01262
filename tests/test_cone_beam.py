"""The cone beam against Joseph's definition ray by ray, analytic balls, the fan beam of its middle plane, symmetry."""

import math

import numpy as np
import pytest
import torch
from laws import mismatch, randn, relative

from invprob.operators import ConeBeam

DOUBLE = torch.float64


def random_cone(seed: int, dtype: torch.dtype = DOUBLE) -> ConeBeam:
    """Any geometry: odd sizes, offsets, both axes, views between them, a detector larger or smaller than the volume."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 45 if seed % 2 else 9, 3))
    voxel = rng.uniform(0.3, 2)
    distance = voxel * math.hypot(*shape[1:]) / 2 * rng.uniform(1.05, 3)
    beyond, detector = distance * rng.uniform(0, 2), tuple(int(n) for n in rng.integers(1, 9, 2))
    pitch = rng.uniform(0.5, 1.5, 2) * voxel * max(shape) / 4
    pitch[0] = min(pitch[0], (distance + beyond) / (detector[0] / 2 + 1.5))  # below 45 degrees
    return ConeBeam(
        shape,
        [0.0, math.pi / 2, *rng.uniform(-7, 7, 2)],
        detector,
        source_distance=distance,
        detector_distance=beyond,
        voxel_size=voxel,
        detector_size=tuple(pitch),
        axis_offset=rng.uniform(-2, 2),
        row_offset=rng.uniform(-1, 1),
        dtype=dtype,
    )


def ends(A: ConeBeam) -> tuple[np.ndarray, np.ndarray]:
    """The source and the detector bin of every ray, (angles, rows, columns, 3), by the definition."""
    (rows, columns), (row_pitch, column_pitch) = A.detector_shape, A.detector_size
    t = A.angles[:, None, None]
    v = ((np.arange(rows) - (rows - 1) / 2 - A.row_offset) * row_pitch)[None, :, None]
    u = ((np.arange(columns) - (columns - 1) / 2 - A.axis_offset) * column_pitch)[None, None, :]
    D, E = A.source_distance, A.detector_distance
    source = (D * np.sin(t), -D * np.cos(t), 0 * t)
    bins = (-E * np.sin(t) + u * np.cos(t), E * np.cos(t) + u * np.sin(t), v)
    full = (len(A.angles), rows, columns)
    return tuple(np.stack([np.broadcast_to(c, full) for c in p], axis=-1) for p in (source, bins))


def joseph(A: ConeBeam, volume: np.ndarray) -> np.ndarray:
    """Every ray by itself: at each step along its steeper axis of the plane, the four voxels around it."""
    slices = volume.shape[0]
    source, bins = ends(A)
    # in voxel indices (slice, row, column)
    p = source[..., ::-1] / A.voxel_size * (1, -1, 1) + (np.array(volume.shape) - 1) / 2
    d = (bins - source)[..., ::-1] / A.voxel_size * (1, -1, 1)
    y = np.zeros(A.range_shape)
    for ray in np.ndindex(*A.range_shape):
        along, across = (1, 2) if abs(d[ray][1]) >= abs(d[ray][2]) else (2, 1)
        steps = np.arange(volume.shape[along])
        at = p[ray] + ((steps - p[ray][along]) / d[ray][along])[:, None] * d[ray]
        z, q = at[:, 0], at[:, across]
        for k in (np.floor(z), np.floor(z) + 1):
            for j in (np.floor(q), np.floor(q) + 1):
                inside = (k >= 0) & (k < slices) & (j >= 0) & (j < volume.shape[across])
                index = [k[inside].astype(int), None, None]
                index[along], index[across] = steps[inside], j[inside].astype(int)
                weight = (1 - abs(z - k)) * (1 - abs(q - j))
                y[ray] += (weight[inside] * volume[tuple(index)]).sum()
        y[ray] *= A.voxel_size * np.linalg.norm(d[ray]) / abs(d[ray][along])
    return y


def ball_integrals(A: ConeBeam, centre: tuple[float, float, float], axes: tuple[float, float, float]) -> torch.Tensor:
    """The chords of an ellipsoid with the half axes (x, y, z)."""
    source, bins = ends(A)
    length = np.linalg.norm(bins - source, axis=-1)
    p, d = (source - np.array(centre)) / axes, (bins - source) / axes
    a, b, c = (d * d).sum(-1), (p * d).sum(-1), (p * p).sum(-1) - 1
    return torch.from_numpy(2 * np.sqrt(np.clip(b * b - a * c, 0, None)) / a * length)


def coordinates(A: ConeBeam, finer: int = 1) -> list[np.ndarray]:
    """x, y and z of the voxels' middles."""
    z, y, x = ((np.arange(n * finer) - (n * finer - 1) / 2) * A.voxel_size / finer for n in A.domain_shape)
    return [x[None, None, :], -y[None, :, None], z[:, None, None]]


def voxelised(A: ConeBeam, centre: tuple[float, float, float], axes: tuple[float, float, float]) -> torch.Tensor:
    """The ellipsoid's share of each voxel, by 4 x 4 x 4 points."""
    met = sum(((g - m) / a) ** 2 for g, m, a in zip(coordinates(A, 4), centre, axes, strict=True)) < 1
    slices, height, width = A.domain_shape
    return torch.from_numpy(met.reshape(slices, 4, height, 4, width, 4).mean((1, 3, 5)))


def orbit(n: int, views: int, dtype: torch.dtype = DOUBLE, **settings: float) -> ConeBeam:
    """A cube of side 128 seen by a detector that covers it, n voxels along each axis."""
    turn = np.linspace(0, 2 * np.pi, views, endpoint=False)
    scale = 128 / n
    return ConeBeam(
        (n, n, n),
        turn,
        (3 * n // 2, 3 * n // 2),
        source_distance=400,
        detector_distance=300,
        voxel_size=scale,
        detector_size=1.75 * scale,
        dtype=dtype,
        **settings,
    )


# ---- the definition


@pytest.mark.parametrize("seed", range(12))
def test_every_ray_by_itself(seed):
    A = random_cone(seed)
    x = randn(A.domain_shape, seed=seed)
    expected = torch.from_numpy(joseph(A, x.numpy()))
    assert relative(A(x), expected) <= 1e-12
    assert relative(A.to(torch.float32)(x.float()).double(), expected) <= 5e-6


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=["float32", "float64"])
def test_adjoint_on_random_geometries(dtype):
    for seed in range(60):
        A = random_cone(seed, dtype)
        x, y = randn(A.domain_shape, dtype, seed), randn(A.range_shape, dtype, seed + 1)
        assert mismatch(A, x, y) <= (1e-6 if dtype == torch.float32 else 1e-12)


def test_a_steep_cone_in_single_precision():
    """A ray near 45 degrees changes its cell at every step, and noise is what cancels worst in the sums."""
    A = ConeBeam((90, 40, 40), [0.0, 0.7], (61, 5), source_distance=45.0, detector_distance=0.0, detector_size=1.4)
    x = randn(A.domain_shape, torch.float32)
    y = A(x)
    assert mismatch(A, x, randn(A.range_shape, torch.float32)) <= 1e-6
    assert relative(y.double(), A.to(DOUBLE)(x.double())) <= 2e-5


def test_what_is_not_negative_stays_so():
    A = random_cone(3, torch.float32)
    for k in range(20):
        x = torch.relu(randn(A.domain_shape, torch.float32, k) - 2)
        assert bool((A(x) >= 0).all())
        assert bool((A.adjoint(A(x)) >= 0).all())


# ---- truth


@pytest.mark.parametrize(
    ("centre", "axes"), [((0.0, 0.0, 0.0), (50.0, 50.0, 50.0)), ((5.0, -8.0, 6.0), (44.0, 48.0, 52.0))]
)
def test_analytic_ellipsoids(centre, axes):
    errors = []
    for n in (16, 32, 64):
        A = orbit(n, 7, axis_offset=1.3, row_offset=-0.6)
        errors.append(relative(A(voxelised(A, centre, axes)), ball_integrals(A, centre, axes)))
    assert errors[2] < 0.02
    assert errors[2] < 0.7 * errors[1] < 0.49 * errors[0]


def test_a_ball_is_seen_where_it_is():
    """The shadow's centroid, and the total, are those of the truth to a fraction of a bin."""
    A = orbit(32, 8, axis_offset=1.3, row_offset=-0.6)
    centre, axes = (9.0, -14.0, 11.0), (25.0, 25.0, 25.0)
    found, expected = A(voxelised(A, centre, axes)), ball_integrals(A, centre, axes)
    for axis, n in ((1, A.range_shape[1]), (2, A.range_shape[2])):
        place = torch.arange(n, dtype=DOUBLE)
        a, b = (((t.sum(3 - axis) * place).sum(-1)) / t.sum((1, 2)) for t in (found, expected))
        assert float((a - b).abs().max()) < 0.05
        assert abs(float((a - b).mean())) < 0.01
    assert relative(found.sum((1, 2)), expected.sum((1, 2))) < 5e-3


def test_the_middle_slice_is_the_fan_beam():
    settings = {"source_distance": 20.0, "detector_distance": 5.0, "detector_size": (1.0, 1.5), "axis_offset": 0.4}
    A = ConeBeam((3, 12, 10), [0.0, 0.3, 2.5, 4.0], (1, 13), **settings, dtype=DOUBLE)
    x = randn(A.domain_shape)
    assert relative(A(x)[:, 0], A.middle_plane()(x[1])) <= 1e-12
    y = randn(A.range_shape)
    assert relative(A.adjoint(y)[1], A.middle_plane().adjoint(y[:, 0])) <= 1e-12
    assert not bool(A.adjoint(y)[[0, 2]].any())


def test_turned_and_mirrored():
    settings = {"source_distance": 20.0, "detector_distance": 5.0, "detector_size": 1.5, "dtype": DOUBLE}
    A = ConeBeam((6, 9, 9), [0.3, 2.0], (5, 11), **settings, axis_offset=0.4)
    turned = ConeBeam((6, 9, 9), A.angles + math.pi / 2, (5, 11), **settings, axis_offset=0.4)
    x = randn(A.domain_shape)
    assert relative(turned(x.rot90(1, (1, 2))), A(x)) <= 1e-12  # rot90 is counter-clockwise with y up
    assert relative(A(x.flip(0)), A(x).flip(1)) <= 1e-12
    mirrored = ConeBeam((6, 9, 9), -A.angles, (5, 11), **settings, axis_offset=-0.4)
    assert relative(mirrored(x.flip(2)), A(x).flip(2)) <= 1e-12


def test_the_unit_of_length_does_not_matter():
    A = random_cone(5)
    lengths = ("source_distance", "detector_distance", "voxel_size")
    config = A.config()
    config |= {k: 1e-3 * config[k] for k in lengths} | {"detector_size": [1e-3 * p for p in A.detector_size]}
    x = randn(A.domain_shape)
    assert relative(1e3 * ConeBeam(**config, dtype=DOUBLE)(x), A(x)) <= 1e-12


def test_threads_change_no_bit():
    A = ConeBeam((70, 50, 40), np.arange(9.0), (60, 33), source_distance=90, detector_distance=30, detector_size=1.3)
    x, y = randn(A.domain_shape, torch.float32), randn(A.range_shape, torch.float32)
    alone = A(x), A.adjoint(y), A.direct(y)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = A(x), A.adjoint(y), A.direct(y)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(32, 32, 32), (33, 32, 35)])
@pytest.mark.parametrize("detector", [(48, 48), (49, 53)])
def test_coarser(shape, detector):
    """The stand-in sees the same object in the same place: a smooth one gives the same data but for the blur."""
    config = orbit(32, 9, axis_offset=1.3, row_offset=-0.6).config()
    A = ConeBeam(**(config | {"volume_shape": shape, "detector_shape": detector}), dtype=DOUBLE)
    coarse = A.coarser()
    B = coarse.operator
    assert (B.domain_shape, coarse.averaged) == (tuple(-(-n // 2) for n in shape), 4)
    assert (B.dtype, B.voxel_size, B.detector_size) == (DOUBLE, 2 * A.voxel_size, tuple(2 * p for p in A.detector_size))
    centre, radii = (9.0, -14.0, 11.0), np.arange(1, 17) * 40 / 16  # a cone of balls, so that sampling is harmless
    seen = coarse.restrict(sum(ball_integrals(A, centre, (r,) * 3) for r in radii))
    exact = sum(ball_integrals(B, centre, (r,) * 3) for r in radii)
    assert seen.shape == B.range_shape
    assert relative(seen, exact) <= 0.02
    for axis in (1, 2):
        place = torch.arange(B.range_shape[axis], dtype=DOUBLE)
        a, b = ((t.sum(3 - axis) * place).sum(-1) / t.sum((1, 2)) for t in (seen, exact))
        assert float((a - b).abs().max()) <= 0.01
    batch = randn((2, *A.range_shape))
    assert torch.equal(coarse.restrict(batch)[1], coarse.restrict(batch[1]))


def test_what_cannot_be_coarser():
    settings = {"detector_distance": 1.0, "detector_size": 0.1}
    assert ConeBeam((4, 4, 4), [0.0], (1, 8), source_distance=9.0, **settings).coarser() is None
    assert ConeBeam((4, 4, 4), [0.0], (8, 1), source_distance=9.0, **settings).coarser() is None
    assert ConeBeam((4, 5, 5), [0.0], (8, 8), source_distance=4.0, **settings).coarser() is None  # 6 x 6 reach 4.2


# ---- the direct reconstruction


@pytest.mark.parametrize("arc", [360, 220], ids=["full", "short"])
def test_feldkamp_gives_the_value_of_a_ball(arc):
    n, centre, radius = 32, (9.0, -14.0, 11.0), 40.0
    A = orbit(n, 120, torch.float32)
    config = A.config() | {"angles": np.deg2rad(np.arange(120) * arc / 120), "axis_offset": 0.7, "row_offset": -0.4}
    A = ConeBeam(**config)
    x = A.direct(ball_integrals(A, centre, (radius,) * 3).float())
    distance = sum((g - m) ** 2 for g, m in zip(coordinates(A), centre, strict=True)) ** 0.5
    inside = torch.from_numpy(distance < radius - 8)
    middle = n // 2
    assert float(x[middle][inside[middle]].mean()) == pytest.approx(1, abs=0.01)
    assert float(x[inside].mean()) == pytest.approx(1, abs=0.02)
    outside = torch.from_numpy(distance > radius + 8)[middle]
    assert float(x[middle][outside].abs().mean()) < 0.03


def test_feldkamp_in_the_plane_is_the_fan_beams():
    A = ConeBeam((1, 20, 22), np.arange(0, 6.28, 0.2), (1, 30), source_distance=40, detector_distance=20, dtype=DOUBLE)
    y = randn(A.range_shape)
    expected = A.middle_plane().direct(y[:, 0], window="hann")
    assert relative(A.direct(y, window="hann")[0], expected) <= 1e-12


def test_feldkamp_says_what_it_cannot():
    A = random_cone(2)
    with pytest.raises(ValueError, match="no derivative"):
        A.direct(torch.zeros(A.range_shape, dtype=DOUBLE, requires_grad=True))
    with pytest.raises(ValueError, match="unknown filter window"):
        A.direct(torch.zeros(A.range_shape, dtype=DOUBLE), window="square")


def test_the_symbol_preconditions():
    """Scaled by its own symbol, A^H A has far less spread: fewer steps to the same residual."""
    A = orbit(16, 24)
    values = A.gram_diagonal_estimate().values
    assert values.shape == A.domain_shape
    assert float(values[0, 0, 0]) == float(values.max())
    assert float(values.max() / values.median()) > 10


# ---- what is refused

GOOD = {
    "volume_shape": (4, 5, 6),
    "angles": [0.0, 1.0],
    "detector_shape": (3, 4),
    "source_distance": 10.0,
    "detector_distance": 5.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": []}, "angles must be a list of finite numbers"),
        ({"angles": [0.0, math.nan]}, "with 1 not finite"),
        ({"volume_shape": (4, 5)}, "must be .slices, rows, columns."),
        ({"volume_shape": (4, 5, 0)}, "positive whole sizes"),
        ({"detector_shape": (0, 4)}, "whole and at least 1"),
        ({"detector_shape": (3, 2.5)}, "whole and at least 1"),
        ({"detector_shape": (3, 4, 5)}, "must be .rows, columns."),
        ({"detector_shape": (2**16, 2**16)}, "at most 4294967296 rays"),
        ({"voxel_size": 0.0}, "voxel_size must be a positive length"),
        ({"detector_size": (1.0, math.inf)}, "detector_size .columns. must be"),
        ({"detector_size": (1.0, 1.0, 1.0)}, "one pitch or"),
        ({"axis_offset": math.nan}, "axis_offset must be finite"),
        ({"row_offset": math.inf}, "row_offset must be finite"),
        ({"source_distance": 3.9}, "lies inside the cylinder"),
        ({"source_distance": math.nan}, "lies inside the cylinder"),
        ({"detector_distance": -1.0}, "must be >= 0"),
        ({"detector_shape": (40, 4)}, "at most 45 are computed"),
    ],
)
def test_what_cannot_be_is_told(change, message):
    with pytest.raises(ValueError, match=rf"ConeBeam.*{message}"):
        ConeBeam(**(GOOD | change))


def test_repr_names_geometry_and_back_end():
    text = repr(ConeBeam(**GOOD))
    for part in ("source at 10", "4 x 5 x 6 voxels", "2 angles", "3 x 4 bins", "Joseph, numba"):
        assert part in text
