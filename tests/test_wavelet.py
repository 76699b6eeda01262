"""The wavelet transform against PyWavelets, its orthogonality for any size, and the prior made of it."""

import numpy as np
import pytest
import pywt
import torch
from laws import randn, relative

from invprob.operators import Wavelet
from invprob.phantoms import shepp_logan
from invprob.priors import WaveletL1

NAMES = ["haar", "db2", "db4", "sym5", "coif1", "db20"]


@pytest.mark.filterwarnings("ignore:Level value")  # PyWavelets on signals shorter than its filters
@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_is_the_periodic_transform_of_pywavelets(name, levels):
    line, image = randn((24,), seed=1), randn((16, 24), seed=2)
    expected = np.concatenate(pywt.wavedec(line.numpy(), name, mode="periodization", level=levels))
    assert relative(Wavelet((24,), name, levels=levels, dtype=torch.float64)(line), torch.from_numpy(expected)) <= 1e-12
    expected, _ = pywt.coeffs_to_array(pywt.wavedec2(image.numpy(), name, mode="periodization", level=levels))
    found = Wavelet((16, 24), name, levels=levels, dtype=torch.float64)(image)
    assert relative(found, torch.from_numpy(expected)) <= 1e-12


@pytest.mark.parametrize("shape", [(1,), (2,), (31,), (17, 33), (1, 9), (5, 4, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_is_orthogonal_for_any_size(name, shape):
    W = Wavelet(shape, name, dtype=torch.float64)
    x = randn((2, *shape), torch.complex128, seed=3)
    assert relative(W.adjoint(W(x)), x) <= 1e-8
    assert relative(W(W.adjoint(x)), x) <= 1e-8


def test_details_are_all_but_the_corner():
    W = Wavelet((13, 20), "haar", levels=2)
    approximation = ~W.details()
    assert int(approximation.sum()) == 4 * 5
    assert bool(approximation[:4, :5].all())
    flat = W(torch.ones(13, 20))  # a constant has no details but where a sample was handed on
    assert float((flat * W.details()).abs().max()) <= 2.0
    even = Wavelet((16, 16), "db3", levels=2)
    assert float((even(torch.ones(16, 16)) * even.details()).abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"wavelet": "db99"}, "unknown wavelet 'db99'"),
        ({"wavelet": "bior2.2"}, "'bior2.2' is not orthogonal"),
        ({"levels": 5}, "levels must lie in 0..4"),
        ({"levels": -1}, "levels must lie in 0..4"),
    ],
)
def test_what_it_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Wavelet((12, 16), **arguments)


def test_spins_are_refused_below_one():
    with pytest.raises(ValueError, match="spins must be at least 1"):
        WaveletL1(1.0, spins=0)


def test_spinning_denoises_better_and_is_still_a_prox():
    clean = shepp_logan(32.0).image((64, 64), dtype=torch.float64)
    v = clean + 0.1 * randn((64, 64), seed=4)
    plain, spun = (WaveletL1(0.25, wavelet="haar", levels=4, spins=k) for k in (1, 4))
    error = [float((prior.prox(v, 1.0) - clean).norm()) for prior in (plain, spun)]
    assert error[1] < 0.93 * error[0] < 0.93 * float((v - clean).norm())
    # a prox is firmly nonexpansive
    w = v + randn((64, 64), seed=5)
    step, move = w - v, spun.prox(w, 1.0) - spun.prox(v, 1.0)
    assert float((move * move).sum()) <= float((move * step).sum())
    assert spun.supports == {"prox"}
    with pytest.raises(TypeError, match="has no value"):
        spun.value(v)
