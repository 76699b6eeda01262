"""Tomography in the plane: projector and filtered back-projection against definitions, ASTRA and closed forms."""

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from laws import mismatch, randn, relative
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator
from invprob.linop.bases import Basis, from_basis, to_basis
from invprob.operators import FanBeam, ParallelBeam
from invprob.operators.ct.fbp import WINDOWS, ramp_filter
from invprob.operators.ct.planar import PlanarCT
from invprob.phantoms import Ellipses, shepp_logan
from invprob.transforms import Gradient

DOUBLE = torch.float64
PI = math.pi

# ---- the projector, by its definition


def joseph(A: PlanarCT) -> Tensor:
    """The matrix of Joseph's method, ray by ray: interpolate along the axis the ray is less steep to."""
    height, width = A.domain_shape
    points, directions = (t.reshape(-1, 2).numpy() / A.pixel_size for t in A.rays())
    rows = np.zeros((len(points), height, width))
    for ray, ((px, py), (dx, dy)) in enumerate(zip(points, directions, strict=True)):
        column, row = px + (width - 1) / 2, (height - 1) / 2 - py
        across_rows = abs(dy) >= abs(dx)
        length = A.pixel_size * math.hypot(dx, dy) / max(abs(dx), abs(dy))
        for i in range(height if across_rows else width):
            at = column - (i - row) * dx / dy if across_rows else row - (i - column) * dy / dx
            j = math.floor(at)
            for k, share in ((j, 1 - (at - j)), (j + 1, at - j)):
                if across_rows and 0 <= k < width:
                    rows[ray, i, k] += length * share
                elif not across_rows and 0 <= k < height:
                    rows[ray, k, i] += length * share
    return torch.from_numpy(rows.reshape(len(points), -1))


def some_geometry(rng: np.random.Generator, dtype: torch.dtype) -> PlanarCT:
    """Any geometry: square or not, odd or even, pixels and bins of any size, axis and detector off centre."""
    shape = tuple(int(n) for n in rng.integers(1, 12, size=2))
    pixel = float(rng.uniform(0.2, 3))
    settings = {
        "pixel_size": pixel,
        "detector_size": pixel * float(rng.uniform(0.3, 2)),
        "axis_offset": float(rng.normal()),
        "dtype": dtype,
    }
    angles = rng.uniform(-7, 7, int(rng.integers(1, 6)))
    angles[0] = rng.choice([0, PI / 4, PI / 2, -PI, angles[0]])
    detectors = int(rng.integers(1, 14))
    if rng.random() < 0.5:
        return ParallelBeam(shape, angles, detectors, **settings)
    radius = 0.5 * pixel * math.hypot(*shape)
    distances = {
        "source_distance": radius * float(rng.uniform(1.05, 6)),
        "detector_distance": radius * rng.uniform(0, 4),
    }
    return FanBeam(shape, angles, detectors, **distances, **settings)


def test_two_hundred_geometries():
    """Exact adjoint in both precisions, and the same sums as the definition's."""
    rng = np.random.default_rng(0)
    kinds = set()
    for seed in range(200):
        dtype = DOUBLE if seed % 2 else torch.float32
        A = some_geometry(rng, dtype)
        kinds.add((type(A), *(n % 2 for n in A.domain_shape)))
        tol = 1e-12 if dtype == DOUBLE else 1e-6
        batch = (3,) if seed % 3 else ()  # one image and several run through different kernels
        x, y = randn((*batch, *A.domain_shape), dtype, seed), randn((*batch, *A.range_shape), dtype, seed + 1)
        assert mismatch(A, x, y) <= tol, A
        if seed < 60 and dtype == DOUBLE:
            assert relative(A(x).flatten(-2), x.flatten(-2) @ joseph(A).T) <= 1e-11, A
    assert len(kinds) == 8


