"""Sparse-view CT with total variation end to end: seconds to a relative gap of the objective.

Seconds are those of the processor, all threads together: others at work disturb them least, and packages that use
several threads have no advantage from them.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
import tv_peers
from limited_angle import arc
from numpy.typing import NDArray
from plane import HALF_PIXEL, SUB_BINS
from report import Absent, Fact, Finding, Ratio
from restoration import total_variation
from torch import Tensor

from invprob import Scan, iterate, reconstruct
from invprob.fidelities import L2
from invprob.linop import LinearOperator
from invprob.methods.entry import progress
from invprob.methods.reporting import Progress
from invprob.operators import ParallelBeam
from invprob.phantoms import shepp_logan
from invprob.priors import TotalVariation
from invprob.solvers import ADMM

Array = NDArray[Any]
LAM = 8.0
GAPS = (1e-2, 1e-3, 1e-4, 1e-5)
TOLERANCES = (1e-3, 1e-4)  # of the method, which its gap should keep


class EnoughError(Exception):
    """The gap is closed, or the budget is spent."""


@dataclass
class Clock:
    """Times a solver from outside: stands still while the objective is evaluated."""

    objective: Callable[[Array], float]
    least: float
    budget: float
    every: int
    seconds: float = 0.0
    count: int = 0
    reached: dict[float, float] = field(default_factory=dict)
    best: float = math.inf
    since: float = 0.0

    def start(self) -> None:
        """Let it run."""
        self.since = time.process_time()

    def look(self, show: Callable[[], Array]) -> None:
        """Stand still, note which gaps the image closes; EnoughError when there is nothing more to learn."""
        self.seconds += time.process_time() - self.since
        self.count += 1
        if self.count % self.every == 0:
            gap = self.objective(show()) / self.least - 1
            self.best = min(self.best, gap)
            for target in GAPS:
                if gap <= target:
                    self.reached.setdefault(target, self.seconds)
        if len(self.reached) == len(GAPS) or self.seconds > self.budget:
            raise EnoughError
        self.start()


@dataclass(frozen=True)
class Kernel:
    """A projector's pair, the data made for where it has its middle, and what solvers of its problem need."""

    name: str
    A: LinearOperator
    b: Array
    norm: float

    def objective(self, x: Array) -> float:
        """Return 1/2 |A x - b|^2 + lam TV(x), summed in float64."""
        image = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        residual = self.A(image).double() - torch.from_numpy(self.b).double()
        return float(0.5 * residual.square().sum() + LAM * total_variation(image.numpy()))


def tv(*, quick: bool, patience: float, budget: float, cache: Path | None) -> Iterator[Finding]:
    """Compare solvers, each on its own kernel, against that kernel's optimum."""
    del patience
    A = _geometry(quick)
    section, budget = f"tv {A.domain_shape[0]}^2, {len(A.angles)} views", min(budget, 1.0) if quick else budget
    yield from _same_kernel(section, _kernel("joseph", quick))
    clocks: dict[str, Clock] = {}
    for name, (kernel, prepare) in OURS.items():
        clocks[name], ready = _time(_kernel(kernel, quick), prepare, budget, 1, quick, cache)
        yield from _told(section, name, clocks[name], ready)
    for kernel in ("joseph", "fourier"):
        for tol in TOLERANCES:
            yield from _as_a_user(section, _kernel(kernel, quick), tol, quick, cache)
    for name, (kernel, prepare, every) in PEERS.items():
        try:
            clock, ready = _time(_kernel(kernel, quick), prepare, budget, every, quick, cache)
        except Exception as error:  # absent or broken, a peer never stops the others
            yield Absent(section, name, str(error) or type(error).__name__)
            continue
        yield from _told(section, name, clock, ready)
        for variant, own_clock in clocks.items():
            for gap in GAPS:
                ours, theirs = (_milliseconds(c.reached.get(gap)) for c in (own_clock, clock))
                note = "" if theirs else f"peer at {clock.best:.1e} after {clock.seconds:.0f} s"
                yield Ratio(section, f"{variant} to {gap:g}", ours, name, theirs, note=note)


def disc(*, quick: bool, patience: float, data: Path | None) -> Iterator[Finding]:
    """Reconstruct a real disc from an arc, 512 x 512, as a user does, with everything chosen automatically.

    Disc ta of the Helsinki Tomography Challenge 2022 (doi:10.5281/zenodo.7418878), 121 views over 60 degrees.
    """
    del patience
    section = "disc ta, 121 views over 60 degrees"
    if data is None or not (data / "htc2022_ta_full.mat").exists():
        yield Absent(section, "invprob", "no --data FOLDER with htc2022_ta_full.mat given")
        return
    scan = arc(data, "ta", 60, 0, 32 if quick else 512)
    start = time.process_time()
    result = reconstruct(scan, "tv", **({"max_iter": 3} if quick else {}))
    yield Fact(section, "reconstruct(scan, 'tv'), all included", time.process_time() - start, "s", limit=60.0)
    yield Fact(section, "iterations", float(result.n_iter.max()), note=result.status)
    facts = result.certificate
    if facts is not None and facts.objective is not None:
        yield Fact(section, "objective", float(facts.objective))


