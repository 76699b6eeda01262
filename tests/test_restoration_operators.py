"""Blur, holes and few samples against scipy, dense matrices and known images."""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.ndimage
import scipy.signal
import torch
from laws import dense, mismatch, randn, relative
from torch import Tensor

from invprob import Scan, linalg, load_scan
from invprob.fidelities import L2
from invprob.io import save_scan
from invprob.linop import normal
from invprob.metrics import psnr
from invprob.operators import Blur, Downsample, Mask, RandomProjection, estimate_noise
from invprob.operators.image.random_projection import cosine, hadamard_factors, inverse_cosine, kronecker
from invprob.phantoms import organ
from invprob.transforms import Gradient

DOUBLE = torch.float64
SCIPY = {"periodic": "wrap", "zero": "constant", "reflect": "reflect"}
SIZES = [((7, 6), (3, 3)), ((7, 6), (4, 2)), ((5, 4), (9, 8)), ((3, 2), (8, 7)), ((9,), (4,)), ((4, 3, 5), (3, 2, 3))]


def gaussian(width: float, radius: int) -> Tensor:
    profile = torch.exp(-torch.arange(-radius, radius + 1, dtype=DOUBLE).square() / (2 * width**2))
    return torch.outer(profile, profile) / profile.sum() ** 2


def phantom(n: int = 96) -> Tensor:
    image = organ((n, n), 3).double()
    return image / image.max()


# ---- blur


@pytest.mark.parametrize(("shape", "taps"), SIZES)
@pytest.mark.parametrize("boundary", SCIPY)
@pytest.mark.parametrize("kind", [DOUBLE, torch.complex128])
def test_convolution_against_scipy(shape, taps, boundary, kind):
    kernel, x = randn(taps, kind, 3), randn(shape, kind, 4)
    theirs = scipy.ndimage.convolve(x.numpy(), kernel.numpy(), mode=SCIPY[boundary])
    assert relative(Blur(shape, kernel, boundary, dtype=DOUBLE)(x), torch.from_numpy(theirs)) <= 1e-13


@pytest.mark.parametrize(("shape", "taps"), [((7, 6), (3, 3)), ((7, 6), (4, 6)), ((9,), (4,)), ((4, 3, 5), (3, 2, 3))])
def test_valid_convolution_against_scipy(shape, taps):
    kernel, x = randn(taps, seed=3), randn(shape, seed=4)
    A = Blur(shape, kernel, "valid", dtype=DOUBLE)
    assert A.range_shape == tuple(n - k + 1 for n, k in zip(shape, taps, strict=True))
    theirs = scipy.signal.convolve(x.numpy(), kernel.numpy(), mode="valid", method="direct")
    assert relative(A(x), torch.from_numpy(theirs)) <= 1e-13


@pytest.mark.parametrize("boundary", [*SCIPY, "valid"])
def test_one_kernel_per_item(boundary):
    kernels, x, b = randn((3, 4, 3), seed=3), randn((3, 6, 5), seed=4), randn((3, 6, 5), seed=5)
    A = Blur((6, 5), kernels, boundary, dtype=DOUBLE)
    each = [Blur((6, 5), k, boundary, dtype=DOUBLE) for k in kernels]
    assert relative(A(x), torch.stack([B(t) for B, t in zip(each, x, strict=True)])) <= 1e-14
    assert relative(A(x[0]), torch.stack([B(x[0]) for B in each])) <= 1e-14
    y = randn(A.range_shape, seed=6)
    assert relative(A.adjoint(y), torch.stack([B.adjoint(y) for B in each])) <= 1e-14
    assert mismatch(A, x, randn((3, *A.range_shape), seed=6)) <= 1e-12
    assert A(x[:0, None]).shape == (0, 3, *A.range_shape)
    for found, expected in ((A.norm(), [B.norm() for B in each]), (A.norm_bound(), [B.norm_bound() for B in each])):
        assert relative(found, torch.stack(expected)) <= 1e-12
    shift = torch.tensor([0.1, 1.0, 2.0], dtype=DOUBLE)
    solved = A.solve(b, shift, tol=1e-12)
    for k, B in enumerate(each):
        M = dense(B)
        system = M.mH @ M + shift[k] * torch.eye(30, dtype=DOUBLE)
        assert relative(solved[k].flatten(), torch.linalg.solve(system, b[k].flatten())) <= 1e-10
    noise = torch.full((3,), 0.1, dtype=DOUBLE)
    direct = A.direct(A(x), noise=noise)
    # "valid" is solved to a residual of 1e-5, which leaves the image that much freer where nothing is measured
    assert relative(direct[1], each[1].direct(each[1](x[1]), noise=0.1)) <= (0.05 if boundary == "valid" else 1e-4)


