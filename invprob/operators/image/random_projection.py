"""Few random measurements of an image: compressed sensing with a fast transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import LinearOperator
from invprob.linop.bases import Basis

RADIX = 32  # Walsh-Hadamard transforms go by matrices of at most this size


class RandomProjection(LinearOperator):
    """y = R H D x: random signs D, an orthonormal transform H, a random choice R of `measurements` of its coefficients.

    The rows are orthonormal, A A^H = I, and no matrix is ever stored: O(n log n) for n pixels (Ailon & Chazelle, SIAM
    J. Comput. 39, 2009; Tropp, Adv. Adapt. Data Anal. 3, 2011).

    Arguments:
        image_shape: any number of axes, n pixels in all.
        measurements: how many numbers are measured, 1 to n.
        transform: "hadamard" is Walsh-Hadamard on the part of n that is a power of two and the cosine transform on the
            odd rest; "cosine" is the cosine transform (DCT-II) of the flattened image.
        seed: fixes signs and choice, the same on every machine.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for other than 1 to n measurements.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        measurements: int,
        *,
        transform: Literal["hadamard", "cosine"] = "hadamard",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        n = math.prod(image_shape)
        if int(measurements) != measurements or not 1 <= measurements <= max(n, 1):
            raise ValueError(
                f"RandomProjection: an image of {tuple(image_shape)} has 1 to {n} orthonormal measurements, "
                f"got measurements={measurements}"
            )
        if transform not in ("hadamard", "cosine"):
            raise ValueError(f"RandomProjection: transform must be hadamard or cosine, got {transform!r}")
        if int(seed) != seed or seed < 0:
            raise ValueError(f"RandomProjection: seed must be a whole number >= 0, got {seed}")
        super().__init__(image_shape, (int(measurements),), dtype=dtype)
        self.measurements, self.transform, self.seed = int(measurements), transform, int(seed)
        # raw bits, whose stream numpy promises never to change
        bits = np.random.PCG64(self.seed)
        signs = (bits.random_raw(n) >> np.uint64(63)).astype(np.float64)
        chosen = np.sort(np.argsort(bits.random_raw(n), kind="stable")[: self.measurements])
        self._signs_of_seed = torch.from_numpy(1 - 2 * signs)
        self._chosen_of_seed = torch.from_numpy(chosen)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {
            "image_shape": self.domain_shape,
            "measurements": self.measurements,
            "transform": self.transform,
            "seed": self.seed,
        }

    def _forward(self, x: Tensor) -> Tensor:
        signs, chosen = self._tables()
        coefficients = self._transformed(x.flatten(-len(self.domain_shape)) * signs, cosine)
        return coefficients.index_select(-1, chosen)

    def _adjoint(self, y: Tensor) -> Tensor:
        signs, chosen = self._tables()
        coefficients = y.new_zeros(*y.shape[:-1], len(signs)).index_add(-1, chosen, y)
        x = self._transformed(coefficients, inverse_cosine) * signs
        return x.reshape(*y.shape[:-1], *self.domain_shape)

    def row_gram_diagonal(self) -> Diagonal:
        """Return 1: the rows are orthonormal."""
        return Diagonal(torch.ones((), dtype=self.dtype, device=self.device), "any")

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the share of the measurements in the pixels, which is what a pixel keeps of itself on average."""
        del basis
        share = self.measurements / math.prod(self.domain_shape)
        return Diagonal(torch.tensor(share, dtype=self.dtype, device=self.device), "any")

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return A^H y, the image of least norm that explains the readings whose weight is not 0."""
        return self.adjoint(self.fill(y, weights))

    def _tables(self) -> tuple[Tensor, Tensor]:
        return self._cached(
            "tables",
            lambda: (self._signs_of_seed.to(self.device, self.dtype), self._chosen_of_seed.to(self.device)),
        )

    def _transformed(self, x: Tensor, smooth: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the transform along the last axis, with the cosine part or its inverse; Hadamard's is its own."""
        n = x.shape[-1]
        power = n & -n if self.transform == "hadamard" else 1
        return kronecker(x, [*hadamard_factors(power), *([n // power] if n > power else [])], smooth)

    def extra_repr(self) -> str:
        """Name transform and seed."""
        return f"{self.transform} transform, seed {self.seed}, {super().extra_repr()}"


def hadamard_factors(n: int) -> list[int]:
    """Return powers of two up to `RADIX` whose product is n, a power of two."""
    factors = []
    while n > 1:
        factors.append(min(n, RADIX))
        n //= factors[-1]
    return factors


def kronecker(x: Tensor, factors: Sequence[int], smooth: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the product of orthonormal transforms along the digits of the last axis, largest digit first.

    A power of two means Walsh-Hadamard in Sylvester's order, anything else `smooth`. Each turn transforms the first
    digit and moves it to the end, so that all digits come home.
    """
    batch, n = x.shape[:-1], x.shape[-1]
    for factor in factors:
        digit = x.reshape(*batch, factor, n // factor).mT
        is_power = not factor & (factor - 1)
        digit = digit @ hadamard(factor).to(x.device, x.dtype) if is_power else smooth(digit)
        x = digit.reshape(*batch, n)
    return x


def hadamard(n: int) -> Tensor:
    """Return the orthonormal Hadamard matrix of a power of two (Sylvester 1867)."""
    matrix, two = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    while len(matrix) < n:
        matrix = torch.kron(matrix, two) / math.sqrt(2)
    return matrix


def cosine(x: Tensor) -> Tensor:
    """Return the orthonormal DCT-II along the last axis by one FFT (Makhoul, IEEE TASSP 28, 1980), O(n log n)."""
    if x.is_complex():
        return torch.complex(cosine(x.real), cosine(x.imag))
    n = x.shape[-1]
    if n == 1 or not x.numel():
        return x
    spectrum: Tensor = torch.fft.fft(x[..., _order(n, x)], norm="ortho") * _turns(n, x)
    return spectrum.real * _weights(n, x)


def inverse_cosine(c: Tensor) -> Tensor:
    """Return the inverse of `cosine`, the orthonormal DCT-III."""
    if c.is_complex():
        return torch.complex(inverse_cosine(c.real), inverse_cosine(c.imag))
    n = c.shape[-1]
    if n == 1 or not c.numel():
        return c
    # what `cosine` took the real part of is (c_k - i c_(n-k)) / sqrt(2)
    mirrored = torch.nn.functional.pad(c[..., 1:].flip(-1), (1, 0))
    spectrum = torch.complex(c / _weights(n, c), -mirrored / math.sqrt(2)) * _turns(n, c).conj()
    shuffled: Tensor = torch.fft.ifft(spectrum, norm="ortho").real
    return shuffled[..., _order(n, c).argsort()]


def _order(n: int, like: Tensor) -> Tensor:
    """Return 0, 2, 4, ..., 5, 3, 1."""
    place = torch.arange(n, device=like.device)
    return torch.cat([place[::2], place[1::2].flip(0)])


def _turns(n: int, like: Tensor) -> Tensor:
    """Return exp(-i pi k / 2n)."""
    angle = -math.pi / (2 * n) * torch.arange(n, dtype=torch.float64)
    turns = torch.polar(torch.ones_like(angle), angle)
    return turns.to(like.device, torch.complex64 if like.dtype == torch.float32 else torch.complex128)


def _weights(n: int, like: Tensor) -> Tensor:
    """Return sqrt(2) and 1 for the mean, which make the transform orthonormal."""
    weights = torch.full((n,), math.sqrt(2), dtype=torch.float64)
    weights[0] = 1
    return weights.to(like.device, like.dtype)
