"""The ways of computing Joseph's projector are one operator: plain rays, mirrored copies, sparse matrix."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from laws import data_of, image_of, mismatch, randn, relative

from invprob import processor
from invprob.operators import FanBeam, ParallelBeam
from invprob.operators.ct.joseph import project
from invprob.operators.ct.planar import BACKENDS
from invprob.operators.ct.ray_table import PREPARED
from invprob.operators.ct.symmetry import IDENTITY, Turn, find_cover, pixel_map
from invprob.registry import OPERATORS, load

TURNS = [Turn(k, mirrored) for k in range(4) for mirrored in (False, True)]
ODD = 0.017  # no ray at exactly 45 degrees, which may be stepped over rows or columns
SCANS = {  # class, views, arc, first angle, axis offset, largest share of the rays that need walking
    "half-turn": ("parallel-beam", 36, math.pi, 0.0, 0.0, 0.15),
    "half-turn-shifted": ("parallel-beam", 36, math.pi, 0.0, 0.3, 0.3),
    "half-turn-odd": ("parallel-beam", 35, math.pi, ODD, 0.0, 0.55),
    "turn": ("parallel-beam", 36, 2 * math.pi, 0.0, 0.0, 0.13),
    "fan-turn": ("fan-beam", 36, 2 * math.pi, 0.0, 0.0, 0.13),
    "fan-turn-shifted": ("fan-beam", 36, 2 * math.pi, ODD, 0.4, 0.26),
    "fan-quarter": ("fan-beam", 18, math.pi / 2, math.pi / 36, 0.0, 0.55),
    "fan-alone": ("fan-beam", 7, 1.0, 0.1, 0.2, 1.0),
}


def scan(name, shape, detectors, backend="auto", dtype=torch.float64):
    kind, views, arc, first, offset, _ = SCANS[name]
    distances = {"source_distance": 60.0, "detector_distance": 30.0} if kind == "fan-beam" else {}
    angles = first + np.arange(views) * arc / views
    return load(OPERATORS, kind)(
        shape, angles, detectors, axis_offset=offset, backend=backend, dtype=dtype, **distances
    )


@pytest.mark.parametrize("detectors", [24, 25])
@pytest.mark.parametrize("shape", [(16, 16), (17, 17), (16, 13)])
@pytest.mark.parametrize("name", SCANS)
def test_backends_are_one_operator(name, shape, detectors):
    plain = scan(name, shape, detectors, "rays")
    x, y = randn((3, *shape), seed=1), randn((3, *plain.range_shape), seed=2)
    for backend in BACKENDS:
        A = scan(name, shape, detectors, backend)
        assert relative(A(x), plain(x)) <= 1e-12, repr(A)
        assert relative(A.adjoint(y), plain.adjoint(y)) <= 1e-12, repr(A)


@pytest.mark.parametrize("name", SCANS)
def test_every_ray_is_a_member_of_one_orbit(name):
    A = scan(name, (16, 16), 25)
    share = SCANS[name][-1]
    cover = find_cover(A.angles, 25, (16, 16), centred=A.axis_offset == 0, reversible=A.reversible, tolerance=1e-12)
    found = cover.orbits()
    assert cover.walked == len(found.rays)
    members = np.sort(found.members[found.members >= 0])
    assert np.array_equal(members, np.arange(A.angles.size * 25))
    assert len(found.rays) <= share * A.angles.size * 25


def test_views_at_one_angle_are_views_of_their_own():
    angles = [0.2, 0.2, 0.2 + math.pi / 2, 0.2, 0.2 + 2 * math.pi]
    A = ParallelBeam((9, 9), angles, 13, dtype=torch.float64)
    plain = ParallelBeam((9, 9), angles, 13, dtype=torch.float64, backend="rays")
    x, y = randn((9, 9), seed=3), randn((5, 13), seed=4)
    assert relative(A(x), plain(x)) <= 1e-12
    assert relative(A.adjoint(y), plain.adjoint(y)) <= 1e-12


@pytest.mark.parametrize("items", [0, 1, 2, 3, 5, 17, 32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_batch_fills_the_lanes(backend, items):
    A = scan("half-turn", (16, 16), 24, backend)
    x, y = randn((items, 16, 16), seed=5), randn((items, *A.range_shape), seed=6)
    images, readings = A.adjoint(y), A(x)
    assert readings.shape == y.shape
    assert images.shape == x.shape
    for k in range(items):
        assert relative(readings[k], A(x[k])) <= 1e-13
        assert relative(images[k], A.adjoint(y[k])) <= 1e-13


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_adjoint_is_exact_whatever_the_backend(backend, dtype, tol):
    for name in SCANS:
        A = scan(name, (33, 33), 47, backend, dtype)
        assert mismatch(A, image_of(A, seed=7), data_of(A, seed=8)) <= tol, repr(A)


def test_angles_in_single_precision_keep_their_symmetry():
    angles = torch.linspace(0, math.pi, 37)[:-1]
    assert "8 mirrored copies" in repr(ParallelBeam((16, 16), angles, 24))
    assert "mirrored" not in repr(
        ParallelBeam((16, 16), angles + 1e-3 * randn((36,), torch.float32), 24, axis_offset=1)
    )


@pytest.mark.parametrize("turn", TURNS)
def test_a_copy_is_the_image_seen_through_the_turn(turn):
    """Pixel a of the copy is the image at turn(position of a), compared by the coordinates themselves."""
    size = 5
    i, j = np.mgrid[:size, :size]
    position = np.stack([j - (size - 1) / 2, (size - 1) / 2 - i], axis=-1)
    for transposed in (False, True):
        offset, row, column = pixel_map(turn, (size, size), transposed=transposed).strides(size)
        found = position.reshape(-1, 2)[offset + i * row + j * column]
        expected = position @ turn.matrix().T
        assert np.array_equal(found, expected.swapaxes(0, 1) if transposed else expected)


def test_maps_are_inverted():
    for turn in TURNS:
        there = pixel_map(turn, (4, 4), transposed=False)
        back = there.inverse()
        assert np.array_equal(there.linear @ back.linear, np.eye(2))
        assert np.array_equal(there.linear @ back.shift + there.shift, [0, 0])
    assert pixel_map(IDENTITY, (4, 7), transposed=False).strides(7) == (0, 7, 1)


def test_the_number_of_threads_changes_nothing():
    A = scan("fan-turn", (64, 64), 91, dtype=torch.float32)
    x = randn((1, 64, 64), torch.float32, seed=8).numpy()
    table = A._table()
    assert np.array_equal(project(x, table, 1), project(x, table, 3))


def test_backend_is_known():
    with pytest.raises(ValueError, match="unknown backend 'cuda'; known: auto, rays"):
        FanBeam((4, 4), [0.0], 5, source_distance=9, detector_distance=1, backend="cuda")


@pytest.mark.parametrize("backend", ["rays", "copies", "auto"])
def test_the_size_of_the_cache_changes_nothing(backend, monkeypatch):
    """Blocks and chunks follow the processor, results do not: alone and in a batch."""
    results = []
    for cache in (2**8, 2**15, 2**21, 2**30):
        monkeypatch.setattr(processor, "second_level_cache", lambda cache=cache: cache)
        A = scan("fan-turn", (64, 64), 91, backend, torch.float32)
        x, y = randn((17, 64, 64), torch.float32, seed=9), randn((17, *A.range_shape), torch.float32, seed=10)
        results.append((A(x), A(x[0]), A.adjoint(y), A.adjoint(y[0])))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("make", ["half-turn", "fan-turn", "fan-alone"])
@pytest.mark.parametrize("backend", ["rays", "copies"])
def test_a_table_is_made_in_little_more_memory_than_it_takes(make, backend):
    A = scan(make, (64, 64), 140, backend, torch.float32)
    unit = 4 * (math.prod(A.domain_shape) + math.prod(A.range_shape))
    tracemalloc.start()
    A._table()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * unit + 400 * PREPARED  # what is worked out at a time


@pytest.mark.parametrize("detectors", [1, 2, 3, 5, 61])
def test_rays_side_by_side_are_rays_one_by_one(detectors):
    # in a batch of two a ray is walked alone; the sums differ in their order
    A = scan("fan-alone", (23, 17), detectors, "rays")
    x = image_of(A, (2,))
    assert relative(A(x[0]), A(x)[0]) <= 1e-14
