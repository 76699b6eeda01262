"""Images in colour: the channels share their edges, and the same door opens for them."""

import pytest
import torch
from laws import randn, relative

from invprob import Scan, reconstruct
from invprob.metrics import psnr
from invprob.operators import Blur, Identity
from invprob.phantoms import training_images
from invprob.problem import Problem

SIZE, SIGMA = 64, 0.04
KERNEL = torch.ones(5, 5) / 25


def level(A):
    return Problem(A, torch.zeros(A.range_shape), None)


def blurred(count=2):
    truth = training_images(count, SIZE, 11, kinds={"leaves": 1.0}, colours=3)
    A = Blur((SIZE, SIZE), KERNEL).lift((3,), channels="colour")
    return A, A(truth) + SIGMA * randn(truth.shape, torch.float32, 3), truth


def quality(x, truth):
    return float(psnr(x, truth, data_range=1.0, ndim=3).mean())


def test_three_planes_under_one_operator_are_in_colour():
    plane = Identity((6, 5))
    assert level(plane.lift((3,), channels="colour")).colours == 3
    for A in (plane, plane.lift((3,)), plane.lift((3,), channels="echoes"), Identity((3, 6, 5))):
        assert level(A).colours == 1


def test_edges_that_channels_share_are_found_better_together():
    A, _, colourful = blurred()
    truth = colourful[:, :1] * torch.tensor([1.0, 0.8, 0.6])[:, None, None]
    y = A(truth) + SIGMA * randn(truth.shape, torch.float32, 3)
    together = reconstruct(Scan(A, y, SIGMA), "tv").x
    apart = reconstruct(Scan(A.inner, y, SIGMA), "tv").x
    assert quality(together, truth) > quality(apart, truth) + 0.3


def test_slopes_are_not_taken_across_channels():
    truth = torch.tensor([0.1, 0.5, 0.9])[:, None, None].expand(3, SIZE, SIZE)
    y = truth + SIGMA * randn(truth.shape, torch.float32, 3)
    for method in ("tv", "tikhonov"):
        x = reconstruct(Scan(Identity((SIZE, SIZE)).lift((3,), channels="colour"), y, SIGMA), method).x
        assert relative(x.mean((1, 2)), truth.mean((1, 2))) < 0.02


def test_a_grey_picture_is_the_same_in_colour():
    A, y, _ = blurred(1)
    grey = y[0, 0]
    x = reconstruct(Scan(A, grey.expand(3, SIZE, SIZE), SIGMA), "tv", strength=2e-3, tol=1e-5, max_iter=2000).x
    # one gradient of the length 3^1/2 |grad| for three times the misfit
    plain = reconstruct(Scan(A.inner, grey, SIGMA), "tv", strength=2e-3 / 3**0.5, tol=1e-5, max_iter=2000).x
    assert relative(x, plain.expand_as(x)) < 1e-3


@pytest.mark.parametrize("method", ["pnp", "red", "gs-pnp"])
def test_a_denoiser_for_colour_takes_over(method):
    A, y, truth = blurred()
    x = reconstruct(Scan(A, y, SIGMA), method).x
    by_grey = reconstruct(Scan(A, y, SIGMA), method, denoiser="denoiser").x
    assert quality(x, truth) > quality(y, truth) + 1
    assert not torch.equal(x, by_grey)
    if method == "pnp":
        assert quality(x, truth) > quality(reconstruct(Scan(A, y, SIGMA), "tv").x, truth) + 0.1


def test_a_denoiser_for_colour_refuses_grey_images():
    scan = Scan(Identity((SIZE, SIZE)), torch.ones(3, SIZE, SIZE), SIGMA)
    with pytest.raises(ValueError, match=r"'denoiser-colour' denoises images with 3 channels, under A\.lift\(\(3,\)\)"):
        reconstruct(scan, "pnp", denoiser="denoiser-colour")


def test_learned_proximal_networks_see_channel_by_channel():
    A, y, truth = blurred()
    assert quality(reconstruct(Scan(A, y, SIGMA), "lpn").x, truth) > quality(y, truth) + 1


@pytest.mark.parametrize("noise", [None, 0.02])
def test_wieners_filter_takes_the_channels_one_by_one(noise):
    kernel = torch.ones(3, 5) / 15
    draw = torch.Generator().manual_seed(0)
    data = torch.rand(3, 24, 20, generator=draw).cumsum(-1) / 20 * torch.tensor([1.0, 3.0, 0.3])[:, None, None]
    whole = reconstruct(Scan(Blur((24, 20), kernel).lift((3,), channels="colour"), data, noise), "wiener")
    each = [reconstruct(Scan(Blur((24, 20), kernel), plane, noise), "wiener") for plane in data]
    assert torch.allclose(whole.x, torch.stack([result.x for result in each]), rtol=1e-3, atol=1e-4)
    ratios = [result.settings["noise_to_seen"] for result in each]
    assert whole.settings["noise_to_seen"] == pytest.approx(sum(ratios) / 3, rel=1e-4)
