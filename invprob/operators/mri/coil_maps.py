"""Coil maps from a block of k-space: how each coil of a receiver sees every pixel, and how strong the noise is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from invprob.operators.mri.calibration_block import waves
from invprob.operators.mri.espirit import eigen_maps, kernel_of, patches_of

CROP = 0.9  # eigenvalues below this speak of no signal
FEWEST = 12  # samples per axis for ESPIRiT
SECOND = 0.01  # share of the pixels that see two places at once, from which a second set of maps is kept
CLEAR = 3.0  # times the energy of noise in an image of low resolution, from which a pixel shows something
MOST = 0.9  # of the energy of these pixels: where ESPIRiT keeps less, noise hides what it looks for
DARK = 0.05  # share of the largest root of the sum of squares below which a smooth map would be noise


@dataclass(frozen=True, eq=False)
class Maps:
    """Coil maps, and what their calibration found.

    Arguments:
        coils: S, `(C, *image)`, or `(sets, C, *image)` where the object wraps around the field of view; the
            norm over the coils is 1 where there is signal and 0 elsewhere.
        eigenvalues: the two largest ones at every pixel, `(2, *image)`, from 0 to 1; None without ESPIRiT.
        noise: sigma of k-space, sigma^2 = E|n|^2, from the calibration data; None where they do not say.
        region: how many samples of k-space along each axis were used.
        method: how the maps were found, in words.
    """

    coils: Tensor
    eigenvalues: Tensor | None
    noise: float | None
    region: tuple[int, ...]
    method: str

    @property
    def sets(self) -> int:
        """How many places of the object a pixel may stand for."""
        return 1 if self.coils.ndim == len(self.region) + 1 else self.coils.shape[0]

    @property
    def share(self) -> float:
        """The share of the pixels that have a map."""
        coil_axis = -len(self.region) - 1
        seen = (self.coils != 0).any(coil_axis)
        return float((seen if self.sets == 1 else seen.any(0)).double().mean())

    def with_sets(self, sets: int) -> Tensor:
        """Return the maps with an axis for `sets` of them, those that were not found being 0; without it for 1."""
        if sets == self.sets:
            return self.coils
        own = self.coils.unsqueeze(0) if self.sets == 1 else self.coils
        return torch.cat([own, own.new_zeros(sets - len(own), *own.shape[1:])])

    def without_noise(self, more: str = "") -> Maps:
        """Return the maps without a noise level, which a fit to samples changes, and with more words on the method."""
        return replace(self, noise=None, method=self.method + more)

    def in_words(self) -> str:
        """Return what a result tells of the maps."""
        size = " x ".join(map(str, self.region))
        sets = "" if self.sets == 1 else f", {self.sets} sets"
        return f"{self.method} from {size} samples, {self.share:.0%} of the pixels kept{sets}"


def maps_of_block(block: Tensor, image_shape: tuple[int, ...], *, sets: int | None = None) -> Maps:
    """Return the coil maps from the middle of k-space, `(C, *region)`.

    By ESPIRiT (`invprob.operators.mri.espirit`) where at least 12 samples along each axis, and patches enough, are
    measured, and where noise does not hide the object from it, else from images of low resolution. Their phase is such
    that the coils, combined as the strongest signal combines them, have a real, positive map.

    Arguments:
        block: k = 0 is the sample floor(n/2) along each axis.
        image_shape: the pixels of the maps.
        sets: 1 or 2; by default a second set is kept where more than 1 % of the pixels have a second eigenvalue above
            `CROP`, as where the object is larger than the field of view.

    ValueError for data that are zero or not finite, and for another number of sets.
    """
    _check_kspace(block, len(image_shape))
    if sets not in (None, 1, 2):
        raise ValueError(f"coil maps come in sets of 1 or 2, got sets={sets}")
    live = (block != 0).flatten(1).any(1)
    if not bool(live.all()):  # a coil that reads nothing sees nothing, and has no noise
        found = maps_of_block(block[live], image_shape, sets=sets)
        shape = (*found.coils.shape[: -len(image_shape) - 1], len(block), *image_shape)
        silent = found.coils.new_zeros(shape)
        return replace(found, coils=silent.index_copy(-len(image_shape) - 1, live.nonzero().flatten(), found.coils))
    region, precision = tuple(block.shape[1:]), torch.promote_types(block.dtype, torch.complex64)
    scale = block.abs().max().double()
    block = block.to(torch.complex128) / scale
    if block.shape[0] == 1:
        return Maps(torch.ones(1, *image_shape, dtype=precision), None, None, region, "one coil")
    coarse = _low_resolution(block, image_shape)
    if not _enough(block, image_shape):
        return Maps(_smooth(coarse, block).to(precision), None, None, region, "low-resolution images")
    patches = patches_of(block)
    noise = float(scale) * patches.noise
    vectors, values = eigen_maps(patches, image_shape)
    kept = values[0] > CROP
    if not _most_of(kept, coarse, patches.noise):
        return Maps(_smooth(coarse, block).to(precision), values, noise, region, "low-resolution images (much noise)")
    if sets is None:
        sets = 2 if float((values[1] > CROP).double().mean()) > SECOND else 1
    vectors = torch.where(values.unsqueeze(1) > CROP, vectors, 0.0)
    coils = _with_phase_of(_reference(block), vectors[:sets])
    return Maps((coils[0] if sets == 1 else coils).to(precision), values, noise, region, "ESPIRiT")


def _enough(block: Tensor, image_shape: tuple[int, ...]) -> bool:
    """Return whether the block has the samples and the patches that ESPIRiT needs."""
    coils, *region = block.shape
    kernel = kernel_of(tuple(region))
    patches = prod(n - k + 1 for n, k in zip(region, kernel, strict=True))
    return patches >= 2 * coils and all(n >= min(FEWEST, whole) for n, whole in zip(region, image_shape, strict=True))


class _Coarse(NamedTuple):
    """Coil images of low resolution, `(C, *image)`, and the variance in a pixel of what is white noise in k-space."""

    images: Tensor
    gain: float


def _low_resolution(block: Tensor, image_shape: tuple[int, ...]) -> _Coarse:
    """Return the images of a block in Hann's window."""
    images, gain = block, 1.0
    for axis, (size, n) in enumerate(zip(block.shape[1:], image_shape, strict=True), start=1):
        k = torch.arange(size, dtype=torch.float64) - size // 2
        table = waves(size, n) * torch.cos(torch.pi * k / (size + 1)).square()  # zero one sample outside the block
        images = torch.tensordot(table, images, dims=([1], [axis])).movedim(0, axis)
        gain *= float(table.abs().square().sum(1).mean())
    return _Coarse(images, gain)


