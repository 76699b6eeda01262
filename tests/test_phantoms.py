"""Phantoms against quadrature and closed forms; noise against its statistics."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from invprob.phantoms import (
    Ellipses,
    add_gaussian_noise,
    as_generator,
    organ,
    poisson_transmission,
    random_ellipses,
    shepp_logan,
)
from invprob.phantoms.plane import Plane, random_field


def ellipse(value: float, x: float, y: float, a: float, b: float, tilt: float = 0.0) -> Ellipses:
    row = torch.tensor([value, x, y, a, b, tilt], dtype=torch.float64)
    return Ellipses(row[:1], row[None, 1:3], row[None, 3:5], row[5:])


def density(phantom: Ellipses, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """f(x, y) by its definition, written independently: rotate the point back by the tilt."""
    total = np.zeros(np.broadcast(x, y).shape)
    for k in range(len(phantom.values)):
        (cx, cy), (a, b) = phantom.centres[k].tolist(), phantom.semi_axes[k].tolist()
        back = np.exp(-1j * phantom.tilt[k].item()) * ((x - cx) + 1j * (y - cy))
        total += phantom.values[k].item() * ((back.real / a) ** 2 + (back.imag / b) ** 2 <= 1)
    return total


def parallel_rays(angles: int, bins: int, reach: float) -> tuple[Tensor, Tensor]:
    """Rays of the convention s = x cos + y sin, points and directions of shape (angles, bins, 2)."""
    theta = torch.arange(angles, dtype=torch.float64)[:, None] * (math.pi / angles) + 0.1
    s = torch.linspace(-reach, reach, bins, dtype=torch.float64)
    points = torch.stack([s * theta.cos(), s * theta.sin()], dim=-1)
    directions = torch.stack([-theta.sin(), theta.cos()], dim=-1).expand(angles, bins, 2)
    return points, directions


# ---- ellipses: line integrals


@pytest.mark.parametrize("phantom", [shepp_logan(), random_ellipses(1.0, 3), ellipse(2.0, 0.2, -0.3, 0.6, 0.1, 0.7)])
def test_line_integrals_equal_quadrature(phantom: Ellipses) -> None:
    points, directions = parallel_rays(7, 11, 0.83)
    t = (np.arange(40_000) + 0.5) / 10_000 - 2
    x, y = (points[..., i, None].numpy() + t * directions[..., i, None].numpy() for i in (0, 1))
    quadrature = density(phantom, x, y).sum(axis=-1) * 1e-4
    np.testing.assert_allclose(phantom.line_integrals(points, directions), quadrature, atol=5e-4)


def test_line_integrals_of_a_disc_are_chords() -> None:
    points, directions = parallel_rays(9, 50, 3.0)
    centre, radius = torch.tensor([0.4, -0.5], dtype=torch.float64), 1.7
    normal = torch.stack([directions[..., 1], -directions[..., 0]], dim=-1)
    distance = ((points - centre) * normal).sum(dim=-1)
    chord = 2 * (radius**2 - distance.square()).clamp(min=0).sqrt()
    values = ellipse(0.3, 0.4, -0.5, radius, radius, tilt=1.0).line_integrals(points, directions)
    torch.testing.assert_close(values, 0.3 * chord, rtol=1e-12, atol=1e-12)
    assert (values == 0).any()
    assert (values > 0).any()


def test_line_integrals_know_lines_not_parametrisations() -> None:
    phantom = shepp_logan(2.0)
    points, directions = parallel_rays(5, 9, 1.9)
    expected = phantom.line_integrals(points, directions)
    moved = phantom.line_integrals(points + 3.3 * directions, -7.0 * directions)
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-12)
    broadcast = phantom.line_integrals(points, directions[:, :1])
    torch.testing.assert_close(broadcast, expected, rtol=0, atol=0)


def test_line_integrals_from_a_far_source() -> None:
    source = torch.tensor([0.0, -1e6], dtype=torch.float64)
    target = torch.tensor([0.3, 0.0], dtype=torch.float64)
    value = ellipse(1.0, 0.0, 0.0, 0.5, 0.5).line_integrals(source, target - source)
    assert value.item() == pytest.approx(0.8, rel=1e-9)


def test_scaling_scales_lengths() -> None:
    points, directions = parallel_rays(4, 15, 0.9)
    phantom = random_ellipses(1.0, 0)
    expected = 2.5 * phantom.line_integrals(points, directions)
    torch.testing.assert_close(phantom.scaled(2.5).line_integrals(2.5 * points, directions), expected)


# ---- ellipses: images


@pytest.mark.parametrize("pixel_size", [1.0, 0.37])
def test_image_mass_is_pi_a_b_value(pixel_size: float) -> None:
    phantom = ellipse(0.7, 1.3, -2.1, 12.0, 5.0, 0.4).scaled(pixel_size)
    image = phantom.image((41, 50), pixel_size=pixel_size, dtype=torch.float64)
    mass = 0.7 * math.pi * 60 * pixel_size**2
    assert image.sum().item() * pixel_size**2 == pytest.approx(mass, rel=1e-3)


@pytest.mark.parametrize("shape", [(24, 24), (17, 30), (31, 12)])
def test_image_equals_dense_sampling(shape: tuple[int, int]) -> None:
    phantom, pixel_size, fine = random_ellipses(1.0, 8), 0.09, 40
    height, width = shape
    y = (height / 2 - (np.arange(height * fine) + 0.5) / fine) * pixel_size
    x = ((np.arange(width * fine) + 0.5) / fine - width / 2) * pixel_size
    samples = density(phantom, x, y[:, None]).reshape(height, fine, width, fine).mean(axis=(1, 3))
    image = phantom.image(shape, pixel_size=pixel_size, supersample=fine)
    np.testing.assert_allclose(image, samples, atol=0.02)
    coarse = phantom.image(shape, pixel_size=pixel_size)
    np.testing.assert_allclose(coarse, samples, atol=0.08)
    assert np.abs(coarse.numpy() - samples).mean() < 1e-3


def test_image_is_cut_at_its_border() -> None:
    phantom = ellipse(1.0, 0.0, 0.0, 20.0, 20.0)
    assert torch.equal(phantom.image((8, 6)), torch.ones(8, 6))
    assert torch.equal(ellipse(1.0, 50.0, 0.0, 2.0, 2.0).image((8, 6)), torch.zeros(8, 6))
    corner = ellipse(1.0, 3.0, 4.0, 2.0, 2.0).image((8, 6), supersample=64)
    assert corner.sum().item() == pytest.approx(math.pi, rel=1e-3)  # a quarter of the disc


def test_x_is_right_y_is_up_and_tilt_counter_clockwise() -> None:
    right_up = ellipse(1.0, 5.0, 2.0, 1.0, 1.0).image((21, 21))
    assert torch.nonzero(right_up == 1).double().mean(dim=0).tolist() == [8, 15]
    tilted = ellipse(1.0, 0.0, 0.0, 8.0, 1.0, math.pi / 4).image((21, 21))
    assert tilted[7, 13] == 1
    assert tilted[13, 13] == 0


def test_shepp_logan_stands_upright() -> None:
    reference = torch.from_numpy(skimage.data.shepp_logan_phantom())
    image = shepp_logan(200.0).image((400, 400), dtype=torch.float64)

    def correlation(candidate: Tensor) -> float:
        return torch.corrcoef(torch.stack([candidate.flatten(), reference.flatten()]))[0, 1].item()

    upright = correlation(image)
    assert upright > 0.97
    for wrong in (image.flip(0), image.flip(1), image.T, image.rot90(2)):
        assert correlation(wrong) < upright - 0.02
    # the two dark ventricles, the brain, the grey disc at the top
    for row, column in ((200, 155), (200, 245), (300, 200), (130, 200), (320, 200)):
        assert image[row, column].item() == pytest.approx(reference[row, column].item(), abs=0.01)


def test_shepp_logan_intensities() -> None:
    modified = shepp_logan().image((256, 256), pixel_size=2 / 256)
    assert modified.max() == 1
    assert modified.min() > -1e-15
    original = shepp_logan(modified=False).image((256, 256), pixel_size=2 / 256)
    assert original.max() == 2
    assert original[170, 128].item() == pytest.approx(1.02)


@pytest.mark.parametrize("seed", range(20))
def test_random_ellipses_are_plausible(seed: int) -> None:
    phantom = random_ellipses(3.0, seed, count=25)
    image = phantom.image((64, 64), pixel_size=6 / 64)
    assert len(phantom.values) == 25
    assert image.min() >= -1e-7
    body = Ellipses(phantom.values[:1], phantom.centres[:1], phantom.semi_axes[:1], phantom.tilt[:1])
    outside = body.image((64, 64), pixel_size=6 / 64) == 0
    assert image[outside].abs().max() < 1e-7
    assert image.unique().numel() > 25


def test_ellipses_refuse_what_they_cannot_be() -> None:
    good = shepp_logan()
    with pytest.raises(ValueError, match=r"Ellipses: tilt has shape \(9,\), expected \(10,\)"):
        Ellipses(good.values, good.centres, good.semi_axes, good.tilt[:9])
    with pytest.raises(ValueError, match="semi_axes must be positive"):
        Ellipses(good.values, good.centres, -good.semi_axes, good.tilt)
    with pytest.raises(ValueError, match="values must be real and finite"):
        Ellipses(1j * good.values, good.centres, good.semi_axes, good.tilt)
    with pytest.raises(ValueError, match="supersample must be at least 1, got 0"):
        good.image((4, 4), supersample=0)
    with pytest.raises(ValueError, match="pixel_size must be a finite number > 0, got -1"):
        good.image((4, 4), pixel_size=-1.0)
    with pytest.raises(ValueError, match="dtype must be a real floating type"):
        good.image((4, 4), dtype=torch.int32)
    with pytest.raises(ValueError, match="factor must be"):
        good.scaled(0.0)
    with pytest.raises(ValueError, match=r"points must be real of shape \(..., 2\), .* \(4, 3\)"):
        good.line_integrals(torch.ones(4, 3), torch.ones(2))
    with pytest.raises(ValueError, match="a direction is zero"):
        good.line_integrals(torch.ones(4, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="radius must be"):
        shepp_logan(float("nan"))
    with pytest.raises(ValueError, match="count must be at least 1"):
        random_ellipses(1.0, 0, count=0)


def test_tables_are_kept_in_double_precision() -> None:
    single = Ellipses(torch.ones(1), torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, dtype=torch.int64))
    assert {t.dtype for t in (single.values, single.centres, single.semi_axes, single.tilt)} == {torch.float64}
    assert single.image((3, 3)).dtype == torch.float32


# ---- organs


@pytest.mark.parametrize("shape", [(64, 64), (49, 80), (65, 40)])
def test_organ_is_a_body_in_air(shape: tuple[int, int]) -> None:
    images = organ(shape, 0, batch=(2, 3))
    assert images.shape == (2, 3, *shape)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() <= 1
    for border in (images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]):
        assert border.max() == 0
    for image in images.flatten(0, 1):
        tissue = image[image > 0.2]
        assert tissue.numel() > 0.2 * min(shape) ** 2
        assert 0.3 < tissue.median() < 0.6
        assert (image > 0.75).sum() > 5  # bone
        assert tissue.unique().numel() > 0.9 * tissue.numel()  # texture, not flat patches


def test_a_batch_of_organs_is_drawn_one_by_one() -> None:
    generator = as_generator(5)
    one_by_one = torch.stack([organ((32, 32), generator) for _ in range(3)])
    assert torch.equal(organ((32, 32), 5, batch=(3,)), one_by_one)
    assert (one_by_one[0] - one_by_one[1]).abs().max() > 0.1
    assert organ((32, 32), 5, batch=(0, 2)).shape == (0, 2, 32, 32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_organ_is_the_same_body_at_every_resolution(seed: int) -> None:
    coarse = organ((96, 96), seed)
    fine = organ((192, 192), seed).reshape(96, 2, 96, 2).mean(dim=(1, 3))
    assert (coarse - fine).norm() < 0.06 * fine.norm()
    other = organ((96, 96), seed + 10)
    assert (other - fine).norm() > 0.2 * fine.norm()


def test_organ_refuses_an_empty_image() -> None:
    with pytest.raises(ValueError, match=r"organ: shape must be \(H, W\) with at least one pixel"):
        organ((0, 8), 0)


def test_random_fields_are_pixel_averages_of_one_field() -> None:
    coarse, fine = (
        random_field(Plane.of(shape), as_generator(1), corner=5.0, slope=1.0, modes=20)
        for shape in ((16, 20), (48, 60))
    )
    torch.testing.assert_close(coarse, fine.reshape(16, 3, 20, 3).mean(dim=(1, 3)), rtol=0, atol=1e-12)


def test_random_fields_have_unit_variance() -> None:
    generator = as_generator(2)
    fields = [random_field(Plane.of((64, 64)), generator, corner=8.0, slope=2.0, modes=15) for _ in range(40)]
    assert torch.stack(fields).square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_plane_regions() -> None:
    plane = Plane.of((201, 201))
    region = plane.ellipse(0.0, 0.0, 0.8, 0.3, tilt=0.5, power=3.0)
    assert plane.coverage(region)[100, 100] == 1
    disc = plane.ellipse(0.2, -0.1, 0.5, 0.5)
    distance = torch.hypot(plane.x - 0.2, plane.y + 0.1) - 0.5
    torch.testing.assert_close(disc, distance, rtol=0, atol=1e-5)
    vessel = plane.segment(-0.5 - 0.5j, 0.5 + 0.5j, 0.1)
    inside = plane.coverage(vessel)
    assert inside[100, 100] == 1
    assert inside[20, 20] == 0
    assert plane.coverage(plane.ellipse(0, 0, 0.4, 0.4)).sum() * plane.pixel**2 == pytest.approx(
        math.pi * 0.16, rel=1e-3
    )


# ---- seeds


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: random_ellipses(1.0, g).centres,
        lambda g: organ((24, 24), g),
        lambda g: add_gaussian_noise(torch.ones(8, 8), 0.1, g)[0],
        lambda g: poisson_transmission(torch.ones(8, 8), 100.0, g),
    ],
)
def test_seeds_decide_everything(draw) -> None:
    state = torch.random.get_rng_state()
    first = draw(7)
    assert torch.equal(draw(7), first)
    assert torch.equal(draw(torch.Generator().manual_seed(7)), first)
    assert not torch.equal(draw(8), first)
    generator = as_generator(7)
    draw(generator)
    assert not torch.equal(draw(generator), first)  # a generator moves on
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(TypeError, match=r"int seed or a torch\.Generator, got None"):
        draw(None)


# ---- noise


def test_gaussian_noise_is_relative_to_the_maximum_of_each_item() -> None:
    clean = torch.zeros(2, 300, 300, dtype=torch.float64)
    clean[0, 3, 5], clean[1, 7, 7] = 4.0, -50.0
    noisy, sigma = add_gaussian_noise(clean, 0.05, 0)
    torch.testing.assert_close(sigma, torch.tensor([0.2, 2.5], dtype=torch.float64))
    noise = noisy - clean
    torch.testing.assert_close(noise.std(dim=(1, 2)), sigma, rtol=0.01, atol=0)
    assert (noise.mean(dim=(1, 2)).abs() < 0.015 * sigma).all()


def test_complex_noise_is_circular_with_total_deviation_sigma() -> None:
    clean = torch.full((400, 400), 3 + 4j, dtype=torch.complex64)
    noisy, sigma = add_gaussian_noise(clean, 0.1, 1)
    noise = noisy - clean
    assert noisy.dtype == torch.complex64
    assert sigma.dtype == torch.float32
    assert sigma.item() == pytest.approx(0.5)
    assert noise.abs().square().mean().sqrt().item() == pytest.approx(0.5, rel=0.01)
    assert noise.real.std().item() == pytest.approx(0.5 / math.sqrt(2), rel=0.01)
    assert noise.square().mean().abs().item() < 0.005


def test_gaussian_noise_of_other_items_and_types() -> None:
    _, sigma = add_gaussian_noise(torch.ones(2, 3, 4, 5), 0.1, 0, ndim=3)
    assert sigma.shape == (2,)
    integers = torch.arange(12).reshape(3, 4)
    noisy, sigma = add_gaussian_noise(integers, 0.0, 0)
    assert torch.equal(noisy, integers.float())
    assert sigma == 0


def test_poisson_counts_have_poisson_statistics() -> None:
    clean = torch.full((400, 400), 2.0, dtype=torch.float64)
    counts = 1000.0 * torch.exp(-poisson_transmission(clean, 1000.0, 0))
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-6)
    rate = 1000.0 * math.exp(-2.0)
    assert counts.mean().item() == pytest.approx(rate, rel=1e-3)
    assert counts.var().item() == pytest.approx(rate, rel=0.02)


def test_empty_bins_count_half_a_photon() -> None:
    blocked = poisson_transmission(torch.full((5, 5), 1e3), 100.0, 0)
    torch.testing.assert_close(blocked, torch.full((5, 5), math.log(200.0)))
    assert blocked.dtype == torch.float32


def test_many_photons_leave_the_line_integrals() -> None:
    clean = 5 * torch.rand(20, 20, generator=as_generator(0), dtype=torch.float64)
    torch.testing.assert_close(poisson_transmission(clean, 1e12, 0), clean, rtol=0, atol=1e-4)


def test_noise_refuses_what_it_cannot_be() -> None:
    y = torch.ones(4, 4)
    for level in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="level must be a finite number >= 0"):
            add_gaussian_noise(y, level, 0)
    with pytest.raises(ValueError, match=r"ndim=3 item axes do not fit data of shape \(4, 4\)"):
        add_gaussian_noise(y, 0.1, 0, ndim=3)
    for photons in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="photons must be a finite number > 0"):
            poisson_transmission(y, photons, 0)
    with pytest.raises(TypeError, match="line integrals are real"):
        poisson_transmission(1j * y, 10.0, 0)
    with pytest.raises(ValueError, match="non-finite entries"):
        poisson_transmission(y * torch.nan, 10.0, 0)
