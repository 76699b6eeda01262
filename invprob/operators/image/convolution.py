"""Circular convolution by FFT, and what turns the other boundaries into it: extension before, cropping after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.linalg import item_axes

Boundary = Literal["periodic", "valid", "zero", "reflect"]
BOUNDARIES = get_args(Boundary)


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: n samples meet k taps with the centre k // 2; the FFT has `length` samples.

    Circular convolution of the samples, mirrored beyond their ends where `mirror` says so, holds the result at
    `start` to `start + kept`; nothing that wraps around reaches it.
    """

    n: int
    length: int
    start: int
    kept: int
    mirror: tuple[int, int] = (0, 0)

    @staticmethod
    def of(n: int, k: int, boundary: Boundary) -> Axis:
        """Return the axis for a boundary."""
        before, after = k - 1 - k // 2, k // 2  # the samples that the first and the last result look beyond the ends
        if boundary == "periodic":
            return Axis(n, n, 0, n)
        if boundary == "valid":
            return Axis(n, _good(n), before, n - k + 1)
        if boundary == "zero":
            return Axis(n, _good(n + max(before, after)), 0, n)
        return Axis(n, _good(n + k - 1), before, n, (before, after))

    def mirrored(self, device: torch.device) -> Tensor:
        """Return which sample stands at each place of the mirrored axis (... 1 0 | 0 1 ... n-1 | n-1 n-2 ...)."""
        before, after = self.mirror
        place = torch.arange(-before, self.n + after, device=device) % (2 * self.n)
        return torch.minimum(place, 2 * self.n - 1 - place)


def _good(n: int) -> int:
    """Return the next length that FFTs, also of real numbers, are fast for."""
    return int(scipy.fft.next_fast_len(n, real=True))


