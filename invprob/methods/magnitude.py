"""Priors on the magnitude of complex images under a bound on the misfit: l1-, tv-, wavelet- and pnp-magnitude."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2Ball
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator
from invprob.methods.pretrained import given_function
from invprob.methods.reporting import Progress, run
from invprob.methods.scales import first_image
from invprob.methods.strength import held_out_misfit
from invprob.operators import Mask
from invprob.priors import L1, Denoiser, Magnitude, TotalVariation, WaveletL1, load_pretrained
from invprob.priors.denoiser_functions import Around, DenoiserFunction
from invprob.priors.networks import PretrainedDenoiser
from invprob.problem import Problem
from invprob.solvers import CSALSA

COUPLING = 0.01  # kappa over |A|^2; Oral & Oktem's 500 is 0.013 of it at 5 frequencies
# steps of the prox relative to the first image, which the result of a convex problem does not depend on
FIRST_STEP, STEP = 0.4, 0.04
PROX_GAP = 1e-3  # relative duality gap of the prox of total variation, well below what an iteration moves
WARM = 20  # iterations with sparse magnitudes that the other priors begin from
EMPTY = 1.0  # weight of the sum of magnitudes beside their total variation: without, a cube filled with one magnitude
# and free phases explains everything; of 0.2, 0.5, 1 and 2 the best on generated validation targets
LEAST, MOST = 1e-9, 1e3  # of what is relative to the largest magnitude: beyond, single precision ends
LEVEL = 0.07  # noise level of magnitudes that a denoiser is asked with, relative to the largest: of 0.05 to 0.3 what
# stays best on generated validation targets
MOST_CG = 100  # steps after which conjugate gradients have seen enough to predict held-out readings


def l1_magnitude(problem: Problem, *, tol: float = 1e-3, max_iter: int = 300) -> Iterator[Progress]:
    """min sum |x_n| subject to |A x - y| <= eps = noise sqrt(readings), by C-SALSA.

    The noise is that of the scan, else what held-out readings speak for. No strength is to be chosen: the bound is it.

    Arguments:
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.
    """
    yield from _constrained(
        problem, "sparse magnitudes", lambda size: (_sparse(problem), FIRST_STEP * size), tol, max_iter, warm=False
    )


def tv_magnitude(problem: Problem, *, tol: float = 1e-3, max_iter: int = 300) -> Iterator[Progress]:
    """min TV(|x|) + sum |x_n| subject to |A x - y| <= eps = noise sqrt(readings), by C-SALSA from `l1_magnitude`.

    Total variation is that on the grid of the image, and alone would let one magnitude fill it all.

    Arguments:
        tol, max_iter: as of `l1_magnitude`.
    """
    spacing = problem.A.grid.relative

    def prior(size: Tensor) -> tuple[Functional, Tensor]:
        variation = TotalVariation(1.0, ndim=problem.ndim, axes=len(spacing), spacing=spacing, tol=PROX_GAP)
        return Magnitude(WithSum(variation, EMPTY)), STEP * size

    yield from _constrained(problem, "total variation of magnitudes", prior, tol, max_iter)


def wavelet_magnitude(
    problem: Problem, *, wavelet: str = "db2", tol: float = 1e-3, max_iter: int = 300
) -> Iterator[Progress]:
    """min |details of W |x||_1 + sum |x_n| subject to |A x - y| <= eps = noise sqrt(readings), as `tv_magnitude`.

    Arguments:
        wavelet: the name of an orthogonal wavelet, as PyWavelets has it; by default "db2".
        tol, max_iter: as of `l1_magnitude`.
    """

    def prior(size: Tensor) -> tuple[Functional, Tensor]:
        sparse = WaveletL1(1.0, wavelet=wavelet, spins=2, ndim=problem.ndim)
        return Magnitude(WithSum(sparse, EMPTY)), STEP * size

    yield from _constrained(problem, "wavelets of magnitudes", prior, tol, max_iter, {"wavelet": wavelet})


def pnp_magnitude(
    problem: Problem,
    *,
    denoiser: str | DenoiserFunction = "radar-denoiser",
    level: float = LEVEL,
    falling: float = 1.0,
    rising: float = 1.0,
    tol: float = 1e-3,
    max_iter: int = 60,
) -> Iterator[Progress]:
    """Plug-and-play on magnitudes: a denoiser of |x| keeps its phase, and |A x - y| <= eps (Oral & Oktem 2024).

    By C-SALSA from what `l1_magnitude` finds in 20 iterations. The denoiser sees each item divided by its largest
    magnitude.

    Arguments:
        denoiser: the name of pretrained weights, by default "radar-denoiser", or a function D(|x|, sigma) of volumes.
        level: the noise level it is asked with, relative to the largest magnitude.
        falling: by what the square of the level is multiplied after each iteration; 1 (the default) leaves it.
        rising: by what the weight of the denoised image is multiplied after each iteration; 1 (the default) leaves it.
        tol: the relative residual that counts as converged.
        max_iter: the most iterations.

    ValueError for numbers out of range, and for weights of images of another kind.
    """
    for setting, value, fits, range_ in (
        ("level", level, LEAST <= level <= MOST, f"a number from {LEAST:g} to {MOST:g}"),
        ("falling", falling, 0 < falling <= 1, "a number > 0 and at most 1"),
        ("rising", rising, 1 <= rising <= MOST, f"a number from 1 to {MOST:g}"),
    ):
        if not fits:
            raise ValueError(f"pnp-magnitude: {setting} must be {range_}, got {value}")
    D = Relative(_denoiser(problem, denoiser), problem.ndim)

    def prior(size: Tensor) -> tuple[Functional, Tensor]:
        own = Denoiser(D, lam=1.0, ndim=problem.ndim, complex_as="magnitude", channels=False)
        return own, torch.full_like(size, level**2)

    paces = {"falling": falling, "rising": rising}
    phase = "plug-and-play on magnitudes"
    yield from _constrained(problem, phase, prior, tol, max_iter, {"level": level, **paces}, paces=paces)


class Relative(Around):
    """D on items divided by their largest value m, sigma being relative to it: m D(v / m, sigma).

    Arguments:
        D: the denoiser, D(v, sigma), of items of `ndim` axes.
        ndim: how many axes, the last ones, make one item; by default 3.
    """

    def __init__(self, D: DenoiserFunction, ndim: int = 3) -> None:
        super().__init__(D)
        self.ndim = ndim

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return m D(v / m, sigma)."""
        top = v.abs().amax(linalg.item_axes(self.ndim), keepdim=True)
        size = torch.where(top > 0, top, torch.ones_like(top))
        return top * self.D(v / size, sigma)


