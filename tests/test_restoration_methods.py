"""The methods on pictures: better than the data, near the best strength, and robust against a wrong noise level."""

import numpy as np
import pytest
import torch
from laws import randn

from invprob import Scan, reconstruct
from invprob.methods.coloured_noise import noise_order
from invprob.metrics import psnr
from invprob.operators import Blur, Downsample, Identity, Mask, RandomProjection
from invprob.phantoms import organ, shepp_logan
from invprob.transforms import SobolevMetric

SIZE = 64
TAPS = np.exp(-(np.arange(-6, 7) ** 2) / (2 * 1.5**2))
KERNEL = np.outer(TAPS, TAPS) / TAPS.sum() ** 2


def picture(name="organ"):
    if name == "organ":
        x = organ((SIZE, SIZE), 0).to(torch.float32)
        return x / x.max()
    return shepp_logan(SIZE / 2).image((SIZE, SIZE))


def blurred(sigma, name="organ"):
    A, truth = Blur((SIZE, SIZE), KERNEL, "reflect"), picture(name)
    return A, A(truth) + sigma * randn((SIZE, SIZE), torch.float32, seed=1), truth


def quality(A, y, truth, method, noise=None, **settings):
    result = reconstruct(Scan(operator=A, data=y, noise=noise), method=method, **settings)
    return float(psnr(result.x, truth, data_range=1.0))


@pytest.mark.parametrize(("method", "gain"), [("wiener", 0.5), ("wavelet", 1.0), ("tv", 2.0)])
def test_a_blurred_picture_gets_sharper(method, gain):
    A, y, truth = blurred(0.005)
    assert quality(A, y, truth, method) > float(psnr(y, truth, data_range=1.0)) + gain


@pytest.mark.parametrize("method", ["tv", "wavelet"])
def test_noise_goes(method):
    truth = picture()
    y = truth + 0.1 * randn((SIZE, SIZE), torch.float32, seed=2)
    assert quality(Identity((SIZE, SIZE)), y, truth, method) > float(psnr(y, truth, data_range=1.0)) + 3


@pytest.mark.parametrize("task", ["denoise", "deblur", "inpaint", "superres", "few"])
def test_the_strength_of_tv_is_near_the_best(task):
    truth = picture("shepp")
    A = {
        "denoise": Identity((SIZE, SIZE)),
        "deblur": Blur((SIZE, SIZE), KERNEL, "reflect"),
        "inpaint": Mask(randn((SIZE, SIZE), seed=3) < -0.5),
        "superres": Downsample((SIZE, SIZE), 2),
        "few": RandomProjection((SIZE, SIZE), SIZE * SIZE // 3),
    }[task]
    sigma = 0.1 if task == "denoise" else 0.01
    y = A(truth) + sigma * randn(A.range_shape, torch.float32, seed=4)
    found = quality(A, y, truth, "tv")
    best = max(quality(A, y, truth, "tv", strength=s) for s in (1e-4, 1e-3, 1e-2, 3e-2, 1e-1))
    assert found > best - 2.0


@pytest.mark.parametrize("method", ["tv", "wiener"])
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_deblurring_survives_a_wrong_noise_level(method, factor):
    A, y, truth = blurred(0.01)
    right, wrong = (quality(A, y, truth, method, noise=0.01 * f) for f in (1.0, factor))
    assert wrong > right - 1.0


@pytest.mark.parametrize("make", [lambda: Downsample((SIZE, SIZE), 2), lambda: RandomProjection((SIZE, SIZE), 1300)])
def test_with_few_readings_a_wrong_noise_level_costs_nothing(make):
    A, truth = make(), picture()
    y = A(truth) + 0.02 * randn(A.range_shape, torch.float32, seed=4)
    right, wrong = (quality(A, y, truth, "tv", noise=0.02 * f) for f in (1.0, 10.0))
    # what a tenth of the noise or less explains is not believed: cross-validation knows the error of predictions
    assert wrong > right - (0.1 if A.data_kind == "samples" else 1.0)


def test_wiener_is_for_blurred_images():
    truth = picture()
    with pytest.raises(ValueError, match="wiener is for blurred images"):
        quality(Identity((SIZE, SIZE)), truth, truth, "wiener")
    A, y, _ = blurred(0.01)
    with pytest.raises(ValueError, match="takes all readings alike"):
        reconstruct(Scan(operator=A, data=y, weights=torch.ones_like(y)), method="wiener")


def coloured(s, sigma, seed=5):
    """Noise of power spectrum <xi>^-2s and standard deviation sigma."""
    noise = SobolevMetric((2 * SIZE, 2 * SIZE), -s)(randn((2 * SIZE, 2 * SIZE), torch.float32, seed))
    return sigma * noise / noise.square().mean().sqrt()


def large():
    x = organ((2 * SIZE, 2 * SIZE), 0)
    return x / x.max()


def test_the_colour_of_noise_is_seen_in_the_picture():
    orders = [-2.0, -1.0, -0.5, 0.0, 1.0]
    found = noise_order(torch.stack([large() + coloured(s, 0.1) for s in orders]))
    assert found.tolist() == pytest.approx([-1.6, -0.9, -0.45, 0.0, 0.0], abs=0.2)
    assert found[-2:].tolist() == [0, 0]  # nearly white and red noise are left alone
    assert noise_order(torch.zeros(2, 32, 32)).tolist() == [0, 0]


def test_sobolev_tv_gains_where_noise_is_blue_and_is_tv_where_it_is_white():
    truth, A = large(), Identity((2 * SIZE, 2 * SIZE))
    blue, white = truth + coloured(-1.0, 0.1), truth + coloured(0.0, 0.1)
    assert quality(A, blue, truth, "sobolev-tv") > quality(A, blue, truth, "tv") + 0.5
    ours, theirs = (reconstruct(Scan(A, white), method, strength=0.04) for method in ("sobolev-tv", "tv"))
    assert torch.equal(ours.x, theirs.x)
    assert ours.settings["order"] == 0


def test_sobolev_tv_deblurs_and_takes_an_order():
    A, truth = Blur((2 * SIZE, 2 * SIZE), KERNEL, "reflect"), large()
    y = A(truth) + coloured(-1.0, 0.02)
    assert quality(A, y, truth, "sobolev-tv") > quality(A, y, truth, "tv") - 0.1
    result = reconstruct(Scan(A, y), "sobolev-tv", order=-0.5, strength=1e-3)
    assert result.settings["order"] == -0.5
    few = RandomProjection((SIZE, SIZE), 1000)
    with pytest.raises(ValueError, match="give a number"):
        reconstruct(Scan(few, torch.ones(1000)), "sobolev-tv")
    with pytest.raises(ValueError, match="order must be"):
        reconstruct(Scan(A, y), "sobolev-tv", order=float("nan"))
    with pytest.raises(ValueError, match="takes all readings alike"):
        reconstruct(Scan(A, y, weights=torch.ones_like(y)), "sobolev-tv")