def extend(x: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Mirror x beyond the ends of the axes that ask for it."""
    for i, axis in enumerate(axes, start=-len(axes)):
        if any(axis.mirror):
            x = x.index_select(i, axis.mirrored(x.device))
    return x


def fold(x: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Add what lies beyond the ends to the samples it mirrors: the adjoint of `extend`, cutting off the rest."""
    for i, axis in enumerate(axes, start=-len(axes)):
        place = axis.mirrored(x.device)
        x = x.narrow(i, 0, len(place))
        if any(axis.mirror):
            x = x.new_zeros(*x.shape[:i], axis.n, *x.shape[x.ndim + i + 1 :]).index_add(i, place, x)
    return x


def crop(x: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Keep the part of a circular convolution that is the result."""
    for i, axis in enumerate(axes, start=-len(axes)):
        x = x.narrow(i, axis.start, axis.kept)
    return x


def embed(y: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Put the result back into its place among zeros: the adjoint of `crop`."""
    pads = [n for axis in reversed(axes) for n in (axis.start, axis.length - axis.start - axis.kept)]
    return torch.nn.functional.pad(y, pads) if any(pads) else y


def wrapped(kernel: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the kernels `(*batch, *taps)` on a periodic grid, the centre at 0; what does not fit goes round."""
    for i, length in enumerate(lengths, start=-len(lengths)):
        k = kernel.shape[i]
        place = (torch.arange(k, device=kernel.device) - k // 2) % length
        zeros = kernel.new_zeros(*kernel.shape[:i], length, *kernel.shape[kernel.ndim + i + 1 :])
        kernel = zeros.index_add(i, place, kernel)
    return kernel


def is_even(kernel: Tensor, shape: Sequence[int], tolerance: float) -> bool:
    """Return whether kernels on mirrored images of `shape` are even along each axis, relative to their largest tap."""
    extents = kernel.shape[-len(shape) :]
    # what is larger than the image goes round its mirror image
    taps = wrapped(kernel, [2 * n if k > n else 2 * (k // 2) + 2 for n, k in zip(shape, extents, strict=True)])
    axes = item_axes(len(shape))
    most = tolerance * taps.abs().amax(axes)
    odd = ((taps - taps.flip(axis).roll(1, axis)).abs().amax(axes) for axis in axes)
    return all(bool((size <= most).all()) for size in odd)


def cosine_sums(kernel: Tensor, shape: Sequence[int]) -> Tensor:
    """Return sum_t k[t] prod_i cos(pi m_i t_i / n_i) for all m < n = shape, t counted from the centre.

    One axis after another, as the FFT of the image mirrored along all of them would take 2^d times its memory.
    """
    for axis, n in zip(item_axes(len(shape)), shape, strict=True):
        taps = wrapped(kernel.movedim(axis, -1), [2 * n])
        if taps.is_complex():
            waves = torch.fft.fft(taps)
            sums = 0.5 * (waves + waves.flip(-1).roll(1, -1))[..., :n]
        else:
            sums = torch.fft.rfft(taps).real[..., :n]
        kernel = sums.movedim(-1, axis).contiguous()
    return kernel


def autocorrelation(kernel: Tensor, ndim: int) -> Tensor:
    """Return sum_s k[s + t] conj(k[s]) of kernels, from -(taps - 1) to taps - 1 along each axis."""
    axes, extents = item_axes(ndim), kernel.shape[-ndim:]
    power = torch.fft.fftn(kernel, [scipy.fft.next_fast_len(2 * k - 1) for k in extents], axes).abs().square()
    found: Tensor = torch.fft.ifftn(power, dim=axes)
    for axis, k in zip(axes, extents, strict=True):
        found = found.roll(k - 1, axis).narrow(axis, 0, 2 * k - 1)
    return found


def multiply(x: Tensor, spectrum: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the inverse FFT of spectrum * FFT(x), x padded by zeros to `lengths`.

    For real x the spectrum is that of a real kernel and holds the non-negative frequencies of the last axis only.
    """
    axes, sizes = item_axes(len(lengths)), list(lengths)
    if not x.numel():  # which FFTs refuse
        batch = np.broadcast_shapes(x.shape[: -len(sizes)], spectrum.shape[: -len(sizes)])
        return x.new_zeros(*batch, *sizes)
    if x.is_complex():
        y: Tensor = torch.fft.ifftn(torch.fft.fftn(x, sizes, axes) * spectrum, dim=axes)
    else:
        y = torch.fft.irfftn(torch.fft.rfftn(x, sizes, axes) * spectrum, sizes, axes)
    return y


def half(spectrum: Tensor) -> Tensor:
    """Return the non-negative frequencies of the last axis: all there is to know of a real kernel."""
    return spectrum[..., : spectrum.shape[-1] // 2 + 1].contiguous()


def overlap(k: int, axis: Axis, boundary: Boundary) -> Tensor:
    """Return for each tap the share of the n samples that it meets."""
    if boundary == "valid":
        return torch.full((k,), axis.kept / axis.n, dtype=torch.float64)
    if boundary == "zero":
        return (1 - (torch.arange(k, dtype=torch.float64) - k // 2).abs() / axis.n).clamp(min=0)
    return torch.ones(k, dtype=torch.float64)


def outer(vectors: Sequence[Tensor]) -> Tensor:
    """Return the product of one vector per axis as a tensor with an axis for each."""
    total = torch.ones((), dtype=torch.float64)
    for v in vectors:
        total = total[..., None] * v
    return total


def checked_sizes(owner: str, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an image of one to three axes; ValueError for any other."""
    sizes = tuple(image_shape)
    if not 1 <= len(sizes) <= 3 or any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"{owner}: image_shape must hold one to three positive whole sizes, got {sizes}")
    return tuple(int(n) for n in sizes)


def checked_kernel(owner: str, kernel: ArrayLike | Tensor, ndim: int) -> Tensor:
    """Return the kernels `(*batch, *taps)` in float64 or complex128; ValueError for what cannot be one."""
    given = kernel.detach().cpu().numpy() if isinstance(kernel, Tensor) else np.asarray(kernel)
    taps = torch.from_numpy(np.array(given, dtype=np.complex128 if np.iscomplexobj(given) else np.float64))
    if taps.ndim < ndim or not taps.numel():
        raise ValueError(
            f"{owner}: the kernel must have {ndim} axes of taps like the image (and batch axes in front for one "
            f"kernel per item), got shape {tuple(taps.shape)}"
        )
    if not bool(taps.isfinite().all()):
        raise ValueError(f"{owner}: the kernel holds {int((~taps.isfinite()).sum())} NaN or infinite values")
    if not bool((taps != 0).flatten(-ndim).any(-1).all()):
        raise ValueError(f"{owner}: the kernel is zero, so that nothing would be measured")
    return taps


def check_boundary(owner: str, boundary: str, sizes: Sequence[int], taps: Sequence[int]) -> None:
    """Raise ValueError for a boundary that is not known or leaves nothing of the image."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"{owner}: boundary must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if boundary == "valid" and any(k > n for k, n in zip(taps, sizes, strict=True)):
        raise ValueError(
            f"{owner}: a kernel of {tuple(taps)} taps fits nowhere inside an image of {tuple(sizes)}, which "
            "boundary='valid' asks for: crop the kernel or choose another boundary"
        )
