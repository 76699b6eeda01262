"""Blur: true convolution with one kernel, or one per item, at four kinds of boundary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob import linalg
from invprob.linalg import Diagonal, NormalTerm
from invprob.linop import Bound, DataKind, LinearOperator
from invprob.linop.bases import Basis
from invprob.linop.module import COMPLEX_OF
from invprob.linop.readings import interpolated
from invprob.operators.image.convolution import (
    Axis,
    Boundary,
    autocorrelation,
    check_boundary,
    checked_kernel,
    checked_sizes,
    cosine_sums,
    crop,
    embed,
    extend,
    fold,
    half,
    is_even,
    multiply,
    outer,
    overlap,
    wrapped,
)
from invprob.operators.image.noise_level import estimate_noise
from invprob.transforms import Gradient


class Blur(LinearOperator):
    """y[i] = sum_j k[j] x[i + c - j], the convolution of x with a kernel k whose centre is c = size // 2 per axis.

    By FFT; the Gram matrix is diagonal in the Fourier basis for "periodic" and in the cosine basis for "reflect" with a
    kernel that is even in each axis. Blur that varies over the image is
    `Blur(n, k1) @ Mask(w1) + Blur(n, k2) @ Mask(w2) + ...` with weights that add up to 1 (Nagy & O'Leary, SIAM J. Sci.
    Comput. 19, 1998).

    Arguments:
        image_shape: one to three axes.
        kernel: its taps, as they are: `(*batch, *taps)` with as many axes as the image, one kernel or one per item,
            which broadcast against the images. Real or complex, of odd or even size and, but for "valid", larger than
            the image if need be.
        boundary: what lies beyond the ends of the image: the image again ("periodic"), zeros ("zero"), or its mirror
            image, d c b a | a b c d | d c b a ("reflect"). "valid" keeps what needs no image beyond the ends,
            n - taps + 1 samples per axis.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for a kernel that is empty, zero or not finite, or that does not fit the image.
    """

    data_kind: DataKind = "picture"

    def __init__(
        self,
        image_shape: Sequence[int],
        kernel: ArrayLike | Tensor,
        boundary: Boundary = "periodic",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        name = type(self).__name__
        sizes, taps = checked_sizes(name, image_shape), checked_kernel(name, kernel, len(tuple(image_shape)))
        extent = taps.shape[-len(sizes) :]
        check_boundary(name, boundary, sizes, extent)
        axes = [Axis.of(n, k, boundary) for n, k in zip(sizes, extent, strict=True)]
        super().__init__(sizes, [axis.kept for axis in axes], dtype=dtype, is_complex=taps.is_complex())
        self.parameter_batch = tuple(taps.shape[: -len(sizes)])
        self.kernel = taps  # a plain attribute in float64, which no change of precision rounds
        self.boundary: Boundary = boundary
        self.nonnegative = not taps.is_complex() and bool((taps >= 0).all())
        self._axes = axes
        self._lengths = [axis.length for axis in axes]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"image_shape": self.domain_shape, "kernel": self.kernel.numpy(), "boundary": self.boundary}

    def _forward(self, x: Tensor) -> Tensor:
        return crop(multiply(extend(x, self._axes), self._spectrum(x), self._lengths), self._axes)

    def _adjoint(self, y: Tensor) -> Tensor:
        return fold(multiply(embed(y, self._axes), self._spectrum(y, conj=True), self._lengths), self._axes)

    def _gram(self, x: Tensor) -> Tensor:
        if self.boundary != "periodic":
            return self.adjoint(self(x))
        power = self._power()
        return multiply(x, power if x.is_complex() else half(power), self._lengths)

    def diagonal(self) -> Diagonal | None:
        """Return the spectrum: Fourier for "periodic", cosine for "reflect" with a kernel even in each axis."""
        if self.boundary == "periodic":
            return Diagonal(self._cached("diagonal", self._transfer), "fourier")
        found = self._cached("diagonal", self._cosine_transfer) if self.boundary == "reflect" else None
        return None if found is None else Diagonal(found, "cosine")

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the squared spectrum in the basis of `diagonal`; None with weights."""
        own = self.diagonal()
        return None if own is None or weights is not None else Diagonal(self._power(), own.basis)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return |k^|^2 of the size of A^H A: Fourier if "periodic" or "valid", which wrap or do not care, else cosine.

        The cosine symbol is the mean over the signs of the frequencies.
        """
        wraps = self.boundary in ("periodic", "valid") if basis not in ("fourier", "cosine") else basis == "fourier"
        if wraps:
            return Diagonal(self._cached("fourier symbol", self._fourier_symbol), "fourier")
        return Diagonal(self._cached("symbol", self._cosine_symbol), "cosine")

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with readings of weight 0 interpolated along the last axis."""
        return interpolated(y, weights)

    def direct(self, y: Tensor, weights: Tensor | None = None, *, noise: float | Tensor | None = None) -> Tensor:
        """Return Wiener's estimate (A^H A + sigma^2/C D^H D)^-1 A^H y for images of power C / frequency^2.

        Such is the spectrum of natural images (Field, J. Opt. Soc. Am. A 4, 1987); C follows from the power of y. For
        "periodic" it is conj(k^) y^ / (|k^|^2 + sigma^2/C |D^|^2), for "reflect" with an even kernel its cosine twin,
        else the conjugate-gradient solution of the same system with the very boundary, so that no edge rings. `noise`
        is sigma, a number or `(*batch,)`, by default `estimate_noise(y)`; no less than what rounding lets y tell.
        Readings of weight 0 are interpolated first. ValueError if the noise is negative or not finite.
        """
        y, d = self.fill(self.as_data(y), weights), len(self.domain_shape)
        count = math.prod(self.range_shape)
        spread = linalg.norm(y, d) / math.sqrt(count)
        floor = torch.finfo(self.dtype).eps ** 0.375 * spread
        sigma = estimate_noise(y, d) if noise is None else torch.as_tensor(noise, device=y.device).double()
        if not bool((sigma.isfinite() & (sigma >= 0)).all()):
            raise ValueError(f"Blur.direct: noise is a standard deviation, finite and not negative, got {noise}")
        square = torch.maximum(sigma, floor).square()
        mean = y.flatten(-d).mean(-1).abs().double()
        signal = torch.maximum(spread.square() - mean.square() - square, 1e-6 * spread.square())
        lam = linalg.ratio(square, signal) * self._cached("passed", self._passed)
        differences = self._cached("differences", self._differences)
        terms = [NormalTerm(self), *(NormalTerm(D, scale=lam) for D in differences)]
        return linalg.solve_normal(terms, self.adjoint(y), tol=1e-5, max_iter=200)

    def _spectrum(self, t: Tensor, *, conj: bool = False) -> Tensor:
        """Return the kernel's FFT, or its conjugate, for data like t; in our precision and ready to multiply."""

        def compute() -> Tensor:
            spectrum = self._transfer().conj() if conj else self._transfer()
            return spectrum.resolve_conj().contiguous() if t.is_complex() else half(spectrum.resolve_conj())

        return self._cached(f"spectrum {t.is_complex()} {conj}", compute)

    def _transfer(self) -> Tensor:
        """Return the FFT of the kernel, the centre at 0, on the padded grid."""
        return self._in_precision(self._wide_transfer(self._lengths))

    def _wide_transfer(self, lengths: Sequence[int]) -> Tensor:
        spectrum: Tensor = torch.fft.fftn(wrapped(self.kernel, lengths), dim=linalg.item_axes(len(lengths)))
        return spectrum

    def _cosine_transfer(self) -> Tensor | None:
        """Return the kernel's cosine spectrum, None if it is not even in each axis."""
        if not is_even(self.kernel, self.domain_shape, 4 * torch.finfo(self.dtype).eps):
            return None
        return self._in_precision(cosine_sums(self.kernel, self.domain_shape))

    def _power(self) -> Tensor:
        def compute() -> Tensor:
            own = self.diagonal()
            values = self._transfer() if own is None else own.values
            return values.real.square() + values.imag.square() if values.is_complex() else values.square()

        return self._cached("power", compute)

    def _fourier_symbol(self) -> Tensor:
        symbol = self._wide_transfer(self.domain_shape).abs().square()
        return self._in_precision(symbol * self._share(symbol))

    def _cosine_symbol(self) -> Tensor:
        d = len(self.domain_shape)
        symbol = cosine_sums(autocorrelation(self.kernel, d).real, self.domain_shape).clamp(min=0)
        return self._in_precision(symbol * self._share(symbol))

    def _share(self, symbol: Tensor) -> Tensor:
        """Return how much of the kernel's power meets the image and is kept, on average, to multiply a symbol."""
        d = len(self.domain_shape)
        square, taps = self.kernel.abs().square(), self.kernel.shape[-d:]
        met = outer([overlap(k, axis, self.boundary) for k, axis in zip(taps, self._axes, strict=True)])
        share = linalg.ratio((square * met).flatten(-d).sum(-1), square.flatten(-d).sum(-1))
        return linalg.per_item(share, symbol, d)

    def _passed(self) -> Tensor:
        """Return how much of an image of power 1 / |D^|^2 passes the blur, per pixel: mean |k^|^2 / |D^|^2.

        Over cosine frequencies for "periodic", too: pictures do not repeat, and hold waves longer than themselves.
        """
        symbol = self.gram_diagonal_estimate("cosine").values.double()
        falling = Gradient(self.domain_shape, dtype=torch.float64).to(self.device).gram_diagonal()
        if falling is None:
            raise RuntimeError("finite differences are diagonal in the cosine basis")
        share = linalg.ratio(symbol, falling.values).flatten(-len(self.domain_shape))
        share[..., 0] = 0  # the mean of the image is none of the spectrum's business
        return share.mean(-1)

    def _differences(self) -> list[LinearOperator]:
        """Return the finite differences whose boundary is ours, so that they share our basis."""
        d, found = len(self.domain_shape), []
        if self.boundary != "periodic":
            return [Gradient(self.domain_shape, dtype=self.dtype).to(self.device)]
        for axis in range(d):
            step = torch.tensor([1.0, -1.0, 0.0]).reshape([3 if i == axis else 1 for i in range(d)])
            if self.domain_shape[axis] > 1:
                found.append(Blur(self.domain_shape, step, dtype=self.dtype).to(self.device))
        return list(found)

    def _norm(self) -> Tensor:
        if self.diagonal() is None and self._batch():
            return self._per_kernel(lambda A: A.norm())
        return super()._norm()

    def _norm_bound(self) -> Bound:
        """Return the closed form, else the best of what padding, row and column sums and Collatz-Wielandt promise."""
        if self.diagonal() is not None:
            return super()._norm_bound()
        if self._batch():
            return Bound(self._per_kernel(lambda A: A.norm_bound()), "bound per kernel")
        wide = Blur(self.domain_shape, self.kernel, self.boundary, dtype=torch.float64)
        # mirroring makes an image at most sqrt(2^d) times longer, padding and cropping do not
        longer = 2 ** (len(self.domain_shape) / 2) if self.boundary == "reflect" else 1.0
        bounds = {"spectrum of the padded kernel": longer * wide._transfer().abs().amax()}
        size = Blur(self.domain_shape, self.kernel.abs(), self.boundary, dtype=torch.float64)
        rows = size(torch.ones(self.domain_shape, dtype=torch.float64)).amax()
        columns = size.adjoint(torch.ones(self.range_shape, dtype=torch.float64)).amax()
        bounds["row and column sums"] = (rows * columns).sqrt()
        if self.nonnegative:
            bounds["Collatz-Wielandt bound"] = linalg.collatz_wielandt(wide.gram, wide.start()).sqrt()
        kind = min(bounds, key=lambda name: float(bounds[name]))
        value = bounds[kind] * (1 + 16 * torch.finfo(self.dtype).eps)
        return Bound(value.to(self.device, self.dtype), kind)

    def _batch(self) -> tuple[int, ...]:
        return tuple(self.kernel.shape[: -len(self.domain_shape)])

    def _per_kernel(self, what: Any) -> Tensor:
        """Return a number of every kernel's blur, of the kernels' batch shape."""
        kernels = self.kernel.flatten(0, -len(self.domain_shape) - 1)
        blurs = [Blur(self.domain_shape, k, self.boundary, dtype=self.dtype).to(self.device) for k in kernels]
        return torch.stack([what(A) for A in blurs]).reshape(self._batch())

    def _in_precision(self, t: Tensor) -> Tensor:
        return t.to(self.device, COMPLEX_OF[self.dtype] if t.is_complex() else self.dtype)

    def extra_repr(self) -> str:
        """Name kernel and boundary."""
        d = len(self.domain_shape)
        taps = " x ".join(map(str, self.kernel.shape[-d:]))
        many = f", one per item of {self._batch()}" if self._batch() else ""
        return f"{taps} taps{many}, {self.boundary} boundary; FFT, {super().extra_repr()}"
