"""The methods that put a denoiser in the place of a prior: better than total variation, for every operator."""

import math

import numpy as np
import pytest
import torch
from laws import randn, relative

from invprob import Scan, reconstruct, solve
from invprob.errors import InputError
from invprob.fidelities import L2
from invprob.linop import LinearOperator
from invprob.metrics import psnr
from invprob.operators import Blur, Downsample, Identity, Mask, ParallelBeam, RandomProjection
from invprob.phantoms.mixtures import training_images
from invprob.priors import Denoiser, load_pretrained
from invprob.priors.denoiser_functions import Clipped, KeepsZero
from invprob.solvers import HQS

SIZE = 64
SHAPE = (SIZE, SIZE)
METHODS = ["pnp", "red", "gs-pnp"]
TAPS = np.exp(-(np.arange(-6, 7) ** 2) / (2 * 1.6**2))
KERNEL = np.outer(TAPS, TAPS) / TAPS.sum() ** 2
PROBLEMS = {
    "denoise": (lambda: Identity(SHAPE), 0.1),
    "deblur": (lambda: Blur(SHAPE, KERNEL, "reflect"), 0.02),
    "inpaint": (lambda: Mask(randn(SHAPE, seed=3) < -0.5), 0.02),
    "superres": (lambda: Downsample(SHAPE, 2), 0.02),
    "few": (lambda: RandomProjection(SHAPE, SIZE * SIZE // 3), 0.02),
    "views": (lambda: ParallelBeam(SHAPE, torch.arange(40) * math.pi / 40, 92), 0.3),
}


def picture(seed=5, kind="leaves"):
    return training_images(1, SIZE, torch.Generator().manual_seed(seed), kinds={kind: 1.0})[0]


def noisy(task, seed=4, truth=None):
    make, sigma = PROBLEMS[task]
    A, truth = make(), picture() if truth is None else truth
    return A, A(truth) + sigma * randn(A.range_shape, torch.float32, seed=seed), sigma, truth


def quality(result, truth):
    return float(psnr(result.x, truth, data_range=1.0))


@pytest.mark.parametrize("task", PROBLEMS)
def test_plug_and_play_beats_total_variation(task):
    A, y, sigma, truth = noisy(task, truth=training_images(8, SIZE, 5, kinds={"leaves": 1.0}))
    found = reconstruct(Scan(A, y, sigma), "pnp")
    gain = psnr(found.x, truth, data_range=1.0) - psnr(reconstruct(Scan(A, y, sigma), "tv").x, truth, data_range=1.0)
    assert float(gain.mean()) > 0
    assert found.status in ("converged", "max_iter")


@pytest.mark.parametrize("method", METHODS)
def test_noise_goes(method):
    A, y, sigma, truth = noisy("denoise")
    assert quality(reconstruct(Scan(A, y, sigma), method), truth) > float(psnr(y, truth, data_range=1.0)) + 5


@pytest.mark.parametrize("task", ["denoise", "deblur", "views"])
def test_the_objective_of_gradient_steps_never_rises(task):
    A, y, sigma, _ = noisy(task)
    result = reconstruct(Scan(A, y, sigma), "gs-pnp", tol=1e-5, max_iter=40)
    values = result.history["objective"]
    values = values[values.isfinite()]
    assert len(values) > 1
    assert (values[1:] <= values[:-1] * (1 + 1e-6)).all()
    assert any("never rises" in a.statement and a.holds for a in result.certificate.assumptions)


@pytest.mark.parametrize("method", METHODS)
def test_zero_data_give_the_zero_image(method):
    A = Identity(SHAPE)
    for noise in (None, 1.0):
        result = reconstruct(Scan(A, torch.zeros(SHAPE), noise), method)
        assert not result.x.any()


@pytest.mark.parametrize("method", METHODS)
def test_scaling_the_data_scales_the_image(method):
    A, y, sigma, _ = noisy("deblur")
    plain, scaled = (reconstruct(Scan(A, c * y, c * sigma), method).x / c for c in (1.0, 3.7e-3))
    assert relative(scaled, plain) < 2e-3  # the network may compute in bfloat16


def test_scales_far_from_one_change_nothing():
    A, y, sigma, _ = noisy("deblur")
    y, network = y.double(), load_pretrained("denoiser").network.requires_grad_(False)  # which computes in float32
    plain, octaves, small = (
        reconstruct(Scan(A, (c * y).float(), c * sigma), "pnp", denoiser=network).x.double() / c
        for c in (1.0, 2.0**-66, 1e-20)
    )
    assert torch.equal(octaves, plain)
    assert relative(small, plain) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_do_not_change_an_item(method):
    A, y, sigma, _ = noisy("deblur")
    other = noisy("deblur", seed=9)[1] * 1e5
    together = reconstruct(Scan(A, torch.stack([y, other]), torch.tensor([sigma, 1e5 * sigma])), method).x
    for k, (data, noise) in enumerate(((y, sigma), (other, 1e5 * sigma))):
        assert relative(together[k], reconstruct(Scan(A, data, noise), method).x) < 2e-3


def test_complex_images_are_denoised_in_both_parts():
    truth = torch.complex(picture(5), picture(6))
    y = truth + 0.1 * torch.complex(randn(SHAPE, torch.float32, 1), randn(SHAPE, torch.float32, 2))
    A = Identity(SHAPE, dtype=torch.complex64)
    x = reconstruct(Scan(A, y, 0.1 * 2**0.5), "pnp").x
    assert x.is_complex()
    assert relative(x, truth) < 0.7 * relative(y, truth)


def test_volumes_are_denoised_slice_by_slice():
    truth = torch.stack([picture(k)[:32, :32] for k in range(3)])
    y = truth + 0.1 * randn(truth.shape, torch.float32, 1)
    x = reconstruct(Scan(Identity(truth.shape), y, 0.1), "pnp", strength=0.1).x
    assert relative(x, truth) < 0.7 * relative(y, truth)


def test_a_function_of_ones_own_takes_the_place_of_the_network():
    A, y, sigma, _ = noisy("deblur")
    asked = []

    def identity(v, level):
        asked.append(float(level.max()))
        return v

    reconstruct(Scan(A, y, sigma), "pnp", denoiser=identity)
    assert asked == sorted(asked, reverse=True)
    assert len(asked) >= 8


def test_a_noise_level_far_from_the_misfit_is_not_believed():
    A, y, sigma, truth = noisy("deblur")
    right, wrong = (quality(reconstruct(Scan(A, y, f * sigma), "pnp"), truth) for f in (1.0, 0.1))
    assert wrong > right - 0.5


def test_what_is_no_image_or_no_denoiser_is_refused():
    trace = LinearOperator.from_functions(lambda x: x, lambda y: y, (50,), (50,))
    with pytest.raises(ValueError, match="two or more axes"):
        reconstruct(Scan(trace, torch.ones(50), 0.1), "pnp")
    with pytest.raises(InputError, match="no pretrained weights 'sharp'"):
        reconstruct(Scan(Identity(SHAPE), picture(), 0.1), "pnp", denoiser="sharp")
    with pytest.raises(ValueError, match="strength of red must be"):
        reconstruct(Scan(Identity(SHAPE), picture(), 0.1), "red", strength=-1.0)


@pytest.mark.parametrize("method", ["pnp", "red", "gs-pnp", "lpn"])
def test_a_strength_beyond_all_readings_is_refused(method):
    with pytest.raises(ValueError, match="noise over the largest reading, at most 1e\\+06, got 1e\\+300"):
        reconstruct(Scan(Identity((4, 4)), torch.ones(4, 4)), method, strength=1e300)


def test_clipping_and_keeping_zero():
    def lifted(v, level):
        return v - 1 + level

    v = torch.stack([torch.zeros(SHAPE), 0.8 * torch.ones(SHAPE)])
    for wrapper in (Clipped, KeepsZero):
        x = wrapper(lifted)(v, torch.tensor(0.5))
        assert not x[0].any()
        assert relative(x[1], 0.3 * torch.ones(SHAPE)) < 1e-6


def test_the_schedule_of_each_item_is_its_own():
    f, levels = L2(Identity(SHAPE), torch.stack([picture(), picture(6)])), []

    def note(v, level):
        levels.append(level.double())
        return v

    low, high = torch.tensor([0.01, 0.1]), torch.tensor([0.2, 0.4])
    solve(HQS(steps=3, max_iter=3, sigma_min=low, sigma_max=high), f, Denoiser(note, lam=0.01, power_steps=0))
    expected = torch.stack([high, (low * high).sqrt(), low]).double()
    assert relative(torch.stack(levels), expected) < 1e-6
    with pytest.raises(ValueError, match="0 < sigma_min <= sigma_max"):
        HQS(sigma_min=torch.tensor([0.1, 0.3]), sigma_max=0.2)