def test_what_is_diagonal_is_solved_in_closed_form(monkeypatch):
    even = torch.outer(torch.tensor([0.2, 1.0, 0.2]), torch.tensor([-0.1, 0.3, 1.0, 0.3, -0.1]))
    odd = randn((3, 4), seed=3)
    closed = [Blur((6, 5), odd, dtype=DOUBLE), Blur((6, 5), even, "reflect", dtype=DOUBLE)]
    assert [A.gram_diagonal().basis for A in closed] == ["fourier", "cosine"]
    for boundary in ("valid", "zero", "reflect"):
        assert Blur((6, 5), odd, boundary).gram_diagonal() is None
        expected = "fourier" if boundary in ("periodic", "valid") else "cosine"
        assert Blur((6, 5), odd, boundary).gram_diagonal_estimate().basis == expected
        for basis in ("fourier", "cosine"):
            assert Blur((6, 5), odd, boundary).gram_diagonal_estimate(basis).basis == basis
    closed += [Downsample((6, 8), (3, 2), odd, dtype=DOUBLE), Downsample((6, 8), 2, dtype=DOUBLE)]
    closed += [Downsample((4, 6), 2, randn((3, 2), torch.complex128, 4), dtype=DOUBLE)]
    closed += [RandomProjection((6, 5), 11, dtype=DOUBLE), -3 * RandomProjection((6, 5), 11, dtype=DOUBLE)]
    closed += [Mask(randn((6, 5)) > 0, dtype=DOUBLE), Downsample((6, 4), 2, odd, dtype=DOUBLE).lift((2,))]
    monkeypatch.setattr(normal, "conjugate_gradient", None)
    for A in closed:
        M, v, y = dense(A), randn((2, *A.domain_shape), A.domain_dtype, 5), randn(A.range_shape, A.range_dtype, 6)
        one = torch.eye(M.shape[1], dtype=M.dtype)
        x = A.solve(v, 0.01)
        assert x.dtype == v.dtype
        for item, b in zip(x, v, strict=True):
            assert relative(item.flatten(), torch.linalg.solve(M.mH @ M + 0.01 * one, b.flatten())) <= 1e-10
        x = L2(A, y).prox(v[0], 5.0)
        expected = torch.linalg.solve(5 * M.mH @ M + one, 5 * M.mH @ y.flatten() + v[0].flatten())
        assert relative(x.flatten(), expected) <= 1e-10


@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect"])
def test_the_preconditioner_makes_solves_short(boundary, monkeypatch):
    """Also beside finite differences, whose basis is another than that of periodic blur."""
    kernel = torch.nn.functional.pad(gaussian(2.0, 5), (0, 2))  # not even
    A, D = Blur((40, 36), kernel, boundary, dtype=DOUBLE), Gradient((40, 36), dtype=DOUBLE)
    b, steps = randn(A.domain_shape, seed=2), []
    cg = normal.conjugate_gradient

    def counting(*args, **settings):
        result = cg(*args, **settings)
        steps.append(int(result.n_iter))
        return result

    monkeypatch.setattr(normal, "conjugate_gradient", counting)
    x = linalg.solve_normal([(A, None, 1.0), (D, None, 1e-3), (None, None, 1e-3)], b)
    plain = counting(lambda v: A.gram(v) + 1e-3 * (D.gram(v) + v), b, ndim=2)
    assert relative(x, plain.x) <= 1e-3
    assert steps[0] <= 0.8 * steps[1]


