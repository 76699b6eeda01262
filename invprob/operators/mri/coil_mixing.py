"""Matrices along the coil axis, of data and maps alike: whitening of the noise, compression to fewer coils."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.errors import InputWarning

SAMPLES_PER_COIL = 10  # of noise, without which its covariance is not known
DOUBT = 3.0  # standard deviations by which the energy of noise may be above its mean
SHARE = 0.999  # of the energy that fewer coils keep where the noise is not known


@dataclass(frozen=True, eq=False)
class CoilMixing:
    """y' = M y along the coil axis, and S' = M S, so that y' = A' x of the same image.

    Arguments:
        matrix: M, `(coils out, coils in)`, complex128.
    """

    matrix: Tensor

    def __call__(self, t: Tensor, ndim: int) -> Tensor:
        """Return M t along the axis before the last `ndim`, in the precision of t; ValueError unless it fits."""
        coils = t.shape[-ndim - 1] if t.ndim > ndim else 0
        if coils != self.matrix.shape[1]:
            raise ValueError(f"a mixing of {self.matrix.shape[1]} coils does not fit {coils} in {tuple(t.shape)}")
        mixed = torch.tensordot(self.matrix.to(t.device, t.dtype), t, dims=([1], [t.ndim - ndim - 1]))
        moved: Tensor = mixed.movedim(0, t.ndim - ndim - 1).contiguous()
        return moved

    def __matmul__(self, other: CoilMixing) -> CoilMixing:
        """Return the mixing of the mixed coils of `other`."""
        return CoilMixing(self.matrix @ other.matrix)


def noise_covariance(noise: Tensor) -> Tensor:
    """Return Psi = (1/n) sum n n^H of noise samples `(C, n)`, whose mean is known to be zero.

    ValueError for fewer than 10 samples per coil.
    """
    noise = noise.to(torch.complex128)
    if noise.ndim != 2 or noise.shape[1] < SAMPLES_PER_COIL * noise.shape[0]:
        raise ValueError(
            f"a covariance of noise needs samples (coils, n) with n at least {SAMPLES_PER_COIL} times the coils, got "
            f"{tuple(noise.shape)}"
        )
    return noise @ noise.mH / noise.shape[1]


def whitening(covariance: Tensor, gain: float = 1.0) -> CoilMixing:
    """Return M = sqrt(gain) L^-1 for Psi = L L^H: after it the noise of the coils is independent, of sigma = 1.

    A coil without noise is dead: it is left out, which a warning says.

    Arguments:
        covariance: Psi, `(C, C)`, Hermitian and positive.
        gain: the variance of noise in `covariance` over that in the data, where they were read with other dwell times:
            bandwidth ratio * dwell of the data / dwell of the noise.

    ValueError for a matrix that is no covariance.
    """
    psi = covariance.to(torch.complex128)
    if psi.ndim != 2 or psi.shape[0] != psi.shape[1] or not torch.allclose(psi, psi.mH, rtol=1e-6):
        raise ValueError(f"a covariance of coils is Hermitian and square, got shape {tuple(psi.shape)}")
    if not gain > 0:
        raise ValueError(f"gain must be positive, got {gain}")
    alive = psi.diagonal().real > 0
    dead = torch.nonzero(~alive).flatten().tolist()
    if dead:
        warnings.warn(f"coils {dead} have no noise, so they are dead: left out", InputWarning, stacklevel=2)
    sigma = psi.diagonal().real[alive].sqrt()
    if not len(sigma):
        raise ValueError("no coil has noise: all are dead")
    # coils of very different gains are brought to one scale first
    L, failed = torch.linalg.cholesky_ex(psi[alive][:, alive] / (sigma[:, None] * sigma))
    if failed:
        raise ValueError("the covariance of the coils is not positive: some of them are copies of others")
    inverse = torch.linalg.solve_triangular(L, torch.diag(1 / sigma).to(L.dtype), upper=False)
    matrix = torch.zeros(inverse.shape[0], psi.shape[0], dtype=torch.complex128, device=psi.device)
    matrix[:, alive] = inverse
    return CoilMixing(gain**0.5 * matrix)


def compression(samples: Tensor, *, coils: int | None = None, noise: float | None = None) -> CoilMixing:
    """Return M = U_r^H for samples U s V^H: the r virtual coils that hold most of the signal (Buehrer et al. 2007).

    Its rows are orthonormal, so white noise stays white and keeps its level.

    Arguments:
        samples: of k-space where the signal is strong, `(C, ...)`, after whitening.
        coils: r; by default as few as leave out less energy than that of the noise, and without a noise level as few as
            keep 99.9 %.
        noise: sigma of a sample, sigma^2 = E|n|^2.

    ValueError for samples that are zero or not finite, and for `coils` that there are not.
    """
    rows = samples.flatten(1).to(torch.complex128)
    count = rows.shape[0]
    if coils is not None and not 1 <= coils <= count:
        raise ValueError(f"compression to {coils} of {count} coils is not possible")
    if not bool(torch.isfinite(torch.view_as_real(rows)).all()) or not bool((rows != 0).any()):
        raise ValueError("compression needs samples of k-space that are finite and not all zero")
    rows = rows / rows.abs().max()
    energy, vectors = (part.flip(-1) for part in torch.linalg.eigh(rows @ rows.mH))
    if coils is None:
        left_out = energy.sum() - energy.cumsum(0)
        allowed = (1 - SHARE) * energy.sum()
        if noise is not None:
            unit = float(noise / samples.abs().max()) ** 2
            left = rows.shape[1] * (count - 1 - torch.arange(count, dtype=torch.float64))  # samples left out
            allowed = unit * (left + DOUBT * left.sqrt())
        coils = 1 + int((left_out > allowed)[:-1].sum())
    return CoilMixing(vectors[:, : min(coils, count)].mH.contiguous())
