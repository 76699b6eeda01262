"""Coil maps against coils that are known, as a formula; and what happens where the middle of k-space is too small."""

import mri_truth as truth
import numpy as np
import pytest
import torch

from invprob import Scan, linalg, phantoms, reconstruct
from invprob.operators import CartesianMRI, NonCartesianMRI
from invprob.operators.mri import calibration
from invprob.operators.mri.calibration_block import block_of, calibration_region, waves
from invprob.operators.mri.coil_maps import maps_of_block
from invprob.operators.mri.espirit import eigen_maps, patches_of

SHAPE = (72, 81)
COILS = truth.Coils(6, SHAPE)
BODY = truth.scaled(truth.HEAD, SHAPE)
CLEAN = truth.kspace(BODY, COILS, SHAPE)
SIGMA = 1e-3 * np.abs(CLEAN).max()
Y = torch.from_numpy(CLEAN + truth.noise(CLEAN.shape, SIGMA))
INSIDE = truth.inside(BODY, SHAPE)


def middle_lines(count, shape=SHAPE):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, shape[1] // 2 - count // 2 : shape[1] // 2 - count // 2 + count] = True
    return mask


def calibrate(y, mask, shape, **settings):
    """The maps of Cartesian data, whose encoding is made of a mask."""
    return calibration.calibrate(y, CartesianMRI(mask, len(y), image_shape=shape), **settings)


def agreement(maps, coils=COILS, inside=INSIDE):
    """|<S, S_true>| / |S_true| at the pixels of the object."""
    true = coils.maps(inside.shape)
    found = maps.numpy()
    return np.abs((found.conj() * true / np.linalg.norm(true, axis=0)).sum(0))[inside]


# --- the truth ---