def test_one_image_and_a_batch_agree():
    A = FanBeam((33, 40), np.linspace(0, 6, 17), 47, source_distance=80.0, detector_distance=30.0, dtype=DOUBLE)
    x, y = randn((3, 33, 40)), randn((3, 17, 47))
    assert relative(A(x)[1], A(x[1])) <= 1e-14
    assert relative(A.adjoint(y)[1], A.adjoint(y[1])) <= 1e-14


def test_threads_change_nothing():
    A = ParallelBeam((40, 40), np.linspace(0, 3, 60), 50)
    x, y = randn((40, 40), torch.float32), randn((60, 50), torch.float32)
    before = torch.get_num_threads()
    alone = A(x), A.adjoint(y), A.direct(y)
    try:
        torch.set_num_threads(3)
        shared = A(x), A.adjoint(y), A.direct(y)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a, b)


def test_a_single_pixel_and_where_it_lands():
    """Row 0 is at the top, x to the right, angles counter-clockwise: s = x cos + y sin."""
    x = torch.zeros(5, 7, dtype=DOUBLE)
    x[1, 5] = 1  # at (2, 1)
    A = ParallelBeam((5, 7), [0.0, PI / 2, PI, -PI / 2], 9, dtype=DOUBLE)
    assert A(x).argmax(1).tolist() == [4 + 2, 4 + 1, 4 - 2, 4 - 1]
    B = ParallelBeam((5, 7), [0.0, PI / 2], 9, axis_offset=-2.0, dtype=DOUBLE)
    assert B(x).argmax(1).tolist() == [2 + 2, 2 + 1]
    far = {"source_distance": 1e6, "detector_distance": 1.0, "dtype": DOUBLE}
    assert FanBeam((5, 7), A.angles, 9, **far)(x).argmax(1).tolist() == [6, 5, 2, 3]
    near = FanBeam((5, 7), [0.0], 9, source_distance=5.0, detector_distance=5.0, dtype=DOUBLE)
    # from (0, -5) through (2, 1) to the detector's line y = 5: x = 10 / 6 * 2
    assert near(x).argmax(1).tolist() == [4 + 3]


def test_lengths_are_lengths():
    """In any unit: the integral of a constant is the length of the way through it."""
    for pixel in (0.01, 1.0, 40.0):
        A = ParallelBeam((20, 20), [0.0, PI / 2, PI / 4], 1, pixel_size=pixel, dtype=DOUBLE)
        ways = A(torch.ones(20, 20, dtype=DOUBLE)).flatten() / pixel
        assert ways.tolist() == pytest.approx([20, 20, 20 * 2**0.5], rel=1e-12)


# ---- against ASTRA and against analytic line integrals


