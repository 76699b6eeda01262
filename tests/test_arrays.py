"""Numpy arrays, integers and low precision go wherever tensors go; computed is in the operator's precision."""

import copy

import numpy as np
import pytest
import torch
from cases import OPERATORS
from torch import nn

import invprob
from invprob import linalg, metrics
from invprob.fidelities import L2, Poisson
from invprob.io import load_scan, save_npy, save_scan, save_tiff
from invprob.likelihood import Transmission
from invprob.linop.doors import as_tensor
from invprob.linop.module import Module
from invprob.operators import Blur, Mask, ParallelBeam, RandomProjection
from invprob.operators.image.noise_level import estimate_noise
from invprob.phantoms import add_gaussian_noise
from invprob.priors import TotalVariation, load_pretrained
from invprob.solvers import ADMM

KERNEL = np.outer([1, 2, 1], [1, 2, 1]) / 16


def image(seed=0, shape=(16, 16)):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", ">u2", "<u4", "i8", "f2", ">f4", "f4"])
def test_every_kind_of_number_is_converted(dtype):
    values = (100 * image() > 30) if dtype == "bool" else (100 * image()).astype(dtype)
    A = Blur((16, 16), KERNEL)
    expected = A(torch.from_numpy(values.astype("f4")))
    for given in (values, values[::-1][::-1], np.broadcast_to(values, values.shape)):  # any strides, read-only
        torch.testing.assert_close(A(given), expected)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.int32, torch.uint8, torch.bool])
def test_data_of_integers_are_reconstructed(dtype):
    A = Blur((16, 16), KERNEL)
    counts = (A(torch.from_numpy(image())) * 200).round()
    y = counts > 100 if dtype == torch.bool else counts.to(dtype)
    plain = invprob.reconstruct(invprob.Scan(A, y.float(), truth=counts), "wiener").x
    assert torch.equal(invprob.reconstruct(invprob.Scan(A, y, truth=counts.to(torch.uint8)), "wiener").x, plain)


def test_a_picture_of_a_16_bit_camera_is_read_back(tmp_path):
    A = Blur((16, 16), KERNEL)
    save_scan(tmp_path / "a.h5", invprob.Scan(A, (6e4 * image()).astype(np.uint16), noise=np.float32(3.0)))
    scan = load_scan(tmp_path / "a.h5")
    assert torch.equal(scan.data, torch.from_numpy((6e4 * image()).astype(np.uint16).astype("f4")))
    assert scan.noise == 3.0


def test_unsigned_integers_keep_their_values():
    assert as_tensor("f", np.array([2**16 - 1], np.uint16)).tolist() == [2**16 - 1]
    assert as_tensor("f", np.array([2**32 - 1], np.uint32)).tolist() == [2**32 - 1]
    assert as_tensor("f", np.array([2**64 - 1], np.uint64)).tolist() == [2.0**64]
    assert as_tensor("f", np.longdouble(0.5)).dtype == torch.float64
    assert as_tensor("f", np.float32(0.5)).shape == ()


def test_arrays_go_wherever_tensors_go(tmp_path):
    """The same numbers as tensors give, bit for bit."""
    A, x, w = ParallelBeam((16, 16), np.arange(12) * 0.26, 24), image(), np.ones((12, 24), np.float32)
    t, y = torch.from_numpy(x), A(torch.from_numpy(x))
    P = RandomProjection((16, 16), 40)
    g, D = TotalVariation(np.float32(0.1)), load_pretrained("denoiser")
    pairs = {
        "forward": (A(x), A(t)),
        "adjoint": (A.adjoint(y.numpy()), A.adjoint(y)),
        "gram": (A.gram(x, w), A.gram(t, torch.from_numpy(w))),
        "direct": (A.direct(y.numpy(), weights=w), A.direct(y, torch.from_numpy(w))),
        "solve": (P.solve(x, np.array(0.5)), P.solve(t, 0.5)),
        "vjp": (A.vjp(x, y.numpy()), A.vjp(t, y)),
        "prox": (g.prox(x, np.array(0.2)), g.prox(t, 0.2)),
        "value": (g.value(x), g.value(t)),
        "fidelity": (L2(A, y.numpy(), w).grad(x), L2(A, y, torch.from_numpy(w)).grad(t)),
        "poisson": (Poisson(A, y.numpy(), w).value(x), Poisson(A, y, torch.from_numpy(w)).value(t)),
        "denoise": (D.denoise(x, 0.1), D.denoise(t, 0.1)),
        "solver": (
            invprob.solve(ADMM(max_iter=3), L2(A, y), g, x0=x).x,
            invprob.solve(ADMM(max_iter=3), L2(A, y), g, x0=t).x,
        ),
        "norm": (linalg.norm(x, 2), linalg.norm(t, 2)),
        "psnr": (metrics.psnr(x, t, data_range=1.0), metrics.psnr(t, x, data_range=1.0)),
        "noise": (estimate_noise(x), estimate_noise(t)),
        "phantom": (add_gaussian_noise(x, 0.1, 0)[0], add_gaussian_noise(t, 0.1, 0)[0]),
    }
    for name, (of_array, of_tensor) in pairs.items():
        assert torch.equal(of_array, of_tensor), name
    scan = invprob.Scan(A, y.numpy(), noise=np.float64(0.1), truth=x, weights=w)
    assert torch.equal(invprob.reconstruct(scan, "least-squares").x, _as_tensors(scan).x)
    counts = invprob.Scan(A, np.round(50 * np.exp(-0.1 * y.numpy())), likelihood=Transmission(50 * w, np.zeros(())))
    assert invprob.reconstruct(counts, "fbp").x.shape == (16, 16)
    assert invprob.show(x).values.shape == (16, 16)
    save_npy(tmp_path / "x.npy", x)
    save_tiff(tmp_path / "x.tiff", x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x)