def test_the_truth_is_what_a_fine_sum_of_the_object_gives():
    shape, fine = (20, 22), 10
    coils, body = truth.Coils(3, shape, order=2), truth.scaled(truth.HEAD[:3], shape)
    steps = [(np.arange(n * fine) + 0.5) / fine - n // 2 - 0.5 for n in shape]
    r = np.stack(np.meshgrid(*steps, indexing="ij"), -1)
    f = np.zeros(r.shape[:-1])
    for value, centre, (a, b), tilt in body:
        u, v = np.moveaxis(r - centre, -1, 0)
        c, s = np.cos(tilt), np.sin(tilt)
        f += value * (((c * u + s * v) / a) ** 2 + ((c * v - s * u) / b) ** 2 < 1)
    seen = (coils._table(r) @ coils.a[1]) * f
    for k in ([0.0, 0.0], [3 / 20, -2 / 22]):
        summed = (seen * np.exp(-2j * np.pi * r @ np.array(k))).sum() / fine**2 / np.sqrt(20 * 22)
        assert truth.kspace(body, coils, shape, np.array(k))[1] == pytest.approx(
            summed, abs=3e-3 * abs(f.sum()) / fine**2 / 21
        )


# --- ESPIRiT ---


def test_maps_are_those_of_the_coils():
    maps = calibrate(Y, middle_lines(24), SHAPE)
    assert (maps.method, maps.region, maps.sets) == ("ESPIRiT", (24, 24), 1)
    found = agreement(maps.coils)
    assert np.mean(found >= 0.999) >= 0.99
    assert float(maps.eigenvalues[0].numpy()[INSIDE].min()) > 0.97
    size = torch.linalg.vector_norm(maps.coils, dim=0)
    assert bool(((size - 1).abs() < 1e-5).logical_or(size == 0).all())
    assert maps.share == pytest.approx(float((size > 0).double().mean()))


def test_fewer_lines_do():
    assert np.mean(agreement(calibrate(Y, middle_lines(13), SHAPE).coils) >= 0.999) >= 0.98


def test_the_noise_is_seen():
    for lines in (24, 16):
        assert calibrate(Y, middle_lines(lines), SHAPE).noise == pytest.approx(SIGMA, rel=0.15)


@pytest.mark.parametrize("coils", [2, 4])
@pytest.mark.parametrize("level", [1e-4, 1e-2, 0.1])
def test_noise_is_told_from_signal_however_strong_it_is(coils, level):
    known = truth.Coils(coils, SHAPE)
    clean = truth.kspace(BODY, known, SHAPE)
    sigma = level * np.abs(clean).max()
    maps = calibrate(torch.from_numpy(clean + truth.noise(clean.shape, sigma)), middle_lines(24), SHAPE)
    assert maps.noise == pytest.approx(sigma, rel=0.1 if level > 1e-4 else 0.25)  # two coils leave little but signal
    assert maps.sets == 1
    if level < 0.1:  # beyond, the dark parts of the object are lost
        assert np.median(agreement(maps.coils, known)) > 0.998


@pytest.mark.parametrize("level", [0.15, 0.2, 0.25, 0.4])
def test_no_noise_hides_the_object_from_its_maps(level):
    sigma = level * np.abs(CLEAN).max()
    maps = calibrate(torch.from_numpy(CLEAN + truth.noise(CLEAN.shape, sigma)), middle_lines(24), SHAPE)
    seen = (maps.coils != 0).any(0).numpy()[INSIDE]
    assert seen.mean() > 0.9
    assert maps.noise == pytest.approx(sigma, rel=0.1)


def test_a_silent_coil_changes_nothing():
    maps = calibrate(Y, middle_lines(24), SHAPE)
    silent = torch.zeros_like(Y[:1])
    both = calibrate(torch.cat([Y[:2], silent, Y[2:]]), middle_lines(24), SHAPE)
    assert bool((both.coils[2] == 0).all())
    torch.testing.assert_close(both.coils[[0, 1, 3, 4, 5, 6]], maps.coils)
    assert (both.noise, both.sets) == (maps.noise, maps.sets)


def test_a_coil_that_comes_twice_leaves_a_level():
    maps = calibrate(torch.cat([Y, Y[:1]]), middle_lines(24), SHAPE)
    assert 0.5 * SIGMA < maps.noise < 1.5 * SIGMA


def test_noise_alone_has_a_level_and_no_maps_of_its_own():
    maps = calibrate(torch.from_numpy(truth.noise(CLEAN.shape, 3.0)), middle_lines(24), SHAPE)
    assert maps.noise == pytest.approx(3.0, rel=0.1)
    assert maps.method.startswith("low-resolution images")


def test_scale_changes_the_noise_alone():
    maps = calibrate(Y, middle_lines(16), SHAPE)
    for scale in (2.0**-43, 2.0**43):
        other = calibrate(scale * Y, middle_lines(16), SHAPE)
        torch.testing.assert_close(other.coils, maps.coils, rtol=0, atol=1e-5)
        assert other.noise == pytest.approx(scale * maps.noise)


def test_the_grid_of_2k_points_loses_nothing():
    """G at a pixel by its definition, a projection on the space of the patches, written as a matrix."""
    block = block_of(Y, (14, 13))
    patches = patches_of(block)
    values = eigen_maps(patches, SHAPE).values
    basis = patches.rows.flatten(1).T  # (C k^2, rank)
    p = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)).double()
    for row, column in ((36, 40), (5, 77), (71, 0)):
        at = torch.tensor([(row - 36) / SHAPE[0], (column - 40) / SHAPE[1]], dtype=torch.float64)
        wave = torch.exp(-2j * torch.pi * (p @ at)) / 6
        E = torch.kron(torch.eye(6, dtype=torch.complex128), wave[:, None])  # s -> s_c exp(-2 pi i p.r/N) / k
        G = E.mH @ basis @ (basis.mH @ E)
        top = torch.linalg.eigvalsh(G).flip(0)[:2]
        torch.testing.assert_close(values[:, row, column].double(), top, rtol=0, atol=2e-6)


def test_maps_come_at_any_size():
    block = block_of(Y, (24, 24))
    coarse = maps_of_block(block, (36, 27)).coils
    fine = maps_of_block(block, (72, 81)).coils
    # a pixel n of the coarse grid lies where pixel N/2 + f (n - n/2) of the fine one does
    rows, columns = 36 + 2 * (torch.arange(36) - 18), 40 + 3 * (torch.arange(27) - 13)
    both = fine[:, rows][:, :, columns]
    there = (coarse != 0).any(0) & (both != 0).any(0)
    assert float(there.double().mean()) > 0.5
    torch.testing.assert_close(coarse[:, there], both[:, there], rtol=0, atol=1e-5)


def test_the_phase_has_no_vortex_inside_the_object():
    maps = calibrate(Y, middle_lines(24), SHAPE).coils
    inner = truth.inside([(1.0, (0, 0), (26.0, 20.0), 0.0)], SHAPE)
    step = (maps[:, 1:] * maps[:, :-1].conj()).sum(0)  # neighbours, coils together
    both = torch.from_numpy(inner[1:] & inner[:-1])
    assert float(step[both].angle().abs().max()) < 0.35


