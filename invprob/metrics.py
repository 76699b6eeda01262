"""Image quality against a known truth, one number per item of the batch.

All functions take `x` and `truth`, tensors or arrays of one shape `(*batch, *item)`, real or complex, where the last
`ndim` axes make one item; they compute in float64 and return a float64 tensor of shape `(*batch,)`.
They raise `ValueError` where the shapes differ or `ndim` does not fit, `TypeError` for what is neither.
"""

from __future__ import annotations

from functools import reduce
from statistics import NormalDist

import torch
from torch import Tensor

from invprob.linop.doors import as_tensor, takes_arrays

__all__ = ["calibration", "coverage", "mae", "mse", "nrmse", "psnr", "quality", "ssim"]

# Wang et al. 2004: a Gaussian window of 11 taps per axis (cut at 3.5 sigma), K1 and K2.
_SSIM_SIGMA = 1.5
_SSIM_REACH = 5
_SSIM_WINDOW = 2 * _SSIM_REACH + 1
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


@takes_arrays
def mse(x: Tensor, truth: Tensor, *, ndim: int = 2) -> Tensor:
    """Mean squared error, mean |x - truth|^2 over each item; squared units of the image.

    Equals `skimage.metrics.mean_squared_error(truth, x)` for real items.
    """
    x, truth = _checked("mse", x, truth, ndim)
    return (x - truth).abs().square().mean(dim=_item_axes(ndim))


@takes_arrays
def mae(x: Tensor, truth: Tensor, *, ndim: int = 2) -> Tensor:
    """Mean absolute error, mean |x - truth| over each item; units of the image."""
    x, truth = _checked("mae", x, truth, ndim)
    return (x - truth).abs().mean(dim=_item_axes(ndim))


@takes_arrays
def nrmse(x: Tensor, truth: Tensor, *, ndim: int = 2) -> Tensor:
    """Relative error ||x - truth|| / ||truth|| of each item; no unit.

    Equals `skimage.metrics.normalized_root_mse(truth, x, normalization="euclidean")`. A zero truth
    gives 0 where x is zero too, and inf elsewhere.
    """
    x, truth = _checked("nrmse", x, truth, ndim)
    error = torch.linalg.vector_norm(x - truth, dim=_item_axes(ndim))
    norm = torch.linalg.vector_norm(truth, dim=_item_axes(ndim))
    return torch.where(error == 0, error, error / norm)


