"""One factory or more for every public operator, prior and fidelity: what the laws are applied to.

A new class gets the laws by a line here; a meta-test in each law file fails until it has one.
"""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from laws import COMPLEX, randn
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor, nn

from invprob.fidelities import (
    L2,
    Fidelity,
    HalfSquaredDistance,
    L1Fidelity,
    L2Ball,
    Multiple,
    Poisson,
    SobolevL2,
    TransmissionPoisson,
)
from invprob.functional import Functional, Zero
from invprob.linalg import per_item
from invprob.linop import LinearOperator, Operator
from invprob.linop.stacked import VStack
from invprob.operators import (
    Blur,
    CartesianMRI,
    ConeBeam,
    Downsample,
    FanBeam,
    Gradient,
    Greyscale,
    Identity,
    Mask,
    NearFieldMIMO,
    NonCartesianMRI,
    ParallelBeam,
    PlanarSAR,
    RandomProjection,
    SobolevMetric,
    Wavelet,
)
from invprob.priors import (
    L1,
    RED,
    Analysis,
    Box,
    Denoiser,
    GradientStepDenoiser,
    GroupL1,
    LearnedProximal,
    Magnitude,
    NonNegative,
    NuclearNorm,
    Sum,
    Tikhonov,
    TotalVariation,
    WaveletL1,
)
from invprob.priors.networks import RidgeRegulariser
from invprob.transforms import Component, Frequencies, Total

DOUBLE = torch.float64
VIEWS = (0.0, 0.3, math.pi / 2, 2.5)  # along both axes and between
MASK = randn((3, 4), torch.complex128, seed=11)
MATRIX = randn((5, 12), seed=12).numpy()
EVEN = [[-0.1, 0.3, -0.1], [0.2, 1.0, 0.2], [-0.1, 0.3, -0.1]]  # in each axis
GIGAHERTZ = (8e9, 9e9, 10e9)
OFF = [[0.01, 0.0, 0.0], [0.0, -0.01, 0.005]]
RAMP_OF_PIXELS = torch.linspace(0, 1, 35, dtype=DOUBLE).reshape(5, 7)
RAMP = torch.linspace(0, 1, 20, dtype=DOUBLE).reshape(4, 5)

# ---- plain functions, so that operators made of them can be pickled


def mix(x: Tensor) -> Tensor:
    """A real map (3, 4) -> (2, 4) that autograd can look into."""
    return torch.stack([x[..., 0, :] - 2 * x[..., 2, :], x[..., 1, :].flip(-1)], dim=-2)


def opaque_mix(x: Tensor) -> Tensor:
    """The same as a kernel in numpy, which would drop an imaginary part and a gradient."""
    a = x.detach().numpy()
    return torch.from_numpy(np.stack([a[..., 0, :] - 2 * a[..., 2, :], a[..., 1, ::-1]], axis=-2).astype(a.dtype))


def opaque_mix_adjoint(y: Tensor) -> Tensor:
    b = y.detach().numpy()
    top, bottom = b[..., 0, :], b[..., 1, ::-1]
    return torch.from_numpy(np.stack([top, bottom, -2 * top], axis=-2).astype(b.dtype))


def waves(n: int, like: Tensor) -> Tensor:
    """The matrix of an orthonormal DFT (torch.fft refuses empty batches)."""
    return torch.fft.fft(torch.eye(n, dtype=like.dtype), norm="ortho")


def masked_fourier(x: Tensor) -> Tensor:
    return torch.einsum("hk,wl,kl,...kl->...hw", waves(3, x), waves(4, x), MASK.to(x.dtype), x)


def masked_fourier_adjoint(y: Tensor) -> Tensor:
    return torch.einsum("hk,wl,kl,...hw->...kl", waves(3, y).conj(), waves(4, y).conj(), MASK.to(y.dtype).conj(), y)


def times_tiny(x: Tensor) -> Tensor:
    return 1e-12 * x


def times_huge(x: Tensor) -> Tensor:
    return 1e12 * x