@pytest.mark.parametrize("boundary", [*SCIPY, "valid"])
@pytest.mark.parametrize("taps", [(3, 3), (2, 5)])
def test_bounds_of_the_norm(boundary, taps):
    for kernel in (randn(taps, seed=3), randn(taps, seed=3).abs(), randn(taps, torch.complex128, 3)):
        A = Blur((7, 6), kernel, boundary, dtype=DOUBLE)
        true = float(torch.linalg.matrix_norm(dense(A), 2))
        assert true * (1 - 1e-12) <= float(A.norm_bound()) <= 2 * true
        assert "estimate" not in A.norm_bound_kind
        if A.nonnegative:
            assert float(A.norm_bound()) <= 1.02 * true


def test_blur_that_varies_is_a_sum_of_products():
    """Left half sharp, right half blurred, and a ramp between: y_i = sum_j k_i-j(j) x_j."""
    kernels = [gaussian(0.4, 2), gaussian(1.5, 2)]
    ramp = torch.linspace(0, 1, 12, dtype=DOUBLE).expand(10, 12)
    x = randn((10, 12), seed=1)
    A = sum(
        (
            Blur((10, 12), k, "zero", dtype=DOUBLE) @ Mask(w, dtype=DOUBLE)
            for k, w in zip(kernels[1:], [ramp], strict=True)
        ),
        start=Blur((10, 12), kernels[0], "zero", dtype=DOUBLE) @ Mask(1 - ramp, dtype=DOUBLE),
    )
    expected = torch.zeros(14, 16, dtype=DOUBLE)
    for i in range(10):
        for j in range(12):
            expected[i : i + 5, j : j + 5] += x[i, j] * ((1 - ramp[i, j]) * kernels[0] + ramp[i, j] * kernels[1])
    assert relative(A(x), expected[2:-2, 2:-2]) <= 1e-13


@pytest.mark.parametrize("boundary", [*SCIPY, "valid"])
@pytest.mark.parametrize("level", [0.005, 0.02])
def test_wiener_sharpens(boundary, level):
    x = phantom()
    A = Blur(x.shape, gaussian(1.5, 5), boundary, dtype=DOUBLE)
    clean = A(x)
    y = clean + level * randn(clean.shape, seed=8)
    seen = torch.nn.functional.pad(y, (5,) * 4) if boundary == "valid" else y
    gain = psnr(A.direct(y), x, data_range=1.0) - psnr(seen, x, data_range=1.0)
    assert float(gain) >= (0.8 if level > 0.01 else 1.8)
    assert relative(A.direct(y, noise=level), A.direct(y)) <= 0.05
    both = A.direct(torch.complex(y, y.flip(0)), noise=level)
    assert relative(both.real, A.direct(y, noise=level)) <= 0.2


def test_wiener_is_the_formula():
    x, kernel = phantom(32), gaussian(1.0, 3)
    A = Blur((32, 32), kernel, dtype=DOUBLE)
    y, sigma = A(x) + 0.01 * randn((32, 32)), 0.01
    a = torch.fft.fft2(scipy_spectrum(kernel, 32))
    f = 4 * torch.sin(math.pi * torch.fft.fftfreq(32, dtype=DOUBLE)).square()
    f = f[:, None] + f
    y_hat = torch.fft.fft2(y)
    strength = A.direct(y, noise=sigma)
    ratios = (y_hat * a.conj() / torch.fft.fft2(strength) - a.abs().square()).real / f.clamp(min=1e-30)
    inside = (f > 0) & (a.abs() > 1e-3)
    assert float(ratios[inside].std() / ratios[inside].mean()) <= 1e-6  # one number nsr for every frequency
    wave = 4 * torch.sin(math.pi / 64 * torch.arange(32, dtype=DOUBLE)).square()
    mirrored = torch.fft.fft2(scipy_spectrum(kernel, 64))[:32, :32].abs().square().flatten()
    passed = float((mirrored[1:] / (wave[:, None] + wave).flatten()[1:]).sum()) / 1024
    power = float(y.square().mean() - y.mean() ** 2 - sigma**2)
    assert float(ratios[inside].mean()) == pytest.approx(sigma**2 * passed / power, rel=1e-6)


