"""Metrics against scikit-image, and their laws."""

import numpy as np
import pytest
import skimage.metrics
import torch
from torch import Tensor

from invprob.metrics import mae, mse, nrmse, psnr, quality, ssim


def pair(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(shape, generator=generator, dtype=torch.float64)
    x = truth + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return (scale * x).to(dtype), (scale * truth).to(dtype)


def complex_pair(*shape: int) -> tuple[Tensor, Tensor]:
    (re, re_truth), (im, im_truth) = pair(*shape, seed=1), pair(*shape, seed=2)
    return torch.complex(re, im), torch.complex(re_truth, im_truth)


def peer(name: str, x: Tensor, truth: Tensor, data_range: float) -> float:
    """The value of scikit-image, in double precision."""
    x, truth = x.to(torch.float64).numpy(), truth.to(torch.float64).numpy()
    if name == "mse":
        return skimage.metrics.mean_squared_error(truth, x)
    if name == "nrmse":
        return skimage.metrics.normalized_root_mse(truth, x, normalization="euclidean")
    if name == "psnr":
        return skimage.metrics.peak_signal_noise_ratio(truth, x, data_range=data_range)
    return skimage.metrics.structural_similarity(
        truth, x, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


METRICS = {
    "mse": lambda x, truth, data_range, ndim: mse(x, truth, ndim=ndim),
    "nrmse": lambda x, truth, data_range, ndim: nrmse(x, truth, ndim=ndim),
    "psnr": lambda x, truth, data_range, ndim: psnr(x, truth, data_range=data_range, ndim=ndim),
    "ssim": lambda x, truth, data_range, ndim: ssim(x, truth, data_range=data_range, ndim=ndim),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("item", [(11, 11), (32, 32), (17, 40), (12, 13, 15), (31,)])
@pytest.mark.parametrize("data_range", [0.7, 255.0])
def test_equal_to_scikit_image(name: str, dtype: torch.dtype, item: tuple[int, ...], data_range: float) -> None:
    x, truth = pair(*item, dtype=dtype, scale=100.0 if dtype == torch.uint8 else 1.0)
    value = METRICS[name](x, truth, data_range, len(item))
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(peer(name, x, truth, data_range), rel=1e-11)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("batch", [(1,), (3,), (2, 3), (0,)])
def test_every_item_of_a_batch_has_its_own_value(name: str, batch: tuple[int, ...]) -> None:
    x, truth = pair(*batch, 15, 18)
    data_range = 1.0 + torch.arange(int(np.prod(batch)), dtype=torch.float64).reshape(batch)
    values = METRICS[name](x, truth, data_range, 2)
    assert values.shape == batch
    for index in np.ndindex(batch):
        expected = peer(name, x[index], truth[index], data_range[index].item())
        assert values[index].item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", METRICS)
def test_neighbours_do_not_matter(name: str) -> None:
    x, truth = pair(3, 20, 20)
    values = METRICS[name](x, truth, 1.0, 2)
    x[0] = torch.nan
    x[2] *= 1e6
    assert METRICS[name](x, truth, 1.0, 2)[1].item() == pytest.approx(values[1].item(), rel=1e-14)


def test_inputs_stay_as_they_were() -> None:
    x, truth = pair(2, 16, 16)
    copies = x.clone(), truth.clone()
    for metric in METRICS.values():
        metric(x, truth, 1.0, 2)
    assert torch.equal(x, copies[0])
    assert torch.equal(truth, copies[1])


def test_mae() -> None:
    x, truth = pair(2, 9, 7)
    torch.testing.assert_close(mae(x, truth), (x.double() - truth.double()).abs().mean(dim=(1, 2)))


def test_complex_errors_are_moduli() -> None:
    x, truth = complex_pair(2, 12, 14)
    error = (x.to(torch.complex128) - truth.to(torch.complex128)).abs()
    size = truth.to(torch.complex128).abs().square().sum(dim=(1, 2))
    torch.testing.assert_close(mse(x, truth), error.square().mean(dim=(1, 2)))
    torch.testing.assert_close(mae(x, truth), error.mean(dim=(1, 2)))
    torch.testing.assert_close(nrmse(x, truth), (error.square().sum(dim=(1, 2)) / size).sqrt())
    torch.testing.assert_close(psnr(x, truth, data_range=2.0), 10 * torch.log10(4 / mse(x, truth)))


def test_an_imaginary_error_of_a_real_image_counts() -> None:
    truth = pair(12, 12)[1]
    x = torch.complex(truth, torch.full_like(truth, 0.5))
    assert mse(x, truth).item() == pytest.approx(0.25)
    assert mse(truth, x).item() == pytest.approx(0.25)


def test_ssim_of_complex_images_compares_magnitudes() -> None:
    x, truth = complex_pair(2, 16, 16)
    expected = ssim(x.to(torch.complex128).abs(), truth.to(torch.complex128).abs(), data_range=1.5)
    torch.testing.assert_close(ssim(x, truth, data_range=1.5), expected)
    torch.testing.assert_close(ssim(truth, 1j * truth, data_range=1.5), torch.ones(2, dtype=torch.float64))


def test_perfect_agreement() -> None:
    truth = pair(2, 16, 16)[1]
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for error in (mse, mae, nrmse):
        assert torch.equal(error(truth, truth), zero)
    assert torch.equal(psnr(truth, truth, data_range=1.0), one * torch.inf)
    torch.testing.assert_close(ssim(truth, truth, data_range=1.0), one, rtol=0, atol=1e-15)


def test_nrmse_of_a_zero_truth() -> None:
    zero, one = torch.zeros(4, 4), torch.ones(4, 4)
    assert nrmse(zero, zero).item() == 0
    assert nrmse(one, zero).item() == torch.inf


def test_small_differences_of_large_float32_values_are_computed_in_double() -> None:
    truth = torch.full((16, 16), 4096.0)
    x = truth + 2.0**-11  # one unit in the last place
    assert mse(x, truth).item() == 2.0**-22
    assert ssim(x, truth, data_range=1.0).item() == pytest.approx(1.0, abs=1e-4)


def test_metrics_are_differentiable() -> None:
    x, truth = pair(13, 12, dtype=torch.float64)
    x.requires_grad_()
    for metric in METRICS.values():
        assert torch.autograd.gradcheck(lambda x, f=metric: f(x, truth, 1.0, 2), x)


@pytest.mark.parametrize("name", METRICS)
def test_errors_say_what_and_where(name: str) -> None:
    x, truth = pair(2, 16, 16)
    with pytest.raises(ValueError, match=rf"{name}: x has shape \(16, 16\) and truth \(2, 16, 16\)"):
        METRICS[name](x[0], truth, 1.0, 2)
    for ndim in (0, 4):
        with pytest.raises(ValueError, match=rf"{name}: ndim={ndim} .* choose ndim between 1 and 3"):
            METRICS[name](x, truth, 1.0, ndim)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_data_range_is_never_guessed(metric) -> None:
    x, truth = pair(2, 16, 16)
    with pytest.raises(TypeError, match="data_range"):
        metric(x, truth)
    for wrong in (0.0, -1.0, float("nan"), float("inf"), torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match=f"{metric.__name__}: data_range must be positive and finite"):
            metric(x, truth, data_range=wrong)
    with pytest.raises(ValueError, match=r"data_range has shape \(3,\); .* per item in shape \(2,\)"):
        metric(x, truth, data_range=torch.ones(3))


def test_ssim_needs_room_for_its_window() -> None:
    x, truth = pair(3, 10, 64)
    with pytest.raises(ValueError, match=r"ssim: the window needs 11 samples .* shape \(10, 64\)"):
        ssim(x, truth, data_range=1.0)


def test_quality_of_a_real_item_is_what_scikit_image_says() -> None:
    x, truth = pair(2, 20, 24)
    found = quality(x, truth)
    assert set(found) == {"relative error", "PSNR", "SSIM"}
    for i in range(2):
        span = float(truth[i].max() - truth[i].min())
        for name, peers in (("relative error", "nrmse"), ("PSNR", "psnr"), ("SSIM", "ssim")):
            assert found[name][i].item() == pytest.approx(peer(peers, x[i], truth[i], span), rel=1e-6)


def test_quality_of_a_complex_item_has_the_largest_magnitude_for_its_range() -> None:
    x, truth = complex_pair(3, 16, 18)
    found = quality(x, truth)
    error = (x - truth).to(torch.complex128).abs().square().mean((1, 2))
    peak = truth.to(torch.complex128).abs().amax((1, 2))
    torch.testing.assert_close(found["PSNR"], 10 * torch.log10(peak**2 / error))
    torch.testing.assert_close(found["SSIM"], ssim(x, truth, data_range=peak))


def test_quality_takes_a_complex_image_of_a_real_truth_at_its_word() -> None:
    truth = pair(16, 16)[1]
    found = quality(truth + 0.5j, truth)
    span = float(truth.max() - truth.min())
    assert found["PSNR"].item() == pytest.approx(10 * np.log10(span**2 / 0.25), rel=1e-6)


def test_quality_of_a_volume_has_a_window_of_three_axes_and_of_channels_one_per_channel() -> None:
    x, truth = pair(2, 12, 13, 14)
    peak = (truth.amax((1, 2, 3)) - truth.amin((1, 2, 3))).double()
    torch.testing.assert_close(quality(x, truth, ndim=3)["SSIM"], ssim(x, truth, data_range=peak, ndim=3))
    planes = ssim(x, truth, data_range=peak[:, None].expand(2, 12)).mean(1)
    found = quality(x, truth, ndim=3, space=2)
    torch.testing.assert_close(found["SSIM"], planes)
    torch.testing.assert_close(found["PSNR"], psnr(x, truth, data_range=peak, ndim=3))
    for name, values in found.items():
        torch.testing.assert_close(values[1], quality(x[1], truth[1], ndim=3, space=2)[name])


def test_quality_leaves_out_what_cannot_be_computed() -> None:
    x, truth = pair(2, 10, 16)
    assert set(quality(x, truth)) == {"relative error", "PSNR"}
    x, truth = pair(2, 16, 16)
    truth[1] = 3.0
    found = quality(x, truth)
    assert found["PSNR"].isnan().tolist() == found["SSIM"].isnan().tolist() == [False, True]
    assert set(quality(x[1], truth[1])) == {"relative error"}
    with pytest.raises(ValueError, match="space=3 axes do not fit items of 2"):
        quality(x, truth, space=3)


@pytest.mark.parametrize("measure", [quality, nrmse])
def test_what_is_no_tensor_is_refused_in_words(measure) -> None:
    x, truth = pair(2, 16, 16)
    for given in ((x.tolist(), truth), (x, truth.tolist())):
        with pytest.raises(TypeError, match=rf"{measure.__name__}: a tensor .* got list: as in .*as_tensor"):
            measure(*given)