def soft(v: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser that is a prox: the soft threshold at sigma^2."""
    t = per_item(sigma**2, v, 2)
    return v * (1 - t / v.abs().clamp(min=1e-30)).clamp(min=0)


def smoothed(v: Tensor, sigma: Tensor) -> Tensor:
    """A linear denoiser, symmetric: each row mixed with its neighbours, in a circle."""
    del sigma
    return 0.5 * v + 0.25 * (v.roll(1, -1) + v.roll(-1, -1))


def bent(v: Tensor, sigma: Tensor) -> Tensor:
    """A network N without a symmetric Jacobian, of homogeneous degree 1, that autograd sees through."""
    del sigma
    return 0.6 * v + 0.3 * v.roll(1, -1) - 0.1 * v.roll(1, -2).abs()


# ---- operators, by precision


class Attenuation(Operator):
    """y = exp(-x): what is left of light behind an absorbing layer; real images of any shape."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = DOUBLE) -> None:
        super().__init__(shape, shape, dtype=dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.exp(-x)


class Powers(Operator):
    """y = x |x|^2 on complex images, of degree 3."""

    degree = 3.0

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = DOUBLE) -> None:
        super().__init__(shape, shape, dtype=dtype, complex_domain=True, complex_range=True)

    def _forward(self, x: Tensor) -> Tensor:
        return x * (x.real**2 + x.imag**2)


def parallel(dtype: torch.dtype = DOUBLE) -> ParallelBeam:
    return ParallelBeam((5, 7), VIEWS, 8, pixel_size=0.7, detector_size=0.9, axis_offset=0.3, dtype=dtype)


def even(dtype: torch.dtype = DOUBLE) -> ParallelBeam:
    """Views of an image whose coarser twin covers the same ground."""
    return ParallelBeam((4, 6), VIEWS, 8, pixel_size=0.7, detector_size=0.7, dtype=dtype)


def fan(dtype: torch.dtype = DOUBLE) -> FanBeam:
    return FanBeam(
        (6, 5), VIEWS, 7, source_distance=9.0, detector_distance=6.0, detector_size=1.4, axis_offset=-0.4, dtype=dtype
    )


def cone(dtype: torch.dtype = DOUBLE) -> ConeBeam:
    return ConeBeam(
        (3, 4, 5),
        VIEWS,
        (4, 5),
        source_distance=9.0,
        detector_distance=6.0,
        detector_size=(1.1, 1.6),
        axis_offset=-0.4,
        row_offset=0.2,
        dtype=dtype,
    )


def near_field(dtype: torch.dtype = DOUBLE, receivers: int = 3, **arguments: object) -> NearFieldMIMO:
    axes = ([-0.02, 0.0, 0.02], [0.0, 0.03], [0.1, 0.12])
    tx = [[-0.05, 0.01, 0.0], [0.04, 0.0, 0.0]]
    return NearFieldMIMO(
        axes, tx, [[0.0, 0.02 * k, 0.0] for k in range(receivers)], GIGAHERTZ, dtype=dtype, **arguments
    )


def fourier(dtype: torch.dtype = DOUBLE) -> LinearOperator:
    return LinearOperator.from_functions(
        masked_fourier, masked_fourier_adjoint, (3, 4), (3, 4), dtype=dtype, is_complex=True
    )


def maps(*shape: int) -> Tensor:
    return randn(shape, torch.complex128, seed=66)


def positions(*shape: int) -> Tensor:
    return math.pi * torch.tanh(randn(shape, seed=67))


def mixing(dtype: torch.dtype = DOUBLE) -> LinearOperator:
    return LinearOperator.from_functions(opaque_mix, opaque_mix_adjoint, (3, 4), (2, 4), dtype=dtype)


def matrix(dtype: torch.dtype = DOUBLE, factor: complex = 1.0) -> np.ndarray:
    kind = COMPLEX[dtype] if isinstance(factor, complex) else dtype
    return (factor * MATRIX).astype(str(kind).removeprefix("torch."))


OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "identity": lambda d: Identity((3, 4), dtype=d),
    "identity-one": lambda d: Identity((1,), dtype=d),
    "total": lambda d: Total((2, 3), 3, dtype=d),
    "component": lambda d: Component((2, 3), 1, 3, dtype=d),
    "frequencies": lambda d: Frequencies((3, 2, 4), dtype=d),
    "frequencies-of-two": lambda d: Frequencies((3, 2, 4), (2, 0), dtype=d),
    "gradient-1d": lambda d: Gradient((5,), dtype=d),
    "gradient-2d": lambda d: Gradient((3, 4), dtype=d),
    "gradient-3d": lambda d: Gradient((2, 3, 2), dtype=d),
    "gradient-thin": lambda d: Gradient((1, 3), dtype=d),
    "gradient-colour": lambda d: Gradient((3, 2, 4), axes=2, dtype=d),
    "sobolev-smooth": lambda d: SobolevMetric((3, 4), -1.5, dtype=d),
    "sobolev-rough": lambda d: SobolevMetric(
        (4, 3), 1.0, spacing=(0.5, 2.0), length_scale=0.7, boundary="neumann", dtype=d
    ),
    "sobolev-axis": lambda d: SobolevMetric((2, 5, 2), 0.5, symbol="fd", axes=[1], dtype=d),
    "sobolev-homogeneous": lambda d: SobolevMetric((5,), -1.0, homogeneous=True, dtype=d),
    "sobolev-zero": lambda d: SobolevMetric((3, 4), 0.0, dtype=d),
    "sobolev-one": lambda d: SobolevMetric((1, 1), 2.0, dtype=d),
    "sobolev-of-identity": lambda d: SobolevMetric((3, 4), 1.0, dtype=d) @ (2 * Identity((3, 4), dtype=d)),
    "sobolev-of-complex": lambda d: (SobolevMetric((3, 4), 1.0, dtype=d) + (1 - 2j) * Identity((3, 4), dtype=d)).H,
    "sobolev-lifted": lambda d: SobolevMetric((4,), 1.0, dtype=d).lift((2,)),
    "parallel": parallel,
    "parallel-one": lambda d: ParallelBeam((1, 1), [0.4], 1, dtype=d),
    "parallel-column": lambda d: ParallelBeam((6, 1), VIEWS, 3, dtype=d),
    "parallel-tiny": lambda d: ParallelBeam((4, 3), VIEWS, 5, pixel_size=1e-12, detector_size=1e-12, dtype=d),
    "parallel-huge": lambda d: ParallelBeam((4, 3), VIEWS, 5, pixel_size=1e11, detector_size=1e11, dtype=d),
    "parallel-fourier": lambda d: ParallelBeam((5, 7), VIEWS, 10, projector="fourier", dtype=d),
    "parallel-fourier-odd": lambda d: ParallelBeam(
        (6, 4), VIEWS, 15, pixel_size=0.7, detector_size=0.6, axis_offset=1.3, projector="fourier", dtype=d
    ),
    "parallel-fourier-truncated": lambda d: ParallelBeam((5, 6), VIEWS, 4, projector="fourier", dtype=d),
    "parallel-fourier-one": lambda d: ParallelBeam((1, 1), [0.4], 1, projector="fourier", dtype=d),
    "fan": fan,
    "cone": cone,
    "cone-one": lambda d: ConeBeam((1, 1, 1), [0.4], (1, 1), source_distance=2.0, detector_distance=0.0, dtype=d),
    "cone-thin": lambda d: ConeBeam((1, 6, 2), VIEWS, (3, 4), source_distance=5.0, detector_distance=1.0, dtype=d),
    "blur": lambda d: Blur((5, 4), randn((3, 3), seed=31), dtype=d),
    "blur-nonnegative": lambda d: Blur((3, 4), randn((6, 5), seed=32).abs(), dtype=d),
    "blur-complex": lambda d: Blur((3, 5), randn((2, 3), torch.complex128, 33), dtype=d),
    "blur-valid": lambda d: Blur((5, 4), randn((2, 3), seed=34), "valid", dtype=d),
    "blur-zero": lambda d: Blur((5, 4), randn((4, 3), seed=35), "zero", dtype=d),
    "blur-zero-nonnegative": lambda d: Blur((3, 4), randn((6, 9), seed=36).abs(), "zero", dtype=d),
    "blur-zero-complex": lambda d: Blur((4, 3), randn((3, 4), torch.complex128, 37), "zero", dtype=d),
    "blur-reflect": lambda d: Blur((4, 5), randn((3, 4), seed=38), "reflect", dtype=d),
    "blur-reflect-nonnegative": lambda d: Blur((3, 4), randn((8, 9), seed=39).abs(), "reflect", dtype=d),
    "blur-reflect-even": lambda d: Blur((4, 5), EVEN, "reflect", dtype=d),
    "blur-1d": lambda d: Blur((6,), randn((3,), seed=40), "valid", dtype=d),
    "blur-3d": lambda d: Blur((2, 3, 3), randn((2, 1, 3), seed=41), "reflect", dtype=d),
    "blur-one": lambda d: Blur((1, 1), [[2.0]], dtype=d),
    "blur-varying": lambda d: (
        Blur((4, 5), EVEN, "zero", dtype=d) @ Mask(RAMP, dtype=d)
        + Blur((4, 5), [[0.5, 0.5]], "zero", dtype=d) @ Mask(1 - RAMP, dtype=d)
    ),
    "blur-lifted": lambda d: Blur((3, 4), randn((3, 3), seed=31), dtype=d).lift((2,)),
    "mask": lambda d: Mask(randn((4, 5), seed=42) > 0, dtype=d),
    "mask-weights": lambda d: Mask(randn((5,), seed=43), dtype=d),
    "downsample": lambda d: Downsample((4, 6), 2, dtype=d),
    "downsample-kernel": lambda d: Downsample((6, 4), (3, 2), randn((3, 4), seed=44), dtype=d),
    "downsample-complex": lambda d: Downsample((4, 6), 2, randn((3, 3), torch.complex128, 45), dtype=d),
    "downsample-reflect": lambda d: Downsample((5, 4), (2, 3), randn((2, 3), seed=46), "reflect", dtype=d),
    "downsample-valid": lambda d: Downsample((7,), 2, [0.2, -0.5, 0.3, 0.4], "valid", dtype=d),
    "greyscale": lambda d: Greyscale((3, 4), dtype=d),
    "greyscale-luma": lambda d: Greyscale((5,), (0.299, 0.587, 0.114, -0.2), dtype=d),
    "random-projection": lambda d: RandomProjection((4, 6), 7, seed=1, dtype=d),
    "random-projection-all": lambda d: RandomProjection((16,), 16, dtype=d),
    "random-projection-cosine": lambda d: RandomProjection((3, 5), 6, transform="cosine", dtype=d),
    "mri-lines": lambda d: CartesianMRI([1, 0, 1, 1, 0], maps(2, 4, 5), dtype=d),
    "mri-one-coil": lambda d: CartesianMRI(randn((3, 5), seed=61) > 0, dtype=d),
    "mri-full": lambda d: CartesianMRI(torch.ones(4, 6), maps(2, 4, 6), dtype=d),
    "mri-volume": lambda d: CartesianMRI(randn((1, 3, 4), seed=62) > -0.5, maps(2, 2, 3, 4), ndim=3, dtype=d),
    "mri-frames": lambda d: CartesianMRI(randn((2, 3, 4), seed=63) > -0.5, maps(2, 3, 4), frames=2, dtype=d),
    "mri-sets": lambda d: CartesianMRI([1, 1, 0, 1], maps(2, 3, 4, 4), sets=2, dtype=d),
    "mri-unknown-maps": lambda d: CartesianMRI(randn((3, 4), seed=64) > -0.5, 2, dtype=d),
    "mri-points": lambda d: NonCartesianMRI((4, 5), positions(7, 2), maps(2, 4, 5), dtype=d),
    "mri-points-one-coil": lambda d: NonCartesianMRI((3, 4), positions(2, 5, 2), dtype=d),
    "mri-points-volume": lambda d: NonCartesianMRI((2, 3, 3), positions(9, 3), maps(2, 2, 3, 3), dtype=d),
    "mri-points-frames": lambda d: NonCartesianMRI((3, 4), positions(2, 9, 2), maps(2, 3, 4), frames=2, dtype=d),
    "mri-lifted": lambda d: CartesianMRI([1, 0, 1, 1], maps(2, 3, 4), dtype=d).lift((2,), channels="slices"),
    "near-field": near_field,
    "near-field-rows": lambda d: near_field(d, receivers=1, refractive_index=1.5, gain=[[[1 - 2j]], [[0.5]], [[1j]]]),
    "near-field-pairs": lambda d: near_field(d, pairs=[(0, 1), (1, 0), (1, 2)]),
    "planar-sar": lambda d: PlanarSAR((2, 3, 2), (3, 2), 0.01, (0.1, 0.12), GIGAHERTZ, dtype=d),
    "planar-sar-pairs": lambda d: PlanarSAR(
        (2, 1, 2), (3, 2), (0.01, 0.02), (0.1, 0.12), GIGAHERTZ, tx_offsets=[[0, 0.01, 0]] * 2, rx_offsets=OFF, dtype=d
    ),
    "adjoint": lambda d: parallel(d).H,
    "adjoint-complex": lambda d: fourier(d).H,
    "composition": lambda d: Gradient((4, 8), dtype=d) @ parallel(d),
    "composition-complex": lambda d: mixing(d) @ fourier(d),
    "sum": lambda d: parallel(d) + ParallelBeam((5, 7), VIEWS, 8, dtype=d),
    "sum-complex": lambda d: Identity((3, 4), dtype=d) + fourier(d),
    "scaled": lambda d: 0.3 * parallel(d),
    "scaled-negative": lambda d: -Gradient((3, 4), dtype=d),
    "scaled-complex": lambda d: (0.6 - 0.8j) * Gradient((3, 4), dtype=d),
    "scaled-tensor": lambda d: torch.tensor(2.5, dtype=d) * mixing(d),
    "scaled-tiny": lambda d: 1e-12 * mixing(d),
    "scaled-huge": lambda d: 1e12 * mixing(d),
    "vstack": lambda d: VStack([parallel(d), ParallelBeam((5, 7), [0.9], 8, dtype=d)]),
    "vstack-complex": lambda d: VStack([Identity((3, 4), dtype=d), fourier(d), mixing(d)]),
    "wavelet": lambda d: Wavelet((6, 8), "db2", dtype=d),
    "wavelet-odd": lambda d: Wavelet((5, 7), "db3", levels=2, dtype=d),
    "wavelet-1d": lambda d: Wavelet((1,), "haar", dtype=d),
    "wavelet-3d": lambda d: Wavelet((2, 3, 4), "haar", dtype=d),
    "lifted-gradient": lambda d: Gradient((3, 4), dtype=d).lift((2,)),
    "lifted-fan": lambda d: fan(d).lift((2,)),
    "lifted": lambda d: mixing(d).lift((2, 1)),
    "from-functions": mixing,
    "from-functions-complex": fourier,
    "from-functions-tiny": lambda d: LinearOperator.from_functions(times_tiny, times_tiny, (4,), (4,), dtype=d),
    "from-functions-huge": lambda d: LinearOperator.from_functions(times_huge, times_huge, (4,), (4,), dtype=d),
    "from-function": lambda d: LinearOperator.from_functions(mix, None, (3, 4), (2, 4), dtype=d),
    "from-function-complex": lambda d: LinearOperator.from_functions(
        masked_fourier, None, (3, 4), (3, 4), dtype=d, is_complex=True
    ),
    "from-scipy-dense": lambda d: LinearOperator.from_scipy(matrix(d), (3, 4), (5,)),
    "from-scipy-sparse": lambda d: LinearOperator.from_scipy(scipy.sparse.csr_array(matrix(d)), (3, 4), (5, 1)),
    "from-scipy-complex": lambda d: LinearOperator.from_scipy(matrix(d, 1 - 2j), (12,), (1, 5)),
    "from-scipy-operator": lambda d: LinearOperator.from_scipy(aslinearoperator(matrix(d)), (3, 4), (5,)),
    # wrapped, as recipes meet them
    "filter-of-views": lambda d: SobolevMetric((4, 8), 0.5, dtype=d) @ parallel(d),
    "mask-of-views": lambda d: Mask(randn((4, 8), seed=51) > -0.5, dtype=d) @ parallel(d),
    "mask-of-complex": lambda d: Mask(randn((3, 4), seed=52) > -0.5, dtype=d) @ fourier(d),
    "views-of-picture": lambda d: parallel(d) @ Blur((5, 7), EVEN, "reflect", dtype=d),
    "blur-of-coefficients": lambda d: Blur((6, 8), EVEN, dtype=d) @ Wavelet((6, 8), "db2", dtype=d).H,
    "scaled-views": lambda d: -0.3 * (2 * even(d)),
    "scaled-views-complex": lambda d: (1 - 2j) * even(d),
    "scaled-filter": lambda d: 2 * (SobolevMetric((4, 8), 0.5, dtype=d) @ (3 * parallel(d))),
    "sum-of-views": lambda d: even(d) + 0.5 * even(d),
    "sum-of-stacks": lambda d: VStack([even(d), even(d)]) + VStack([even(d), 2 * even(d)]),
    "sum-of-pictures": lambda d: Blur((5, 4), EVEN, dtype=d) + 1j * Mask(RAMP.mT, dtype=d),
    "vstack-of-views": lambda d: VStack([even(d), even(d)]),
    "vstack-of-masked": lambda d: VStack([even(d), Mask(randn((4, 8), seed=53) > 0, dtype=d) @ even(d)]),
    "vstack-of-lifted": lambda d: VStack([fourier(d).lift((2,)), 1j * Identity((2, 3, 4), dtype=d)]),
    "lifted-colour": lambda d: Blur((3, 4), EVEN, dtype=d).lift((3,), channels="colour"),
    "lifted-echoes": lambda d: (Mask(randn((3, 4), seed=54) > -1, dtype=d) @ fourier(d)).lift((2,), channels="echoes"),
    "lifted-frames": lambda d: even(d).lift((2,), channels="frames"),
    "lifted-slices": lambda d: even(d).lift((2,), channels="slices", spacing=0.5),
    "lifted-twice": lambda d: mixing(d).lift((2,)).lift((2,), channels="frames"),
    "lifted-stack": lambda d: VStack([even(d), 2 * even(d)]).lift((2,)),
    "lifted-scaled": lambda d: (2 * even(d)).lift((2,), channels="slices"),
    "adjoint-of-stack": lambda d: VStack([parallel(d), 2 * parallel(d)]).H,
    "adjoint-of-lifted": lambda d: fan(d).lift((2,), channels="frames").H,
    "adjoint-of-sum": lambda d: (fourier(d) + (1 - 1j) * Identity((3, 4), dtype=d)).H,
    "adjoint-of-composition": lambda d: (mixing(d) @ fourier(d)).H,
    "composition-of-three": lambda d: mixing(d) @ fourier(d) @ Blur((3, 4), EVEN, dtype=d),
    "linearised": lambda d: (Attenuation((4, 8), d) @ (0.2 * parallel(d))).linearised(RAMP_OF_PIXELS.to(d)),
    "linearised-inside": lambda d: (
        0.5 * (parallel(d) @ Attenuation((5, 7), d)).linearised(RAMP_OF_PIXELS.to(d)) + parallel(d)
    ),
    "linearised-complex": lambda d: (fourier(d) @ Powers((3, 4), d)).linearised(MASK.to(COMPLEX[d])),
}


