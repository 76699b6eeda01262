"""Blur and decimation: images on a coarser grid, the operator of super-resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob.linalg import Diagonal, item_axes, ratio
from invprob.linop import Bound, DataKind, LinearOperator
from invprob.linop.bases import Basis
from invprob.linop.readings import interpolated
from invprob.operators.image.blur import Blur
from invprob.operators.image.convolution import Boundary, checked_kernel, checked_sizes


class Downsample(LinearOperator):
    """y = every s-th sample of k * x, s = `factor`: A = S K.

    For "periodic" A A^H is diagonal in the Fourier basis of the coarse grid, because decimation folds the spectrum
    (Zhao et al., IEEE TIP 25, 2016), which makes `solve` a closed form.

    Arguments:
        image_shape: the fine grid, one to three axes.
        factor: how many pixels become one: a whole number s, or one per axis.
        kernel: the blur before it, as in `Blur`. The readings then sit at the pixels s i + (s - 1) // 2, so that a box
            of s taps gives the same as None: every reading the mean of a block of s pixels per axis.
        boundary: as in `Blur`; without a kernel it changes nothing. With "valid" the first reading is the first that
            needs no image beyond the ends.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for sizes that are not multiples of the factor where they must be ("periodic", blocks).
    """

    data_kind: DataKind = "picture"

    def __init__(
        self,
        image_shape: Sequence[int],
        factor: int | Sequence[int],
        kernel: ArrayLike | Tensor | None = None,
        boundary: Boundary = "periodic",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        sizes = checked_sizes("Downsample", image_shape)
        factors = tuple(factor) if isinstance(factor, Sequence) else (factor,) * len(sizes)
        if len(factors) != len(sizes) or any(int(s) != s or s < 1 for s in factors):
            raise ValueError(f"Downsample: factor must be a whole number >= 1 or one per axis of {sizes}, got {factor}")
        factors = tuple(int(s) for s in factors)
        off = any(n % s for n, s in zip(sizes, factors, strict=True))
        if off and (kernel is None or boundary == "periodic"):
            raise ValueError(
                f"Downsample: an image of {sizes} is no multiple of factor {factors}, which "
                f"{'blocks' if kernel is None else 'a periodic boundary'} must have: crop the image"
            )
        self._means = kernel is None
        taps = torch.ones(factors, dtype=torch.float64) / math.prod(factors) if kernel is None else kernel
        taps = checked_kernel("Downsample", taps, len(sizes))
        blur = Blur(sizes, taps, boundary)
        start = [0 if boundary == "valid" else (s - 1) // 2 for s in factors]
        shape = [-(-(n - p) // s) for n, p, s in zip(blur.range_shape, start, factors, strict=True)]
        if self._means:
            shape = [n // s for n, s in zip(sizes, factors, strict=True)]
        if min(shape) < 1:
            raise ValueError(f"Downsample: factor {factors} leaves nothing of an image of {sizes}")
        super().__init__(sizes, shape, dtype=dtype, is_complex=taps.is_complex())
        self.factor, self.kernel, self.boundary = factors, taps, boundary
        self.nonnegative = blur.nonnegative
        self._start = start
        self.parameter_batch = tuple(taps.shape[: -len(sizes)])

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        kernel = None if self._means else self.kernel.numpy()
        return {"image_shape": self.domain_shape, "factor": self.factor, "kernel": kernel, "boundary": self.boundary}

    def _forward(self, x: Tensor) -> Tensor:
        if self._means:
            return self._in_blocks(x).mean(item_axes(2 * len(self.factor))[1::2])
        return self._kept(self._blur()(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        if self._means:
            for axis, s in zip(item_axes(len(self.factor)), self.factor, strict=True):
                y = y.repeat_interleave(s, axis) / s
            return y
        blur = self._blur()
        spread = y.new_zeros(*y.shape[: y.ndim - len(self.factor)], *blur.range_shape)
        self._kept(spread).copy_(y)
        return blur.adjoint(spread)

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return the mean of |k^|^2 over the frequencies that decimation folds onto one; "periodic" and blocks only."""
        if self._means:
            return Diagonal(torch.tensor(1 / math.prod(self.factor), dtype=self.dtype, device=self.device), "any")
        if self.boundary != "periodic":
            return None
        return Diagonal(self._cached("folded", self._folded), "fourier")

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the blur's symbol over the factor: A^H A without the aliasing."""
        found = self._blur().gram_diagonal_estimate(basis)
        return Diagonal(found.values * self._share(), found.basis)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with readings of weight 0 interpolated along the last axis."""
        return interpolated(y, weights)

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the cubic interpolation of y (Keys, IEEE TASSP 29, 1981) at the places the readings come from.

        A reading's place is the centre of its taps' absolute values; y is divided by the kernel's sum, and mirrored
        beyond its ends but for "periodic". For kernels whose sum is small beside their absolute sum, which tell no
        brightness, ten conjugate-gradient steps. Readings of weight 0 are interpolated first.
        """
        d = len(self.factor)
        total, size = self.kernel.flatten(-d).sum(-1), self.kernel.abs().flatten(-d).sum(-1)
        if bool((total.abs() < 0.1 * size).any()) or self.kernel.ndim > d:
            return super().direct(y, weights)
        x = self.fill(self.as_data(y), weights) / total.to(self.device, self.range_dtype)
        for axis, matrix in zip(item_axes(d), self._cached("cubic", self._cubic), strict=True):
            x = (x.movedim(axis, -1) @ matrix.to(x.dtype).mT).movedim(-1, axis)
        return x

    def _blur(self) -> Blur:
        def make() -> Blur:
            return Blur(self.domain_shape, self.kernel, self.boundary, dtype=self.dtype).to(self.device)

        return self._cached("blur", make)

    def _kept(self, t: Tensor) -> Tensor:
        """Return the view of the samples that decimation keeps."""
        cuts = [slice(p, None, s) for p, s in zip(self._start, self.factor, strict=True)]
        for axis, cut in zip(item_axes(len(cuts)), cuts, strict=True):
            t = t.movedim(axis, 0)[cut].movedim(0, axis)
        return t

    def _in_blocks(self, x: Tensor) -> Tensor:
        """Return x with every axis split into (blocks, factor)."""
        split = [n for pair in zip(self.range_shape, self.factor, strict=True) for n in pair]
        return x.reshape(*x.shape[: x.ndim - len(self.factor)], *split)

    def _share(self) -> float:
        return math.prod(self.range_shape) / math.prod(self._blur().range_shape)

    def _folded(self) -> Tensor:
        found = self._blur().gram_diagonal()
        if found is None:
            raise RuntimeError("a periodic blur is diagonal in the Fourier basis")
        split = [n for pair in zip(self.factor, self.range_shape, strict=True) for n in pair]
        power = found.values.reshape(*found.values.shape[: found.values.ndim - len(self.factor)], *split)
        return power.mean(item_axes(len(split))[::2])

    def _cubic(self) -> list[Tensor]:
        """Return per axis the matrix that interpolates the readings at the pixels."""
        d, found = len(self.factor), []
        for i in range(d):
            along = self.kernel.abs().sum([a for a in item_axes(d) if a != i - d]) if d > 1 else self.kernel.abs()
            k = len(along)
            centre = float(ratio((along * torch.arange(k)).sum(), along.sum()))
            first = k - 1 - centre if self.boundary == "valid" else self._start[i] + k // 2 - centre
            place = (torch.arange(self.domain_shape[i], dtype=torch.float64) - first) / self.factor[i]
            found.append(_keys(place, self.range_shape[i], self.boundary == "periodic").to(self.device, self.dtype))
        return found

    def _norm(self) -> Tensor:
        batch = self.kernel.shape[: -len(self.factor)]
        if not batch or self.row_gram_diagonal() is not None:
            return super()._norm()
        kernels = self.kernel.flatten(0, -len(self.factor) - 1)
        config = self.config() | {"dtype": self.dtype}
        each = [Downsample(**config | {"kernel": k}).to(self.device).norm() for k in kernels]
        return torch.stack(each).reshape(batch)

    def _norm_bound(self) -> Bound:
        if self.row_gram_diagonal() is not None:
            return super()._norm_bound()
        blur = self._blur()
        bound = Bound(blur.norm_bound(), f"that of the blur: {blur.norm_bound_kind}")
        if not self.nonnegative or self.kernel.ndim > len(self.factor):
            return bound
        return min(bound, super()._norm_bound(), key=lambda b: float(b.value.max()))

    def extra_repr(self) -> str:
        """Name factor and kernel."""
        taps = " x ".join(map(str, self.kernel.shape[-len(self.factor) :]))
        kernel = "means of blocks" if self._means else f"{taps} taps, {self.boundary} boundary, FFT"
        return f"factor {' x '.join(map(str, self.factor))}, {kernel}, {super().extra_repr()}"


def _keys(place: Tensor, n: int, periodic: bool) -> Tensor:
    """Return the matrix of cubic convolution, a = -1/2: values at `place` from n samples at 0, 1, ..., n - 1."""
    matrix = torch.zeros(len(place), n, dtype=torch.float64)
    rows = torch.arange(len(place))
    for tap in range(-1, 3):
        sample = place.floor() + tap
        t = (place - sample).abs()
        near = (1.5 * t - 2.5) * t.square() + 1
        far = ((-0.5 * t + 2.5) * t - 4) * t + 2
        index = sample.long() % (n if periodic else 2 * n)
        index = index if periodic else torch.minimum(index, 2 * n - 1 - index)
        matrix.index_put_((rows, index), torch.where(t <= 1, near, far), accumulate=True)
    return matrix
