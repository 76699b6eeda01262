"""MRI on any trajectory through k-space: spirals, radial spokes, what a scanner really drove."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from invprob import linalg
from invprob.linalg import Diagonal
from invprob.linop.bases import Basis
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Shape, valid_shape
from invprob.operators.fourier.kernels import RecentKernels, collapsed, real_weights, stays
from invprob.operators.fourier.nufft import EPS, Transforms
from invprob.operators.fourier.toeplitz import by_parity, half_turns, toeplitz_kernel
from invprob.operators.mri.cartesian import broadcast
from invprob.operators.mri.density import pipe_menon
from invprob.operators.mri.encoding import Coils, Encoding
from invprob.operators.mri.held_out import SHOTS, stratified
from invprob.operators.mri.trainable import transformed
from invprob.operators.mri.trajectory import checked_trajectory, reaches_little

WIDER = 1.4  # how much larger the grid is on which energy outside the field of view is looked for
OUTSIDE = 0.05  # share of the energy outside from which on it is told; no measurement on record
TELLING = 0.1  # share of the band that must be sampled densely enough to tell


class NonCartesianMRI(Encoding):
    """y(omega) = prod(N)^-1/2 sum_n (S x)[n] exp(-i sum_j omega_j (n_j - floor(N_j / 2))), omega in radians per pixel.

    The trajectory sets the pixel, the image's shape the field of view, which must hold the object. Forward and adjoint
    by FINUFFT, A^H W A as a convolution by FFTs, which is several times faster; with several weights its kernels are
    remembered. Scaled as `CartesianMRI`.

    Images are `(*batch, [sets], [frames], *image)`, data `(*batch, [frames], [coils], *samples)`.

    Arguments:
        image_shape: N, one to three axes.
        trajectory: omega, `([frames], *samples, d)`, its last axis in the order of the image's axes, (omega_y,
            omega_x); `radians_per_pixel` converts other units. With several axes of samples the last one runs along a
            readout. One that requires a gradient is trained with the rest.
        coils: the maps, complex, `(*batch, [sets], coils, *image)`; a number of coils whose maps are not known; None
            (the default) for a single coil without an axis.
        eps: the accuracy of the transform; by default 1e-5 in float32, which can do no better, and 1e-13 in float64.
        sets: how many sets of maps there are, by default 1.
        frames: how many frames there are, by default 1.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for maps that do not fit, positions that are not finite, and positions beyond pi, with the unit that
    would fit.
    """

    traceable = False

    def __init__(
        self,
        image_shape: Sequence[int],
        trajectory: ArrayLike | Tensor,
        coils: Coils = None,
        *,
        eps: float | None = None,
        sets: int = 1,
        frames: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        space = valid_shape(image_shape, self, "image_shape")
        omega = checked_trajectory(trajectory, space, frames)
        samples = tuple(omega.shape[1 if frames > 1 else 0 : -1])
        super().__init__(space, samples, coils, sets=sets, frames=frames, batch=(), dtype=dtype)
        if eps is not None and not 0 < eps < 1:
            raise ValueError(f"NonCartesianMRI: eps is an accuracy between 0 and 1, got {eps}")
        self.eps = eps
        trained = isinstance(trajectory, Tensor) and trajectory.requires_grad
        # else a plain attribute in float64, which no change of precision rounds
        self.trajectory: Tensor = trajectory if isinstance(trajectory, Tensor) and trained else omega
        self.traceable = trained
        self._recent, self._circulants = RecentKernels(), RecentKernels()

    @property
    def trained(self) -> bool:
        """Whether the trajectory is differentiated, for which A^H A has no kernel worth keeping."""
        return self.trajectory.requires_grad

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        found = {"image_shape": self.image_shape, "trajectory": self.trajectory.detach().numpy(), **self._options()}
        return found if self.eps is None else {**found, "eps": self.eps}

    def _points(self) -> Tensor:
        """Return the positions, (frames, samples, d), float64."""
        t = self.trajectory.to("cpu", torch.float64)
        return t.reshape(self.frames, -1, self._space)

    def _transforms(self) -> Transforms:
        eps = EPS[self.dtype] if self.eps is None else self.eps

        def compute() -> Transforms:
            return Transforms(self._points().detach(), self.image_shape, eps, self.dtype)

        return compute() if self.trained else self._cached("transforms", compute)

    def _scale(self) -> float:
        return 1 / math.sqrt(math.prod(self.image_shape))

    # ---- hooks of the encoding

    def _sampled(self, images: Tensor) -> Tensor:
        y = self._transform(images, adjoint=False) * self._scale()
        return y.reshape(*y.shape[:-1], *self._samples)

    def _pulled(self, samples: Tensor) -> Tensor:
        return self._transform(samples.flatten(-len(self._samples)), adjoint=True) * self._scale()

    def _transform(self, t: Tensor, *, adjoint: bool) -> Tensor:
        if self.trained:
            return transformed(t, self._points(), self._transforms(), adjoint=adjoint)
        return self._transforms().adjoint(t) if adjoint else self._transforms().forward(t)

    # ---- the normal operator

    def _gram(self, x: Tensor) -> Tensor:
        if self.trained:
            return self.adjoint(self(x))
        one = torch.ones((), dtype=self.dtype)
        return self._convolved(x, self._cached("kernel", lambda: self._kernel(one)))

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        if self.trained or not stays(weights):
            return self.adjoint(weights * self(x))
        kind = (self.dtype, self.device)
        return self._convolved(x, self._recent.get(weights, kind, lambda: self._kernel(weights)))

    def _kernel(self, weights: Tensor) -> list[tuple[Tensor | None, Tensor]]:
        """Return (D_p, L_p) per parity; L_p is (*batch, frames, coils, *image)."""
        whole = self._spectra(weights, self.dtype).to(self.device)
        kind, d = COMPLEX_OF[self.dtype], self._space
        return [
            (None if (turn := half_turns(p, self.image_shape)) is None else turn.to(self.device, kind), part)
            for p, part in by_parity(whole, d)
        ]

    def _convolved(self, x: Tensor, kernel: list[tuple[Tensor | None, Tensor]]) -> Tensor:
        lead = x.shape[: x.ndim - len(self.domain_shape)]
        batch = broadcast(broadcast(lead, kernel[0][1], self._space), self._blank_maps(), self._space)
        if not x.numel():
            return x.new_zeros(*batch, *self.domain_shape)
        x, axes = self._image_axes(x), tuple(range(-self._space, 0))
        total: Tensor | None = None
        for turn, part in kernel:
            if turn is None:
                product = self._spectral_product(x, part, axes)
            else:
                product = self._spectral_product(x * turn, part, axes) * turn.conj()
            total = product if total is None else total + product
        if total is None:
            raise RuntimeError("a kernel has at least one parity")
        return total.reshape(*total.shape[: total.ndim - self._space - 3], *self.domain_shape)

    def _blank_maps(self) -> Tensor:
        """Return a tensor with the batch of the maps and two axes and those of space."""
        return torch.empty(*self.parameter_batch, *(1,) * (2 + self._space))

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return the circulant nearest to A^H A (T. Chan 1988): its lags, folded, times those of the maps."""
        del basis
        if self.trained:
            return None
        return Diagonal(self._cached("circulant", self._nearest_circulant), "fourier")

    def weighted_gram_estimate(self, weights: Tensor) -> Diagonal | None:
        """Return the circulant nearest to A^H W A, whose spectrum is another one than that of A^H A.

        Weights of density undo what makes the middle of k-space strong, which a preconditioner must not undo again.
        """
        if self.trained or not stays(weights):
            return None
        kind = (self.dtype, self.device)
        return Diagonal(self._circulants.get(weights, kind, lambda: self._nearest_circulant(weights)), "fourier")

    def _spectra(self, weights: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the spectrum of the kernel of A^H W A on the doubled grid, (*batch, frames, coils, *2 N)."""
        w = self._data_axes(real_weights(weights, torch.float64, torch.device("cpu")))
        k = len(self._samples)
        w = collapsed(w, [-k - 1])
        w = w.expand(*w.shape[: w.ndim - k], *self._samples).flatten(-k)
        points = self._points()
        kernels = [toeplitz_kernel(points, one, self.image_shape, dtype) for one in w.reshape(-1, *w.shape[-3:])]
        return torch.stack(kernels).reshape(*w.shape[:-3], *kernels[0].shape)

    def _nearest_circulant(self, weights: Tensor | None = None) -> Tensor:
        d, sizes = self._space, self.image_shape
        axes = tuple(range(-d, 0))
        one = torch.ones((), dtype=torch.float64)
        spectrum = self._spectra(one if weights is None else weights, torch.float64).mean((-d - 2, -d - 1))
        lags = torch.fft.ifftn(spectrum, dim=axes)  # h, periodic in 2 N
        if self.maps is None:
            for axis, n in zip(axes, sizes, strict=True):
                share = 1 - (torch.arange(2 * n, dtype=torch.float64) - n).abs().sub(n).abs() / n
                lags = lags * share.reshape(2 * n, *(1,) * (-axis - 1))
        else:
            padded = [p for n in reversed(sizes) for p in (0, n)]
            spectra = torch.fft.fftn(nn.functional.pad(self.maps.to(torch.complex128), padded), dim=axes)
            power = spectra.abs().square().sum(-d - 1)
            power = power.mean(-d - 1) if self.sets > 1 else power
            lags = lags * torch.fft.ifftn(power, dim=axes).conj() / math.prod(sizes)
        for axis, n in zip(axes, sizes, strict=True):
            lags = lags.narrow(axis, 0, n) + lags.narrow(axis, n, n)
        values: Tensor = torch.fft.fftn(lags, dim=axes).real.clamp(min=0)
        shape = (*values.shape[: values.ndim - d], *(1,) * (len(self.domain_shape) - d), *sizes)
        return values.reshape(shape).to(self.device, self.dtype)

    # ---- what the physics knows

    def density(self) -> Tensor:
        """Return weights, real, that broadcast against the data: the area of k-space that belongs to each sample.

        By Pipe and Menon's steps with a squared sinc; A^H W A is about the identity at low frequencies.
        """

        def compute() -> Tensor:
            w = self._area().reshape(self.frames, *([] if self.coils is None else [1]), *self._samples)
            return (w if self.frames > 1 else w[0]).to(self.device, self.dtype)

        return self._cached("density", compute)

    def _area(self) -> Tensor:
        """Return the area of k-space that belongs to each sample, (frames, samples), float64."""
        return self._cached("area", lambda: pipe_menon(self._points(), self.image_shape))

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Return which samples to set aside, all coils together.

        Whole readouts where there are ten or more, else samples, spread evenly over the distances from the centre.
        """
        shots = math.prod(self._samples[:-1])
        frames = self.frames
        if len(self._samples) > 1 and shots >= SHOTS:
            everything = torch.ones(frames * shots, dtype=torch.bool)
            drawn = torch.rand(frames * shots, generator=generator, dtype=torch.float64)
            chosen = stratified(drawn, everything, share, generator).reshape(frames, *self._samples[:-1], 1)
            chosen = chosen.expand(frames, *self._samples)
        else:
            radius = linalg.norm(self._points().detach(), 1)
            chosen = stratified(radius, torch.ones_like(radius, dtype=torch.bool), share, generator)
            chosen = chosen.reshape(frames, *self._samples)
        chosen = chosen if self.coils is None else chosen.unsqueeze(1)
        return (chosen if frames > 1 else chosen[0]).expand(self.range_shape)

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what is doubtful: a trajectory that stays near the centre, an object larger than the image."""
        little = reaches_little(self._points())
        found = [] if little is None else [little]
        if y is None or self.trained or not bool(y.any()):
            return found
        share = self._energy_outside(self.as_data(y))
        if share > OUTSIDE:
            size, wide = (" x ".join(map(str, shape)) for shape in (self.image_shape, self._wider()))
            found.append(
                f"{share:.0%} of the energy of the data lies outside the image of {size} pixels, seen on {wide}: "
                "a larger image_shape may hold the object"
            )
        return found

    def _wider(self) -> Shape:
        return tuple(math.ceil(WIDER * n) for n in self.image_shape)

    def _energy_outside(self, y: Tensor) -> float:
        """Return the share of the energy of gridded coil images outside the image, beyond that of a flat background."""
        wide, points = self._wider(), self._points()
        # sampled any less densely, a larger image would show the object again
        dense = self._area() <= 1.05 / WIDER**self._space
        reach = linalg.norm(points, 1)
        if not bool((dense & (reach > TELLING * math.pi)).any()):
            return 0.0
        w = pipe_menon(points, wide) * dense
        samples = self._data_axes(y).flatten(-len(self._samples)) * w.unsqueeze(-2).to(y)
        images = Transforms(points, wide, 1e-4, self.dtype).adjoint(samples)
        energy = images.abs().double().square().reshape(-1, *wide).sum(0)
        energy = (energy - energy.flatten().median()).clamp(min=0)  # noise and streaks are everywhere
        inside = energy
        for axis, (m, n) in enumerate(zip(wide, self.image_shape, strict=True)):
            inside = inside.narrow(axis, m // 2 - n // 2, n)
        total = float(energy.sum())
        return 1 - float(inside.sum()) / total if total > 0 else 0.0

    def accuracy(self, count: int = 8) -> float:
        """Return how far `count` random samples of a random image are from the direct sum, relative."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.image_shape, dtype=torch.complex128, generator=generator)
        points = self._points().detach().reshape(-1, self._space)
        some = torch.randint(len(points), (count,), generator=generator)
        found = self._transforms().forward(x.to(COMPLEX_OF[self.dtype]).expand(self.frames, 1, *self.image_shape))
        found = found.reshape(-1)[some].to(torch.complex128)
        angle = torch.zeros(count, *self.image_shape, dtype=torch.float64)
        for axis, n in enumerate(self.image_shape):
            place = (torch.arange(n) - n // 2).reshape(n, *(1,) * (self._space - axis - 1))
            angle = angle + points[some, axis].reshape(-1, *(1,) * self._space) * place
        expected = (x * torch.polar(torch.ones_like(angle), -angle)).flatten(1).sum(1)
        return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))

    def extra_repr(self) -> str:
        """Say how many samples there are."""
        count = " x ".join(map(str, self._samples))
        eps = "" if self.eps is None else f", eps {self.eps:g}"
        return f"{count} samples{self._words()}{eps}, {super().extra_repr()}"