NONLINEAR: dict[str, Callable[[torch.dtype], Operator]] = {
    "attenuation": lambda d: Attenuation((3, 4), d),
    "powers": lambda d: Powers((3, 4), d),
    "transmission": lambda d: Attenuation((4, 8), d) @ (0.2 * parallel(d)),
    "views-of-nonlinear": lambda d: parallel(d) @ Attenuation((5, 7), d),
    "complex-of-nonlinear": lambda d: (2j * fourier(d)) @ Powers((3, 4), d),
    "filter-of-transmission": lambda d: SobolevMetric((4, 8), 0.5, dtype=d) @ Attenuation((4, 8), d) @ (0.2 * even(d)),
}


# ---- functionals


@dataclass(frozen=True)
class Case:
    """A functional made for a weight (a number or one per item), and the shape of an item it is tried on.

    `degree` d says that g(c x) = c^d g(x) for c > 0 (None where it is not so), `real` that it takes real images only,
    `constraint` that it is one and so has no weight, `tol` how far its prox may stay above the least value, relative.
    """

    make: Callable[[float | Tensor], Functional]
    shape: tuple[int, ...] = (3, 4)
    degree: int | None = 1
    real: bool = False
    constraint: bool = False
    tol: float = 1e-9


def observed(lam: float | Tensor) -> Tikhonov:
    return Tikhonov(lam, mixing())


