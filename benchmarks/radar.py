"""Near-field radar: quality of the methods, speed and memory beside the dense complex128 form of the formula.

`python benchmarks/radar.py speed`, `memory` or `quality`; quality simulates the X-shaped array on held-out targets.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.constants import c
from torch import Tensor

from invprob import Scan, metrics
from invprob.benchmark.noise import decibels
from invprob.fidelities import L2Ball
from invprob.methods.entry import progress
from invprob.operators import NearFieldMIMO, x_array
from invprob.phantoms import radar_targets
from invprob.phantoms.instruments import instrument
from invprob.phantoms.targets import CUBE, Split
from invprob.priors import L1, Magnitude
from invprob.solvers import CSALSA

CONDITIONS = ((5, 30.0), (10, 30.0), (20, 30.0), (40, 30.0), (20, 0.0))
METHODS = ("back-projection", "kirchhoff", "matched-filter", "l1-magnitude", "tv-magnitude", "pnp-magnitude")
HEAD = "| frequencies | SNR dB | method | PSNR dB | SSIM 2-D | SSIM 3-D | s / volume | peak MiB |\n" + "|---" * 8 + "|"
MIB = 2**20
ITERATIONS = 80  # of C-SALSA at least


def cross(frequencies: int, shape: tuple[int, int, int] = CUBE) -> NearFieldMIMO:
    """Return the simulated array of the paper before its cube."""
    return cast("NearFieldMIMO", instrument("x-array", frequencies=frequencies)(shape).operator)


def dense(A: NearFieldMIMO) -> Tensor:
    """Return the matrix of the formula, (readings, voxels) in complex128."""
    voxels = np.stack(np.meshgrid(*A.axes, indexing="ij"), -1).reshape(-1, 3)
    to, back = (np.linalg.norm(voxels - p[:, None], axis=-1) for p in (A.tx, A.rx))
    way, loss = (to[:, None] + back).reshape(-1, len(voxels)), (to[:, None] * back).reshape(-1, len(voxels))
    rows = [np.exp(-2j * np.pi * f / c * way) / (4 * np.pi * loss) for f in A.frequencies]
    return torch.from_numpy(np.concatenate(rows))


def best(call: Callable[[], Any], repeats: int = 5) -> float:
    """Return the processor seconds of the fastest of some calls: other work of the machine counts little."""
    call()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def speed(frequencies: int) -> None:
    """Race one product with A and A^H, and one iteration without the network, against the dense form."""
    A = cross(frequencies)
    D, x = dense(A), torch.randn(A.domain_shape, dtype=torch.complex64)
    y = A(x)
    wide, flat = y.to(torch.complex128).flatten(), x.to(torch.complex128).flatten()
    error = float((D @ flat - wide).norm() / wide.norm())
    print(f"{frequencies} frequencies: relative error of A in complex64 {error:.1e}")
    pairs = {
        "A": (lambda: A(x), lambda: D @ flat, lambda: torch.einsum("mn,n->m", D, flat)),
        "A^H": (lambda: A.adjoint(y), lambda: D.mH @ wide, lambda: torch.einsum("mn,m->n", D, wide.conj())),
    }
    theirs = {}
    for name, (ours, product, summed) in pairs.items():
        own, first, second = best(ours), best(product, 2), best(summed, 2)
        theirs[name] = min(first, second)
        print(f"{name}: {1e3 * own:.1f} ms; dense matmul {1e3 * first:.0f} ms, einsum {1e3 * second:.0f} ms: "
              f"{first / own:.1f} and {second / own:.1f} times")  # fmt: skip
    get, chunks, _ = A._tables("echo")
    tables = sum(legs.starts.nbytes + legs.step.nbytes for k in range(chunks) for legs in get(k)[1:])
    print(f"memory: tables {tables / MIB:.1f} MiB, dense {D.numel() * 16 / MIB:.0f} MiB: "
          f"{D.numel() * 16 / tables:.0f} times")  # fmt: skip
    f, g = L2Ball(A, y, 0.03 * float(y.norm())), Magnitude(L1(1.0, ndim=3))
    solver = CSALSA(tau=0.05)
    state = solver.init(f, g, torch.zeros_like(x))
    A.row_spectrum()  # computed once and kept
    step = solver.prepared(f, g, state)
    own = best(lambda: step(state))
    other = 7 * (theirs["A"] + theirs["A^H"])  # 14 products: five conjugate gradients, and the ball
    print(f"iteration: {1e3 * own:.0f} ms; 14 dense products {1e3 * other:.0f} ms: {other / own:.1f} times")


def memory() -> None:
    """Apply A and A^H on 61^3 voxels with 16 x 9 antennas at 11 frequencies: the peak of the process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    axes = [np.linspace(-0.15, 0.15, 61)] * 2 + [np.linspace(0.35, 0.65, 61)]
    A = NearFieldMIMO(axes, *x_array(16, 9), np.linspace(4e9, 16e9, 11))
    x = torch.ones(A.domain_shape, dtype=torch.complex64)
    A.adjoint(A(x))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{A!r}: peak {peak:.0f} MiB, of which before {before:.0f} MiB")