def scipy_spectrum(kernel: Tensor, n: int) -> Tensor:
    padded = torch.zeros(n, n, dtype=DOUBLE)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return padded.roll((-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))


@pytest.mark.parametrize(
    ("shape", "kernel", "boundary", "words"),
    [
        ((4, 4), torch.zeros(3, 3), "periodic", "the kernel is zero"),
        ((4, 4), torch.tensor([[1.0, math.nan]]), "periodic", "1 NaN or infinite"),
        ((4, 4), torch.zeros(0, 3), "periodic", "must have 2 axes of taps"),
        ((4, 4), torch.ones(3), "periodic", "must have 2 axes of taps"),
        ((4, 4), torch.ones(5, 2), "valid", r"\(5, 2\) taps fits nowhere inside"),
        ((4, 4), torch.ones(2, 2), "mirror", "must be one of periodic, valid, zero, reflect"),
        ((2, 2, 2, 2), torch.ones(1, 1, 1, 1), "zero", "one to three"),
        ((4, 2.5), torch.ones(2, 2), "zero", "positive whole sizes"),
    ],
)
def test_blurs_that_cannot_be(shape, kernel, boundary, words):
    with pytest.raises(ValueError, match=words):
        Blur(shape, kernel, boundary)


# ---- noise


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1, 0.2])
def test_the_noise_is_estimated(sigma):
    x = phantom(160)
    y = x + sigma * randn((3, 160, 160), seed=5)
    assert estimate_noise(y).tolist() == pytest.approx([sigma] * 3, rel=0.1)
    assert estimate_noise(1e-30 * y.float()).tolist() == pytest.approx([1e-30 * sigma] * 3, rel=0.1)
    z = x * (1 - 2j) + sigma * randn((160, 160), torch.complex128, 6)
    assert float(estimate_noise(z)) == pytest.approx(sigma, rel=0.1)
    texture = torch.from_numpy(scipy.ndimage.gaussian_filter(randn((160, 160), seed=7).numpy(), 2.5))
    assert float(estimate_noise(texture + sigma * randn((160, 160), seed=9))) == pytest.approx(sigma, rel=0.1)


def test_the_noise_of_short_and_empty_things():
    assert float(estimate_noise(randn((4000,), seed=1), 1)) == pytest.approx(1, rel=0.1)
    assert float(estimate_noise(randn((3, 40, 50), seed=1), 3)) == pytest.approx(1, rel=0.1)
    assert float(estimate_noise(randn((40, 8, 12), seed=1), 3)) == pytest.approx(1, rel=0.1)
    assert float(estimate_noise(torch.zeros(20, 20))) == 0
    assert float(estimate_noise(torch.full((1, 1), 3.0))) == 0
    corner = torch.zeros(64, 64, dtype=DOUBLE)
    corner[10:40, 5:50] = 1 + 0.1 * randn((30, 45), seed=1)  # the rest was never measured
    assert float(estimate_noise(corner)) == pytest.approx(0.1, rel=0.25)
    with pytest.raises(ValueError, match="ndim=2 item axes"):
        estimate_noise(torch.zeros(5))


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_wiener_refuses_noise_levels_that_are_none(sigma):
    with pytest.raises(ValueError, match="standard deviation"):
        Blur((6, 7), gaussian(1.0, 1)).direct(randn((6, 7), torch.float32), noise=sigma)


# ---- masks


