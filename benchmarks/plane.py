"""Parallel and fan beam: how fast, and how true to the analytic sinogram of the Shepp-Logan phantom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import peers
import torch
from numpy.typing import NDArray
from report import Absent, Fact, Finding, Ratio
from timing import race, triad_bandwidth
from torch import Tensor

from invprob.operators import FanBeam, ParallelBeam
from invprob.phantoms import shepp_logan

BATCH = 16
SUB_BINS = 16  # lines per bin whose mean stands for the bin
HALF_PIXEL = torch.tensor([0.5, -0.5], dtype=torch.float64)  # pixel (N // 2, N // 2) of an even image, from its middle


@dataclass(frozen=True)
class Size:
    """One problem: N x N pixels, so many angles, and by how much each variant of ours should beat the reference."""

    pixels: int
    angles: int
    targets: Mapping[str, float]

    @property
    def detectors(self) -> int:
        """As many bins as the diagonal has pixels."""
        return math.ceil(math.sqrt(2) * self.pixels)

    @property
    def name(self) -> str:
        """Pixels / angles / bins."""
        return f"{self.pixels}/{self.angles}/{self.detectors}"

    def parallel(self, backend: str = "auto") -> ParallelBeam:
        """Return the operator for views over half a turn."""
        views = np.arange(self.angles) * (math.pi / self.angles)
        return ParallelBeam((self.pixels, self.pixels), views, self.detectors, backend=backend)

    def fan(self, backend: str = "auto") -> FanBeam:
        """Return the operator for views over a full turn, source and detector two images away from the axis."""
        views = np.arange(self.angles) * (2 * math.pi / self.angles)
        return FanBeam(
            (self.pixels, self.pixels),
            views,
            self.detectors,
            source_distance=2.0 * self.pixels,
            detector_distance=2.0 * self.pixels,
            detector_size=2.0,
            backend=backend,
        )


RAYS = {"rays forward": 5, "rays adjoint": 3, "rays forward, batch": 8, "rays adjoint, batch": 8}
SMALL = {"forward": 15, "adjoint": 15, "forward, batch": 30, "adjoint, batch": 30, **RAYS}
LARGE = {"forward": 8, "adjoint": 10, "forward, batch": 20, "adjoint, batch": 20, **RAYS}
FAN = {"forward": 8, "adjoint": 8}
QUICK = Size(32, 12, {})


def projectors(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare parallel-beam projectors with ASTRA's linear one and others."""
    for size in (QUICK,) if quick else (Size(256, 180, SMALL), Size(512, 360, LARGE)):
        variants = {"": size.parallel(), "rays ": size.parallel("rays")}
        yield from _compare(f"parallel {size.name}", variants, "ASTRA linear", size.targets, patience)