def _most_of(kept: Tensor, coarse: _Coarse, noise: float) -> bool:
    """Return whether most of what stands out of the noise at low resolution lies where maps are kept."""
    energy = coarse.images.abs().square().sum(0)
    energy = torch.where(energy > CLEAR * len(coarse.images) * coarse.gain * noise**2, energy, 0.0)
    return bool(energy[kept].sum() > MOST * energy.sum())


def _smooth(coarse: _Coarse, block: Tensor) -> Tensor:
    """Return images of low resolution over the root of their sum of squares, zero where that is dark."""
    size_of_all = torch.linalg.vector_norm(coarse.images, dim=0)
    maps = torch.where(size_of_all > DARK * size_of_all.max(), coarse.images / size_of_all, 0.0)
    return _with_phase_of(_reference(block), maps[None])[0]


def _reference(block: Tensor) -> Tensor:
    """Return the combination of the coils, `(C,)`, that holds most of the signal."""
    samples = block.flatten(1)
    strongest: Tensor = torch.linalg.eigh(samples @ samples.mH).eigenvectors[:, -1]
    return strongest


def _with_phase_of(reference: Tensor, maps: Tensor) -> Tensor:
    """Return maps `(sets, C, *image)` times a phase for which <reference, maps> is positive at every pixel."""
    along = torch.tensordot(reference.conj().to(maps.dtype), maps, dims=([0], [1]))
    phased: Tensor = maps * torch.sgn(along).conj().unsqueeze(1)
    return phased


def _check_kspace(y: Tensor, d: int) -> None:
    if y.ndim != d + 1 or not y.is_complex():
        raise ValueError(f"coil maps come from complex k-space (coils, {d} axes), got {tuple(y.shape)} of {y.dtype}")
    if not bool(torch.isfinite(torch.view_as_real(y)).all()):
        raise ValueError("k-space holds NaN or infinite values: repair or leave out these readings first")
    if not bool((y != 0).any()):
        raise ValueError("k-space is zero in its middle: coil maps cannot come from it, give them with coils=")