def test_volumes_have_maps():
    shape = (16, 20, 18)
    y = torch.zeros(4, *shape, dtype=torch.complex128)
    flat = truth.Coils(4, shape[1:])
    plane = torch.from_numpy(truth.kspace(truth.scaled(truth.HEAD[:2], shape[1:]), flat, shape[1:]))
    profile = torch.exp(-(((torch.arange(16.0) - 8) / 2.5) ** 2)).to(plane)
    y[:] = profile[:, None, None] * plane[:, None]
    y += torch.from_numpy(truth.noise(y.shape, 1e-4 * float(y.abs().max())))
    maps = calibrate(y, torch.ones(shape, dtype=torch.bool), shape)
    assert (maps.method, maps.coils.shape) == ("ESPIRiT", (4, *shape))
    inside = truth.inside(truth.scaled(truth.HEAD, shape[1:]), shape[1:])
    assert np.mean(agreement(maps.coils[:, 8], flat, inside) > 0.99) > 0.97


# --- two sets ---


@pytest.fixture(scope="module")
def wrapped():
    """An object 25 % wider than the field of view, every second line."""
    shape = (64, 64)
    coils = truth.Coils(8, shape, reach=1.3)
    wider = np.array([1.0, 1.25 / 0.68])
    body = [(v, wider * centre, wider * axes, tilt) for v, centre, axes, tilt in truth.scaled(truth.HEAD, shape)]
    y = truth.kspace(body, coils, shape)
    y = torch.from_numpy(y + truth.noise(y.shape, 1e-4 * np.abs(y).max()))
    mask = middle_lines(24, shape)
    mask[:, ::2] = True
    return y, mask


def predicted(y, mask, sets):
    """How far k-space that was not measured is from what least squares predicts of it."""
    maps = calibrate(y, mask, tuple(mask.shape), sets=sets)
    A = CartesianMRI(mask, maps.coils, sets=maps.sets, dtype=torch.float64)
    everything = CartesianMRI(torch.ones_like(mask), maps.coils, sets=maps.sets, dtype=torch.float64)
    ndim = len(A.domain_shape)
    x = linalg.conjugate_gradient(A.gram, A.adjoint(y * mask), ndim=ndim, max_iter=20).x
    missing = ~mask * (everything(x) - y)
    return maps.sets, float(missing.norm() / (~mask * y).norm())


def test_an_object_that_wraps_around_has_two_sets(wrapped):
    _, one = predicted(*wrapped, 1)
    sets, two = predicted(*wrapped, None)
    assert sets == 2
    assert two < one / 3


def test_an_object_inside_has_one_set():
    mask = middle_lines(24)
    mask[:, ::2] = True
    assert calibrate(Y, mask, SHAPE).sets == 1
    sets, two = predicted(Y, mask, 2)
    assert sets == 2
    assert two == pytest.approx(predicted(Y, mask, 1)[1], rel=1e-3)


# --- off the grid, frames, and where reconstruct asks for them ---


def spiral_scan(shots, every):
    """A head under a spiral of which only some interleaves are kept: data, their encoding without maps, the maps."""
    shape, coils = (48, 45), phantoms.birdcage(5)
    omega = phantoms.spiral(shots, 600, turns=24 / shots)[::every]
    body = phantoms.shepp_logan(18)
    clean = body.kspace(omega, shape, coils=coils)
    y = clean + 1e-3 * clean.abs().max() * torch.from_numpy(truth.noise(clean.shape, 1.0))
    A = NonCartesianMRI(shape, omega, 5)
    inside = body.image(shape) > 0.1
    return y.to(torch.complex64), A, coils.sampled(shape), inside


def alike(found, true, inside):
    product = (found.to(torch.complex128).conj() * true).sum(0).abs() / torch.linalg.vector_norm(true, dim=0)
    return product[inside]


def test_maps_of_a_spiral():
    y, A, true, inside = spiral_scan(6, 1)
    maps = calibration.calibrate(y, A)
    assert (maps.method, maps.noise) == ("ESPIRiT", None)
    found = alike(maps.coils, true, inside)
    assert float((found > 0.998).double().mean()) > 0.97


def test_maps_of_a_part_of_a_spiral_are_found_with_the_image():
    y, A, true, inside = spiral_scan(9, 3)
    maps = calibration.calibrate(y, A)
    assert "refined 3 times" in maps.in_words()
    assert (maps.sets, maps.noise) == (1, None)
    found = alike(maps.coils, true, inside)
    assert float(found.median()) > 0.98
    assert float((found > 0).double().mean()) > 0.9


def test_frames_share_the_maps_of_their_average():
    shape = (40, 36)
    coils = truth.Coils(4, shape)
    y = torch.from_numpy(truth.kspace(truth.scaled(truth.HEAD, shape), coils, shape))
    whole = torch.ones(2, *shape, dtype=torch.bool)
    whole[0, :, ::2] = False
    whole[1, :, 1::2] = False  # neither frame has a middle, both together have
    A = CartesianMRI(whole, 4, image_shape=shape, frames=2)
    maps = calibration.calibrate(torch.stack([y, y]) * A.measured, A)
    assert maps.region == (24, 24)
    everything = calibrate(y, torch.ones(shape, dtype=torch.bool), shape)
    torch.testing.assert_close(maps.coils, everything.coils)