def fan(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare fan-beam projectors with ASTRA's line_fanflat and others."""
    for size in (QUICK,) if quick else (Size(256, 180, FAN), Size(512, 360, FAN)):
        variants = {"": size.fan(), "rays ": size.fan("rays")}
        yield from _compare(f"fan {size.name}", variants, "ASTRA line_fanflat", size.targets, patience)


def _compare(
    section: str, ours: Mapping[str, peers.Geometry], reference: str, targets: Mapping[str, float], patience: float
) -> Iterator[Finding]:
    A = ours[""]
    phantom = shepp_logan(A.domain_shape[0] / 2)
    x, y = phantom.image((A.domain_shape[0], A.domain_shape[1])), _sinogram(A, 1, False).float()
    found: list[peers.Pair] = []
    for name, make in peers.pairs(A):
        try:
            pair = make()
            pair.adjoint(pair.forward(x.numpy()))
            found.append(pair)
        except Exception as error:  # absent or broken, a peer never stops the others
            yield Absent(section, name, str(error) or type(error).__name__)
    for direction, one in (("forward", x), ("adjoint", y)):
        many = one.expand(BATCH, *one.shape).clone()
        contenders: dict[str, Callable[[], object]] = {}
        for kind, B in ours.items():
            apply = B if direction == "forward" else B.adjoint
            contenders[f"{kind}{direction}"] = partial(apply, one)
            contenders[f"{kind}{direction}, batch"] = partial(apply, many)
        for pair in found:
            contenders[pair.name] = partial(getattr(pair, direction), one.numpy())
        ms = race(contenders, patience=patience)
        for kind in ours:
            for what in (f"{kind}{direction}", f"{kind}{direction}, batch"):
                images = BATCH if what.endswith("batch") else 1
                yield Ratio(section, what, ms[what] / images, reference, ms.get(reference), targets.get(what))
        for pair in found:
            if pair.name != reference:
                yield Ratio(section, direction, ms[direction], pair.name, ms[pair.name])
    yield from _accuracy(section, [_own_pair(A), *found], A, x)


def _own_pair(A: peers.Geometry) -> peers.Pair:
    def on_arrays(apply: Callable[[Tensor], Tensor]) -> Callable[[NDArray[Any]], NDArray[Any]]:
        return lambda t: apply(torch.as_tensor(t)).numpy()

    return peers.Pair("invprob", on_arrays(A), on_arrays(A.adjoint))


def _accuracy(section: str, pairs: list[peers.Pair], A: peers.Geometry, x: Tensor) -> Iterator[Finding]:
    """Compare sinograms of the area-averaged phantom with the truth, and adjoints with the transpose."""
    random = np.random.default_rng(0)
    u, v = random.random(A.domain_shape, np.float32), random.random(A.range_shape, np.float32)
    for pair in pairs:
        sinogram = pair.forward(x.numpy()).copy()
        for kind, lines in (("centre line", 1), ("mean of the bin", SUB_BINS)):
            truth = _sinogram(A, lines, pair.off_centre).numpy()
            error = float(np.linalg.norm(sinogram - truth) / np.linalg.norm(truth))
            yield Fact(section, f"relative error of {pair.name}, {kind}", error)
        Au = np.array(pair.forward(u), np.float64)  # a copy: some pairs hand out the array they work on
        Av = np.array(pair.adjoint(v), np.float64)
        apart = abs(np.vdot(Au, v) - np.vdot(u, Av)) / (np.linalg.norm(Au) * np.linalg.norm(v))
        limit = 1e-6 if pair.name == "invprob" else None
        yield Fact(section, f"adjoint mismatch of {pair.name}", float(apart), limit=limit)


@lru_cache(maxsize=8)
def _sinogram(A: peers.Geometry, lines: int, off_centre: bool) -> Tensor:
    """Return the phantom's exact integrals, the mean of so many lines per bin; float64."""
    phantom = shepp_logan(A.domain_shape[0] / 2)
    if off_centre:
        phantom = replace(phantom, centres=phantom.centres - HALF_PIXEL)
    fine = A.config() | {"detectors": lines * A.detectors, "detector_size": A.detector_size / lines}
    exact = phantom.line_integrals(*type(A)(**fine).rays())
    return exact.reshape(*A.range_shape, lines).mean(-1)


def roofline(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Put the memory that a projection must move beside what the machine can move."""
    threads = torch.get_num_threads()
    large = 4 if quick else 256
    bandwidth = triad_bandwidth(large, threads)
    yield Fact("roofline", f"triad, {large} MiB arrays, {threads} threads", bandwidth, "GB/s")
    yield Fact("roofline", f"triad, 1 MiB arrays, {threads} threads", triad_bandwidth(1, threads), "GB/s")
    for size in (QUICK,) if quick else (Size(256, 180, {}), Size(512, 360, {})):
        A, rays = size.parallel(), size.parallel("rays")
        x = torch.ones(A.domain_shape)
        directions = A.rays()[1]
        # a ray's length in the image, over its length per row, is the number of its steps
        per_step = torch.linalg.vector_norm(directions, dim=-1) / directions.abs().amax(-1)
        steps = float((A(x).double() / per_step).sum())
        matrix = 1e3 * 16 * steps / (1e9 * bandwidth)  # two entries per step, float32 and int32 each
        once = 4 * (x.numel() + math.prod(A.range_shape))
        y, many = A(x), x.expand(BATCH, *x.shape).clone()
        calls = {
            "forward": lambda A=A, x=x: A(x),
            "adjoint": lambda A=A, y=y: A.adjoint(y),
            "rays forward": lambda A=rays, x=x: A(x),
            "rays adjoint": lambda A=rays, y=y: A.adjoint(y),
            "forward, batch": lambda A=A, x=many: A(x),
        }
        section = f"roofline {size.name}"
        yield Fact(section, "a sparse matrix, read once at the bandwidth of memory", matrix, "ms")
        yield Fact(section, "image and sinogram, moved once", 1e3 * once / (1e9 * bandwidth), "ms")
        for what, ms in race(calls, patience=patience).items():
            images = BATCH if what.endswith("batch") else 1
            yield Fact(section, f"{what}, per image", ms / images, "ms")
            yield Fact(section, f"{what}: steps of rays", images * steps / ms / 1e6, "G/s")
            yield Fact(section, f"{what}: pixels read or written along the rays", images * 8 * steps / ms / 1e6, "GB/s")