def test_masks():
    m, x = randn((4, 5), seed=1) > 0, randn((2, 4, 5), seed=2)
    assert torch.equal(Mask(m, dtype=DOUBLE)(x), torch.where(m, x, 0.0))
    batch = Mask(torch.stack([m, ~m]), ndim=2, dtype=DOUBLE)
    assert torch.equal(batch(x), torch.stack([x[0] * m, x[1] * ~m]))
    assert batch.norm().tolist() == batch.norm_bound().round(decimals=12).tolist() == [1, 1]
    weights = randn((4, 5), seed=3).abs() + 0.1
    solved = linalg.solve_normal([(Mask(m, dtype=DOUBLE), weights, 2.0), (None, None, 0.5)], x)
    assert relative(solved, x / (2 * weights * m + 0.5)) <= 1e-14


def test_holes_are_filled_smoothly():
    """A harmonic image comes back exactly, however its pixels are lost; other images within what surrounds a hole."""
    i, j = torch.meshgrid(torch.arange(24.0), torch.arange(30.0), indexing="ij")
    x = (i + 2 * j).double()
    lost = torch.zeros(24, 30, dtype=torch.bool)
    lost[5:15, 8:20] = True
    kept = torch.stack([~lost, (randn((24, 30), seed=1) > 0) | ~_inner(24, 30)])
    A = Mask(2.0 * kept, ndim=2, dtype=DOUBLE)
    assert relative(A.direct(A(x)), x.expand(2, 24, 30)) <= 1e-3
    both = A.direct(A(torch.complex(x, -x)))
    assert relative(both, torch.complex(x, -x).expand(2, 24, 30)) <= 1e-3
    image = phantom()
    few = Mask(randn(image.shape, seed=4) > 0.5, dtype=DOUBLE)
    filled = few.direct(few(image))
    assert float(psnr(filled, image, data_range=1.0) - psnr(few(image), image, data_range=1.0)) >= 8
    assert float(filled.max()) <= float(few(image).max()) + 1e-3
    assert relative(few(filled), few(image)) <= 1e-14