@takes_arrays
def psnr(x: Tensor, truth: Tensor, *, data_range: float | Tensor, ndim: int = 2) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / mse), in decibels; inf where x equals truth.

    Equals `skimage.metrics.peak_signal_noise_ratio(truth, x, data_range=data_range)`.

    Arguments:
        data_range: the distance between the largest and the smallest value that the image can take, a positive number
            or `(*batch,)`.
    """
    x, truth = _checked("psnr", x, truth, ndim)
    error = mse(x, truth, ndim=ndim)
    peak = _checked_range("psnr", data_range, x, ndim)
    return 10 * torch.log10(peak.square() / error)


@takes_arrays
def ssim(x: Tensor, truth: Tensor, *, data_range: float | Tensor, ndim: int = 2) -> Tensor:
    """Mean structural similarity of each item under a Gaussian window (sigma 1.5, 11 taps per axis).

    ssim = mean (2 m_x m_t + c1)(2 cov + c2) / ((m_x^2 + m_t^2 + c1)(var_x + var_t + c2)), with
    c1 = (0.01 data_range)^2, c2 = (0.03 data_range)^2 and the local mean, variance and covariance at
    every place where the window lies inside the item. Where either image is complex, the magnitudes of
    both are compared: a wrong phase alone leaves the value at 1.

    Arguments:
        data_range: as for `psnr`.
        ndim: also the number of axes of the window: 3 is the similarity of volumes under an 11 x 11 x 11
            window; for colour `(*batch, C, H, W)` keep 2 and average over C.

    `ValueError`, too, for items smaller than the window. Equals
    `skimage.metrics.structural_similarity(truth, x, data_range=data_range, gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False)`.
    Source: Wang, Bovik, Sheikh, Simoncelli (2004), IEEE Trans. Image Process. 13(4), eq. 13.
    """
    x, truth = _checked("ssim", x, truth, ndim)
    if x.is_complex():
        x, truth = x.abs(), truth.abs()
    if min(x.shape[-ndim:]) < _SSIM_WINDOW:
        raise ValueError(
            f"ssim: the window needs {_SSIM_WINDOW} samples along each of the {ndim} item axes, the item has "
            f"shape {tuple(x.shape[-ndim:])}; use psnr or nrmse for items this small"
        )
    peak = _checked_range("ssim", data_range, x, ndim)
    peak = peak.reshape(*peak.shape, *[1] * ndim)
    c1, c2 = (_SSIM_K1 * peak).square(), (_SSIM_K2 * peak).square()

    mean_x, mean_t = _local_mean(x, ndim), _local_mean(truth, ndim)
    var_x = _local_mean(x * x, ndim) - mean_x * mean_x
    var_t = _local_mean(truth * truth, ndim) - mean_t * mean_t
    covariance = _local_mean(x * truth, ndim) - mean_x * mean_t

    luminance = (2 * mean_x * mean_t + c1) / (mean_x * mean_x + mean_t * mean_t + c1)
    structure = (2 * covariance + c2) / (var_x + var_t + c2)
    return (luminance * structure).mean(dim=_item_axes(ndim))


@takes_arrays
def coverage(x: Tensor, spread: Tensor, truth: Tensor, *, level: float = 0.9, ndim: int = 2) -> Tensor:
    """Share of the values of an item with |truth - x| <= z spread, z = Phi^-1((1 + level) / 2): `level` if all is well.

    Arguments:
        spread: the standard deviation of every value, of the shape of x.
        level: the share of a normal distribution that the interval covers.
    """
    x, truth = _checked("coverage", x, truth, ndim)
    if spread.shape != x.shape or not 0 < level < 1:
        raise ValueError(f"coverage: spread must have the shape of x {tuple(x.shape)}, level lie between 0 and 1")
    z = NormalDist().inv_cdf((1 + level) / 2)
    return ((x - truth).abs() <= z * spread.double()).double().mean(dim=_item_axes(ndim))


@takes_arrays
def calibration(samples: Tensor, truth: Tensor, *, ndim: int = 2) -> Tensor:
    """Variance of draws over the squared error of their mean, V / (|mean - truth|^2 / N - V / S), `(*batch,)`.

    V is the mean over the N values of an item of the unbiased variance of its S draws, `(S, *batch, *item)`; 1 if draws
    and truth come from one distribution, less for draws too sure of themselves. inf where the error is no more than
    what so few draws leave.
    """
    count = len(samples)
    if count < 2:
        raise ValueError(f"calibration: two draws are needed at least, got {count}")
    mean, truth = _checked("calibration", samples.mean(0), truth, ndim)
    axes = _item_axes(ndim)
    variance = (samples - samples.mean(0)).abs().double().square().sum(0).div(count - 1).mean(dim=axes)
    error = (mean - truth).abs().square().mean(dim=axes) - variance / count
    return torch.where(error > 0, variance / torch.where(error > 0, error, 1.0), torch.inf)


@takes_arrays
def quality(
    x: Tensor, truth: Tensor, *, ndim: int = 2, space: int | None = None, data_range: float | Tensor | None = None
) -> dict[str, Tensor]:
    """How good images are, by what it is called: "relative error" (`nrmse`), "PSNR" in dB and "SSIM", each `(*batch,)`.

    All three take real and complex images in any combination: an imaginary part that should not be there is an error, a
    wrong phase is one, but for SSIM, which compares magnitudes as soon as either is complex. A flat truth has no range:
    NaN for its item, and PSNR and SSIM are left out where no item has one; SSIM is left out, too, where an axis of
    space is shorter than its window.

    Arguments:
        space: how many of the item's axes, the last ones, are directions in space, by default all: SSIM's window lies
            in them, and its values are averaged over the other axes (channels, echoes).
        data_range: as for `psnr`; by default the truth's, per item: max - min of a real one, max |t| of a complex one.
    """
    x, truth = as_tensor("quality", x), as_tensor("quality", truth)
    found = {"relative error": nrmse(x, truth, ndim=ndim)}
    space = ndim if space is None else space
    if not 1 <= space <= ndim:
        raise ValueError(f"quality: space={space} axes do not fit items of {ndim}; choose between 1 and {ndim}")
    batch = truth.shape[: truth.ndim - ndim]
    peak = _span(truth, ndim) if data_range is None else _checked_range("quality", data_range, x, ndim).expand(batch)
    varied = (peak > 0) & peak.isfinite()
    if not bool(varied.any()):
        return found
    usable = torch.where(varied, peak, 1.0)
    found["PSNR"] = psnr(x, truth, data_range=usable, ndim=ndim)
    if min(x.shape[-space:]) >= _SSIM_WINDOW:
        per_channel = usable.reshape((*usable.shape, *[1] * (ndim - space))).expand(x.shape[:-space])
        similarity = ssim(x, truth, data_range=per_channel, ndim=space)
        found["SSIM"] = similarity.mean(_item_axes(ndim - space)) if space < ndim else similarity
    return {
        name: values if name == "relative error" else torch.where(varied, values, torch.nan)
        for name, values in found.items()
    }


def _span(truth: Tensor, ndim: int) -> Tensor:
    """Return max - min of each real item, max |t| of each complex one."""
    values = (truth.abs() if truth.is_complex() else truth).flatten(truth.ndim - ndim).double()
    return values.amax(-1) - (0.0 if truth.is_complex() else values.amin(-1))


def _local_mean(x: Tensor, ndim: int) -> Tensor:
    """Gaussian-weighted mean at every position of the window inside the item."""
    offsets = torch.arange(-_SSIM_REACH, _SSIM_REACH + 1, dtype=torch.float64)
    weights = torch.softmax(-0.5 * (offsets / _SSIM_SIGMA).square(), dim=0).tolist()
    for axis in _item_axes(ndim):
        length = x.shape[axis] - len(weights) + 1
        # Summing shifted views holds two copies of a volume at a time, where unfolding makes eleven.
        x = reduce(torch.add, (w * x.narrow(axis, start, length) for start, w in enumerate(weights)))
    return x


def _item_axes(ndim: int) -> tuple[int, ...]:
    return tuple(range(-ndim, 0))


def _checked(name: str, x: Tensor, truth: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Both images in double precision, complex if either is."""
    x, truth = as_tensor(name, x), as_tensor(name, truth)
    if x.shape != truth.shape:
        raise ValueError(
            f"{name}: x has shape {tuple(x.shape)} and truth {tuple(truth.shape)}; "
            "give both the same shape (nothing is broadcast)"
        )
    if not 1 <= ndim <= x.ndim:
        raise ValueError(
            f"{name}: ndim={ndim} item axes do not fit images of shape {tuple(x.shape)}; "
            f"choose ndim between 1 and {x.ndim}"
        )
    dtype = torch.complex128 if x.is_complex() or truth.is_complex() else torch.float64
    return x.to(dtype), truth.to(dtype)


def _checked_range(name: str, data_range: float | Tensor, x: Tensor, ndim: int) -> Tensor:
    """`data_range` as a float64 tensor, 0-d or with one entry per item of x."""
    value = torch.as_tensor(data_range, dtype=torch.float64, device=x.device)
    batch = x.shape[:-ndim]
    if value.shape not in (torch.Size(), batch):
        raise ValueError(
            f"{name}: data_range has shape {tuple(value.shape)}; "
            f"give one number, or one per item in shape {tuple(batch)}"
        )
    if not bool(((value > 0) & value.isfinite()).all()):
        raise ValueError(
            f"{name}: data_range must be positive and finite, got {value.tolist()}; "
            "it is the largest minus the smallest possible value, such as 1.0 for images in [0, 1]"
        )
    return value
