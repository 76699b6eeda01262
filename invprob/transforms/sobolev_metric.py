"""The Sobolev metric: Bessel potentials (I - Laplacian)^{s/2} on a grid, which weigh frequencies by <xi>^s."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import LinearOperator
from invprob.linop.bases import Basis, dct, idct

BASES: dict[str, Basis] = {"periodic": "fourier", "neumann": "cosine"}


class SobolevMetric(LinearOperator):
    """P_s x = B^H diag(<xi>^s) B x with <xi>^2 = 1 + l^2 |xi|^2, so that |P_s x| is the norm of x in H^s.

    Self-adjoint, and P_s P_t = P_{s+t}. For s < 0 it is a preconditioner: M = P_{-2t} in
    `GradientDescent(preconditioner=M)` descends along the gradient of the H^t metric (Neuberger 1997). In any other
    solver the same is the change of variables x = P_{-t} u, the operator `A @ SobolevMetric(shape, -t)`; a prior then
    speaks of u.

    Arguments:
        shape: that of an item, of x as of P_s x.
        s: the order, any finite number: s > 0 weighs high frequencies more, s < 0 less.
        spacing: h, the distance of neighbouring samples: a number, or one for each of `axes`.
        length_scale: l, in the unit of `spacing`; structure below l counts as high frequency.
        homogeneous: take |l xi|^s instead, which ends constants (for s < 0 their weight is set to 0).
        symbol: "spectral" has xi = 2 pi fftfreq(n, h) or pi k / (n h), "fd" that of finite differences,
            |xi|^2 = (2 - 2 cos(xi h)) / h^2 (Strang 1999).
        boundary: the basis B: "periodic" is the Fourier basis, "neumann" the cosine basis.
        axes: the item axes on which it acts, by number; by default all.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for what does not fit, and for weights beyond the precision.
    """

    transparent = True

    def __init__(
        self,
        shape: Sequence[int],
        s: float,
        *,
        spacing: float | Sequence[float] = 1.0,
        length_scale: float = 1.0,
        homogeneous: bool = False,
        symbol: Literal["spectral", "fd"] = "spectral",
        boundary: Literal["periodic", "neumann"] = "periodic",
        axes: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(shape, shape, dtype=dtype)
        if not math.isfinite(s):
            raise ValueError(f"SobolevMetric: s must be a finite number, got {s}")
        if not 0 < length_scale < math.inf:
            raise ValueError(f"SobolevMetric: length_scale must be positive and finite, got {length_scale}")
        if boundary not in BASES:
            raise ValueError(f'SobolevMetric: boundary must be "periodic" or "neumann", got {boundary!r}')
        if symbol not in ("spectral", "fd"):
            raise ValueError(f'SobolevMetric: symbol must be "spectral" or "fd", got {symbol!r}')
        self.s = float(s)
        self.axes = _item_axes(axes, len(self.domain_shape))
        self.spacing = _spacings(spacing, len(self.axes))
        self.length_scale, self.homogeneous = float(length_scale), homogeneous
        self.symbol, self.boundary = symbol, boundary
        most = float(self.weights(self.s).max())
        if not 0 <= most <= torch.finfo(self.dtype).max:
            raise ValueError(
                f"SobolevMetric: with s={s}, spacing={spacing}, length_scale={length_scale} the largest weight <xi>^s "
                f"is {most:g}, beyond {self.dtype}: choose another unit or a smaller |s|"
            )

    def weights(self, power: float) -> Tensor:
        """Return <xi>^power in float64, of as many axes as an item, of length 1 where it does not act."""
        total = torch.zeros((1,) * len(self.domain_shape), dtype=torch.float64, device=self.device)
        for axis, h in zip(self.axes, self.spacing, strict=True):
            n = self.domain_shape[axis]
            if self.boundary == "periodic":
                turn = 2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64, device=self.device)
            else:
                turn = math.pi / n * torch.arange(n, dtype=torch.float64, device=self.device)
            size = turn if self.symbol == "spectral" else 2 * torch.sin(turn / 2)
            total = total + (self.length_scale * size / h).square().reshape(n, *(1,) * (-1 - axis))
        if not self.homogeneous:
            return (1 + total) ** (power / 2)
        some = total > 0
        return torch.where(some, torch.where(some, total, 1.0) ** (power / 2), 0.0 if power else 1.0)

    def filtered(self, x: Tensor, values: Tensor) -> Tensor:
        """Return B^H diag(values) B x for real values even in xi, a function of <xi>, that broadcast against x."""
        if self.s == 0 or not x.numel():  # where the weight is 1 everywhere, so is every function of it
            return x * values
        c = self._coefficients(x, dct, torch.fft.fftn)
        if self.boundary == "neumann" or x.is_complex():
            return self._coefficients(c * values, idct, torch.fft.ifftn)
        last = self.axes[-1]
        half = values.narrow(last, 0, c.shape[last])
        real: Tensor = torch.fft.irfftn(c * half, s=[x.shape[a] for a in self.axes], dim=self.axes)
        return real

    def _coefficients(self, x: Tensor, cosine: Callable[[Tensor], Tensor], fourier: Callable[..., Tensor]) -> Tensor:
        if self.boundary == "periodic":
            return fourier(x, dim=self.axes) if x.is_complex() else torch.fft.rfftn(x, dim=self.axes)
        for axis in self.axes:
            x = cosine(x.movedim(axis, -1)).movedim(-1, axis)
        return x

    def power_spectrum(self, x: Tensor) -> Tensor:
        """Return |B x|^2, of the shape of x: the periodogram along the axes, its sum that of |x|^2."""
        if self.boundary == "periodic":
            x = torch.fft.fftn(x, dim=self.axes, norm="ortho")
        else:
            x = self._coefficients(x, dct, torch.fft.fftn)
        return x.abs().square()

    @property
    def multiplier(self) -> Tensor:
        """<xi>^s in the operator's precision; 1 for s = 0."""
        return self._cached("multiplier", self._multiplier)

    def _multiplier(self) -> Tensor:
        values = self.weights(self.s) if self.s else torch.ones((), dtype=torch.float64, device=self.device)
        return values.to(self.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return self.filtered(x, self.multiplier)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.filtered(y, self.multiplier)

    def _gram(self, x: Tensor) -> Tensor:
        return self.filtered(x, self.multiplier.square())

    def diagonal(self) -> Diagonal | None:
        """Return <xi>^s, in the Fourier or the cosine basis."""
        if self.s == 0:
            return Diagonal(self.multiplier, "any")
        return Diagonal(self.multiplier.expand(self.domain_shape), BASES[self.boundary])

    def extra_repr(self) -> str:
        """Show the order and the boundary besides."""
        return f"{super().extra_repr()}, s={self.s:g}, {self.boundary}"


def _item_axes(axes: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes counted from the end, in order."""
    given = range(ndim) if axes is None else tuple(axes)
    if not given or any(not -ndim <= a < ndim for a in given):
        raise ValueError(f"SobolevMetric: axes={tuple(given)} must name some of the {ndim} item axes")
    counted = tuple(sorted(a - ndim if a >= 0 else a for a in given))
    if len(set(counted)) < len(counted):
        raise ValueError(f"SobolevMetric: axes={tuple(given)} names an axis twice")
    return counted


def _spacings(spacing: float | Sequence[float], count: int) -> tuple[float, ...]:
    found = tuple(map(float, spacing)) if isinstance(spacing, Sequence) else (float(spacing),) * count
    if len(found) != count or not all(0 < h < math.inf for h in found):
        raise ValueError(
            f"SobolevMetric: spacing must be a positive number or one for each of the {count} axes, got {spacing}"
        )
    return found