def by_astra(A: PlanarCT, x: Tensor) -> Tensor:
    astra = pytest.importorskip("astra")
    kind, name = ("fanflat", "line_fanflat") if isinstance(A, FanBeam) else ("parallel", "linear")
    distances = (A.source_distance, A.detector_distance) if isinstance(A, FanBeam) else ()
    grid = astra.create_vol_geom(*A.domain_shape)
    beam = astra.create_proj_geom(kind, A.detector_size, A.detectors, A.angles, *distances)
    projector = astra.create_projector(name, beam, grid)
    number, sinogram = astra.create_sino(x.numpy(), projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return torch.from_numpy(sinogram)


def parallel256() -> ParallelBeam:
    return ParallelBeam((256, 256), np.arange(180) * PI / 180, 363)


def fan256(distance: float = 512.0) -> FanBeam:
    return FanBeam(
        (256, 256),
        np.arange(360) * PI / 180,
        363,
        source_distance=distance,
        detector_distance=distance,
        detector_size=2.0,
    )


@pytest.mark.parametrize(
    ("make", "recorded"),
    [(parallel256, 0.01382), (fan256, 0.01531), (lambda: fan256(320.0), None)],
    ids=["parallel", "fan", "half-angle 30"],
)
def test_shepp_logan_line_integrals(make, recorded):
    """As near to the truth as ASTRA 2.5 (linear, line_fanflat), on an image averaged 8 x 8 per pixel."""
    A = make()
    phantom = shepp_logan(128.0)
    x = phantom.image(A.domain_shape)
    truth = phantom.line_integrals(*A.rays())
    ours, theirs = relative(A(x).double(), truth), relative(by_astra(A, x).double(), truth)
    if recorded is not None:
        assert theirs == pytest.approx(recorded, rel=0.01)
    else:
        assert np.rad2deg(np.abs(A.view_map().fan_angles).max()) > 29
    assert ours <= 1.02 * theirs


def test_parallel_is_astras_linear_projector():
    A = ParallelBeam((31, 40), np.linspace(-1, 4, 23), 57, detector_size=0.8)
    x = randn((31, 40), torch.float32)
    assert relative(A(x), by_astra(A, x)) <= 1e-4  # whose arithmetic is in single precision


def test_rays_are_where_astra_has_them():
    """A point far off centre casts its shadow into the same bins, parallel and fan."""
    rows, columns = torch.arange(64.0)[:, None], torch.arange(48.0)
    x = torch.exp(-((rows - 11) ** 2 + (columns - 41) ** 2) / 8)
    for A in (
        ParallelBeam((64, 48), np.linspace(0, 6, 40), 90),
        FanBeam((64, 48), np.linspace(0, 6, 40), 90, source_distance=90.0, detector_distance=60.0, detector_size=2.0),
    ):
        bins = torch.arange(90.0)
        ours, theirs = A(x), by_astra(A, x)
        shift = (ours @ bins) / ours.sum(1) - (theirs @ bins) / theirs.sum(1)
        assert float(shift.abs().max()) <= 0.15  # of a bin; ASTRA's pixels are squares in a fan


# ---- filtered back-projection


def disc(n: float) -> tuple[Ellipses, Callable[[Tensor], Tensor]]:
    """A disc of value 1 off the centre of an n x n image, and a mask of where it may spread."""
    x, y, r = 0.17 * n, -0.11 * n, 0.2 * n
    rows = torch.tensor([1.0, x, y, r, r, 0.0], dtype=DOUBLE)

    def near(image: Tensor) -> Tensor:
        at = torch.arange(n, dtype=DOUBLE) - (n - 1) / 2
        return torch.where((at - x) ** 2 + (at[:, None] + y) ** 2 < (1.3 * r) ** 2, image, 0.0)

    return Ellipses(rows[:1], rows[None, 1:3], rows[None, 3:5], rows[5:]), near


def centroid(image: Tensor) -> Tensor:
    total = image.sum()
    at = torch.arange(len(image), dtype=DOUBLE)
    return torch.stack([(image.sum(0) * at).sum(), (image.sum(1) * at).sum()]) / total


def reconstruct(A: PlanarCT) -> tuple[Tensor, Tensor]:
    phantom, _ = disc(A.domain_shape[0])
    truth = phantom.image(A.domain_shape, dtype=DOUBLE)
    return A.direct(phantom.line_integrals(*A.rays()).to(A.dtype)).double(), truth


@pytest.mark.parametrize("n", [63, 64, 101, 128, 257, 513])
@pytest.mark.parametrize("beam", ["parallel", "fan", "short scan off centre"])
def test_reconstructions_lie_where_the_object_is(n, beam):
    m = int(1.5 * n)
    views = np.arange(2 * m) * PI / m
    fan = {"source_distance": 1.6 * n, "detector_distance": 1.6 * n, "detector_size": 2.0}
    A = {
        "parallel": lambda: ParallelBeam((n, n), views[:m], m),
        "fan": lambda: FanBeam((n, n), views, m, **fan),
        "short scan off centre": lambda: FanBeam((n, n), views[: int(1.45 * m)] - 0.3, m, **fan, axis_offset=0.4),
    }[beam]()
    found, truth = reconstruct(A)
    _, near = disc(n)
    assert float((centroid(near(found)) - centroid(truth)).abs().max()) <= 0.01
    assert float(found[truth == 1].mean()) == pytest.approx(1, abs=0.005)
    assert relative(found, truth) <= 0.5 / n**0.5
    if beam != "parallel":
        assert 24 < np.rad2deg(np.abs(A.view_map().fan_angles).max()) < 26


def arcs(n: int = 180) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    half = np.arange(n) * PI / n
    return {
        "half turn": half,
        "backwards": -half,
        "from anywhere": 5.9 + half,
        "shuffled": rng.permutation(half),
        "full turn": np.arange(2 * n) * PI / n,
        "two turns": np.arange(4 * n) * PI / n,
        "more than half": np.arange(int(1.3 * n)) * PI / n,
        "0 and 180": np.linspace(0, PI, n + 1),
        "0 and 360": np.linspace(0, 2 * PI, 2 * n + 1),
        "every view twice": np.repeat(half, 2),
        "interleaved from behind": np.concatenate([half[::2], half[1::2] + PI]),
        "jittered": (np.arange(n) + rng.uniform(-0.4, 0.4, n)) * PI / n,
        "two densities": np.concatenate([np.linspace(0, PI / 2, n // 3, endpoint=False), PI / 2 + half[: n // 2]]),
    }


@pytest.mark.parametrize("arc", arcs())
def test_level_of_parallel_scans(arc):
    found, truth = reconstruct(ParallelBeam((101, 101), arcs()[arc], 151))
    assert float(found[truth == 1].mean()) == pytest.approx(1, abs=0.003)
    assert relative(found, truth) <= 0.05


@pytest.mark.parametrize("offset", [0.0, 3.7])
@pytest.mark.parametrize(
    "arc",
    [
        np.arange(360) * PI / 180,
        np.linspace(0, 2 * PI, 361),
        np.arange(235) * PI / 200 - 1,
        2 - np.arange(300) * PI / 225,
        np.arange(300) * PI / 180,
        np.linspace(0, PI + np.deg2rad(62), 300),
        (np.arange(360) + np.random.default_rng(0).uniform(-0.4, 0.4, 360)) * PI / 180,
    ],
    ids=["full turn", "0 and 360", "short 211", "short 240, backwards", "300", "least", "jittered"],
)
def test_level_of_fan_scans(arc, offset):
    A = FanBeam(
        (101, 101),
        arc,
        151,
        source_distance=131.0,
        detector_distance=131.0,
        detector_size=2.0,
        axis_offset=offset,
    )
    found, truth = reconstruct(A)
    assert 29 < np.rad2deg(np.abs(A.view_map().fan_angles).max()) < 31
    assert float(found[truth == 1].mean()) == pytest.approx(1, abs=0.003)
    assert relative(found, truth) <= 0.06


def test_units_carry_through_reconstruction():
    """An attenuation in 1 / mm comes back as such, whatever the pixel."""
    phantom, _ = disc(64)
    for unit in (1e-3, 1.0, 25.0):
        A = ParallelBeam((64, 64), np.arange(96) * PI / 96, 96, pixel_size=unit, detector_size=unit, dtype=DOUBLE)
        found = A.direct(phantom.scaled(unit).line_integrals(*A.rays()))
        assert float(found[20:50, 25:60].max()) == pytest.approx(1, abs=0.1)
        one = ParallelBeam((64, 64), A.angles, 96, dtype=DOUBLE)
        assert relative(found, one.direct(phantom.line_integrals(*one.rays()))) <= 1e-9


def test_reconstruction_of_complex_data_and_batches():
    A = ParallelBeam((16, 15), np.arange(20) * PI / 20, 24, dtype=DOUBLE)
    y = randn((2, 3, 20, 24), torch.complex128)
    whole = A.direct(y)
    assert whole.shape == (2, 3, 16, 15)
    assert relative(whole, torch.complex(A.direct(y.real), A.direct(y.imag))) <= 1e-14
    assert relative(whole[1, 2], A.direct(y[1, 2])) <= 1e-13
    y = y.real.requires_grad_()
    with pytest.raises(ValueError, match="has no derivative: call it under"):
        A.direct(y)
    with torch.no_grad():
        A.direct(y)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_keep_the_mean_and_tame_the_noise(window):
    """The ramp at frequency zero is what the band-limited kernel gives; a window only takes from high frequencies."""
    A = ParallelBeam((65, 65), np.arange(100) * PI / 100, 97)
    phantom, _ = disc(65)
    clean = phantom.line_integrals(*A.rays()).float()
    noise = randn(clean.shape, torch.float32)
    truth = phantom.image((65, 65))
    assert float(A.direct(clean, window=window)[truth == 1].mean()) == pytest.approx(1, abs=0.02)
    if window != "ramp":
        assert float(A.direct(noise, window=window).std()) < 0.9 * float(A.direct(noise).std())
    with pytest.raises(ValueError, match=r"unknown filter window 'sharp'; known: ramp, "):
        A.direct(clean, window="sharp")


def test_the_ramp_filter_is_the_convolution_with_its_kernel():
    """Kak & Slaney 1988, equation 3.61: h_0 = 1 / 4 tau^2, h_n = -1 / (pi n tau)^2 for odd n, times the bin tau."""
    row, tau = randn((1, 9)).numpy(), 0.7
    n = np.arange(9)[:, None] - np.arange(9)
    odd = n % 2 == 1
    kernel = np.where(odd, -1 / (PI * np.where(odd, n, 1) * tau) ** 2, 0)
    np.fill_diagonal(kernel, 1 / (4 * tau**2))
    np.testing.assert_allclose(ramp_filter(row, tau), row @ kernel * tau, atol=1e-14)


# ---- coarser grids


@pytest.mark.parametrize("shape", [(32, 32), (33, 32), (32, 47)])
@pytest.mark.parametrize("detectors", [48, 49])
def test_coarser(shape, detectors):
    """The stand-in sees the same object in the same place: a smooth one gives the same data but for the blur."""
    for A in (
        ParallelBeam(shape, np.linspace(0, 3, 20), detectors, pixel_size=0.5, detector_size=0.7, axis_offset=2.3),
        FanBeam(
            shape, np.linspace(0, 6, 20), detectors, source_distance=60.0, detector_distance=40.0, axis_offset=-3.0
        ),
    ):
        coarse = A.coarser()
        radius = 0.45 * A.pixel_size * min(shape)
        shrink = (
            torch.arange(1, 17, dtype=DOUBLE)[:, None] / 16
        )  # a cone of sixteen discs, so that sampling is harmless
        centre = torch.tensor([[0.1, -0.2]], dtype=DOUBLE) * radius
        phantom = Ellipses(torch.ones(16), centre.expand(16, 2), radius * shrink.expand(16, 2), torch.zeros(16))
        seen = coarse.restrict(phantom.line_integrals(*A.rays()).float())
        exact = phantom.line_integrals(*coarse.operator.rays()).float()
        assert type(coarse.operator) is type(A)
        assert seen.shape == coarse.operator.range_shape
        assert relative(seen, exact) <= 0.02
        bins = torch.arange(detectors // 2, dtype=torch.float32)
        shift = (exact @ bins) / exact.sum(1) - (seen @ bins) / seen.sum(1)
        assert float(shift.abs().max()) <= 0.03
        assert coarse.averaged == 2
    assert ParallelBeam((3, 3), [0.0], 1).coarser() is None


# ---- large geometries


def test_too_many_rays_are_told_before_memory_is_touched():
    for detectors in (2**28 + 1, 10**9, 10**30):
        with pytest.raises(ValueError, match="at most 268435456 rays"):
            ParallelBeam((8, 8), [0.0], detectors)


def test_repr_makes_no_rays(monkeypatch):
    A = ParallelBeam((8, 8), np.arange(4) * PI / 4, 2**25)
    monkeypatch.setattr(A, "rays", None)
    assert "4 mirrored copies at once" in repr(A)


# ---- preconditioning


def test_the_symbol_helps_to_solve():
    """With the cosine estimate of A^T A, the normal equations of a scan take fewer steps."""
    A = ParallelBeam((64, 64), np.arange(90) * PI / 90, 95, dtype=DOUBLE)
    b = A.adjoint(A(randn((64, 64))))
    shift = 1e-3 * float(A.norm()) ** 2
    count = [0]

    class Counting(ParallelBeam):
        def _gram(self, x: Tensor) -> Tensor:
            count[0] += 1
            return super()._gram(x)

    counted = Counting(**A.config(), dtype=DOUBLE)
    x = counted.solve(b, shift)
    plain = linalg.conjugate_gradient(lambda v: A.gram(v) + shift * v, b, ndim=2)
    assert relative(x, plain.x) <= 1e-4
    assert count[0] < 0.7 * int(plain.n_iter)


def energy_left(A: ParallelBeam, basis: Basis | None) -> float:
    """Return what three steps of conjugate gradients leave of the error's energy in a system as TV has it."""
    D = Gradient(A.domain_shape, dtype=DOUBLE)
    rho = 5e-4 * float(A.norm()) ** 2
    symbol = A.gram_diagonal_estimate(basis)
    total = symbol.values + rho * D.gram_diagonal_estimate(symbol.basis).values

    def M(v: Tensor) -> Tensor:
        return A.gram(v) + rho * D.gram(v)

    def P(v: Tensor) -> Tensor:
        return from_basis(to_basis(v, symbol.basis, 2) / total, symbol.basis, 2).real

    edges = D.adjoint(randn(D.range_shape) * (randn(D.range_shape, seed=1) > 1.5))
    exact = linalg.conjugate_gradient(M, edges, ndim=2, tol=1e-9, preconditioner=P).x
    error = exact - linalg.conjugate_gradient(M, edges, ndim=2, tol=0.0, max_iter=3, preconditioner=P).x
    return float(torch.sum(error * M(error)) / torch.sum(exact * M(exact)))


def test_an_arc_is_preconditioned_in_the_basis_that_fits():
    half, arc = np.arange(90) * PI / 90, PI / 6 + np.arange(61) * PI / 180
    assert ParallelBeam((32, 32), half, 48).gram_diagonal_estimate().basis == "cosine"
    A = ParallelBeam((64, 64), arc, 95, dtype=DOUBLE)
    assert A.gram_diagonal_estimate().basis == "fourier"
    assert energy_left(A, None) < 0.8 * energy_left(A, "cosine")


def test_no_direction_is_without_a_symbol():
    """Where no view looks it is a share of the mean around it, as the blur of other pixels differs from the central."""
    values = ParallelBeam((32, 32), PI / 6 + np.arange(61) * PI / 180, 48).gram_diagonal_estimate().values
    frequencies = torch.fft.fftfreq(32)
    resolved = frequencies[:, None].square() + frequencies.square() < 0.4**2
    assert float(values[resolved].min()) > 1e-4 * float(values[0, 0])


# ---- geometry as data


@pytest.mark.parametrize(
    "A",
    [
        ParallelBeam((5, 6), [0.1, 2.0], 7, pixel_size=0.5, detector_size=0.4, axis_offset=-3.5),
        FanBeam((5, 6), [0.1], 7, source_distance=9.0, detector_distance=0.0, detector_size=3.0, axis_offset=1.5),
    ],
    ids=["parallel", "fan"],
)
def test_config_and_repr(A):
    again = type(A)(**A.config())
    x = randn((5, 6), torch.float32)
    assert torch.equal(A(x), again(x))
    assert repr(A) == repr(again)
    for said in (
        "5 x 6 pixels",
        f"{len(A.angles)} angles",
        f"{A.detectors} bins",
        f"offset {A.axis_offset:g}",
        "Joseph",
        "numba",
    ):
        assert said in repr(A)
    assert ("source at 9" in repr(A)) == isinstance(A, FanBeam)
    assert torch.equal(pickle.loads(pickle.dumps(A))(x), A(x))


@pytest.mark.parametrize(
    "angles",
    [
        [0.0, 0.5],
        (0, 1),
        np.array([0.0, 0.5], dtype=np.float32),
        np.array([0.5, 0.0])[::-1],
        torch.tensor([0.0, 0.5]),
        torch.tensor([0.0, 0.5], requires_grad=True),
        torch.tensor([0, 1]),
    ],
    ids=["list", "integers", "float32", "reversed view", "tensor", "tensor with gradient", "integer tensor"],
)
def test_angles_in_any_dress(angles):
    A = ParallelBeam((4, 4), angles, 5)
    assert A.dtype == torch.float32
    assert A.angles.dtype == np.float64
    assert A.angles[0] == 0


def test_angles_are_copied():
    angles = np.array([0.0, 0.5])
    A = ParallelBeam((4, 4), angles, 5)
    before = A(torch.ones(4, 4))
    angles[:] = 1.0
    assert torch.equal(ParallelBeam(**A.config())(torch.ones(4, 4)), before)


PARALLEL = {"image_shape": (8, 8), "angles": [0.0, 1.0], "detectors": 9}
FAN = PARALLEL | {"source_distance": 20.0, "detector_distance": 10.0}


@pytest.mark.parametrize(
    ("cls", "change", "told"),
    [
        (ParallelBeam, {"detectors": 0}, "0 detectors x 2 angles; it takes whole detectors, at least 1"),
        (ParallelBeam, {"detectors": -3}, "at least 1"),
        (ParallelBeam, {"detectors": 2.5}, "whole detectors"),
        (ParallelBeam, {"detectors": 2**30}, "at most 268435456 rays"),
        (
            ParallelBeam,
            {"angles": [0.0, math.nan]},
            r"angles must be a list of finite numbers in radians.*1 not finite",
        ),
        (ParallelBeam, {"angles": []}, r"got shape \(0,\)"),
        (ParallelBeam, {"angles": [[0.0]]}, r"got shape \(1, 1\)"),
        (ParallelBeam, {"angles": 0.5}, r"got shape \(\)"),
        (ParallelBeam, {"image_shape": (8,)}, r"image_shape must be \(rows, columns\), got \(8,\)"),
        (ParallelBeam, {"image_shape": (8, -8)}, "positive whole sizes"),
        (ParallelBeam, {"image_shape": (8, 0)}, "positive whole sizes"),
        (ParallelBeam, {"image_shape": (8, 7.5)}, "positive whole sizes"),
        (ParallelBeam, {"pixel_size": 0.0}, "pixel_size must be a positive length, got 0"),
        (ParallelBeam, {"pixel_size": -1.0}, "pixel_size must be a positive length"),
        (ParallelBeam, {"detector_size": math.inf}, "detector_size must be a positive length"),
        (ParallelBeam, {"axis_offset": math.nan}, r"axis_offset must be finite \(in bins\)"),
        (
            FanBeam,
            {"source_distance": 5.0},
            r"source at source_distance=5.0 lies inside the image, whose corners.*5\.65",
        ),
        (FanBeam, {"source_distance": -20.0}, "lies inside the image"),
        (FanBeam, {"source_distance": math.nan}, "lies inside the image"),
        (FanBeam, {"detector_distance": -1.0}, r"detector_distance \(axis to detector\) must be >= 0, got -1"),
        (FanBeam, {"detector_distance": math.nan}, "must be >= 0"),
    ],
)
def test_geometries_that_cannot_be(cls, change, told):
    with pytest.raises(ValueError, match=told) as error:
        cls(**((FAN if cls is FanBeam else PARALLEL) | change))
    assert str(error.value).startswith(cls.__name__)


def test_numpy_numbers_are_numbers():
    A = ParallelBeam((np.int64(8), np.int32(8)), [0.0], np.int64(9), pixel_size=np.float32(1))
    assert isinstance(A, LinearOperator)
    assert A.config() == ParallelBeam((8, 8), [0.0], 9).config() | {"angles": A.angles}
