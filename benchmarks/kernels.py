"""Every kernel of every physics beside what this machine could do at most, and beside peers where they are.

`make bench`, with PEERS=/path/to/python beside sigpy's NUFFT of that environment, too. A kernel's limit is the
bandwidth of the cache or the memory that its data have to come through, or the rate of matrix products, both measured
here; its share is the time that this would take over the time it takes. Times are of the processor and of one thread,
the best of calls that alternate: others at work disturb them least. `--page` keeps them in docs/performance.md, in
columns of this processor (`processors.py`).
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import peers
import processors
import torch
from mri import alternately, peer
from plane import Size
from report import Absent, Fact, Finding, Ratio, Report, line
from rich.console import Console
from timing import triad_bandwidth
from torch import Tensor

from invprob import phantoms, processor
from invprob.linop import LinearOperator
from invprob.operators import Blur, CartesianMRI, ConeBeam, NearFieldMIMO, NonCartesianMRI, x_array
from invprob.operators.ct.fourier_slice import ACCURACY
from invprob.operators.fourier.nufft import EPS

COILS = 8
CACHE, MEMORY, PRODUCTS = "second-level cache", "memory", "matrix products"
UNIT = {CACHE: "GB/s", MEMORY: "GB/s", PRODUCTS: "GFLOP/s"}
FLAGS = ("avx2", "avx512f", "amx_tile", "asimd", "sve")  # that say how wide a processor calculates


@dataclass(frozen=True)
class Kernel:
    """A pair A, A^H and what one call of each has to move, or to calculate, at least.

    Arguments:
        name: what it is, and of what size.
        A: the operator.
        limit: what its data come through.
        forward, adjoint: bytes, or floating-point operations.
        peers: functions that make the same, by "NAME, forward" or "NAME, adjoint".
    """

    name: str
    A: LinearOperator
    limit: str
    forward: float
    adjoint: float
    peers: Mapping[str, Callable[[], object]] = field(default_factory=dict)


def kernels(quick: bool) -> Iterator[Kernel]:
    """Yield the kernels, one at a time."""
    n, views = (32, 12) if quick else (256, 180)
    for kind in ("parallel", "fan"):
        A = getattr(Size(n, views, {}), kind)()
        steps = _steps(A)
        yield Kernel(f"{kind} beam {n}/{views}", A, CACHE, 8 * steps, 16 * steps, _astra(A))
    A = Size(n, views, {}).parallel()
    F = type(A)(**{**A.config(), "projector": "fourier"})
    moved = _spread((n, n), views * (A.detectors // 2 + 1), ACCURACY[torch.float32])
    yield Kernel(f"Fourier slices {n}/{views}", F, CACHE, moved, moved)
    n, views = (16, 8) if quick else (64, 60)
    angles, bins = np.arange(views) * (2 * math.pi / views), 3 * n // 2
    cone = ConeBeam(
        (n,) * 3, angles, (bins, bins), detector_size=2.0, source_distance=4.0 * n, detector_distance=4.0 * n
    )
    steps = float(cone(torch.ones(cone.domain_shape)).sum())  # about one step for each pixel's length
    yield Kernel(f"cone beam {n}^3/{views}", cone, CACHE, 16 * steps, 32 * steps)
    n = 32 if quick else 256
    maps = phantoms.birdcage(COILS).sampled((n, n)).to(torch.complex64)
    passes = 8.0 * COILS * n * n * 2 * (1 + 2)  # maps and coils, then along both axes: each read and written
    A = CartesianMRI(phantoms.poisson_disc((n, n), 4, 0), maps)
    yield Kernel(f"Cartesian MRI {n}^2, {COILS} coils", A, MEMORY, passes, passes)
    omega = phantoms.radial(n, 2 * n).reshape(-1, 2)
    moved = COILS * _spread((n, n), len(omega), EPS[torch.float32])
    yield Kernel(f"radial MRI {n}^2, {COILS} coils", NonCartesianMRI((n, n), omega, COILS), CACHE, moved, moved)
    n = 32 if quick else 512
    generator = torch.Generator().manual_seed(0)
    kernel = torch.rand(9, 9, generator=generator)
    moved = 2 * 2 * 2 * 4.0 * n * n  # two real transforms along two axes, read and written
    yield Kernel(f"blur {n}^2", Blur((n, n), kernel / kernel.sum()), MEMORY, moved, moved)
    n, count = (8, 3) if quick else (31, 11)
    axes = [np.linspace(-0.15, 0.15, n)] * 2 + [np.linspace(0.35, 0.65, n)]
    radar = NearFieldMIMO(axes, *x_array(16, 9), np.linspace(4e9, 16e9, count))
    work = 8.0 * math.prod(radar.domain_shape) * math.prod(radar.range_shape)  # a complex product and sum
    yield Kernel(f"radar {n}^3, {math.prod(radar.range_shape)} readings", radar, PRODUCTS, work, work)


def _steps(A: peers.Geometry) -> float:
    """Return how many pixels' rows or columns all rays cross: a ray's length over its length per row."""
    directions = A.rays()[1]
    per_step = torch.linalg.vector_norm(directions, dim=-1) / directions.abs().amax(-1)
    return float((A(torch.ones(A.domain_shape)).double() / per_step).sum())


def _spread(sizes: tuple[int, int], samples: int, eps: float) -> float:
    """Return the bytes of a non-uniform transform: the doubled grid once an axis, and its points near every sample."""
    wide = math.ceil(math.log10(1 / eps)) + 1  # the width of the kernel (Barnett, Magland & af Klinteberg 2019)
    return 8.0 * (2 * 2 * 4 * math.prod(sizes) + samples * wide**2)


def _astra(A: peers.Geometry) -> dict[str, Callable[[], object]]:
    """Return ASTRA's projector and back-projector of the same rays; it computes on one thread."""
    kind = "linear" if type(A).__name__ == "ParallelBeam" else "line_fanflat"
    try:
        pair = peers.astra_pair(A, kind)
    except Exception:  # it is not for every system
        return {}
    x, y = np.ones(A.domain_shape, np.float32), np.ones(A.range_shape, np.float32)
    return {"ASTRA, forward": lambda: pair.forward(x), "ASTRA, adjoint": lambda: pair.adjoint(y)}


