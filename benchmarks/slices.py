"""Parallel beams on this processor: blocks that fit its caches, and Fourier slices beside Joseph's rays.

Sections `blocks` and `slices` of ct.py. Times are of the processor (all threads together) and not of the clock, the
best of calls that alternate, so that they mean something on a busy machine, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from unittest.mock import patch

import torch
from plane import BATCH, Size
from report import Fact, Finding, Ratio

from invprob import processor, solve
from invprob.fidelities import L2
from invprob.operators import ParallelBeam
from invprob.operators.ct import joseph
from invprob.phantoms import add_gaussian_noise, shepp_logan
from invprob.priors import TotalVariation
from invprob.solvers import ADMM

FIXED = 64, 256  # rows by rays, whatever the processor: as it was
LINES = 8  # per bin, whose mean stands for the bin
NOISE = 0.01  # of the largest reading
STRENGTHS = (1.0, 4.0, 8.0)  # of total variation
TV_VIEWS = 60


def blocks(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare blocks cut to this processor's cache with blocks of a fixed size."""
    yield Fact("blocks", "second-level cache of a core", processor.second_level_cache() / 2**20, "MiB")
    sizes = [(32, 12, 1)] if quick else [(256, 180, 1), (256, 180, BATCH), (512, 360, 1), (512, 360, BATCH)]
    sizes += [] if quick else [(1024, 720, 1), (1024, 720, 4), (2048, 900, 1)]
    for pixels, views, items in sizes:
        A = Size(pixels, views, {}).parallel()
        x = torch.rand(items, pixels, pixels, generator=torch.Generator().manual_seed(0))
        y = A(x)

        def fixed(call: Callable[[], object]) -> Callable[[], object]:
            def run() -> object:
                with (
                    patch.object(joseph, "_cut", lambda *_: FIXED),
                    patch.object(processor, "pieces", lambda *_: FIXED[0]),
                ):
                    return call()

            return run

        calls = {"forward": lambda A=A, x=x: A(x), "adjoint": lambda A=A, y=y: A.adjoint(y)}
        ms = _cpu({**calls, **{f"{name}, fixed": fixed(call) for name, call in calls.items()}}, patience)
        for name in calls:
            before, after = ms[f"{name}, fixed"] / items, ms[name] / items
            yield Ratio(f"blocks {pixels}/{views}, {items} at once", name, after, "fixed blocks", before)


def slices(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare both projectors: time, projections beside the truth, filtered back-projection, total variation."""
    sizes = [(32, 12)] if quick else [(256, 60), (256, 180), (256, 1800), (512, 60), (512, 360), (1024, 720)]
    for pixels, views in sizes:
        section = f"slices {pixels}/{views}"
        J, F, x, y = _scan(pixels, views)
        noisy, _ = add_gaussian_noise(y, NOISE, torch.Generator().manual_seed(0))
        F.gram(x)  # the kernel is made once
        calls: dict[str, Callable[[ParallelBeam], object]] = {
            "forward": partial(ParallelBeam.forward, x=x),
            "adjoint": partial(ParallelBeam.adjoint, y=y),
            "A^T A": partial(ParallelBeam.gram, x=x),
            "filtered back-projection": partial(ParallelBeam.direct, y=y),
        }
        for what, call in calls.items():
            ms = _cpu({"J": partial(call, J), "F": partial(call, F)}, patience)
            yield Ratio(section, what, ms["F"], "Joseph", ms["J"])
        for name, A in (("Joseph", J), ("Fourier", F)):
            yield Fact(section, f"error of the projections, {name}", float((A(x) - y).norm() / y.norm()))
            yield Fact(section, f"filtered back-projection without noise, {name}", _psnr(A.direct(y), x), "dB")
            yield Fact(section, f"filtered back-projection with noise, {name}", _psnr(A.direct(noisy), x), "dB")
    yield from _total_variation(32 if quick else 256, 12 if quick else TV_VIEWS)


def _total_variation(pixels: int, views: int) -> Iterator[Finding]:
    """Images at several strengths: what a projector is judged by."""
    J, F, x, y = _scan(pixels, views)
    noisy, _ = add_gaussian_noise(y, NOISE, torch.Generator().manual_seed(0))
    for lam in STRENGTHS:
        for name, A in (("Joseph", J), ("Fourier", F)):
            found = solve(ADMM(max_iter=60, tol=1e-3), L2(A, noisy), TotalVariation(lam)).x
            yield Fact(f"slices {pixels}/{views}", f"total variation, lam {lam:g}, {name}", _psnr(found, x), "dB")


def _scan(pixels: int, views: int) -> tuple[ParallelBeam, ParallelBeam, torch.Tensor, torch.Tensor]:
    """Return Joseph's operator and that of slices, the image and what a detector reads of the phantom itself."""
    J, phantom = Size(pixels, views, {}).parallel(), shepp_logan(pixels / 2)
    J, F = (ParallelBeam(**{**J.config(), "projector": p}) for p in ("joseph", "fourier"))
    lines = phantom.line_integrals(*J.finer(bins=LINES).rays())
    return J, F, phantom.image((pixels, pixels)).float(), lines.reshape(*J.range_shape, LINES).mean(-1).float()


def _psnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    span = truth.max() - truth.min()
    return float(10 * torch.log10(span**2 / (found - truth).square().mean()))


def _cpu(calls: Mapping[str, Callable[[], object]], patience: float, rounds: int = 3) -> dict[str, float]:
    """Return milliseconds of the processor per call: the best of alternating calls, fewer of slow ones."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            if 3 * best.get(name, 0.0) > 1e3 * patience:
                continue
            if name not in best:
                call()  # compiles, plans
            start = time.process_time()
            call()
            best[name] = min(best.get(name, float("inf")), 1e3 * (time.process_time() - start))
    return best
