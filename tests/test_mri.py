"""MRI: operators against direct sums and dense matrices, weights, what is held out, methods on exact k-space."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from cases import maps, positions
from laws import dense, randn, relative
from torch import Tensor

from invprob import Scan, linalg, metrics, phantoms, reconstruct
from invprob.cli.magnet import Magnet
from invprob.fidelities import L2
from invprob.loop import solve
from invprob.methods.strength import Found
from invprob.methods.wavelet_sparsity import _strongest_of_equals
from invprob.operators import CartesianMRI, NonCartesianMRI, radians_per_pixel
from invprob.operators.fourier.toeplitz import toeplitz_kernel
from invprob.operators.mri.density import pipe_menon, voronoi
from invprob.operators.mri.replicas import g_factor, noise_map
from invprob.priors import TotalVariation
from invprob.problem import Problem
from invprob.report.page import save_report
from invprob.solvers import ADMM, ConjugateGradient
from invprob.solvers.base import never
from invprob.tuning import Choice

DOUBLE = torch.float64
COMPLEX = torch.complex128


def direct_sum(x: Tensor, omega: Tensor) -> Tensor:
    """The definition, term by term."""
    angle = torch.zeros(len(omega), *x.shape, dtype=DOUBLE)
    for axis, n in enumerate(x.shape):
        place = (torch.arange(n) - n // 2).reshape(n, *(1,) * (x.ndim - axis - 1))
        angle = angle + omega[:, axis].reshape(-1, *(1,) * x.ndim) * place
    return (x * torch.polar(torch.ones_like(angle), -angle)).flatten(1).sum(1) / math.sqrt(x.numel())


# ---- operators


@pytest.mark.parametrize("shape", [(9, 8), (5, 7, 6), (7,), (4, 4)])
def test_both_operators_are_the_direct_sum(shape):
    x, omega = randn(shape, COMPLEX), positions(11, len(shape))
    assert relative(NonCartesianMRI(shape, omega, dtype=DOUBLE)(x), direct_sum(x, omega)) <= 1e-12
    grid = phantoms.cartesian_positions(shape)
    found = CartesianMRI(torch.ones(shape), ndim=len(shape), dtype=DOUBLE)(x)
    assert relative(found.flatten(), direct_sum(x, grid.reshape(-1, len(shape)))) <= 1e-12


def test_a_shifted_point_has_its_phase_ramp():
    A = CartesianMRI(torch.ones(8, 7), dtype=DOUBLE)
    x = torch.zeros(8, 7, dtype=COMPLEX)
    x[4 + 2, 3 - 1] = 1
    k = torch.stack(torch.meshgrid(torch.arange(8) - 4, torch.arange(7) - 3, indexing="ij"))
    angle = -2 * math.pi * (2 * k[0].double() / 8 - k[1].double() / 7)
    assert relative(A(x), torch.polar(torch.ones_like(angle), angle) / math.sqrt(56)) <= 1e-12


def test_frames_and_volumes_are_loops():
    mask = randn((2, 3, 4), seed=1) > -0.5
    S, x = maps(2, 3, 4), randn((2, 3, 4), COMPLEX)
    A = CartesianMRI(mask, S, frames=2, dtype=DOUBLE)
    for t in range(2):
        assert relative(A(x)[t], CartesianMRI(mask[t], S, dtype=DOUBLE)(x[t])) <= 1e-14
    omega = positions(2, 9, 2)
    B = NonCartesianMRI((3, 4), omega, S, frames=2, dtype=DOUBLE)
    for t in range(2):
        assert relative(B(x)[t], NonCartesianMRI((3, 4), omega[t], S, dtype=DOUBLE)(x[t])) <= 1e-13


def test_masks_of_a_batch():
    masks = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0]]).reshape(2, 1, 4)
    A, x = CartesianMRI(masks, image_shape=(3, 4), dtype=DOUBLE), randn((2, 3, 4), COMPLEX)
    for i in range(2):
        assert relative(A(x)[i], CartesianMRI(masks[i], image_shape=(3, 4), dtype=DOUBLE)(x[i])) <= 1e-14


def test_coils_in_blocks_are_the_coils(monkeypatch):
    S, x, w = maps(3, 4, 5), randn((4, 5), COMPLEX), randn((3, 4, 5), seed=2).abs()
    for make in (
        lambda: CartesianMRI([1, 0, 1, 1, 0], S, dtype=DOUBLE),
        lambda: CartesianMRI([1, 0, 1, 1, 0], 3, image_shape=(4, 5), dtype=DOUBLE),
    ):
        A = make()
        t = x if not A.lacks_maps else randn((3, 4, 5), COMPLEX)
        whole = A(t), A.gram(t, w), A.adjoint(A(t))
        monkeypatch.setattr("invprob.operators.mri.encoding.BLOCK", 2 * 16 * 20)
        monkeypatch.setattr("invprob.processor.second_level_cache", lambda: 2 * 2 * 16 * 20)
        parts = A(t), A.gram(t, w), A.adjoint(A(t))
        monkeypatch.undo()
        assert all(relative(a, b) <= 1e-14 for a, b in zip(parts, whole, strict=True))


def test_the_bound_of_the_maps_holds_and_is_met_when_all_is_sampled():
    S = maps(2, 3, 4, 4)
    for mask in ([1, 1, 1, 1], [1, 0, 1, 1]):
        A = CartesianMRI(mask, S, sets=2, dtype=DOUBLE)
        largest = float(torch.linalg.matrix_norm(dense(A), 2))
        assert largest <= float(A.norm_bound()) * (1 + 1e-12)
        if all(mask):
            assert float(A.norm_bound()) == pytest.approx(largest, rel=1e-10)


def test_one_coil_is_solved_in_closed_form():
    A = CartesianMRI([1, 0, 1, 1, 0], image_shape=(4, 5), dtype=DOUBLE)
    b, M = randn((4, 5), COMPLEX), dense(A)
    expected = torch.linalg.solve(M.mH @ M + 0.3 * torch.eye(20, dtype=COMPLEX), b.flatten())
    assert relative(A.solve(b, 0.3).flatten(), expected) <= 1e-12


@pytest.mark.parametrize("make", ["lines", "points"])
def test_the_circulant_is_the_nearest(make):
    S = maps(2, 4, 5)
    A = CartesianMRI([1, 0, 1, 1, 0], S, dtype=DOUBLE) if make == "lines" else None
    A = NonCartesianMRI((4, 5), positions(7, 2), S, dtype=DOUBLE) if A is None else A
    F = torch.stack([torch.fft.fftn(e.reshape(4, 5), norm="ortho").flatten() for e in torch.eye(20, dtype=COMPLEX)], 1)
    M = dense(A)
    expected = torch.diagonal(F @ M.mH @ M @ F.mH).real.clamp(min=0)
    assert relative(A.gram_diagonal_estimate().values.flatten(), expected) <= 1e-10
    if make == "points":
        w = randn((2, 7), seed=3).abs()  # with a batch
        for own, found in zip(w, A.weighted_gram_estimate(w[:, None]).values, strict=True):
            expected = torch.diagonal(F @ M.mH @ torch.diag(own.repeat(2)).to(COMPLEX) @ M @ F.mH).real.clamp(min=0)
            assert relative(found.flatten(), expected) <= 1e-10


def test_weights_of_density_leave_a_system_that_few_steps_solve():
    """The middle of k-space, which spokes measure most, weighs as the rest does: a preconditioner has to know."""
    n = 32
    A = NonCartesianMRI((n, n), phantoms.radial(40, 2 * n), phantoms.birdcage(4).sampled((n, n)), dtype=DOUBLE)
    w, b = A.density(), randn((n, n), COMPLEX)
    system = linalg.NormalSystem([(A, w, 1.0), (None, None, 0.05)], like=b)
    applied = [0]
    apply, system.apply = system.apply, lambda x: (applied.__setitem__(0, applied[0] + 1), apply(x))[1]
    x = system.solve(b, tol=1e-3)
    assert relative(apply(x), b) <= 1e-2
    assert applied[0] <= 20


def test_kernels_are_kept_for_the_very_weights_and_dropped_with_them():
    A, x = NonCartesianMRI((4, 5), positions(7, 2), dtype=DOUBLE), randn((4, 5), COMPLEX)
    w = randn((7,), seed=3).abs()
    first = A.gram(x, w)
    assert torch.equal(A.gram(x, w), first)
    w.mul_(2)  # the same tensor, other values
    assert relative(A.gram(x, w), 2 * first) <= 1e-12
    assert relative(A.gram(x, w[:7].clone()), 2 * first) <= 1e-12


def test_repeated_calls_have_the_same_bits_for_any_number_of_threads():
    A = NonCartesianMRI((16, 15), positions(200, 2), maps(3, 16, 15).to(torch.complex64))
    x, y = randn((2, 16, 15), torch.complex64), randn((2, 3, 200), torch.complex64)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found.append((A(x), A.adjoint(y)))
    finally:
        torch.set_num_threads(before)
    for pair in found[1:]:
        assert torch.equal(pair[0], found[0][0])
        assert torch.equal(pair[1], found[0][1])


def test_the_trajectory_is_trained():
    start = (0.9 * positions(6, 2)).requires_grad_()
    S, x, y = maps(2, 4, 5), randn((4, 5), COMPLEX), randn((2, 6), COMPLEX)

    def misfit(omega: Tensor) -> Tensor:
        A = NonCartesianMRI((4, 5), omega * 1.0, S, dtype=DOUBLE)
        moved = A.adjoint(A(x) - y)
        return (A(x) - y).abs().square().sum() + moved.abs().square().sum()

    def by_hand(omega: Tensor) -> Tensor:
        rows = torch.stack([direct_sum(e.reshape(4, 5), omega) for e in torch.eye(20, dtype=COMPLEX)], 1)
        F = torch.cat([rows @ torch.diag(s.flatten()) for s in S])
        r = F @ x.flatten() - y.flatten()
        return r.abs().square().sum() + (F.mH @ r).abs().square().sum()

    found = torch.autograd.grad(misfit(start), start)[0]
    expected = torch.autograd.grad(by_hand(start), start)[0]
    assert relative(found, expected) <= 1e-9
    A = NonCartesianMRI((4, 5), torch.nn.Parameter(start.detach()), S, dtype=DOUBLE)
    assert [p.shape for p in A.parameters()] == [(6, 2)]


def test_accuracy_is_measured():
    omega = positions(50, 2)
    assert NonCartesianMRI((16, 16), omega).accuracy() <= 1e-4
    assert NonCartesianMRI((16, 16), omega, eps=1e-2).accuracy() > 1e-5


def test_lags_are_those_of_the_direct_sum():
    omega, w = positions(1, 6, 2), randn((1, 1, 6), seed=5).abs()
    spectrum = toeplitz_kernel(omega, w, (4, 5), DOUBLE)[0, 0]
    lags = torch.fft.ifftn(spectrum.to(COMPLEX))
    for m in ((0, 0), (2, -3), (-3, 4)):
        expected = (w[0, 0] * torch.exp(1j * (omega[0] @ torch.tensor(m, dtype=DOUBLE)))).sum() / 20
        assert abs(complex(lags[m]) - complex(expected)) <= 1e-11


# ---- what is refused


@pytest.mark.parametrize(
    ("mask", "more", "words"),
    [
        ([1.0, math.nan], {"image_shape": (3, 2)}, "1 entries of the mask are NaN"),
        ([0.5, 1.0], {"image_shape": (3, 2)}, "neither 0 nor 1, such as 0.5"),
        ([1j, 0], {"image_shape": (3, 2)}, "must be real"),
        ([0, 0], {"image_shape": (3, 2)}, "measures nothing"),
        ([1, 0], {}, "give image_shape"),
        ([1, 0, 1], {"image_shape": (3, 2)}, "does not fit images"),
        ([1, 0], {"coils": np.zeros((2, 3, 2))}, "zero everywhere"),
        ([1, 0], {"coils": np.full((2, 3, 2), np.inf)}, "NaN or infinite"),
        ([1, 0], {"coils": np.ones((2, 2, 3)), "image_shape": (3, 2)}, "coil maps have the shape"),
        ([1, 0], {"image_shape": (3, 2), "sets": 2}, "need maps"),
        ([1, 0], {"image_shape": (3, 2), "sets": 2, "frames": 2}, "one of them 1"),
    ],
)
def test_masks_and_maps_that_cannot_be(mask, more, words):
    with pytest.raises(ValueError, match=words):
        CartesianMRI(np.array(mask), **more)


def test_units_of_trajectories():
    k = torch.tensor([[0.25, -0.5], [0.1, 0.0]], dtype=DOUBLE)
    rad = 2 * math.pi * k
    assert torch.equal(radians_per_pixel(k, "cycles/pixel"), rad)
    assert relative(radians_per_pixel(k * torch.tensor([8, 6]), "cycles/fov", matrix=(8, 6)), rad) <= 1e-15
    assert relative(radians_per_pixel(k / 0.002, "1/m", pixel_size=0.002), rad) <= 1e-15
    assert relative(radians_per_pixel(rad / 0.002, "rad/m", pixel_size=0.002), rad) <= 1e-15
    assert torch.equal(radians_per_pixel(rad, "rad/pixel"), rad)
    for unit, words in (("cycles/fov", "matrix"), ("1/m", "pixel_size"), ("furlongs", "unit is one of")):
        with pytest.raises(ValueError, match=words):
            radians_per_pixel(k, unit)


def test_trajectories_that_cannot_be():
    omega = positions(5, 2)
    with pytest.raises(ValueError, match=r"2 of 5 positions lie beyond pi .*cycles/fov"):
        NonCartesianMRI((16, 16), torch.cat([omega[:3], torch.tensor([[8.0, 0.0], [0.0, -7.0]])]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        NonCartesianMRI((16, 16), omega * math.nan)
    with pytest.raises(ValueError, match=r"\(\*samples, 3\)"):
        NonCartesianMRI((4, 4, 4), omega)
    with pytest.raises(ValueError, match=r"stack k\.imag and k\.real"):
        NonCartesianMRI((4, 4), np.ones(5) * 1j)
    [doubt] = NonCartesianMRI((16, 16), omega / (2 * math.pi)).doubts()
    assert "cycles per pixel" in doubt
    edge = torch.tensor([[math.pi * (1 + 5e-4), 0.0]], dtype=DOUBLE)  # rounding of a file: wrapped, exactly
    x = randn((6, 5), COMPLEX)
    assert relative(NonCartesianMRI((6, 5), edge, dtype=DOUBLE)(x), direct_sum(x, edge)) <= 1e-12


def test_an_object_larger_than_the_image_is_told():
    omega, wide = phantoms.radial(60, 64), phantoms.shepp_logan(24.0)
    y = wide.kspace(omega, (32, 32)).to(torch.complex64)
    [doubt] = NonCartesianMRI((32, 32), omega).doubts(y)
    assert "of the energy of the data lies outside" in doubt
    held = phantoms.shepp_logan(14.0).kspace(omega, (32, 32)).to(torch.complex64)
    assert NonCartesianMRI((32, 32), omega).doubts(held) == []


# ---- density


def test_weights_of_density_have_the_absolute_scale():
    omega = phantoms.radial(51, 64)
    w = pipe_menon(omega.reshape(1, -1, 2), (32, 32))
    A = NonCartesianMRI((32, 32), omega, dtype=DOUBLE)
    assert bool((w > 0).all())
    middle = torch.zeros(32, 32, dtype=COMPLEX)
    middle[10:22, 10:22] = 1
    gain = (A.gram(middle, w.reshape(51, 64))[12:20, 12:20].real).mean()
    assert float(gain) == pytest.approx(1, abs=0.05)
    cells = voronoi(omega.reshape(1, -1, 2), (32, 32))
    inner = torch.linalg.vector_norm(omega.reshape(-1, 2), dim=1) < 2.5
    assert float(cells[0, inner].sum()) == pytest.approx(math.pi * 2.5**2 * 32**2 / (2 * math.pi) ** 2, rel=0.05)


def test_gridding_of_golden_spokes_is_as_good_as_it_gets():
    n = 128
    body, omega = phantoms.shepp_logan(n / 2), phantoms.radial(201, 2 * n)
    A = NonCartesianMRI((n, n), omega)
    x = A.direct(body.kspace(omega, (n, n)).to(torch.complex64))
    assert float(metrics.psnr(x.abs(), body.image((n, n)), data_range=1.0)) == pytest.approx(34.3, abs=0.3)


# ---- what is held out


def test_lines_are_held_out_together_and_never_those_of_calibration():
    mask = phantoms.random_lines(64, 2.0, 0, calibration=8)
    A = CartesianMRI(mask, maps(2, 16, 64).to(torch.complex64))
    drawn = A.hold_out(0.1, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, drawn[:1, :1].expand(2, 16, 64))
    seen = drawn[0, 0] & mask
    assert not bool(seen[28:36].any())
    assert int(seen.sum()) == 3  # of 24 lines outside the block, no fewer


def test_shots_are_held_out_whole():
    A = NonCartesianMRI((8, 8), phantoms.radial(30, 16), 2)
    drawn = A.hold_out(0.2, torch.Generator().manual_seed(0))
    assert int(drawn[0, :, 0].sum()) == 6
    assert torch.equal(drawn, drawn[:1, :, :1].expand(2, 30, 16))


# ---- short normal operators are reached


def test_gradient_and_conjugate_gradients_go_by_the_gram_matrix(monkeypatch):
    omega, S = phantoms.radial(12, 16), maps(2, 8, 8)
    A = NonCartesianMRI((8, 8), omega, S, dtype=DOUBLE)
    x, y, w = randn((2, 8, 8), COMPLEX), randn((2, 2, 12, 16), COMPLEX), randn((12, 16), seed=6).abs()
    f = L2(A, y, w)
    expected = A.adjoint(w * (A(x) - y))
    f.grad(x)
    monkeypatch.setattr(A, "_forward", None)  # nobody asks for A x any more
    assert relative(f.grad(x), expected) <= 1e-11
    monkeypatch.undo()
    runs = []
    for normal in (False, True):
        solver = ConjugateGradient(normal=normal, tol=0.0, max_iter=6)
        state = solver.init(f, _zero(), torch.zeros_like(x))
        for _ in range(6):
            state = solver.step(f, _zero(), state)
        runs.append(state.x)
    assert relative(runs[1], runs[0]) <= 1e-9
    solver = ConjugateGradient(normal=True, discrepancy=1e9)
    state = solver.step(f, _zero(), solver.init(f, _zero(), torch.zeros_like(x)))
    size = solver._size(f, state.x, state.misfit)
    assert relative(size, torch.sqrt(2 * f.value(state.x))) <= 1e-9
    assert never(x, 2).shape == size.shape


def _zero():
    from invprob.functional import Zero

    return Zero()


def test_balanced_problems_weigh_noise_as_before():
    A = NonCartesianMRI((8, 8), phantoms.radial(12, 16), 2, dtype=DOUBLE)
    problem = Problem(A, randn((2, 12, 16), COMPLEX), torch.tensor(0.1))
    even = problem.balanced()
    assert float(even.counted().expand(2, 12, 16).mean()) == pytest.approx(1)
    n = randn((200, 2, 12, 16), COMPLEX, 9)
    assert float(even.size(n).square().mean() / problem.size(n).square().mean()) == pytest.approx(1, abs=0.03)
    lines = CartesianMRI([1, 0, 1, 1], image_shape=(4, 4))
    plain = Problem(lines, torch.zeros(4, 4, dtype=torch.complex64), None)
    assert plain.balanced() is plain


# ---- noise


def test_the_g_factor_of_equispaced_lines_is_the_closed_form():
    n = 16
    S = phantoms.birdcage(6).sampled((n, n))
    A = CartesianMRI(torch.arange(n) % 2 == 0, S, dtype=DOUBLE)
    M = dense(A)
    inverse = torch.linalg.inv(M.mH @ M)
    exact = (inverse.diagonal().real * (M.mH @ M).diagonal().real).sqrt().reshape(n, n)
    sd = noise_map(A, torch.Generator().manual_seed(0), steps=60, replicas=60)
    found = g_factor(A, sd)
    assert float((found / exact).median()) == pytest.approx(1, abs=0.04)
    assert bool(((found / exact - 1).abs() < 0.4).all())


# ---- simulation


def test_k_space_of_ellipses():
    body = phantoms.Ellipses(
        values=torch.tensor([1.0, -0.4], dtype=DOUBLE),
        centres=torch.tensor([[1.0, -2.0], [0.5, 1.0]]),
        semi_axes=torch.tensor([[4.0, 2.5], [1.5, 1.0]]),
        tilt=torch.tensor([0.4, -1.0], dtype=DOUBLE),
    )
    area = math.pi * (4 * 2.5 - 0.4 * 1.5)
    zero = body.kspace(torch.zeros(1, 2), (16, 16))
    assert abs(complex(zero[0]) - area / 16) <= 1e-12
    omega = 0.7 * positions(20, 2)
    fine = 32  # a sum over a grid finer than the pixels is the integral, nearly
    image = body.image((16 * fine, 15 * fine), pixel_size=1 / fine, supersample=2, dtype=DOUBLE).to(COMPLEX)
    rows = (torch.arange(16 * fine) + 0.5) / fine - 0.5 - 8
    columns = (torch.arange(15 * fine) + 0.5) / fine - 0.5 - 7
    expected = torch.stack(
        [torch.exp(-1j * w[0] * rows.double()) @ image @ torch.exp(-1j * w[1] * columns.double()) for w in omega]
    )
    expected = expected / fine**2 / math.sqrt(240)
    assert relative(body.kspace(omega, (16, 15)), expected) <= 2e-3


def test_k_space_under_coils_is_that_of_the_product():
    coils, body = (
        phantoms.birdcage(3),
        phantoms.Ellipses(torch.ones(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), torch.zeros(1)),
    )
    coils = coils.times(phantoms.smooth_phase(0))
    fine, n = 16, 12
    y = body.kspace(phantoms.cartesian_positions((n, n)), (n, n), coils=coils)
    # the maps at the points of a finer grid of the same field of view
    x = body.image((n * fine, n * fine), pixel_size=1 / fine, dtype=DOUBLE)
    r = (torch.arange(n * fine) + 0.5) / fine - 0.5 - n // 2
    q = math.pi / n * torch.arange(-coils.order, coils.order + 1)
    waves = torch.exp(1j * torch.outer(r, q).to(DOUBLE))
    S = torch.einsum("cpq,yp,xq->cyx", coils.coefficients, waves, waves)
    E = torch.exp(-2j * math.pi * torch.outer(torch.arange(n) - n // 2, r).to(DOUBLE) / n)
    expected = torch.einsum("ky,cyx,lx->ckl", E, S * x, E) / fine**2 / n
    assert relative(y, expected) <= 5e-3
    sampled = coils.sampled((n, n))
    middle = torch.einsum("cpq->c", coils.coefficients)
    assert relative(sampled[:, n // 2, n // 2], middle) <= 1e-12


def test_patterns_are_what_was_asked_for():
    lines = phantoms.equispaced_lines(64, 4, calibration=16)
    assert bool(lines[24:40].all())
    assert bool(lines[::4].all())
    assert int(lines.sum()) == 16 + 12
    drawn = phantoms.random_lines(64, 4, 3, calibration=6)
    assert int(drawn.sum()) == 16
    assert torch.equal(drawn, phantoms.random_lines(64, 4, 3, calibration=6))
    disc = phantoms.poisson_disc((48, 40), 6, 0, calibration=8)
    assert disc.numel() / int(disc.sum()) == pytest.approx(6, rel=0.05)
    spokes = phantoms.radial(5, 8)
    assert not bool(spokes[:, 4].any())
    assert float(spokes.abs().max()) <= math.pi
    assert phantoms.radial_volume(7, 8).shape == (7, 8, 3)
    arms = phantoms.spiral(3, 200, turns=4)
    steps = torch.linalg.vector_norm(arms.diff(dim=1), dim=-1)
    assert float(steps.max() / steps.mean()) <= 1.05  # a constant speed
    with pytest.raises(ValueError, match="at least 1"):
        phantoms.random_lines(64, 0.5, 0)


# ---- methods


@cache
def _clean(n: int = 64) -> tuple[CartesianMRI, Tensor, Tensor]:
    """Lines of a complex object that a finite grid cannot hold, measured by six coils; and the truth."""
    body, coils, phase = phantoms.shepp_logan(n / 2), phantoms.birdcage(6, order=1), phantoms.smooth_phase(1)
    A = CartesianMRI(phantoms.random_lines(n, 3, 2, calibration=8), coils.sampled((n, n)))
    y = body.kspace(phantoms.cartesian_positions((n, n)), (n, n), coils=coils.times(phase)) * A.measured
    return A, y.to(torch.complex64), (body.image((n, n)) * phase.sampled((n, n))[0]).to(torch.complex64)


def _scan(scale: float = 1.0) -> Scan:
    A, clean, truth = _clean()
    y, sigma = phantoms.add_gaussian_noise(clean, 1e-3, 0, ndim=3, measured=A.measured)
    return Scan(A, scale * y, noise=scale * float(sigma), truth=scale * truth)


def test_methods_on_lines():
    scan = _scan()
    quality = {}
    for method, settings in (
        ("zero-filled", {}),
        ("cg-sense", {}),
        ("l1-wavelet", {"strength": 1e-3}),
        ("tv", {"strength": 1e-3}),
    ):
        result = reconstruct(scan, method, **settings)
        quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0))
        assert result.x.is_complex()
    assert quality["cg-sense"] > quality["zero-filled"] + 1.5
    assert quality["l1-wavelet"] > quality["cg-sense"] + 1.5
    assert quality["tv"] > quality["cg-sense"] + 3


@pytest.mark.parametrize("scale", [1e-13, 1e13])
@pytest.mark.parametrize(
    ("method", "settings"),
    [("zero-filled", {}), ("cg-sense", {"strength": 0.1}), ("l1-wavelet", {"strength": 1e-2, "max_iter": 3})],
)
def test_scale_does_not_matter(method, settings, scale):
    found = reconstruct(_scan(scale), method, **settings).x / scale
    assert relative(found, reconstruct(_scan(), method, **settings).x) <= 1e-3


def test_replicas_tell_the_noise():
    scan = _scan()
    result = reconstruct(scan, "cg-sense", strength=0.05, replicas=8)
    assert result.spread.shape == result.x.shape
    assert any(note.startswith("g-factor") for note in result.certificate.notes)
    with pytest.raises(ValueError, match="replicas must be 0 or at least 2, got 1"):
        reconstruct(scan, "cg-sense", replicas=1)


def test_the_g_factor_is_a_map_of_the_result_and_of_its_page(tmp_path):
    scan = _scan()
    result = reconstruct(scan, "cg-sense", strength=0.05, replicas=8)
    g, A = result.maps["g-factor"], scan.operator
    assert g.values.shape == A.image_shape
    assert (g.unit, g.of_image) == ("", False)
    # sigma is that of the scan, whatever the recipe has divided the data by
    assert torch.allclose(g.values, g_factor(A, result.spread, scan.noise), rtol=1e-4, equal_nan=True)
    save_report(tmp_path / "page.html", result)
    page = (tmp_path / "page.html").read_text()
    assert page.count("g-factor") >= 2
    assert "grey where the data do not say" in page


def test_few_readings_take_the_strongest_of_strengths_that_predict_alike():
    nan = math.nan
    trials = torch.tensor([[4.0, nan], [2.0, 2.0], [1.0, 1.0]], dtype=DOUBLE)
    scores = torch.tensor([[1.019, nan], [1.5, 1.03], [1.0, 1.0]], dtype=DOUBLE)  # squares: 1 % is 1.0201
    best = torch.tensor([1.1, 1.2], dtype=DOUBLE)
    choice = Choice(best, "held-out data", trials, scores, torch.zeros(2, dtype=torch.bool))
    found = _strongest_of_equals(Found(best, choice), choice)
    assert found.strength.tolist() == [4.0, 1.2]
    assert found.choice.strength.tolist() == [4.0, 1.2]


def test_methods_of_mri_are_for_mri():
    from invprob.operators import Identity

    scan = Scan(Identity((8, 8)), torch.ones(8, 8))
    for method in ("zero-filled", "cg-sense", "l1-wavelet"):
        with pytest.raises(ValueError, match=f"{method} is for MRI"):
            reconstruct(scan, method)


def test_samples_off_the_grid_are_balanced():
    n = 24
    coils, omega = phantoms.birdcage(4), phantoms.radial(12, 2 * n)
    A = NonCartesianMRI((n, n), omega, coils.sampled((n, n)))
    y = phantoms.shepp_logan(0.9 * n / 2).kspace(omega, (n, n), coils=coils).to(torch.complex64)
    y, sigma = phantoms.add_gaussian_noise(y / y.abs().max(), 1e-2, 0, ndim=3)
    result = reconstruct(Scan(A, y, noise=float(sigma)), "tv", strength=3e-3, tol=1e-4, max_iter=400)
    w = A.density() / A.density().mean()
    lam = 3e-3 * float(A.adjoint(w * y).abs().max())
    expected = solve(ADMM(tol=1e-4, max_iter=400), L2(A, y, w), TotalVariation(lam)).x
    assert relative(result.x, expected) <= 1e-2
    misfit = torch.linalg.vector_norm(A(result.x) - y) / (float(sigma) * y.numel() ** 0.5)
    assert float(result.certificate.residual_to_noise) == pytest.approx(float(misfit), rel=1e-3)


def test_early_stopping_goes_by_steps():
    scan = _scan()
    result = reconstruct(scan, "cg-sense")
    steps = int(result.n_iter)
    f = L2(scan.operator, scan.data)
    by_hand = solve(ConjugateGradient(max_iter=steps, tol=0.0, normal=True), f).x
    assert 0 < steps < 50
    assert relative(result.x, by_hand) <= 1e-4
    counts = torch.tensor([1, 3])
    both = solve(
        ConjugateGradient(steps=counts, tol=0.0, normal=True),
        L2(scan.operator, torch.stack([scan.data, 2 * scan.data])),
    )
    assert both.n_iter.tolist() == counts.tolist()


@pytest.mark.parametrize("geometry", ["cartesian", "radial", "spiral"])
def test_simulated_scans_fit_their_truth(geometry):
    magnet = Magnet("shepp-logan", geometry, 48, 3, 2.0, 24, seed=1)
    scan = magnet.scan(2, percent=0.1, command="simulate")
    assert scan.truth.shape == (2, 48, 48)
    assert scan.noise.shape == (2,)
    misfit = torch.linalg.vector_norm(scan.operator(scan.truth) * _seen(scan) - scan.data)
    assert 0.001 < float(misfit / torch.linalg.vector_norm(scan.data)) < 0.2  # the same physics, another discretisation
    assert torch.equal(magnet.scan(2, percent=0.1, command="simulate").data, scan.data)


def test_simulated_echoes_decay_with_the_t2_of_each_tissue():
    scan = Magnet("shepp-logan", "cartesian", 48, 3, 2.0, 24, seed=1, echoes=(20.0, 60.0)).scan(
        0, percent=0.1, command="simulate"
    )
    A = scan.operator
    assert (A.frames, scan.data.shape, scan.truth.shape) == (2, (2, 3, 48, 48), (2, 48, 48))
    assert not torch.equal(A.mask[0], A.mask[1])
    misfit = torch.linalg.vector_norm(A(scan.truth) - scan.data) / torch.linalg.vector_norm(scan.data)
    assert 0.001 < float(misfit) < 0.2
    tissues, ratio = phantoms.vials(24), (scan.truth[1] / scan.truth[0]).real
    middle = [tuple((24 + torch.stack([-y, x])).round().int().tolist()) for x, y in tissues.shapes.centres[1:]]
    found = torch.stack([ratio[at] for at in middle])
    assert torch.allclose(found, torch.exp(-40 / tissues.t2[1:]).float(), rtol=1e-4)


def _seen(scan: Scan) -> Tensor:
    return torch.ones(()) if scan.operator.measured is None else scan.operator.measured