def quality(job: argparse.Namespace) -> None:
    """Print mean PSNR, 2-D and 3-D SSIM of |x| / max |x|, processor seconds per volume and the peak memory.

    Every row is computed in a process of its own, which makes its peak, and kept in `--keep`: what is there already is
    printed, not computed.
    """
    known = json.loads(job.keep.read_text()) if job.keep and job.keep.exists() else {}
    print(HEAD, flush=True)
    for frequencies, ratio in job.conditions:
        for method in job.methods:
            asked = Row(method, frequencies, ratio, job.count, job.first, job.split, job.threads)
            key = " ".join(map(str, astuple(asked)))
            if key not in known:
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    known[key] = pool.submit(measured, asked).result()
                if job.keep:  # another run may have added rows meanwhile
                    known |= json.loads(job.keep.read_text()) if job.keep.exists() else {}
                    job.keep.write_text(json.dumps(known, indent=1))
            psnr, flat, deep, seconds, peak = known[key]
            numbers = f"{psnr:.2f} | {flat:.3f} | {deep:.3f} | {seconds:.2f} | {peak:.0f}"
            print(f"| {frequencies} | {ratio:g} | {method} | {numbers} |", flush=True)


def scores(x: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """Return PSNR, and SSIM by planes of one depth and of the whole volume."""
    planes = metrics.ssim(x.movedim(-1, 0), truth.movedim(-1, 0), data_range=1.0).mean()
    whole = metrics.ssim(x, truth, data_range=1.0, ndim=3)
    return float(metrics.psnr(x, truth, data_range=1.0, ndim=3)), float(planes), float(whole)


def condition(text: str) -> tuple[int, float]:
    """Return the frequencies and the decibels of 10:30."""
    frequencies, ratio = text.split(":")
    return int(frequencies), float(ratio)


@dataclass(frozen=True)
class Row:
    """A row of the table: how many volumes of which set, from which number on, by which method."""

    method: str
    frequencies: int
    ratio: float
    count: int
    first: int
    split: Split
    threads: int


def measured(row: Row) -> list[float]:
    """Return mean PSNR, 2-D and 3-D SSIM, processor seconds per volume and the peak of this process in MiB.

    What is made once for all volumes, the tables of waves and the factors of A A^H, is made before the clock starts.
    The image of half the readings, by which `reconstruct` says where not to trust, is left out.
    """
    torch.set_num_threads(row.threads)
    A, found, spent = cross(row.frequencies), [], 0.0
    A(torch.zeros(A.domain_shape, dtype=torch.complex64))
    if row.method.endswith("-magnitude"):
        A.row_spectrum(ITERATIONS)
    for number, truth in enumerate(radar_targets(row.split, row.count, row.first), row.first):
        y, sigma, _ = decibels(A(truth), torch.Generator().manual_seed(number), ratio=row.ratio)
        start = time.process_time()
        for event in progress(Scan(A, y, sigma), row.method):
            last = event
        x = last.image().abs()
        spent += time.process_time() - start
        found.append(scores(x / x.max(), truth.abs()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*np.mean(found, 0).tolist(), spent / row.count, peak]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=("speed", "memory", "quality"))
    parser.add_argument("--frequencies", type=int, default=15, help="of the race")
    parser.add_argument("--count", type=int, default=50, help="held-out volumes of the table")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--conditions", nargs="+", type=condition, default=CONDITIONS, metavar="FREQUENCIES:DB")
    parser.add_argument("--keep", type=Path, help="file of rows that are done, to which new ones are added")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.section == "speed":
        speed(asked.frequencies)
    elif asked.section == "memory":
        memory()
    else:
        quality(asked)
