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

from invprob.algebra import VStack
from invprob.fidelities import L2, Fidelity
from invprob.functional import Functional, Zero
from invprob.linalg import per_item
from invprob.linop import LinearOperator
from invprob.operators import FanBeam, Gradient, Identity, ParallelBeam
from invprob.priors import (
    L1,
    Analysis,
    Box,
    Denoiser,
    GroupL1,
    NonNegative,
    Sum,
    Tikhonov,
    TotalVariation,
)

DOUBLE = torch.float64
VIEWS = (0.0, 0.3, math.pi / 2, 2.5)  # along both axes and between
MASK = randn((3, 4), torch.complex128, seed=11)
MATRIX = randn((5, 12), seed=12).numpy()

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


# ---- operators, by precision


def parallel(dtype: torch.dtype = DOUBLE) -> ParallelBeam:
    return ParallelBeam((5, 7), VIEWS, 8, pixel_size=0.7, detector_size=0.9, axis_offset=0.3, dtype=dtype)


def fan(dtype: torch.dtype = DOUBLE) -> FanBeam:
    return FanBeam(
        (6, 5), VIEWS, 7, source_distance=9.0, detector_distance=6.0, detector_size=1.4, axis_offset=-0.4, dtype=dtype
    )


def fourier(dtype: torch.dtype = DOUBLE) -> LinearOperator:
    return LinearOperator.from_functions(
        masked_fourier, masked_fourier_adjoint, (3, 4), (3, 4), dtype=dtype, is_complex=True
    )


def mixing(dtype: torch.dtype = DOUBLE) -> LinearOperator:
    return LinearOperator.from_functions(opaque_mix, opaque_mix_adjoint, (3, 4), (2, 4), dtype=dtype)


def matrix(dtype: torch.dtype = DOUBLE, factor: complex = 1.0) -> np.ndarray:
    kind = COMPLEX[dtype] if isinstance(factor, complex) else dtype
    return (factor * MATRIX).astype(str(kind).removeprefix("torch."))


OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "identity": lambda d: Identity((3, 4), dtype=d),
    "identity-one": lambda d: Identity((1,), dtype=d),
    "gradient-1d": lambda d: Gradient((5,), dtype=d),
    "gradient-2d": lambda d: Gradient((3, 4), dtype=d),
    "gradient-3d": lambda d: Gradient((2, 3, 2), dtype=d),
    "gradient-thin": lambda d: Gradient((1, 3), dtype=d),
    "parallel": parallel,
    "parallel-one": lambda d: ParallelBeam((1, 1), [0.4], 1, dtype=d),
    "parallel-column": lambda d: ParallelBeam((6, 1), VIEWS, 3, dtype=d),
    "parallel-tiny": lambda d: ParallelBeam((4, 3), VIEWS, 5, pixel_size=1e-12, detector_size=1e-12, dtype=d),
    "parallel-huge": lambda d: ParallelBeam((4, 3), VIEWS, 5, pixel_size=1e12, detector_size=1e12, dtype=d),
    "fan": fan,
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


PRIORS: dict[str, Case] = {
    "zero": Case(lambda lam: Zero(), degree=0, constraint=True),
    "tikhonov": Case(lambda lam: Tikhonov(lam), degree=2),
    "tikhonov-gradient": Case(lambda lam: Tikhonov(lam, Gradient((3, 4), dtype=DOUBLE)), degree=2),
    "tikhonov-operator": Case(observed, degree=2),
    "tikhonov-1d": Case(lambda lam: Tikhonov(lam, ndim=1), (5,), degree=2),
    "l1": Case(lambda lam: L1(lam)),
    "l1-3d": Case(lambda lam: L1(lam, ndim=3), (2, 1, 3)),
    "group-l1": Case(lambda lam: GroupL1(lam, ndim=3), (2, 3, 2)),
    "box": Case(lambda lam: Box(-0.5, 0.7), degree=None, real=True, constraint=True),
    "nonnegative": Case(lambda lam: NonNegative(), degree=0, real=True, constraint=True),
    "tv": Case(lambda lam: TotalVariation(lam, tol=1e-8, max_iter=400), tol=2e-8),
    "tv-anisotropic": Case(lambda lam: TotalVariation(lam, isotropic=False, tol=1e-8, max_iter=400), tol=2e-8),
    "tv-1d": Case(lambda lam: TotalVariation(lam, ndim=1, tol=1e-8, max_iter=400), (6,), tol=2e-8),
    "tv-3d": Case(lambda lam: TotalVariation(lam, ndim=3, tol=1e-8, max_iter=400), (2, 3, 2), tol=2e-8),
    "tv-thin": Case(lambda lam: TotalVariation(lam, tol=1e-8, max_iter=400), (1, 4), tol=2e-8),
    "sum": Case(lambda lam: Sum(Tikhonov(lam), L1(lam)), degree=None),
    "sum-smooth": Case(lambda lam: Sum(Tikhonov(lam), Tikhonov(lam, Gradient((3, 4), dtype=DOUBLE))), degree=2),
    "sum-of-one": Case(lambda lam: Sum(L1(lam))),
    "analysis": Case(lambda lam: Analysis(L1(lam, ndim=3), Gradient((3, 4), dtype=DOUBLE))),
    "analysis-smooth": Case(lambda lam: Analysis(Tikhonov(lam), mixing()), degree=2),
    "denoiser": Case(lambda lam: Denoiser(soft, lam=lam)),
}


def weights_of(A: LinearOperator) -> Tensor:
    return randn(A.range_shape, seed=21).abs() * (randn(A.range_shape, seed=22) > -1)


FIDELITIES: dict[str, Callable[[LinearOperator, Tensor], Fidelity]] = {
    "l2": lambda A, y: L2(A, y),
    "l2-weighted": lambda A, y: L2(A, y, weights_of(A)),
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