def _time(
    kernel: Kernel,
    prepare: Callable[[tv_peers.Problem], tv_peers.Prepared],
    budget: float,
    every: int,
    quick: bool,
    cache: Path | None,
) -> tuple[Clock, float]:
    """Return the clock of one run, and the seconds of the set-up before it."""
    least = _optimum(kernel.name, quick, cache)
    geometry = kernel.A if isinstance(kernel.A, ParallelBeam) else _geometry(quick)
    start = time.process_time()
    prepared = prepare(tv_peers.Problem(geometry, kernel.b, LAM, kernel.norm))
    ready = time.process_time() - start
    clock = Clock(kernel.objective, least, budget, every)
    clock.start()
    with suppress(EnoughError):
        prepared.run(clock.look)
    return clock, ready


def _same_kernel(section: str, kernel: Kernel) -> Iterator[Finding]:
    """Say how far ASTRA's linear kernel, that of two peers, is from our Joseph in the objective of the phantom."""
    A = kernel.A
    if not isinstance(A, ParallelBeam):
        return
    x = shepp_logan(A.domain_shape[0] / 2).image((A.domain_shape[0], A.domain_shape[1]))
    try:
        pair = peers.astra_pair(A, "linear")
    except peers.NotInstalledError:
        return
    theirs = replace(kernel, A=_wrapped(pair, A)).objective(x.numpy())
    yield Fact(section, "objective with ASTRA linear over ours - 1", theirs / kernel.objective(x.numpy()) - 1)


def _told(section: str, name: str, clock: Clock, ready: float) -> Iterator[Finding]:
    yield Fact(section, f"{name}: set-up", ready, "s")
    for gap, seconds in sorted(clock.reached.items(), reverse=True):
        yield Fact(section, f"{name}: to {gap:g}", seconds, "s")
    yield Fact(section, f"{name}: time of an iteration", 1e3 * clock.seconds / clock.count, "ms")
    yield Fact(section, f"{name}: smallest gap seen", clock.best, note=f"{clock.count} iterations")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _as_a_user(section: str, kernel: Kernel, tol: float, quick: bool, cache: Path | None) -> Iterator[Finding]:
    """Call `reconstruct` as a user does, all included but the choice of the strength: does the gap keep `tol`?"""
    if not isinstance(kernel.A, ParallelBeam):
        return
    A, b = _again(kernel.A), torch.from_numpy(kernel.b)
    strength = LAM / float(A.adjoint(b).abs().max())
    start = time.process_time()
    settings = {"strength": strength, "nonnegative": False, "tol": tol, "max_iter": 3000}
    result = reconstruct(Scan(_again(A), b), "tv", **settings)
    seconds = time.process_time() - start
    gap = kernel.objective(result.x.numpy()) / _optimum(kernel.name, quick, cache) - 1
    call = f"reconstruct(scan, 'tv', tol={tol:g}), {kernel.name}"
    yield Fact(section, f"{call}: set-up, second look and certificate included", seconds, "s")
    yield Fact(section, f"{call}: its gap", gap, limit=tol, note=result.status)


def _admm(problem: tv_peers.Problem, share: float | None) -> tv_peers.Prepared:
    """ADMM with its default penalty, or with a share of |A|^2."""
    A = _again(problem.A)
    f, g = L2(A, torch.from_numpy(problem.b)), TotalVariation(problem.lam)
    f.lipschitz()  # the norm, for the default penalty
    rho = None if share is None else share * problem.norm**2
    solver = ADMM(rho=rho, tol=0, max_iter=tv_peers.MANY)

    def run(look: tv_peers.Look) -> None:
        for step in iterate(solver, f, g):
            look(step.state.x.numpy)

    return tv_peers.Prepared(run)


def _method(problem: tv_peers.Problem, tol: float) -> tv_peers.Prepared:
    """Run the method `tv` to its own tolerance, which also ends the coarse levels; only making A counts as set-up."""
    A, b = _again(problem.A), torch.from_numpy(problem.b)
    strength = problem.lam / float(A.adjoint(b).abs().max())

    def run(look: tv_peers.Look) -> None:
        settings = {"strength": strength, "nonnegative": False, "tol": tol, "max_iter": 3000}
        for event in progress(Scan(A, b), "tv", **settings):
            # its coarse levels pass by: their images are no candidates
            if str(A.domain_shape[0]) in event.phase:
                look(partial(_image_of, event))

    return tv_peers.Prepared(run)


