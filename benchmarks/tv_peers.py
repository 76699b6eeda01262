"""Other packages' solvers of 1/2 |A x - b|^2 + lam TV(x): each prepares, then iterates and shows its images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import peers
import torch
from numpy.typing import NDArray

from invprob.operators import ParallelBeam

Array = NDArray[Any]
Look = Callable[[Callable[[], Array]], None]  # is told how to get at the image, and stops the clock before it does
# min h(K x) with K = [A / |A|; D / sqrt 8], whose norm is at most sqrt 2: steps tuned once for all four
SIGMA, TAU = 1000.0, 0.99 / 2000
MANY = 1_000_000


@dataclass(frozen=True)
class Prepared:
    """A solver ready to go: `run(look)` iterates without end and shows every image to `look`, which may raise."""

    run: Callable[[Look], None]


@dataclass(frozen=True)
class Problem:
    """The geometry, the data, the weight, |A|, and the projector's pair for peers that need nothing else."""

    A: ParallelBeam
    b: Array
    lam: float
    norm: float


def odl(problem: Problem) -> Prepared:
    """ODL's pdhg, mirrored so that its forward differences are ours: isotropic TV tells a flip."""
    package, R = peers.load("odl"), peers.odl_ray_transform(problem.A, mirrored=True)
    D = package.Gradient(R.domain, method="forward", pad_mode="symmetric")
    root = math.sqrt(8)
    K = package.BroadcastOperator((1 / problem.norm) * R, (1 / root) * D)
    functionals = package.functionals
    misfit = 0.5 * functionals.L2NormSquared(R.range).translated(R.range.element(problem.b[::-1].copy())) * problem.norm
    prior = problem.lam * root * functionals.GroupL1Norm(D.range)
    h, zero = functionals.SeparableSum(misfit, prior), functionals.ZeroFunctional(R.domain)

    def run(look: Look) -> None:
        def shown(x: Any) -> None:
            look(lambda: np.asarray(x.data).T)

        package.solvers.pdhg(R.domain.zero(), zero, h, K, niter=MANY, tau=TAU, sigma=SIGMA, callback=shown)

    return Prepared(run)


def scico(problem: Problem) -> Prepared:
    """SCICO's PDHG over ASTRA's line kernel."""
    peers.load("scico")
    jax, linop, functional = peers.load("jax"), peers.load("scico.linop"), peers.load("scico.functional")
    loss, optimize = peers.load("scico.loss"), peers.load("scico.optimize")
    R, root = peers.scico_transform(problem.A), math.sqrt(8)
    D = linop.FiniteDifference(problem.A.domain_shape, append=0)
    K = linop.VerticalStack(((1 / problem.norm) * R, (1 / root) * D))
    b = jax.numpy.asarray(problem.b)
    scaled = linop.ScaledIdentity(problem.norm, b.shape)
    misfit = loss.SquaredL2Loss(b, A=scaled, scale=0.5)
    prior = problem.lam * root * functional.L21Norm(l2_axis=0)
    h = functional.SeparableFunctional((misfit, prior))
    x0 = jax.numpy.zeros(problem.A.domain_shape, dtype="float32")

    def fresh() -> Any:
        return optimize.PDHG(f=functional.ZeroFunctional(), g=h, C=K, tau=TAU, sigma=SIGMA, x0=x0)

    fresh().step()  # compiles, which is no part of the race

    def run(look: Look) -> None:
        solver = fresh()
        while True:
            solver.step()
            x = np.asarray(solver.x)  # waits until it is there
            look(x.view)

    return Prepared(run)


def pyproximal(problem: Problem) -> Prepared:
    """pyproximal's PrimalDual over pylops' CT2D with ASTRA's linear kernel."""
    package, pylops = peers.load("pyproximal"), peers.load("pylops")
    R, root = peers.pylops_operator(problem.A, "linear"), math.sqrt(8)
    shape = problem.A.domain_shape
    D = pylops.Gradient(shape, edge=False, kind="forward", dtype="float32")
    K = pylops.VStack([R * (1 / problem.norm), D * (1 / root)])
    data = problem.b.ravel()
    misfit = package.L2(pylops.Diagonal(np.full(data.size, problem.norm, np.float32)), b=data)
    prior = package.L21(ndim=2, sigma=problem.lam * root)
    h = package.VStack([misfit, prior], nn=[data.size, 2 * math.prod(shape)])
    primal_dual = peers.load("pyproximal.optimization.primaldual").PrimalDual
    x0 = np.zeros(math.prod(shape), np.float32)

    def run(look: Look) -> None:
        def shown(x: Array) -> None:
            look(lambda: x.reshape(shape))

        primal_dual(_zero(package), h, K, x0, TAU, SIGMA, niter=MANY, callback=shown)

    return Prepared(run)


def _zero(package: Any) -> Any:
    """Return the functional 0, which pyproximal lacks, as a quadratic without terms."""

    class Zero(package.ProxOperator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(None, False)

        def __call__(self, x: Array) -> float:
            return 0.0

        def prox(self, x: Array, tau: float) -> Array:
            return x

    return Zero()


def deepinv(problem: Problem) -> Prepared:
    """Run deepinv's FISTA with TVPrior(n_it_max=200) from its filtered back-projection, over its own projector."""
    package, physics = peers.load_deepinv(), peers.deepinv_physics(problem.A)
    b = torch.as_tensor(problem.b).T[None, None].contiguous()

    class Shown(package.optim.TVPrior):  # type: ignore[misc, name-defined]
        """The prior whose prox, FISTA's next image, is shown."""

        look: Look

        def prox(self, x: Any, *args: Any, **kwargs: Any) -> Any:
            found = super().prox(x, *args, **kwargs)
            self.look(lambda: found[0, 0].numpy())
            return found

    def run(look: Look) -> None:
        prior = Shown(n_it_max=200)
        prior.look = look
        solver = package.optim.FISTA(
            data_fidelity=package.optim.L2(),
            prior=prior,
            lambda_reg=problem.lam,
            stepsize=0.99 / problem.norm**2,
            max_iter=MANY,
            early_stop=False,
            custom_init=lambda y, p: {"est": (p.A_dagger(y), p.A_dagger(y))},
        )
        with torch.no_grad():
            solver(b, physics)

    return Prepared(run)