def limits(quick: bool) -> dict[str, float]:
    """Return what one thread of this machine does at most: GB/s of its cache and memory, GFLOP/s of products."""
    near = processor.second_level_cache() / 2**20 / 6  # MiB of each of three arrays that fill half of it together
    n = 128 if quick else 1024
    a = torch.randn(n, n, dtype=torch.complex64)
    seconds = alternately({"a a": lambda: a @ a}, 5, time.process_time)["a a"]
    return {
        CACHE: triad_bandwidth(near, 1, blocks=25, clock=time.process_time),
        MEMORY: triad_bandwidth(4 if quick else 192, 1, clock=time.process_time),
        PRODUCTS: 8 * n**3 / seconds / 1e9,
    }


def findings(*, quick: bool, python: str | None) -> Iterator[Finding]:
    """Measure the limits, then every kernel."""
    most = limits(quick)
    for what, value in most.items():
        yield Fact("limits", what, value, UNIT[what], note="one thread")
    for kernel in kernels(quick):
        x = torch.ones(kernel.A.domain_shape, dtype=kernel.A.domain_dtype)
        y = kernel.A(x)
        calls = {"forward": lambda A=kernel.A, x=x: A(x), "adjoint": lambda A=kernel.A, y=y: A.adjoint(y)}
        found = alternately({**calls, **kernel.peers}, 2 if quick else 5, time.process_time)
        for what, due in (("forward", kernel.forward), ("adjoint", kernel.adjoint)):
            share = due / found[what] / 1e9 / most[kernel.limit]
            yield Fact(kernel.name, what, 1e3 * found[what], "ms", note=f"{share:.0%} of the limit by {kernel.limit}")
            yield Fact(kernel.name, f"{what}, share of the limit", share, f"by {kernel.limit}")
        for name in kernel.peers:
            who, what = name.split(", ")
            yield Ratio(kernel.name, what, 1e3 * found[what], who, 1e3 * found[name])
        if isinstance(kernel.A, NonCartesianMRI):
            yield from _sigpy(kernel, x, found, python)


def _sigpy(kernel: Kernel, x: Tensor, found: Mapping[str, float], python: str | None) -> Iterator[Finding]:
    if python is None:
        yield Absent(kernel.name, "sigpy", "no PEERS=/path/to/python given")
        return
    omega = phantoms.radial(x.shape[-1], 2 * x.shape[-1]).reshape(-1, 2)
    theirs = peer(python, "nufft_of_sigpy", x=x.numpy(), omega=omega.numpy())
    if theirs is None:
        yield Absent(kernel.name, "sigpy", "it fails there")
        return
    for what in ("forward", "adjoint"):
        note = "theirs by the clock"
        yield Ratio(kernel.name, what, 1e3 * found[what], "sigpy", 1e3 * float(theirs[what]), note=note)


def features() -> str:
    """Return what a processor is known by here: its kind, how wide it calculates, its cores and caches."""
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        told = [text for text in info.read_text().splitlines() if text.lower().startswith(("flags", "features"))]
        flags = set(told[0].split()) if told else set()
    wide = [name for name in FLAGS if name in flags]
    cache = processor.second_level_cache() / 2**20
    return ", ".join(
        [platform.machine(), *wide, f"{os.cpu_count()} cores", f"{cache:g} MiB of second-level cache each"]
    )


def main(given: list[str] | None = None) -> None:
    """Print every finding as it comes and the tables at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with sigpy")
    parser.add_argument("--page", action="store_true", help="put this processor's columns into docs/performance.md")
    parser.add_argument("--quick", action="store_true", help="tiny problems: does it all still run?")
    args = parser.parse_args(given)
    torch.set_num_threads(1)
    about = {"processor": features(), "torch": torch.__version__}
    console, report = Console(width=None if os.isatty(1) else 180), Report([[]])
    console.print(f"processor: {about['processor']}", highlight=False)
    for finding in findings(quick=args.quick, python=args.peers):
        report.repeats[-1].append(finding)
        console.print(line(finding), markup=False, highlight=False)
    report.show(console)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report.save(args.json, about)
    if args.page:
        processors.keep(about["processor"], report.repeats[-1])


if __name__ == "__main__":
    main()