def _inner(*shape: int) -> Tensor:
    inner = torch.zeros(shape, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    return inner


@pytest.mark.parametrize(
    ("mask", "ndim", "words"),
    [
        (torch.zeros(3, 3), None, "zero everywhere"),
        (torch.stack([torch.ones(3, 3), torch.zeros(3, 3)]), 2, "zero everywhere"),
        (torch.tensor([1.0, math.inf]), None, "1 weights are NaN or infinite"),
        (torch.ones(3, dtype=torch.complex64), None, "must be real"),
        (torch.ones(3), 2, "does not fit a mask"),
        (torch.tensor(1.0), None, "does not fit a mask"),
    ],
)
def test_masks_that_cannot_be(mask, ndim, words):
    with pytest.raises(ValueError, match=words):
        Mask(mask, ndim=ndim)
    with pytest.raises(ValueError, match=r"Mask expects an image of shape \(\*batch, 3, 4\), got \(4, 3\)"):
        Mask(np.ones((3, 4)))(torch.zeros(4, 3))


# ---- fewer pixels


@pytest.mark.parametrize("factor", [1, 2, 3, (2, 3)])
@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect"])
def test_a_box_gives_the_means_of_blocks(factor, boundary):
    a, b = (factor, factor) if isinstance(factor, int) else factor
    x = randn((6, 12), seed=1)
    means = x.reshape(6 // a, a, 12 // b, b).mean((1, 3))
    box = torch.full((a, b), 1 / (a * b), dtype=DOUBLE)
    assert relative(Downsample((6, 12), factor, dtype=DOUBLE)(x), means) <= 1e-14
    assert relative(Downsample((6, 12), factor, box, boundary, dtype=DOUBLE)(x), means) <= 1e-13


def test_decimation_keeps_the_documented_pixels():
    x, kernel = randn((9, 8), seed=1), randn((3, 4), seed=2)
    A = Downsample((9, 8), (3, 2), kernel, dtype=DOUBLE)
    assert relative(A(x), Blur((9, 8), kernel, dtype=DOUBLE)(x)[1::3, 0::2]) <= 1e-14
    A = Downsample((10, 9), (3, 2), kernel, "zero", dtype=DOUBLE)
    assert relative(A(x := randn((10, 9), seed=3)), Blur((10, 9), kernel, "zero", dtype=DOUBLE)(x)[1::3, 0::2]) <= 1e-14
    A = Downsample((10, 9), (3, 2), kernel, "valid", dtype=DOUBLE)
    assert relative(A(x), Blur((10, 9), kernel, "valid", dtype=DOUBLE)(x)[::3, ::2]) <= 1e-14


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_one_kernel_per_item_of_a_smaller_image(boundary):
    kernels, x = randn((2, 3, 3), seed=3), randn((2, 6, 8), seed=4)
    A = Downsample((6, 8), 2, kernels, boundary, dtype=DOUBLE)
    each = [Downsample((6, 8), 2, k, boundary, dtype=DOUBLE) for k in kernels]
    assert relative(A(x), torch.stack([B(t) for B, t in zip(each, x, strict=True)])) <= 1e-14
    assert relative(A.norm(), torch.stack([B.norm() for B in each])) <= 1e-12
    assert bool((A.norm_bound() >= A.norm()).all())
    assert relative(A.solve(x, 0.3, tol=1e-12)[1], each[1].solve(x[1], 0.3, tol=1e-12)) <= 1e-10


@pytest.mark.parametrize("factor", [2, 3, (2, 4)])
@pytest.mark.parametrize(
    ("kernel", "boundary"),
    [(None, "periodic"), (gaussian(1.2, 3), "reflect"), (gaussian(1.2, 3), "valid"), (torch.ones(4, 2), "zero")],
)
def test_cubic_interpolation_knows_where_the_readings_lie(factor, kernel, boundary):
    """A ramp comes back exactly in the interior: a place wrong by half a pixel would show."""
    i, j = torch.meshgrid(torch.arange(36, dtype=DOUBLE), torch.arange(48, dtype=DOUBLE), indexing="ij")
    x = i - 2 * j
    A = Downsample((36, 48), factor, kernel, boundary, dtype=DOUBLE)
    inside = (slice(12, -12), slice(15, -15))
    assert relative(A.direct(A(x))[inside], x[inside]) <= 1e-12
    assert relative(A.direct(A(x * (1 + 2j)))[inside], (1 + 2j) * x[inside]) <= 1e-12


def test_cubic_interpolation_beats_repetition():
    x = phantom()
    A = Downsample(x.shape, 2, dtype=DOUBLE)
    cubic, repeated = A.direct(A(x)), 4 * A.adjoint(A(x))
    assert float(psnr(cubic, x, data_range=1.0)) >= float(psnr(repeated, x, data_range=1.0)) + 1
    edges = Downsample(x.shape, 2, [[1.0, -1.0]], dtype=DOUBLE)  # tells no brightness
    assert relative(edges(edges.direct(edges(x))), edges(x)) <= 0.1


@pytest.mark.parametrize(
    ("shape", "factor", "kernel", "boundary", "words"),
    [
        ((5, 4), 2, None, "zero", "no multiple of factor .*blocks must have"),
        ((5, 4), 2, torch.ones(2, 2), "periodic", "a periodic boundary must have"),
        ((4, 4), 0, None, "periodic", "whole number >= 1"),
        ((4, 4), 1.5, None, "periodic", "whole number >= 1"),
        ((4, 4), (2,), None, "periodic", "one per axis"),
        ((4, 4), 9, torch.ones(2, 2), "zero", "leaves nothing"),
        ((4, 4), 2, torch.zeros(2, 2), "zero", "Downsample: the kernel is zero"),
    ],
)
def test_decimations_that_cannot_be(shape, factor, kernel, boundary, words):
    with pytest.raises(ValueError, match=words):
        Downsample(shape, factor, kernel, boundary)


# ---- random projections


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 15, 32])
def test_the_fast_cosine_transform_against_scipy(n):
    x = randn((2, n), torch.complex128, 1)
    assert relative(cosine(x), torch.from_numpy(scipy.fft.dct(x.numpy(), norm="ortho"))) <= 1e-13
    assert relative(inverse_cosine(x), torch.from_numpy(scipy.fft.idct(x.numpy(), norm="ortho"))) <= 1e-13