def _as_tensors(scan):
    return invprob.reconstruct(
        invprob.Scan(scan.operator, scan.data.clone(), 0.1, truth=scan.truth, weights=scan.weights.clone()),
        "least-squares",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1.0]], r"Blur.*: a tensor or a numpy array is needed, got list: as in .*torch.as_tensor\(x\)"),
        (np.array([["a"]]), "numbers are needed, got an array of <U1"),
        (np.zeros((16, 16)), r"would lose digits of torch.float64: use A.to\(torch.float64\), or .*astype"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_sentence(given, words):
    with pytest.raises(TypeError, match=words):
        Blur((16, 16), KERNEL)(given)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_first_used_in_inference_mode_can_be_trained_with(name):
    A = OPERATORS[name](torch.float64)
    x = torch.randn(A.domain_shape, dtype=A.domain_dtype, generator=torch.Generator().manual_seed(0))

    def gradient(operator):
        t = x.clone().requires_grad_()
        operator(t).abs().square().sum().backward()
        return t.grad

    expected = gradient(copy.deepcopy(A))
    with torch.inference_mode():
        A(x)
    torch.testing.assert_close(gradient(A), expected)


def test_an_operator_made_in_inference_mode_can_be_trained_with():
    with torch.inference_mode():
        A = Mask(torch.rand(4, 4), dtype=torch.float64)
        A(torch.rand(4, 4))
    x = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    A(x).square().sum().backward()
    assert bool(x.grad.isfinite().all())


CASTS = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "to": lambda m: m.to(torch.float16),
    "type": lambda m: m.type(torch.float16),
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
@pytest.mark.parametrize("held", [Blur((8, 8), KERNEL), TotalVariation(0.1)], ids=["operator", "prior"])
def test_a_cast_to_half_precision_is_refused_by_one_sentence(cast, held):
    for module in (held, nn.Sequential(held), nn.ModuleList([nn.Sequential(held)])):
        with pytest.raises(TypeError, match=r"computes in float32 or float64 .*: leave it out of the cast"):
            cast(module)
    assert isinstance(held, Module)
    nn.Sequential(held).double().float()


@pytest.mark.parametrize("name", OPERATORS)
def test_autocast_does_not_reach_the_physics(name):
    A = OPERATORS[name](torch.float32)
    x = torch.randn(A.domain_shape, dtype=A.domain_dtype, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = A(x)
        again = A.adjoint(y) if hasattr(A, "adjoint") else y
    assert y.dtype == A.range_dtype
    assert torch.equal(y, A(x))
    assert not hasattr(A, "adjoint") or torch.equal(again, A.adjoint(y))


def test_autocast_does_not_reach_a_prox():
    g, v = TotalVariation(0.1), torch.from_numpy(image())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = g.prox(v, 1.0)
    assert torch.equal(x, g.prox(v, 1.0))


def test_degrees_for_radians_are_refused_with_the_remedy():
    for angles in (np.arange(180.0), torch.arange(180.0), -np.arange(180.0)):
        with pytest.raises(ValueError, match=r"reach -?179, more than two turns: give np.deg2rad\(angles\)"):
            ParallelBeam((8, 8), angles, 12)
    ParallelBeam((8, 8), np.linspace(-4 * np.pi, 4 * np.pi, 5), 12)
