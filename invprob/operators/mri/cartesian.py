"""MRI on a Cartesian grid of k-space, fully sampled or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import Bound
from invprob.linop.bases import Basis
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Shape
from invprob.operators.fourier.kernels import RecentKernels, collapsed, real_weights, stays, varying
from invprob.operators.mri.encoding import Coils, Encoding, checked_maps
from invprob.operators.mri.held_out import distance_from_centre, outside_the_block, stratified


class CartesianMRI(Encoding):
    """y = m F (S x): x times coil maps, the centred orthonormal Fourier transform, and which samples are measured.

    (F x)[k] = prod(N)^-1/2 sum_n x[n] exp(-2 pi i sum_j (k_j - c_j) (n_j - c_j) / N_j), c = floor(N / 2) per axis, so
    that noise per pixel of a fully sampled image is noise per sample. Data live on the full grid with zeros where
    nothing is measured. Without maps, A^H W A is diagonal in the Fourier basis, and `solve` a closed form.

    Images are `(*batch, [sets], [frames], *image)`, data `(*batch, [frames], [coils], *image)`.

    Arguments:
        mask: which samples are measured, booleans or 0 and 1, `(*batch, [frames], *image)`; axes of size 1 broadcast
            against the image. One axis alone means lines: it is that of the last axis of the image.
        coils: the maps, complex, `(*batch, [sets], coils, *image)`; a number of coils whose maps are not known; None
            (the default) for a single coil without an axis.
        image_shape: by default that of the maps, else that of the mask.
        ndim: how many axes an image has, 2 (the default), 1, or 3 for volumes.
        sets: how many sets of maps there are, by default 1.
        frames: how many frames there are, by default 1.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for masks that hold anything but 0 and 1 or miss a whole item or frame, and for shapes that do not fit.
    """

    def __init__(
        self,
        mask: ArrayLike | Tensor,
        coils: Coils = None,
        *,
        image_shape: Sequence[int] | None = None,
        ndim: int = 2,
        sets: int = 1,
        frames: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        given = _checked_mask(mask)
        d = ndim if image_shape is None else len(tuple(image_shape))
        space = _space(given, coils, image_shape, d)
        pattern = _spread(given, space, frames)
        batch = tuple(pattern.shape[: pattern.ndim - d - 1])
        super().__init__(space, space, coils, sets=sets, frames=frames, batch=batch, dtype=dtype)
        missing = ~pattern.flatten(-d).any(-1)
        if bool(missing.any()):
            which = "frame" if frames > 1 else "item" if batch else "mask"
            raise ValueError(f"CartesianMRI: the mask measures nothing in {int(missing.sum())} {which}(s)")
        self.mask = collapsed(pattern, range(-d - 1, 0))  # (*batch, 1 or frames, *1 or image)
        self._recent = RecentKernels()

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        mask = self.mask if self.frames > 1 else self.mask.squeeze(-self._space - 1)
        if self.frames > 1:
            mask = mask.expand(*mask.shape[: mask.ndim - self._space - 1], self.frames, *mask.shape[-self._space :])
        return {"mask": mask.numpy(), "image_shape": self.image_shape, **self._options()}

    @property
    def acceleration(self) -> float:
        """How many times fewer samples than pixels are measured, calibration lines included."""
        d = self._space
        return 1 / float(self.mask.double().mean(tuple(range(-d, 0))).mean())

    # ---- hooks of the encoding

    def _phase(self) -> Tensor:
        """Return exp(2 pi i c n / N): it moves the zero frequency from the corner to the middle of the spectrum."""
        return _ramp(self.image_shape)

    def _factors(self) -> Tensor:
        """Return what spectra are multiplied by: the mask, and the phase that moves the origin to the middle."""

        def compute() -> Tensor:
            n = [int(size) for size in self.image_shape]
            turn = sum((size // 2) ** 2 / size for size in n)
            phase = _ramp(self.image_shape)
            if phase.is_complex():
                phase = phase * torch.polar(
                    torch.ones((), dtype=torch.float64), torch.tensor(-2 * math.pi * turn, dtype=torch.float64)
                )
                kind = COMPLEX_OF[self.dtype]
            else:
                phase, kind = phase * (-1) ** round(2 * turn), self.dtype
            mask = self.mask.unsqueeze(-self._space - 1)  # an axis for coils
            return (phase * mask).to(self.device, kind)

        return self._cached("factors", compute)

    def _sampled(self, images: Tensor) -> Tensor:
        spectra: Tensor = torch.fft.fftn(images, dim=self._axes(), norm="ortho")
        return spectra * self._factors()

    def _pulled(self, samples: Tensor) -> Tensor:
        factors = self._factors()
        spectra = samples * (factors.conj() if factors.is_complex() else factors)
        images: Tensor = torch.fft.ifftn(spectra, dim=self._axes(), norm="ortho")
        return images

    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self._space, 0))

    # ---- the normal operator: the phases cancel, and axes along which nothing varies need no transform

    def _gram(self, x: Tensor) -> Tensor:
        return self._filtered(x, self._seen())

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        if not stays(weights):
            return self._filtered(x, self._kernel(weights))
        kind = (self.dtype, self.device)
        return self._filtered(x, self._recent.get(weights, kind, lambda: self._collapsed_kernel(weights)))

    def _seen(self) -> Tensor:
        """Return the mask as numbers, (*batch, frames, 1, *image)."""
        return self._cached("seen", lambda: self.mask.unsqueeze(-self._space - 1).to(self.device, self.dtype))

    def _kernel(self, weights: Tensor) -> Tensor:
        return self._seen() * self._data_axes(real_weights(weights, self.dtype, self.device))

    def _collapsed_kernel(self, weights: Tensor) -> Tensor:
        return collapsed(self._kernel(weights), range(-self._space - 2, 0))

    def _filtered(self, x: Tensor, kernel: Tensor) -> Tensor:
        batch = tuple(broadcast(x.shape[: x.ndim - len(self.domain_shape)], kernel, self._space))
        if not x.numel():
            return x.new_zeros(*batch, *self.domain_shape)
        out = self._spectral_product(self._image_axes(x), kernel, varying(kernel, self._space))
        return out.reshape(*out.shape[: out.ndim - self._space - 3], *self.domain_shape)

    # ---- closed forms

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the mask times the weights in the Fourier basis without maps; sum |S|^2 where all is sampled alike."""
        kernel = self._seen() if weights is None else self._collapsed_kernel(weights)
        if self.maps is None:
            return self._in_fourier(kernel)
        if varying(kernel, self._space) or self.sets > 1 or kernel.shape[-self._space - 1] > 1:
            return None
        maps = self.maps.to(self.device, COMPLEX_OF[self.dtype])
        square = maps.abs().square().sum(-self._space - 1)
        factor = kernel.squeeze(-self._space - 1)  # (*batch, 1 or frames, *1)
        values = square.unsqueeze(-self._space - 1) * factor
        return Diagonal(values if self.frames > 1 else values.squeeze(-self._space - 1), "pixel")

    def _in_fourier(self, kernel: Tensor) -> Diagonal | None:
        d = self._space
        if self.frames > 1 and kernel.shape[-d - 2] > 1:
            return None  # a Fourier basis along the frames mixes their masks
        if not self._known and kernel.shape[-d - 1] > 1:
            return None
        values = torch.fft.ifftshift(
            kernel.expand(*kernel.shape[: kernel.ndim - d], *self.image_shape), dim=self._axes()
        )
        lead = len(self.domain_shape) - d
        return Diagonal(
            values.reshape(*values.shape[: values.ndim - d - 2], *(1,) * lead, *self.image_shape), "fourier"
        )

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the circulant nearest to A^H A (T. Chan 1988): the mask smoothed by the power spectrum of the maps."""
        own = self.gram_diagonal()
        if own is not None and own.basis == "fourier":
            return own
        del basis
        return Diagonal(self._cached("circulant", self._nearest_circulant), "fourier")

    def _nearest_circulant(self) -> Tensor:
        d, axes = self._space, self._axes()
        mask = self.mask.double().mean(-d - 1)  # over frames
        whole = mask.expand(*mask.shape[: mask.ndim - d], *self.image_shape)
        lags = torch.fft.ifftn(torch.fft.ifftshift(whole, axes), dim=axes)
        if self.maps is not None:
            spectra = torch.fft.fftn(self.maps.to(torch.complex128), dim=axes).abs().square().sum(-d - 1)
            spectra = spectra.mean(-d - 1) if self.sets > 1 else spectra
            lags = lags * torch.fft.ifftn(spectra, dim=axes).conj() / math.prod(self.image_shape)
        values: Tensor = torch.fft.fftn(lags, dim=axes).real.clamp(min=0)
        shape = (*values.shape[: values.ndim - d], *(1,) * (len(self.domain_shape) - d), *self.image_shape)
        return values.reshape(shape).to(self.device, self.dtype)

    def _norm_bound(self) -> Bound:
        return super()._norm_bound() if self.maps is None else self._bound_of_maps()

    # ---- readings

    @property
    def measured(self) -> Tensor:
        """The mask, which broadcasts against the data."""
        d, mask = self._space, self.mask
        mask = mask if self.frames > 1 else mask.squeeze(-d - 1)
        return (mask if self.coils is None else mask.unsqueeze(-d - 1)).to(self.device)

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Return which samples to set aside, all coils together, outside the calibration region.

        Whole lines where the mask varies along one axis, points of the plane of phase encodings in volumes, samples
        else, spread evenly over the distances from the centre.
        """
        d = self._space
        mask = self.mask.reshape(-1, *self.mask.shape[-d - 1 :]).any(0)  # (1 or frames, *1 or image)
        axes = varying(mask, d) or list(range(-d, 0))
        sizes = [self.image_shape[axis] for axis in axes]
        shape = [self.image_shape[axis] if axis in axes else 1 for axis in range(-d, 0)]
        seen = mask.expand(mask.shape[0], *shape).reshape(-1, *sizes)
        distance = distance_from_centre(sizes)
        free = torch.stack([outside_the_block(frame) for frame in seen])
        chosen = stratified(distance.expand(seen.shape), free, share, generator)
        # what is no reading is drawn, too, so that the share is that of the data
        chosen = chosen | (~seen & (torch.rand(seen.shape, generator=generator) < share))
        chosen = chosen.reshape(len(seen), *shape)
        chosen = chosen if self.frames > 1 else chosen[0]
        return (chosen if self.coils is None else chosen.unsqueeze(-d - 1)).expand(self.range_shape)

    def extra_repr(self) -> str:
        """Say how much is measured."""
        return f"1 / {self.acceleration:.3g} of k-space{self._words()}, {super().extra_repr()}"


