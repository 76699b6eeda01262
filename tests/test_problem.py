"""The inverse problem: what counts, which units it is solved in, what recipes refuse; from coarse grids to finer."""

import importlib
import math
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from laws import randn, relative

from invprob import Scan, methods, phantoms, reconstruct, registry
from invprob.benchmark.plan import registered
from invprob.linop import Operator
from invprob.methods import progress
from invprob.operators import Blur, Identity, Mask, ParallelBeam, RandomProjection
from invprob.problem import Problem, prolong

DOUBLE = torch.float64
SHAPES = pytest.mark.parametrize("shape", [(9,), (6, 9), (4, 5, 6)])


def ramp(shape, pixel):
    """x + 2 y + ... at the middles of the pixels."""
    axes = [(torch.arange(n, dtype=DOUBLE) + 0.5) * pixel for n in shape]
    return sum(k * t for k, t in enumerate(torch.meshgrid(*axes, indexing="ij"), start=1))


@SHAPES
def test_a_smooth_image_stays_smooth(shape):
    """Linear interpolation keeps a linear function, between the middles of the outermost coarse pixels."""
    coarse, fine = ramp(shape, 2.0), tuple(2 * n for n in shape)
    inside = tuple(slice(1, -1) for _ in shape)
    found = prolong(coarse, fine, smooth=True)
    assert relative(found[inside], ramp(fine, 1.0)[inside]) <= 1e-14
    assert float(found.min()) >= float(coarse.min())
    both = prolong(torch.stack([coarse, 1j * coarse]), fine, smooth=True)
    assert relative(both, torch.stack([found, 1j * found])) <= 1e-14


@SHAPES
def test_blocks(shape):
    coarse = ramp((2, *shape), 2.0)
    expected = coarse
    for axis in range(1, coarse.ndim):
        expected = expected.repeat_interleave(2, dim=axis)
    assert torch.equal(prolong(coarse, tuple(2 * n for n in shape), smooth=False), expected)
    assert prolong(coarse, shape, smooth=True) is coarse


def test_odd_sizes_and_too_many_axes():
    assert prolong(torch.ones(3, 2, 3, 4), (3, 5, 7), smooth=True).eq(1).all()
    with pytest.raises(ValueError, match="one to three axes"):
        prolong(torch.ones(2, 2, 2, 2), (4, 4, 4, 4), smooth=True)


# ---- what counts


SIZE, SIGMA = 32, 0.05
VIEWS = ParallelBeam((SIZE, SIZE), torch.arange(40) * math.pi / 40, 48)


def picture(seed=5):
    return phantoms.training_images(1, SIZE, seed, kinds={"leaves": 1.0})[0]


def half():
    A = Mask(torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1)) < 0.5)
    return A, A(picture()) + SIGMA * randn((SIZE, SIZE), torch.float32, 2)


def test_what_is_no_reading_counts_nowhere():
    A, y = half()
    garbage = torch.where(A.measured, y, torch.nan)
    scan = Scan(A, garbage, SIGMA)
    assert not scan.data[~A.measured].any()
    zero = torch.zeros(SIZE, SIZE)
    p = Problem(A, scan.data, torch.tensor(SIGMA))
    n = int(A.measured.sum())
    assert int(p.readings) == n
    assert not bool((p.held_out() & ~A.measured).any())
    assert bool(p.held_out().any())
    expected = float(scan.data[A.measured].norm())
    assert float(p.size(p.y)) == pytest.approx(expected, rel=1e-5)
    assert float(p.residual_to_noise(zero)) == pytest.approx(expected / (SIGMA * n**0.5), rel=1e-5)
    for method in ("tv", "wavelet"):
        result = reconstruct(scan, method, strength=0.01)
        assert torch.equal(result.x, reconstruct(Scan(A, y, SIGMA), method, strength=0.01).x)
        r = (A(result.x) - scan.data)[A.measured].norm() / (SIGMA * n**0.5)
        assert float(result.certificate.residual_to_noise) == pytest.approx(float(r), rel=1e-3)