def test_reconstruct_finds_maps_that_are_not_known():
    mask = middle_lines(24)
    mask[:, ::2] = True
    y = torch.stack([Y, 2 * Y]).to(torch.complex64)
    scan = Scan(CartesianMRI(mask, 6, image_shape=SHAPE), y * mask)
    found = reconstruct(scan, "zero-filled")
    maps = calibrate(y[0] * mask, mask, SHAPE)
    assert found.x.shape == (2, *SHAPE)
    torch.testing.assert_close(found.x[0], CartesianMRI(mask, maps.coils).direct(y[0] * mask), rtol=1e-4, atol=1e-5)
    assert "ESPIRiT from 24 x 24 samples" in found.provenance["coil maps"]
    assert float(found.certificate.residual_to_noise[0]) == pytest.approx(
        float(found.certificate.residual_to_noise[1]), rel=1e-3
    )


def test_maps_of_one_coil_and_of_several_masks_are_not_sought():
    with pytest.raises(ValueError, match="no axis of coils"):
        calibration.calibrate(Y[0], CartesianMRI(torch.ones(SHAPE, dtype=torch.bool)))
    masks = torch.stack([middle_lines(24), middle_lines(30)])
    scan = Scan(CartesianMRI(masks, 6, image_shape=SHAPE), torch.stack([Y, Y]).to(torch.complex64))
    with pytest.raises(ValueError, match="masks of their own"):
        reconstruct(scan, "zero-filled")


# --- little or nothing in the middle ---


def test_few_lines_give_smooth_maps():
    maps = calibrate(Y, middle_lines(10), SHAPE)
    assert (maps.method, maps.eigenvalues, maps.noise) == ("low-resolution images", None, None)
    found = agreement(maps.coils)
    assert np.median(found) > 0.999
    assert "low-resolution images from 24 x 10 samples" in maps.in_words()


def test_more_coils_than_patches_give_smooth_maps():
    many = torch.cat([Y] * 31)  # 13 x 13 windows for 186 coils
    assert maps_of_block(block_of(many, (18, 18)), SHAPE).method == "low-resolution images"


def test_one_coil_needs_no_map():
    maps = calibrate(Y[:1], middle_lines(12), SHAPE)
    assert (maps.method, maps.noise) == ("one coil", None)
    assert bool((maps.coils == 1).all())


def test_without_a_middle_the_way_out_is_said():
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:, 38] = False  # k = 0 is column 40
    with pytest.raises(ValueError, match=r"a block of 24 x 3 samples only, too few for coil maps: give maps"):
        calibrate(Y, mask, SHAPE)
    mask[36, 40] = False
    with pytest.raises(ValueError, match="0 x 0 samples"):
        calibrate(Y, mask, SHAPE)


WRONG = {
    "NaN": (lambda y: y + float("nan"), {}, "NaN or infinite"),
    "zero": (lambda y: 0 * y, {}, "is zero in its middle"),
    "real": (lambda y: y.real, {}, "complex k-space"),
    "axes": (lambda y: y[:, 1:], {}, "data of one item have the shape"),
    "sets": (lambda y: y, {"sets": 3}, "sets of 1 or 2"),
}


@pytest.mark.parametrize(("change", "settings", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_calibrated(change, settings, words):
    with pytest.raises(ValueError, match=words):
        calibrate(change(Y), middle_lines(24), SHAPE, **settings)


# --- the region ---


@pytest.mark.parametrize("shape", [(40, 41), (39, 52), (30, 31, 32)])
def test_the_region_is_the_largest_centred_block(shape):
    rng = np.random.default_rng(len(shape))
    block = tuple(int(rng.integers(5, 18)) for _ in shape)
    measured = torch.zeros(shape, dtype=torch.bool)
    block_of(measured, block)[...] = True
    measured[(0,) * len(shape)] = True
    assert calibration_region(measured) == block
    assert calibration_region(torch.ones(shape, dtype=torch.bool)) == ((24,) * 2 if len(shape) == 2 else (20,) * 3)
    assert calibration_region(torch.zeros(shape, dtype=torch.bool)) == (0,) * len(shape)


@pytest.mark.parametrize(("size", "n"), [(5, 8), (6, 9), (24, 31)])
def test_waves_are_those_of_the_centred_transform(size, n):
    k = torch.randn(size, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    whole = torch.zeros(n, dtype=torch.complex128)
    block_of(whole, (size,))[:] = k
    image = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(whole), norm="forward"))
    torch.testing.assert_close(waves(size, n) @ k, image)