def learned(lam: float | Tensor) -> LearnedProximal:
    """A network whose regulariser is convex, as most laws ask."""
    network = RidgeRegulariser(3, curvature=5.0, falling=0.0).double().requires_grad_(False)
    return LearnedProximal(network, lam, sigma=0.3, tol=1e-13)


PRIORS: dict[str, Case] = {
    "zero": Case(lambda lam: Zero(), degree=0, constraint=True),
    "tikhonov": Case(lambda lam: Tikhonov(lam), degree=2),
    "tikhonov-gradient": Case(lambda lam: Tikhonov(lam, Gradient((3, 4), dtype=DOUBLE)), degree=2),
    "tikhonov-operator": Case(observed, degree=2),
    "tikhonov-1d": Case(lambda lam: Tikhonov(lam, ndim=1), (5,), degree=2),
    "l1": Case(lambda lam: L1(lam)),
    "l1-3d": Case(lambda lam: L1(lam, ndim=3), (2, 1, 3)),
    "group-l1": Case(lambda lam: GroupL1(lam, ndim=3), (2, 3, 2)),
    "group-l1-pairs": Case(lambda lam: GroupL1(lam, ndim=3, grouped=2), (2, 3, 2)),
    "nuclear-norm": Case(lambda lam: NuclearNorm(lam), (2, 2, 3), tol=2e-8),
    "box": Case(lambda lam: Box(-0.5, 0.7), degree=None, real=True, constraint=True),
    "box-per-pixel": Case(
        lambda lam: Box(-0.5, torch.linspace(0.0, 1.5, 12, dtype=DOUBLE).reshape(3, 4)),
        degree=None,
        real=True,
        constraint=True,
    ),
    "nonnegative": Case(lambda lam: NonNegative(), degree=0, real=True, constraint=True),
    "tv": Case(lambda lam: TotalVariation(lam, tol=1e-8, max_iter=400), tol=2e-8),
    "tv-anisotropic": Case(lambda lam: TotalVariation(lam, isotropic=False, tol=1e-8, max_iter=400), tol=2e-8),
    "tv-1d": Case(lambda lam: TotalVariation(lam, ndim=1, tol=1e-8, max_iter=400), (6,), tol=2e-8),
    "tv-3d": Case(lambda lam: TotalVariation(lam, ndim=3, tol=1e-8, max_iter=400), (2, 3, 2), tol=2e-8),
    "tv-colour": Case(
        lambda lam: TotalVariation(lam, ndim=3, axes=2, shared_edges=True, tol=1e-8, max_iter=400), (2, 3, 2), tol=2e-8
    ),
    "tv-thin": Case(lambda lam: TotalVariation(lam, tol=1e-8, max_iter=400), (1, 4), tol=2e-8),
    "sum": Case(lambda lam: Sum(Tikhonov(lam), L1(lam)), degree=None),
    "sum-smooth": Case(lambda lam: Sum(Tikhonov(lam), Tikhonov(lam, Gradient((3, 4), dtype=DOUBLE))), degree=2),
    "sum-of-one": Case(lambda lam: Sum(L1(lam))),
    "analysis": Case(lambda lam: Analysis(L1(lam, ndim=3), Gradient((3, 4), dtype=DOUBLE))),
    "analysis-smooth": Case(lambda lam: Analysis(Tikhonov(lam), mixing()), degree=2),
    "wavelet-l1": Case(lambda lam: WaveletL1(lam, wavelet="db2"), (4, 6)),
    "wavelet-l1-1d": Case(lambda lam: WaveletL1(lam, ndim=1, levels=2), (7,)),
    "magnitude": Case(lambda lam: Magnitude(L1(lam))),
    "denoiser": Case(lambda lam: Denoiser(soft, lam=lam)),
    "red": Case(lambda lam: RED(smoothed, lam, symmetric=True), degree=2),
    "gradient-step": Case(lambda lam: GradientStepDenoiser(bent, lam), degree=2),
    "learned-proximal": Case(learned, degree=None),
}


