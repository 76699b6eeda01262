"""Generated training images: repeatable, in range, and with the statistics of natural images."""

import pytest
import torch

from invprob.phantoms import shaken_kernel, training_images
from invprob.phantoms.mixtures import WOVEN
from invprob.phantoms.random_textures import coloured_noise


@pytest.mark.parametrize("kind", WOVEN)
@pytest.mark.parametrize("size", [32, 45])
def test_every_kind_gives_images_in_range_that_a_seed_repeats(kind, size):
    images = training_images(3, size, 4, kinds={kind: 1})
    assert images.shape == (3, size, size)
    assert images.dtype == torch.float32
    assert bool(((images >= 0) & (images <= 1)).all())
    assert bool((images.std((1, 2)) > 1e-3).all()), "something is to be seen in each"
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, training_images(3, size, 4, kinds={kind: 1}))
    assert not torch.equal(images, training_images(3, size, 5, kinds={kind: 1}))


@pytest.mark.parametrize("kind", WOVEN)
def test_every_kind_comes_in_colour(kind):
    images = training_images(8, 32, 4, kinds={kind: 1}, colours=3)
    assert images.shape == (8, 3, 32, 32)
    assert bool(((images >= 0) & (images <= 1)).all())
    coloured = (images - images.mean(1, keepdim=True)).abs().amax((1, 2, 3)) > 0.01
    assert bool(coloured.any()), "some have colours"
    assert torch.equal(images, training_images(8, 32, 4, kinds={kind: 1}, colours=3))


def test_the_channels_of_a_scene_share_its_edges():
    images = training_images(32, 64, 0, kinds={"leaves": 1}, colours=3)
    steps = images.diff(dim=-1).flatten(2)
    related = torch.stack([torch.corrcoef(image)[0, 1] for image in steps])
    assert float(related.median()) > 0.6
    assert float(related.min()) < 0.99


def test_a_generator_goes_on():
    generator = torch.Generator().manual_seed(1)
    first, second = (training_images(4, 32, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, training_images(4, 32, 1))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    training_images(8, 32, 0)
    assert torch.equal(before, torch.get_rng_state())


def slope_of_spectrum(images):
    """The exponent p of the mean amplitude spectrum ~ |f|^-p between 4 cycles per image and a third of Nyquist."""
    size = images.shape[-1]
    window = torch.hann_window(size, periodic=False)
    centred = (images - images.mean((1, 2), keepdim=True)).double() * window[:, None] * window
    power = torch.fft.fft2(centred).abs().square().mean(0)
    f = torch.fft.fftfreq(size, dtype=torch.float64)
    radius = torch.hypot(f[:, None], f) * size
    rings = torch.arange(4, size // 6)
    level = torch.stack([power[(radius >= k - 0.5) & (radius < k + 0.5)].mean() for k in rings]).sqrt()
    x = rings.double().log()
    x = x - x.mean()
    return -float((x * level.log()).sum() / x.square().sum())


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.6])
def test_coloured_noise_has_its_colour(slope):
    noise = coloured_noise(24, 96, torch.Generator().manual_seed(0), slope=torch.full((24,), slope))
    assert slope_of_spectrum(noise) == pytest.approx(slope, abs=0.12)
    assert noise.mean((1, 2)).abs().max() < 1e-5
    assert torch.allclose(noise.square().mean((1, 2)), torch.ones(24), atol=1e-4)


def test_dead_leaves_have_a_natural_spectrum_and_heavy_tails():
    images = training_images(24, 96, 0, kinds={"leaves": 1})
    # amplitude spectra of natural images fall like 1 / f, give or take (Field 1987)
    assert 0.8 < slope_of_spectrum(images) < 1.7
    steps = images.diff(dim=-1)
    steps = steps - steps.mean()
    kurtosis = steps.pow(4).mean() / steps.square().mean() ** 2
    assert kurtosis > 6, "flat regions and edges; Gaussian fields have 3"


def test_stretched_noise_is_longer_along_one_direction():
    long = coloured_noise(8, 64, torch.Generator().manual_seed(0), slope=torch.ones(8), stretch=torch.full((8,), 10.0))
    gy, gx = torch.gradient(long, dim=(1, 2))
    tensor = torch.stack([gx * gx, gx * gy, gx * gy, gy * gy], -1).mean((1, 2)).view(-1, 2, 2)
    low, high = torch.linalg.eigvalsh(tensor).unbind(-1)
    assert bool((high > 4 * low).all())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: training_images(1, 8, 0), "size must be at least 16"),
        (lambda: training_images(-1, 32, 0), "count at least 0"),
        (lambda: training_images(1, 32, 0, colours=0), "colours must be at least 1"),
        (lambda: training_images(1, 32, 0, kinds={"cats": 1}), "kinds are weights.*leaves"),
        (lambda: training_images(1, 32, 0, kinds={"leaves": 0}), "not all 0"),
        (lambda: training_images(1, 32, 0, kinds={"leaves": -1}), ">= 0"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_images_are_none():
    assert training_images(0, 32, 0).shape == (0, 32, 32)
    assert training_images(0, 32, 0, colours=3).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [1, 2, 13, 31])
def test_a_shaken_kernel_is_a_blur(size):
    kernel = shaken_kernel(size, 3)
    assert kernel.shape == (size, size)
    assert (kernel >= 0).all()
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(kernel, shaken_kernel(size, 3))
    if size > 1:
        across, along = kernel.sum(0) > 0, kernel.sum(1) > 0
        assert (across[0] and across[-1]) or (along[0] and along[-1])  # it fills a side
        assert not torch.equal(kernel, shaken_kernel(size, 4))


def test_a_shaken_kernel_has_taps():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        shaken_kernel(0, 3)