class WithSum(Functional):
    """g(x) + mu sum x_n for real images: prox(v, tau) = prox_g(v - mu tau); the L1 norm where x >= 0.

    Arguments:
        prior: g.
        mu: the weight of the sum.
    """

    def __init__(self, prior: Functional, mu: float) -> None:
        super().__init__()
        self.prior, self.mu, self.ndim = prior, mu, prior.ndim

    @property
    def supports(self) -> frozenset[str]:
        """Value and prox as far as g has them."""
        return self.prior.supports - {"grad"}

    def value(self, x: Tensor) -> Tensor:
        """Return g(x) + mu sum x per item."""
        return self.prior.value(x) + self.mu * x.sum(linalg.item_axes(self.ndim))

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return prox_g(v - mu tau)."""
        return self.prior.prox(v - self.mu * linalg.per_item(tau, v, self.ndim), tau)


def _sparse(problem: Problem) -> Functional:
    return Magnitude(L1(1.0, ndim=problem.ndim))


def _denoiser(problem: Problem, chosen: str | DenoiserFunction) -> DenoiserFunction:
    on = problem.linear.device
    if not isinstance(chosen, str):
        return given_function("denoiser", chosen)
    D = load_pretrained(chosen)
    if not isinstance(D, PretrainedDenoiser) or D.ndim != problem.ndim:
        raise ValueError(
            f"{chosen!r} is no denoiser of images of {problem.ndim} axes, which those of this scan have: "
            "give a function D(|x|, sigma) as denoiser"
        )
    return D.to(on)


def _constrained(
    problem: Problem,
    phase: str,
    prior: Callable[[Tensor], tuple[Functional, Tensor]],
    tol: float,
    max_iter: int,
    settings: dict[str, Any] | None = None,
    *,
    warm: bool = True,
    paces: dict[str, float] | None = None,
) -> Generator[Progress, None, None]:
    """Run C-SALSA with the prior and the step that `prior` returns for the size of the image that it begins with."""
    if not (problem.linear.is_complex or problem.y.is_complex()):
        raise ValueError(f"{phase}: priors on magnitudes are for complex images, and these data are real: use tv")
    on = problem.quadratic()
    eps = yield from _radius(on)
    first = first_image(on)
    A, y = _weighted(on)
    f, bound = L2Ball(A, y, eps), A.norm().double() ** 2
    kappa = torch.where(bound > 0, COUPLING * bound, 1.0)
    systems = max_iter + (WARM if warm else 0)
    if warm:
        g = _sparse(on)
        size = FIRST_STEP * _size(first, on.ndim)
        begin = CSALSA(kappa=kappa, tau=size, tol=tol, max_iter=WARM, systems=systems)
        state = yield from run("sparse magnitudes", problem, begin, f, g, state=begin.init(f, g, first))
        first = state.x
    g, tau = prior(_size(first, on.ndim))
    solver = CSALSA(kappa=kappa, tau=tau, tol=tol, max_iter=max_iter, systems=systems, **(paces or {}))
    exact = A.row_spectrum(systems) is not None
    told = {"eps": eps.tolist(), "tol": tol, "max_iter": max_iter, **(settings or {})}
    told["x_update"] = "exact, by the factors of A A^H" if exact else "conjugate gradients"
    yield from run(phase, problem, solver, f, g, state=solver.init(f, g, first), settings=told)


def _size(x: Tensor, ndim: int) -> Tensor:
    """Return the largest magnitude per item, and 1 where there is none."""
    size = x.abs().flatten(-ndim).amax(-1).double()
    return torch.where(size > 0, size, 1.0)


def _radius(problem: Problem) -> Generator[Progress, None, Tensor]:
    """Return eps per item: the noise times the root of the number of readings, else what held-out ones speak for."""
    if problem.noise is not None:
        return problem.noise.double() * torch.as_tensor(problem.readings).double().sqrt()
    return (yield from held_out_misfit(problem, MOST_CG))


def _weighted(problem: Problem) -> tuple[LinearOperator, Tensor]:
    """Return operator and data with equal noise in all readings."""
    counted = problem.counted()
    if counted is None or bool((counted == 1).all()):
        return problem.linear, problem.y
    root, k = counted.sqrt().to(problem.A.dtype), len(problem.A.range_shape)
    root = root.expand(torch.broadcast_shapes(root.shape, problem.A.range_shape))  # type: ignore[no-untyped-call]
    return Mask(root, ndim=k, dtype=problem.A.dtype).to(problem.A.device) @ problem.linear, root * problem.y