def broadcast(batch: Sequence[int], kernel: Tensor, ndim: int) -> Shape:
    """Return the batch of what a kernel, (*batch, frames, coils, *image), makes of images of a batch."""
    return tuple(torch.broadcast_shapes(tuple(batch), kernel.shape[: kernel.ndim - ndim - 2]))  # type: ignore[no-untyped-call]


def _ramp(sizes: Sequence[int]) -> Tensor:
    """Return exp(2 pi i sum_j c_j n_j / N_j), c = floor(N / 2): signs, and so real, where all sizes are even."""
    if all(n % 2 == 0 for n in sizes):
        total = torch.ones((), dtype=torch.float64)
        for axis, n in enumerate(sizes):
            signs = 1.0 - 2.0 * (torch.arange(n) % 2).double()
            total = total * signs.reshape(n, *(1,) * (len(sizes) - axis - 1))
        return total
    angle = torch.zeros((), dtype=torch.float64)
    for axis, n in enumerate(sizes):
        step = 2 * math.pi * ((n // 2) * torch.arange(n) % n).double() / n
        angle = angle + step.reshape(n, *(1,) * (len(sizes) - axis - 1))
    return torch.polar(torch.ones_like(angle), angle)


def _checked_mask(mask: ArrayLike | Tensor) -> Tensor:
    given = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if np.iscomplexobj(given):
        raise ValueError("CartesianMRI: the mask must be real, 1 where a sample is measured and 0 elsewhere")
    if given.ndim == 0:
        raise ValueError("CartesianMRI: the mask is a number, and needs at least one axis")
    values = given.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError(f"CartesianMRI: {int(np.isnan(values).sum())} entries of the mask are NaN")
    odd = (values != 0) & (values != 1)
    if odd.any():
        first = values[odd][0]
        raise ValueError(
            f"CartesianMRI: {int(odd.sum())} entries of the mask are neither 0 nor 1, such as {first:g}: how much a "
            "sample counts is said by Scan.weights"
        )
    return torch.from_numpy(values != 0)


def _space(mask: Tensor, coils: Coils, image_shape: Sequence[int] | None, d: int) -> Shape:
    """Return the shape of an image from what is given, the maps before the mask."""
    if image_shape is not None:
        return tuple(int(n) for n in image_shape)
    if coils is not None and not isinstance(coils, int):
        shape = tuple(coils.shape) if isinstance(coils, Tensor) else np.shape(coils)
        if len(shape) < d + 1:
            raise ValueError(f"CartesianMRI: coil maps of images of {d} axes have at least {d + 1}, got {shape}")
        return tuple(shape[len(shape) - d :])
    if mask.ndim < d:
        raise ValueError(
            f"CartesianMRI: a mask of {mask.ndim} axis for images of {d} says nothing of the others: give image_shape"
        )
    return tuple(mask.shape[mask.ndim - d :])


def _spread(mask: Tensor, space: Shape, frames: int) -> Tensor:
    """Return the mask as (*batch, 1 or frames, *1 or image); ValueError if it fits no image."""
    d, extra = len(space), int(frames > 1)
    if mask.ndim < d:  # lines along the last axis
        mask = mask.reshape(*(1,) * (d - mask.ndim), *mask.shape)
    if any(n not in (1, m) for n, m in zip(mask.shape[mask.ndim - d :], space, strict=True)):
        raise ValueError(f"CartesianMRI: a mask of shape {tuple(mask.shape)} does not fit images of {space}")
    if mask.ndim == d:
        mask = mask.unsqueeze(0)
    elif not extra:
        mask = mask.unsqueeze(-d - 1)
    if mask.shape[-d - 1] not in (1, frames):
        raise ValueError(
            f"CartesianMRI: a mask of shape {tuple(mask.shape)} for {frames} frames: (*batch, frames, *image) is due"
        )
    return mask


__all__ = ["CartesianMRI", "checked_maps"]
