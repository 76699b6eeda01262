"""Scans on a plane by fast Fourier transforms: a monostatic antenna, or a small array, moved over a lattice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.fft import next_fast_len
from torch import Tensor

from invprob.linop.module import COMPLEX_OF
from invprob.operators.radar.base import Radar
from invprob.operators.radar.geometry import (
    check_wavelength,
    even_axis,
    frequencies_in_hertz,
    places,
    plain,
    wavenumbers,
)

__all__ = ["PlanarSAR"]

KEPT = 2**28  # bytes of transformed kernels that are kept between calls; what needs more computes them anew
PLANE = ((0.0, 0.0, 0.0),)
AXES = (-2, -1)


class PlanarSAR(Radar):
    """y[k,i,j] = sum_n e^(-2 i kappa_k R) / (4 pi R^2) x_n for an antenna at (x_i, y_j, 0): a scan as convolutions.

    For antennas and voxels on one lattice the echoes of a layer z are a convolution with its kernel, here by
    zero-padded FFTs: exact as the sum is, with its amplitudes, without a far-field or stationary-phase step. An array
    that is moved keeps the ways of each of its pairs, so that data of several pairs go the same way.

    Arguments:
        image_shape: voxels (X, Y, Z).
        scan_shape: places of the antenna along x and y.
        spacing: of both lattices along x and y, in metres; they have one middle.
        depths: the places of the layers along z in metres, evenly spaced, the antenna being at 0.
        frequencies: in hertz, ascending.
        tx_offsets: positions of transmitters relative to the moved point, (P, 3), in metres; by default the point.
        rx_offsets: those of the receivers, pair by pair; by default where the transmitters are.
        refractive_index: n of the medium, 1 in air.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    Data are (Nf, I, J), with offsets (Nf, P, I, J). ValueError for layers that the antenna passes through, frequencies
    that are not positive and ascending or that are no hertz, and offsets that do not pair up.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        scan_shape: Sequence[int],
        spacing: float | Sequence[float],
        depths: ArrayLike | Tensor,
        frequencies: ArrayLike | Tensor,
        *,
        tx_offsets: ArrayLike | Tensor | None = None,
        rx_offsets: ArrayLike | Tensor | None = None,
        refractive_index: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        hertz = frequencies_in_hertz(self, frequencies)
        layers, step = even_axis(self, "depths", depths)
        steps = np.broadcast_to(plain(spacing), (2,))
        if len(image_shape) != 3 or len(scan_shape) != 2 or image_shape[2] != layers.size:
            raise ValueError(
                f"PlanarSAR: image_shape is (X, Y, Z) with Z = {layers.size} depths and scan_shape (I, J), "
                f"got {tuple(image_shape)} and {tuple(scan_shape)}"
            )
        if not (steps > 0).all() or not np.isfinite(steps).all() or not 0 < refractive_index < math.inf:
            raise ValueError(f"PlanarSAR: spacing and refractive_index must be positive, got {spacing}")
        sent = places(self, "tx_offsets", PLANE if tx_offsets is None else tx_offsets)
        heard = sent if rx_offsets is None else places(self, "rx_offsets", rx_offsets)
        if sent.shape != heard.shape:
            raise ValueError(f"PlanarSAR: {len(sent)} tx_offsets and {len(heard)} rx_offsets do not pair up")
        many = tx_offsets is not None or rx_offsets is not None
        ends = (hertz.size, *([len(sent)] if many else []), *scan_shape)
        super().__init__(image_shape, ends, dtype=dtype, is_complex=True)
        self.frequencies, self.refractive_index = hertz, float(refractive_index)
        self.depths, self.tx_offsets, self.rx_offsets = layers, sent, heard
        self.spacing = (float(steps[0]), float(steps[1]), float(steps.min()) if step is None else step)
        self.scan_shape = (int(scan_shape[0]), int(scan_shape[1]))
        x, y = (h * (np.arange(n) - (n - 1) / 2) for n, h in zip(self.domain_shape[:2], steps, strict=True))
        self.axes = (x, y, layers)
        self._many, self._own_receivers = many, rx_offsets is not None
        nearest = min(np.abs(layers[:, None] - offsets[:, 2]).min() for offsets in (sent, heard))
        if nearest < 0.5 * min(self.spacing):
            raise ValueError("PlanarSAR: the antenna passes through a layer of the image: depths must keep off it")
        self._padded = tuple(
            next_fast_len(n + m - 1) for n, m in zip(self.domain_shape[:2], self.scan_shape, strict=True)
        )
        check_wavelength(self, hertz, 2 * float(self._ways(0)[0].max()))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        found: dict[str, Any] = {
            "image_shape": self.domain_shape,
            "scan_shape": self.scan_shape,
            "spacing": self.spacing[:2],
            "depths": self.depths,
            "frequencies": self.frequencies,
            "refractive_index": self.refractive_index,
        }
        if self._many:
            found["tx_offsets"] = self.tx_offsets
        if self._own_receivers:
            found["rx_offsets"] = self.rx_offsets
        return found

    @property
    def pairs(self) -> int:
        """Pairs of transmitter and receiver at each place."""
        return len(self.tx_offsets)

    # ---- kernels

    def _ways(self, pair: int) -> tuple[Tensor, Tensor]:
        """Return the ways from transmitter and to receiver over all shifts of the lattices, (Z, *padded), in metres.

        Shifts are those of a circular convolution of the padded size: antenna minus voxel, then from the other end.
        """
        found = []
        shifts = [
            _shifts(m, n, size) + (n - m) / 2
            for m, n, size in zip(self.scan_shape, self.domain_shape[:2], self._padded, strict=True)
        ]
        x, y = (h * s for h, s in zip(self.spacing, shifts, strict=False))
        for offset in (self.tx_offsets[pair], self.rx_offsets[pair]):
            z = torch.from_numpy(self.depths) - offset[2]
            across = (x[:, None] + offset[0]).square() + (y + offset[1]).square()
            found.append((across + z[:, None, None].square()).sqrt())
        return found[0], found[1]

    def _kernels(self, *, plain_waves: bool = False) -> Iterator[Tensor]:
        """Yield the transformed kernels (P, Z, *padded) of every frequency."""
        dtype = COMPLEX_OF[self.dtype]
        ways = [self._ways(pair) for pair in range(self.pairs)]
        length = torch.stack([t + r for t, r in ways]).to(self.device)
        one = torch.ones_like(length)
        amplitude = one if plain_waves else torch.stack([1 / (4 * math.pi * t * r) for t, r in ways]).to(length)
        for kappa in wavenumbers(self.frequencies, self.refractive_index):
            kernel = torch.polar(amplitude, -float(kappa) * length).to(dtype)
            yield torch.fft.fft2(kernel)

    def _echo_kernels(self) -> Iterator[Tensor]:
        """Yield the kernels of the model, kept between calls if they fit."""
        size = 8 if self.dtype == torch.float32 else 16
        n_bytes = size * len(self.frequencies) * self.pairs * self.domain_shape[2] * math.prod(self._padded)
        if n_bytes > KEPT:
            yield from self._kernels()
        else:
            yield from self._cached("kernels", lambda: list(self._kernels()))

    # ---- products

    def _forward(self, x: Tensor) -> Tensor:
        """Sum the convolutions of the layers, a product of spectra per frequency."""
        if not x.numel():  # torch.fft refuses empty batches
            return x.new_zeros(*x.shape[: x.ndim - 3], *self.range_shape)
        layers = torch.fft.fft2(x.movedim(-1, -3), s=self._padded)
        i, j = self.scan_shape
        data = []
        for kernel in self._echo_kernels():
            spectra = torch.einsum("...zab,pzab->...pab", layers, kernel)
            echo = torch.fft.ifft2(spectra)[..., :i, :j]
            data.append(echo if self._many else echo[..., 0, :, :])
        return torch.stack(data, dim=x.ndim - 3)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._focused(y, self._echo_kernels())

    def _focused(self, y: Tensor, kernels: Iterator[Tensor]) -> Tensor:
        """Return the correlations of the data with the kernels."""
        if not y.numel():
            return y.new_zeros(*y.shape[: y.ndim - len(self.range_shape)], *self.domain_shape)
        many = y if self._many else y.unsqueeze(-3)
        axis = many.ndim - 4
        total = torch.zeros((), dtype=y.dtype, device=y.device)
        for k, kernel in enumerate(kernels):
            spectra = torch.fft.fft2(many.select(axis, k), s=self._padded)
            total = total + torch.einsum("...pab,pzab->...zab", spectra, kernel.conj())
        nx, ny, _ = self.domain_shape
        image: Tensor = torch.fft.ifft2(total)[..., :nx, :ny].movedim(-3, -1)
        return image

    # ---- focusing

    def back_project(self, y: Tensor) -> Tensor:
        """Return sum e^(+i kappa (R_t + R_r)) y over all readings: the adjoint without amplitudes."""
        return self._focused(self.as_data(y), self._kernels(plain_waves=True))

    def range_migration(self, y: Tensor) -> Tensor:
        """Return the range-migration image of monostatic data: sum over k, kx, ky of kz e^(i (kx x + ky y + kz z)).

        kz = sqrt(4 kappa^2 - kx^2 - ky^2), without evanescent waves (Lopez-Sanchez & Fortuny-Guasch 2000). Stolt's
        change of variables is the exact sum over k here, layer by layer, not an interpolation. ValueError for offsets,
        as of an array, and for layers behind the antenna.
        """
        if self._many or not np.array_equal(self.tx_offsets, self.rx_offsets):
            raise ValueError("range-migration is for one antenna that sends and receives: use back-projection")
        if self.depths[0] < 0:
            raise ValueError("range-migration is for layers before the antenna, z > 0: use back-projection")
        y = self.as_data(y)
        if not y.numel():
            return y.new_zeros(*y.shape[: y.ndim - len(self.range_shape)], *self.domain_shape)
        nx, ny, _ = self.domain_shape
        spectra = torch.fft.fft2(y, s=self._padded)
        moved = [
            2 * math.pi * torch.fft.fftfreq(n, h, dtype=torch.float64, device=y.device)
            for n, h in zip(self._padded, self.spacing, strict=False)
        ]
        kx, ky = moved[0][:, None], moved[1]
        centre = torch.exp(
            1j
            * (
                kx * self.spacing[0] * (nx - self.scan_shape[0]) / -2
                + ky * self.spacing[1] * (ny - self.scan_shape[1]) / -2
            )
        )
        kappa = torch.from_numpy(wavenumbers(self.frequencies, self.refractive_index)).to(y.device)
        square = 4 * kappa[:, None, None].square()
        square = square - kx.square() - ky.square()
        kz = square.clamp(min=0).sqrt()
        step = torch.polar(torch.ones_like(kz), kz * self.spacing[2]).to(spectra.dtype)
        wave = spectra * (torch.polar(kz, kz * float(self.depths[0])) * centre).to(spectra)
        layers = []
        for _ in self.depths:
            layers.append(torch.fft.ifft2(wave.sum(-3))[..., :nx, :ny])
            wave = wave * step
        return torch.stack(layers, -1)

    def _range_extent(self) -> float:
        near, far = float(np.abs(self.depths).min()), float(self._ways(0)[0].max())
        return far - near

    def extra_repr(self) -> str:
        """Name lattice, frequencies and pairs."""
        f, (i, j) = self.frequencies, self.scan_shape
        what = "monostatic" if not self._many else f"{self.pairs} pairs"
        return f"{i} x {j} places, {what}, {f.size} frequencies, {f[0]:.4g} to {f[-1]:.4g} Hz, {super().extra_repr()}"


def _shifts(antennas: int, voxels: int, size: int) -> Tensor:
    """Return antenna minus voxel, in steps of the lattice, for every place of a circular kernel of `size`."""
    place = torch.arange(size, dtype=torch.float64)
    return torch.where(place < antennas, place, place - size)