@pytest.mark.parametrize("n", [1, 2, 16, 64, 2048])
def test_the_fast_hadamard_transform_against_scipy(n):
    x = randn((2, n), seed=1)
    matrix = torch.from_numpy(scipy.linalg.hadamard(n).astype(float)) / math.sqrt(n)
    assert relative(kronecker(x, hadamard_factors(n), cosine), x @ matrix) <= 1e-13


@pytest.mark.parametrize("transform", ["hadamard", "cosine"])
@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (6, 4), (3,), (2, 3, 4), (1, 1)])
def test_rows_are_orthonormal(shape, transform):
    n = math.prod(shape)
    for m in {1, (n + 1) // 2, n}:
        A = RandomProjection(shape, m, transform=transform, seed=3, dtype=DOUBLE)
        M = dense(A)
        assert relative(M @ M.T, torch.eye(m, dtype=DOUBLE)) <= 1e-13
        assert float(A.norm()) == 1 <= float(A.norm_bound())


def test_random_projections_mix_and_repeat():
    A = RandomProjection((32, 32), 400, seed=7, dtype=DOUBLE)
    x = randn((32, 32), seed=1)
    assert torch.equal(A(x), RandomProjection((32, 32), 400, seed=7, dtype=DOUBLE)(x))
    assert not torch.equal(A(x), RandomProjection((32, 32), 400, seed=8, dtype=DOUBLE)(x))
    spike = torch.zeros(32, 32, dtype=DOUBLE)
    spike[3, 4] = 1
    for image in (spike, torch.ones(32, 32, dtype=DOUBLE), x):  # every reading sees its share of any image
        share = float(A(image).square().sum() / image.square().sum())
        assert share == pytest.approx(400 / 1024, abs=0.1)
        assert float(A(image).abs().max()) <= 0.2 * float(torch.linalg.vector_norm(image))
    y = A(x)
    assert relative(A(A.direct(y)), y) <= 1e-13


def test_random_projections_that_cannot_be():
    for m in (0, 13, 2.5):
        with pytest.raises(ValueError, match="has 1 to 12 orthonormal measurements"):
            RandomProjection((3, 4), m)
    with pytest.raises(ValueError, match="transform must be"):
        RandomProjection((3, 4), 5, transform="fourier")
    with pytest.raises(ValueError, match="whole number >= 0"):
        RandomProjection((3, 4), 5, seed=-1)


# ---- files

KERNEL = randn((2, 3), seed=1)
STORED = {
    "blur": lambda: Blur((4, 5), KERNEL.float(), "valid"),
    "blur-complex": lambda: Blur((4, 5), randn((2, 2, 3), torch.complex128, 1), "zero", dtype=DOUBLE),
    "mask": lambda: Mask(KERNEL > 0, dtype=DOUBLE),
    "mask-weights": lambda: Mask(randn((2, 4, 5), seed=1), ndim=2, dtype=DOUBLE),
    "downsample": lambda: Downsample((4, 6), 2),
    "downsample-kernel": lambda: Downsample((4, 6), (1, 2), KERNEL, "reflect", dtype=DOUBLE),
    "random-projection": lambda: RandomProjection((4, 5), 7, transform="cosine", seed=5, dtype=DOUBLE),
}


@pytest.mark.parametrize("name", STORED)
def test_a_saved_scan_comes_back(name, tmp_path):
    A = STORED[name]()
    x = randn((2, *A.domain_shape), A.domain_dtype, 3)
    save_scan(tmp_path / "scan.h5", Scan(A, A(x), noise=0.1, truth=x))
    back = load_scan(tmp_path / "scan.h5")
    assert repr(back.operator) == repr(A)
    assert torch.equal(back.operator(x), A(x))
    assert torch.equal(back.data, A(x))