def test_strengths_are_relative_to_the_largest_pull_of_the_data(monkeypatch):
    """max |A^T W y| by the dense matrix; whoever asks next does not pay for it again."""
    A = RandomProjection((4, 5), 12, dtype=DOUBLE)
    y, w = randn((3, 12), DOUBLE, 1), torch.rand(3, 12, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    matrix = torch.stack([A(unit).flatten() for unit in torch.eye(20, dtype=DOUBLE).reshape(20, 4, 5)], 1)
    problem = Problem(A, y, None, w)
    torch.testing.assert_close(problem.peak, ((w * y) @ matrix).abs().amax(1))
    monkeypatch.setattr(A, "_adjoint", None)
    assert problem.peak.shape == (3,)


def test_percentages_of_noise_are_of_readings():
    A, clean = half()[0], picture()
    clean[~A.measured] = 1000
    noisy, sigma = phantoms.add_gaussian_noise(clean, 0.1, 0, measured=A.measured)
    assert float(sigma) == pytest.approx(0.1 * float(clean[A.measured].abs().max()))
    assert torch.equal(noisy[~A.measured], clean[~A.measured])
    assert float((noisy - clean)[A.measured].std()) == pytest.approx(float(sigma), rel=0.1)


def test_gaps_are_filled_as_the_operator_knows():
    """Holes of a picture have no detector to fill along: what holds for it holds for the transposed one."""
    y, weights = picture(), torch.ones(SIZE, SIZE)
    weights[10:16, 8:20] = 0
    A = Mask(torch.ones(SIZE, SIZE, dtype=torch.bool))
    x = reconstruct(Scan(A, y, SIGMA, weights=weights), "direct").x
    turned = reconstruct(Scan(A, y.mT.contiguous(), SIGMA, weights=weights.mT.contiguous()), "direct").x
    assert relative(turned.mT, x) < 1e-2
    assert torch.equal(x[weights > 0], y[weights > 0])


def test_a_known_noise_level_is_believed_whatever_wraps_the_views():
    y = VIEWS(torch.stack([picture(5), picture(6)])) + 0.3 * randn((2, *VIEWS.range_shape), torch.float32, 1)
    A = VIEWS.lift((2,), channels="echoes")
    *_, last = progress(Scan(A, y, 0.3), "tv")
    assert "the predictive risk" in last.choice.rule


def test_the_level_a_denoiser_is_asked_with_is_that_of_a_part():
    """sigma^2 = E|n|^2 for complex noise, of which the real part has half: a factor 2^1/2 to the same real problem."""
    real, imaginary = picture(5), picture(6)
    levels = {}

    def asked(scan):
        found = []

        def record(v, level):
            found.append(level.max().double())
            return v

        reconstruct(scan, "pnp", strength=0.1, denoiser=record, nonnegative=False)
        return torch.stack(found)

    truth = torch.complex(real, imaginary)
    levels["complex"] = asked(Scan(Identity((SIZE, SIZE), dtype=torch.complex64), truth, 0.1))
    modulus = truth.abs()  # of the same contrast and the same largest reading
    levels["real"] = asked(Scan(Identity((SIZE, SIZE)), modulus, 0.1))
    assert relative(levels["complex"] * 2**0.5, levels["real"]) < 1e-3
    assert float(levels["complex"][-1]) > 0


@pytest.mark.parametrize("channels", ["colour", "echoes"])
def test_edges_are_shared_where_channels_are_of_one_scene(channels):
    scene = picture()
    truth = torch.stack([scene, 0.8 * scene, 0.6 * scene])
    blur = Blur((SIZE, SIZE), torch.ones(3, 3) / 9)
    y = blur(truth) + SIGMA * randn(truth.shape, torch.float32, 3)
    error = {
        word: relative(reconstruct(Scan(blur.lift((3,), channels=word), y, SIGMA), "tv", strength=0.02).x, truth)
        for word in (channels, None, "slices")
    }
    together, apart, volume = error.values()
    assert together < 0.93 * apart
    assert together != volume


# ---- units, and operators that are not linear


class Power(Operator):
    """x^p, pixel by pixel."""

    def __init__(self, p, degree):
        super().__init__((4, 4), (4, 4))
        self.p, self.degree = p, degree

    def _forward(self, x):
        return x**self.p


@pytest.mark.parametrize("c", [1e-6, 1.0, 3.7e5])
@pytest.mark.parametrize(("p", "degree"), [(1, 1.0), (2, 2.0), (0.5, 0.5), (-1, -1.0), (3, None)])
def test_a_recipe_sees_data_normalised_as_far_as_the_degree_allows(p, degree, c):
    seen = []

    def root(problem):
        seen.append(problem)
        x = problem.y ** (1 / p)
        result = reconstruct(Scan(Identity((4, 4)), x), "direct")
        yield methods.Progress("taking the root", 1, 1, 0.0, lambda: result)

    y = c * torch.linspace(0.3, 1, 16).reshape(4, 4)
    x = reconstruct(Scan(Power(p, degree), y, 0.1 * c), root).x
    assert relative(x**p, y) < 1e-5
    (problem,) = seen
    most = float(problem.y.max())
    assert problem.A.degree == degree
    assert most == pytest.approx(c, rel=1e-6) if degree is None else 1 <= most < 2 ** abs(degree) * (1 + 1e-6)
    assert float(problem.noise) == pytest.approx(0.1 * most, rel=1e-5)
    mean = float(problem.fidelity().value(problem.y ** (1 / p)))
    assert mean == pytest.approx(0, abs=1e-8 * most**2)


LINEAR = sorted(set(registry.METHODS) - {"gauss-newton"})


@pytest.mark.parametrize("method", LINEAR)
def test_what_needs_a_linear_operator_says_so_and_names_what_does_not(method):
    with pytest.raises(ValueError, match="needs a linear operator, which Power is not: use gauss-newton"):
        reconstruct(Scan(Power(2, 2.0), torch.ones(4, 4)), method)


# ---- one registry, memory, names


def test_the_registry_says_what_is_learned():
    kinds = {name: method.kind for name, method in registry.METHODS.items()}
    assert {name for name, kind in kinds.items() if kind == "learned"} >= {"pnp", "red", "gs-pnp", "lpn"}
    of_radar = {"back-projection", "matched-filter", "kirchhoff", "range-migration"}
    direct = {"direct", "fbp", "wiener", "zero-filled"} | of_radar
    assert {name for name, kind in kinds.items() if kind == "direct"} == direct
    for method in registered():
        assert (method.kind == "learned") == (kinds[method.target] == "learned")


def test_no_function_shares_its_name_with_its_module():
    for package in ("invprob.methods", "invprob.tuning"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            assert not hasattr(importlib.import_module(f"{package}.{module.name}"), module.name)


def test_recipes_ask_the_problem_for_their_data_term():
    written = [path.name for path in Path(methods.__file__).parent.glob("*.py") if "L2(" in path.read_text()]
    assert written == []


PEAK = """
import resource
import torch
from invprob import Scan, reconstruct
from invprob.operators import Identity

def run(steps):
    A = Identity((256, 256))
    y = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    reconstruct(Scan(A, y), "tv", strength=0.01, tol=0.0, max_iter=steps)

run(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_a_long_run_keeps_one_state():
    """A state is about 4 MB here, so that 200 of them would be 800."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000