def _image_of(event: Progress) -> Array:
    image: Array = event.image().numpy()
    return image


def _again(A: ParallelBeam) -> ParallelBeam:
    """Return the operator with nothing remembered."""
    return ParallelBeam(**A.config())


OURS: dict[str, tuple[str, Callable[[tv_peers.Problem], tv_peers.Prepared]]] = {
    "ADMM, default rho": ("joseph", partial(_admm, share=None)),
    "ADMM, rho = |A|^2 / 40": ("joseph", partial(_admm, share=1 / 40)),
    "ADMM, rho = |A|^2 / 40, Fourier slices": ("fourier", partial(_admm, share=1 / 40)),
    "method tv, tol=1e-3": ("joseph", partial(_method, tol=1e-3)),
    "method tv, tol=1e-4": ("joseph", partial(_method, tol=1e-4)),
    "method tv, tol=1e-3, Fourier slices": ("fourier", partial(_method, tol=1e-3)),
    "method tv, tol=1e-4, Fourier slices": ("fourier", partial(_method, tol=1e-4)),
}
PEERS: dict[str, tuple[str, Callable[[tv_peers.Problem], tv_peers.Prepared], int]] = {
    "ODL pdhg": ("joseph", tv_peers.odl, 5),
    "pyproximal PrimalDual": ("joseph", tv_peers.pyproximal, 5),
    "SCICO PDHG": ("line", tv_peers.scico, 5),
    "deepinv FISTA": ("deepinv", tv_peers.deepinv, 1),
}


@lru_cache(maxsize=2)
def _geometry(quick: bool) -> ParallelBeam:
    n, views = (32, 12) if quick else (256, 60)
    return ParallelBeam((n, n), np.arange(views) * (math.pi / views), math.ceil(math.sqrt(2) * n))


@lru_cache(maxsize=8)
def _kernel(name: str, quick: bool) -> Kernel:
    """Return the analytic data, each bin's mean, with noise of 1 % of the maximum, for a projector."""
    A = _geometry(quick)
    operator: LinearOperator = A
    if name == "fourier":
        operator = ParallelBeam(**{**A.config(), "projector": "fourier"})
    elif name == "line":  # as a matrix, which the long run to the optimum goes through several times faster
        operator = LinearOperator.from_scipy(peers.astra_matrix(A, "line"), A.domain_shape, A.range_shape)
    elif name == "deepinv":
        operator = _wrapped(peers.deepinv_pair(A), A)
    phantom = shepp_logan(A.domain_shape[0] / 2)
    if name == "deepinv":
        phantom = replace(phantom, centres=phantom.centres - HALF_PIXEL)
    fine = A.config() | {"detectors": SUB_BINS * A.detectors, "detector_size": A.detector_size / SUB_BINS}
    lines = phantom.line_integrals(*ParallelBeam(**fine).rays())
    clean = lines.reshape(*A.range_shape, SUB_BINS).mean(-1).numpy()
    noise = 0.01 * clean.max() * np.random.default_rng(0).standard_normal(clean.shape)
    return Kernel(name, operator, (clean + noise).astype(np.float32), float(operator.norm()))


def _wrapped(pair: peers.Pair, A: ParallelBeam) -> LinearOperator:
    """Return a peer's pair as an operator of ours."""

    def each(function: Callable[[Array], Array]) -> Callable[[Tensor], Tensor]:
        return lambda t: torch.from_numpy(np.array(function(t.detach().numpy()), np.float32))

    return LinearOperator.from_functions(each(pair.forward), each(pair.adjoint), A.domain_shape, A.range_shape)


@lru_cache(maxsize=8)
def _optimum(name: str, quick: bool, cache: Path | None) -> float:
    """Return the least objective for a kernel: of a long run of our ADMM over that very projector, kept in a file."""
    shape = "x".join(map(str, (*_geometry(quick).domain_shape, *_geometry(quick).range_shape)))
    kept = None if cache is None else cache / f"tv-optimum-{name}-{shape}.txt"
    if kept is not None and kept.exists():
        return float(kept.read_text())
    kernel = _kernel(name, quick)
    f, g = L2(kernel.A, torch.from_numpy(kernel.b)), TotalVariation(LAM)
    # the penalty that closes in fastest in the long run: 1e-3 after 200 iterations, 3e-7 after 1000
    enough = 500 if name == "deepinv" else 1000  # 5e-6: its solver is far from that
    solver = ADMM(rho=kernel.norm**2 / 16, tol=0, max_iter=enough)
    (last,) = deque(iterate(solver, f, g), maxlen=1)
    least = kernel.objective(last.state.x.numpy())
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"{least!r}\n")
    return least
