"""Priors whose D(x, sigma) is a formula: mixtures of Gaussians, and stationary Gaussian fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import item_axes, per_item
from invprob.linop import LinearOperator
from invprob.priors.score import ScorePrior


class GaussianMixture(ScorePrior):
    """p(x) = sum_k w_k N(x; m_k, C_k) with C_k = Q_k diag(v_k) Q_k^H + r_k (I - Q_k Q_k^H).

    D(x, sigma) = sum_k p(k | x) (m_k + C_k (C_k + sigma^2)^-1 (x - m_k)). With few axes Q_k it is a mixture of
    probabilistic principal components (Tipping & Bishop 1999); `of_covariances` takes full ones, `fitted` learns from
    images. Densities are those of circular complex numbers where the means or the axes are complex.

    Arguments:
        weights: w, `(K,)`, positive; they are divided by their sum.
        means: m, `(K, *item)`.
        axes: Q, orthonormal columns, `(K, N, R)` for items of N numbers.
        variances: v, of the axes, `(K, R)`, not negative.
        rest: r, the variance in all other directions, `(K,)`; by default 0.

    ValueError for shapes that do not fit, and for negative weights and variances.
    """

    def __init__(
        self, weights: Tensor, means: Tensor, axes: Tensor, variances: Tensor, rest: Tensor | None = None
    ) -> None:
        super().__init__()
        count, size = len(means), math.prod(means.shape[1:])
        rest = torch.zeros(count) if rest is None else rest
        shapes = (weights.shape, axes.shape[:2], variances.shape, rest.shape)
        if shapes != ((count,), (count, size), (count, axes.shape[-1]), (count,)) or means.ndim < 2:
            raise ValueError(
                f"GaussianMixture: for {count} means of {size} numbers weights ({count},), axes ({count}, {size}, R), "
                f"variances ({count}, R) and rest ({count},) are due, got {[tuple(shape) for shape in shapes]}"
            )
        if not bool((weights > 0).all()) or float(min(variances.min(), rest.min())) < 0:
            raise ValueError("GaussianMixture: weights must be positive, variances and rest not negative")
        self.ndim = means.ndim - 1
        self.weights, self.means, self.axes, self.variances, self.rest = (
            t.to(torch.complex128 if t.is_complex() else torch.float64)
            for t in (weights / weights.sum(), means, axes, variances, rest)
        )

    @classmethod
    def of_covariances(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> Self:
        """Return the mixture with full covariances, `(K, N, N)`, Hermitian and positive semidefinite."""
        variances, axes = torch.linalg.eigh(covariances)
        return cls(weights, means, axes, variances.clamp(min=0))

    @classmethod
    def fitted(
        cls, images: Tensor, components: int = 8, rank: int = 16, *, generator: int = 0, iterations: int = 10
    ) -> Self:
        """Return the mixture of probabilistic principal components of images `(n, *item)`, by hard assignments.

        Every image belongs to the component in which it is likeliest, and components are fitted to their images in
        turn; one with fewer than `rank` + 2 of them is given up.
        """
        flat = images.flatten(1).double() if not images.is_complex() else images.flatten(1).to(torch.complex128)
        rank, draw = min(rank, len(flat) - 2), torch.Generator().manual_seed(generator)
        label = _apart(_parts(flat), components, draw)
        for _ in range(iterations):
            groups = [flat[label == k] for k in sorted(set(label.tolist()))]
            groups = [group for group in groups if len(group) >= rank + 2] or [flat]
            mixture = cls(*_principal(groups, rank, images.shape[1:]))
            moved = mixture._log_joint(flat, torch.zeros((), dtype=torch.float64))[0].argmax(-1)
            if torch.equal(moved, label):
                break
            label = moved
        return mixture

    @property
    def spread(self) -> float:  # type: ignore[override]
        """The standard deviation of all values around their mean image."""
        size, rank = self.axes.shape[1:]
        inner = self.variances.sum(1) + (size - rank) * self.rest
        centre = torch.einsum("k,k...->...", self.weights.to(self.means.dtype), self.means)
        between = (self.means - centre).abs().square().flatten(1).sum(1)
        return float((self.weights @ (inner + between) / size).sqrt())

    def denoise(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma)."""
        flat = x.flatten(-self.ndim)
        level = per_item(sigma, flat, 1)
        joint, c, d = self._log_joint(flat, level)
        square = level.square().unsqueeze(-1)
        variances, rest = self.variances.to(flat.real), self.rest.to(flat.real)[:, None]
        axes, means = self.axes.to(_kind(flat, self.axes)), self.means.flatten(1).to(_kind(flat, self.means))
        kept = _share(variances, square) * c
        inside = torch.einsum("...kr,knr->...kn", kept, axes)
        if axes.shape[1] > axes.shape[2]:
            outside = d - torch.einsum("...kr,knr->...kn", c, axes)
            inside = inside + _share(rest, square) * outside
        answers = means + inside
        mean = (joint.softmax(-1).unsqueeze(-1).to(answers.dtype) * answers).sum(-2)
        return mean.reshape(x.shape)

    def log_density(self, x: Tensor, sigma: Scalar = 0.0) -> Tensor:
        """Return log p(x, sigma) per item, of the density with noise of that level; -inf off a degenerate one."""
        flat = x.flatten(-self.ndim)
        joint: Tensor = self._log_joint(flat, per_item(sigma, flat, 1))[0].logsumexp(-1)
        return joint

    def sample(self, count: int, generator: int | torch.Generator = 0) -> Tensor:
        """Return draws, `(count, *item)` in float64 or complex128."""
        draw = torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator
        k = torch.multinomial(self.weights, count, replacement=True, generator=draw)
        kind = _kind(self.means, self.axes)
        axes, scale = self.axes[k].to(kind), self.rest[k].sqrt()[:, None]
        c = torch.randn(count, axes.shape[-1], dtype=kind, generator=draw)
        rest = scale * torch.randn(count, axes.shape[1], dtype=kind, generator=draw)
        along = torch.einsum("bn,bnr->br", rest, axes.conj())
        flat = rest + torch.einsum("br,bnr->bn", self.variances[k].sqrt() * c - along, axes)
        return self.means[k] + flat.reshape(count, *self.means.shape[1:])

    def posterior(self, A: LinearOperator, y: Tensor, noise: float) -> GaussianMixture:
        """Return p(x | y) for y = A x + noise n of one item, exactly: what samplers are measured against.

        Means m_k + K_k (y - A m_k) with K_k = C_k A^H (A C_k A^H + noise^2)^-1, covariances (I - K_k A) C_k, weights
        in the ratio of w_k N(y; A m_k, A C_k A^H + noise^2). By dense matrices, for items of up to a few thousand
        numbers.
        """
        matrix = dense(A)
        kind = _kind(self.means, self.axes).to_complex() if matrix.is_complex() else _kind(self.means, self.axes)
        matrix, means = matrix.to(kind), self.means.flatten(1).to(kind)
        axes, identity = self.axes.to(kind), torch.eye(means.shape[1], dtype=kind)
        along = axes * (self.variances - self.rest[:, None]).unsqueeze(1)
        covariances = torch.einsum("kr,knm->knm", self.rest[:, None].to(kind), identity.expand(len(means), -1, -1))
        covariances = covariances + along @ axes.mH
        projected = matrix @ covariances @ matrix.mH + noise**2 * torch.eye(len(matrix), dtype=kind)
        factor = torch.linalg.cholesky(projected)
        difference = (y.flatten().to(kind) - means @ matrix.mT).unsqueeze(-1)
        whitened = torch.linalg.solve_triangular(factor, difference, upper=False)[..., 0]
        half = 1.0 if kind.is_complex else 0.5
        volume = 2 * half * factor.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
        weights = (self.weights.log() - half * whitened.abs().square().sum(-1) - volume).softmax(0)
        gain = torch.cholesky_solve(matrix @ covariances, factor).mH
        left = covariances - gain @ (matrix @ covariances)
        moved = (means + (gain @ difference)[..., 0]).reshape(self.means.shape)
        return GaussianMixture.of_covariances(weights.clamp(min=1e-300), moved, (left + left.mH) / 2)

    def _log_joint(self, flat: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log w_k N(x; m_k, C_k + sigma^2) `(*batch, K)`, the coefficients of x - m_k, and x - m_k."""
        axes, means = self.axes.to(_kind(flat, self.axes)), self.means.flatten(1).to(_kind(flat, self.means))
        d = flat.unsqueeze(-2) - means
        c = torch.einsum("...kn,knr->...kr", d, axes.conj())
        square = level.square().unsqueeze(-1)
        along, across = self.variances.to(square) + square, self.rest.to(square) + square[..., 0]
        half = 1.0 if d.is_complex() else 0.5
        others = axes.shape[1] - axes.shape[2]
        distance, volume = (c.abs().square() / along).sum(-1), along.log().sum(-1)
        if others:
            left = (d.abs().square().sum(-1) - c.abs().square().sum(-1)).clamp(min=0)
            distance, volume = distance + left / across, volume + others * across.log()
        constant = half * axes.shape[1] * math.log(math.pi / half)
        return self.weights.log().to(square) - half * (distance + volume) - constant, c, d


class StationaryField(ScorePrior):
    """A stationary Gaussian field on a torus: independent Fourier coefficients of variance S around a mean.

    D(x, sigma) = m + F^H (S / (S + sigma^2)) F (x - m), Wiener's filter, F the orthonormal Fourier transform.

    Arguments:
        spectrum: S >= 0, `item`, with the frequency 0 first along every axis, even in frequency for real images.
        mean: m, a number or an item.

    ValueError for a spectrum with negative entries.
    """

    def __init__(self, spectrum: Tensor, mean: float | Tensor = 0.0) -> None:
        super().__init__()
        if spectrum.is_complex() or not bool((spectrum >= 0).all()):
            raise ValueError("StationaryField: spectrum must be real and not negative")
        self.ndim = spectrum.ndim
        self.spectrum, self.mean = spectrum.double(), torch.as_tensor(mean)

    @classmethod
    def fitted(cls, images: Tensor, mean: float | Tensor | None = None) -> Self:
        """Return the field with the mean, by default one number, and the power spectrum of images `(n, *item)`."""
        middle = images.mean() if mean is None else torch.as_tensor(mean)
        axes = item_axes(images.ndim - 1)
        power = torch.fft.fftn(images - middle, dim=axes, norm="ortho").abs().square().double().mean(0)
        return cls(power, middle)

    @classmethod
    def power_law(cls, shape: Sequence[int], slope: float = 2.0, spread: float = 0.25, mean: float = 0.5) -> Self:
        """Return the field with S ~ (|f| + 1 / n)^-slope, f in cycles per pixel, n the longest side, of that spread."""
        ticks = torch.meshgrid(*(torch.fft.fftfreq(n, dtype=torch.float64) for n in shape), indexing="ij")
        radius = torch.stack([t.square() for t in ticks]).sum(0).sqrt()
        power = (radius + 1 / max(shape)) ** -slope
        return cls(power * spread**2 / power.mean(), mean)

    @property
    def spread(self) -> float:  # type: ignore[override]
        """The standard deviation of a pixel."""
        return float(self.spectrum.mean().sqrt())

    def denoise(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma)."""
        mean, spectrum = self.mean.to(_kind(x, self.mean)).to(x.device), self.spectrum.to(x.real)
        share = _share(spectrum, per_item(sigma, x, self.ndim).square())
        axes = item_axes(self.ndim)
        kept: Tensor = torch.fft.ifftn(share * torch.fft.fftn(x - mean, dim=axes, norm="ortho"), dim=axes, norm="ortho")
        kept = kept if x.is_complex() or mean.is_complex() else kept.real
        answer: Tensor = mean + kept
        return answer

    def sample(self, count: int, generator: int | torch.Generator = 0) -> Tensor:
        """Return real draws, `(count, *item)` in float64."""
        draw = torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator
        white = torch.randn(count, *self.spectrum.shape, dtype=torch.float64, generator=draw)
        axes = item_axes(self.ndim)
        coloured: Tensor = torch.fft.ifftn(self.spectrum.sqrt() * torch.fft.fftn(white, dim=axes), dim=axes).real
        draws: Tensor = self.mean + coloured
        return draws

    def as_mixture(self) -> GaussianMixture:
        """Return the field of real images as one dense Gaussian, which has an exact `posterior`."""
        shape = self.spectrum.shape
        identity = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
        axes = item_axes(self.ndim)
        covariance = torch.fft.ifftn(self.spectrum * torch.fft.fftn(identity, dim=axes), dim=axes).real.flatten(1)
        mean = self.mean.double().expand(shape)
        return GaussianMixture.of_covariances(torch.ones(1), mean[None], covariance[None])


def dense(A: LinearOperator) -> Tensor:
    """Return the matrix of a linear operator, `(readings, numbers of an image)`, in double precision."""
    size = math.prod(A.domain_shape)
    identity = torch.eye(size, dtype=A.domain_dtype).reshape(size, *A.domain_shape)
    columns = A(identity).reshape(size, -1).mT
    return columns.to(torch.complex128 if columns.is_complex() else torch.float64)


def _share(variance: Tensor, square: Tensor) -> Tensor:
    """Return v / (v + sigma^2), 1 for sigma = 0 where v > 0, 0 where v = 0."""
    total = variance + square
    return torch.where(total > 0, variance / torch.where(total > 0, total, 1.0), 0.0)


def _kind(x: Tensor, other: Tensor) -> torch.dtype:
    """Return the dtype of x, or its complex one where the other tensor is complex."""
    return x.dtype.to_complex() if other.is_complex() else x.dtype


def _parts(flat: Tensor) -> Tensor:
    return torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat


def _apart(flat: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Return which of so many points of a set every point is nearest to; they are drawn far apart.

    With probabilities as the squares of the distances (Arthur & Vassilvitskii 2007).
    """
    chosen = [int(torch.randint(len(flat), (1,), generator=draw))]
    nearest = (flat - flat[chosen[0]]).square().sum(1)
    for _ in range(1, min(count, len(flat))):
        if not float(nearest.sum()) > 0:
            break
        chosen.append(int(torch.multinomial(nearest, 1, generator=draw)))
        nearest = torch.minimum(nearest, (flat - flat[chosen[-1]]).square().sum(1))
    return torch.cdist(flat, flat[chosen]).argmin(1)


def _principal(groups: Sequence[Tensor], rank: int, item: torch.Size) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return weights, means, axes, variances and rest of the principal components of groups of flat images."""
    weights = torch.tensor([float(len(group)) for group in groups], dtype=torch.float64)
    means, axes, variances, rest = [], [], [], []
    for group in groups:
        mean = group.mean(0)
        _, s, vh = torch.linalg.svd(group - mean, full_matrices=False)
        power = s.square() / len(group)
        means.append(mean.reshape(item))
        axes.append(vh[:rank].mH)
        variances.append(power[:rank])
        rest.append(power[rank:].sum() / max(1, group.shape[1] - rank))
    return weights, torch.stack(means), torch.stack(axes), torch.stack(variances), torch.stack(rest)