def weights_of(A: LinearOperator) -> Tensor:
    return randn(A.range_shape, seed=21).abs() * (randn(A.range_shape, seed=22) > -1)


# operators to bind data to, those of "complex data" being real
BOUND: dict[str, Callable[[], LinearOperator]] = {
    "real": parallel,
    "complex operator": fourier,
    "complex data": mixing,
    "stack": lambda: OPERATORS["vstack-complex"](DOUBLE),
}

FIDELITIES: dict[str, Callable[[LinearOperator, Tensor], Fidelity]] = {
    "l2": lambda A, y: L2(A, y),
    "l2-weighted": lambda A, y: L2(A, y, weights_of(A)),
    "sobolev": lambda A, y: SobolevL2(A, y, -0.7),
    "sobolev-axis": lambda A, y: SobolevL2(A, y, 1.0, axes=[-1], spacing=0.5, boundary="neumann"),
    "sobolev-homogeneous": lambda A, y: SobolevL2(A, y, 0.5, homogeneous=True, symbol="fd", length_scale=2.0),
    "sobolev-zero": lambda A, y: SobolevL2(A, y, 0.0),
    "poisson": lambda A, y: Poisson(A, y.real.abs(), 0.3),
    "transmission": lambda A, y: TransmissionPoisson(A, y.real.abs(), 3.0),
    "l1": lambda A, y: L1Fidelity(A, y),
    "multiple": lambda A, y: Fidelity(A, Multiple(HalfSquaredDistance(A.as_data(y), None, len(A.range_shape)), 2.5)),
    "l2-ball": lambda A, y: L2Ball(A, y, 0.8),
}


# ---- what there is


def classes_of(base: type, *packages: str) -> Iterator[type]:
    """Every public concrete subclass of `base` defined in the packages."""
    for package in packages:
        module = importlib.import_module(package)
        names = [package]
        if hasattr(module, "__path__"):
            names += [info.name for info in pkgutil.walk_packages(module.__path__, f"{package}.")]
        for name in names:
            for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass):
                own = cls.__module__ == name and not cls.__name__.startswith("_")
                if own and issubclass(cls, base) and cls is not base and not inspect.isabstract(cls):
                    yield cls


def classes_in(root: nn.Module) -> set[type]:
    """The classes of a module and of all it is made of."""
    return {type(part) for part in root.modules()}
