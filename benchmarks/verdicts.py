"""Does a verdict tell good images from bad ones? Reconstructions of known truth, sound and spoilt, and their verdicts.

A problem is an instrument with phantoms and noise; `allowed` is the relative error up to which an image of it is good:
twice that of `tv` on phantoms of other seeds, and at most 0.25, fixed before the campaign. A fault spoils a scan or a
setting. No bad image may be green, whatever spoilt it, and few good images of sound scans may not be.

    python benchmarks/verdicts.py                 # the table of docs/verdict.md
    python benchmarks/verdicts.py --only fan blur # some problems
    python benchmarks/verdicts.py --json out.json # every reconstruction
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invprob import Scan, reconstruct
from invprob.benchmark.noise import coloured, gaussian, photons
from invprob.judgement import statements, verdict
from invprob.likelihood import Poisson, Transmission
from invprob.linop import LinearOperator
from invprob.operators import Blur, Mask
from invprob.phantoms.instruments import Instrument, chirp, gauss, instrument, motion
from invprob.phantoms.random import seeded
from invprob.phantoms.scenes import Shape, phantom

PLANE: Shape = (48, 48)
VOLUME: Shape = (8, 24, 24)
SEEDS = (2, 3)  # of the campaign; thresholds were set on others
ONCE = ("wavelet", "pnp", "red", "gs-pnp", "lpn")  # methods that take long see one seed
_PICTURES = ("leaves", "organs")
_ONE_PERCENT, _PHOTONS = partial(gaussian, level=0.01), partial(photons, count=3e4)
_COLOURED = partial(coloured, level=0.1, slope=0.5)


@dataclass(frozen=True)
class Problem:
    """A row of the table: what measures, what is measured, how noisy; `allowed` is the error of a good image."""

    build: Callable[[Shape], Instrument]
    allowed: float
    methods: tuple[str, ...]
    scenes: tuple[str, ...] = ("organs", "ellipses")
    noise: Callable[..., Any] = _ONE_PERCENT
    shape: Shape = PLANE
    counted: Callable[[LinearOperator, Tensor, torch.Generator], Scan] | None = None

    def scan(self, name: str, seed: int) -> Scan:
        """Return a scan with its truth."""
        tool = self.build(self.shape)
        scene = phantom(self.scenes[seed % len(self.scenes)])(self.shape, seeded(f"verdicts {name} {seed}"))
        clean, key = tool.measure(scene), seeded(f"verdicts noise {name} {seed}")
        if self.counted is not None:
            return replace(self.counted(tool.operator, clean, key), truth=scene.truth)
        data, noise, weights = self.noise(clean, key)
        return Scan(tool.operator, data, noise=noise, weights=weights, truth=scene.truth)


def _behind(A: LinearOperator, clean: Tensor, key: torch.Generator) -> Scan:
    return Scan(A, torch.poisson(3e4 * torch.exp(-clean), generator=key), likelihood=Transmission(blank=3e4))


def _emitted(A: LinearOperator, clean: Tensor, key: torch.Generator) -> Scan:
    return Scan(400 * A, torch.poisson(400 * clean.clamp(min=0), generator=key), likelihood=Poisson())


_parallel, _fan, _cone = (partial(instrument, f"{beam}-beam") for beam in ("parallel", "fan", "cone"))
_ALL = ("fbp", "least-squares", "tikhonov", "tv", "wavelet", "pnp", "red", "gs-pnp", "lpn")

PROBLEMS: Mapping[str, Problem] = {
    "parallel": Problem(_parallel(views=80), 0.18, _ALL),
    "sparse": Problem(_parallel(views=28), 0.2, ("fbp", "tv", "pnp", "lpn")),
    "dose": Problem(_parallel(views=80, counted=True), 0.14, ("fbp", "least-squares", "tv", "lpn"), noise=_PHOTONS),
    "counts": Problem(_parallel(views=60, counted=True), 0.14, ("fbp", "tv"), counted=_behind),
    "fan": Problem(_fan(views=96), 0.17, ("fbp", "tikhonov", "tv", "pnp")),
    "cone": Problem(_cone(views=40), 0.25, ("fbp", "tikhonov", "tv"), ("ellipsoids",), shape=VOLUME),
    "blur": Problem(
        instrument("blur", kernel=gauss), 0.22, ("tikhonov", "tv", "wiener", "pnp", "sobolev-tv"), _PICTURES
    ),
    "motion": Problem(instrument("blur", kernel=motion), 0.18, ("wiener", "tv", "lpn"), _PICTURES),
    "emission": Problem(instrument("blur", kernel=gauss), 0.25, ("tv",), _PICTURES, counted=_emitted),
    "camera": Problem(instrument("camera"), 0.25, ("tv", "wavelet", "pnp", "red"), noise=partial(gaussian, level=0.1)),
    "coloured": Problem(instrument("camera"), 0.25, ("sobolev-tv",), _PICTURES, _COLOURED),
    "holes": Problem(instrument("holes", seen=0.8), 0.17, ("tikhonov", "tv", "pnp"), _PICTURES),
    "finer": Problem(instrument("large-pixels", factor=2), 0.25, ("tv", "gs-pnp")),
    "compressed": Problem(instrument("random-projection", pixels=2), 0.14, ("tikhonov", "tv", "pnp")),
    "wave": Problem(instrument("blur", kernel=chirp), 0.24, ("direct", "tv"), ("leaf-waves", "organ-waves")),
}

# ---- faults: from a scan and a key to a spoilt scan


def _other(A: LinearOperator, **changes: Any) -> LinearOperator:
    """Return an operator with some of its constructor's arguments changed."""
    return type(A)(**A.config() | changes, dtype=A.dtype)


def _geometry(scan: Scan, key: torch.Generator, **changes: Callable[[Any], Any]) -> Scan:
    """Tell the methods of another geometry than that of the data."""
    del key
    config = scan.operator.config()
    return replace(scan, operator=_other(scan.operator, **{name: f(config[name]) for name, f in changes.items()}))


def _views(scan: Scan, key: torch.Generator, *, keep: Callable[[int], slice]) -> Scan:
    """Keep some of the views."""
    del key
    part = keep(len(scan.data))
    weights = None if scan.weights is None else scan.weights[part]
    A = _other(scan.operator, angles=scan.operator.angles[part])
    return replace(scan, operator=A, data=scan.data[part], weights=weights)


def _bins(scan: Scan, key: torch.Generator, *, first: float, last: float) -> Scan:
    """Keep some of the bins, as a smaller detector would."""
    del key
    A, n = scan.operator, scan.operator.detectors
    low, high = round(first * n), round(last * n)
    offset = (n - 1) / 2 + A.axis_offset - low - (high - low - 1) / 2
    return replace(scan, operator=_other(A, detectors=high - low, axis_offset=offset), data=scan.data[:, low:high])


def _data(scan: Scan, key: torch.Generator, *, change: Callable[[Tensor, torch.Generator], Tensor]) -> Scan:
    """Spoil the readings."""
    return replace(scan, data=change(scan.data, key))


def _noise(scan: Scan, key: torch.Generator, *, times: float) -> Scan:
    """State another noise level."""
    del key
    return replace(scan, noise=times * torch.as_tensor(scan.noise))


def _turned(scan: Scan, key: torch.Generator) -> Scan:
    """Exchange views and bins."""
    del key
    angles = torch.linspace(0, torch.pi, scan.data.shape[1] + 1)[:-1]
    return replace(scan, operator=_other(scan.operator, angles=angles, detectors=len(scan.data)), data=scan.data.T)


def _below_zero(scan: Scan, key: torch.Generator) -> Scan:
    """Take the mean of a picture away, of which methods that keep x >= 0 do not know."""
    del key
    half = torch.full_like(scan.truth, 0.5)
    return replace(scan, data=scan.data - scan.operator(half), truth=scan.truth - half)


def _kernel(scan: Scan, key: torch.Generator, *, change: Callable[[Tensor], Tensor]) -> Scan:
    del key
    A = scan.operator
    return replace(scan, operator=Blur(A.domain_shape, change(A.kernel), "valid"))


def _holes(scan: Scan, key: torch.Generator) -> Scan:
    """Believe the holes to lie one pixel beside where they are."""
    del key
    seen = scan.operator.measured.roll(1, -1)
    return replace(scan, operator=Mask(seen), data=scan.data.roll(0))


def _adjoint(scan: Scan, key: torch.Generator) -> Scan:
    """Give the operator an adjoint that is none."""
    del key
    A = scan.operator
    wrong = LinearOperator.from_functions(A, lambda y: A.adjoint(y).flip(-1), A.domain_shape, A.range_shape)
    return replace(scan, operator=wrong)


def _shuffled(y: Tensor, key: torch.Generator) -> Tensor:
    return y[torch.randperm(len(y), generator=key)]


def _rings(y: Tensor, key: torch.Generator) -> Tensor:
    return y + 0.1 * y.amax() * (torch.rand(y.shape[-1], generator=key) < 0.15)


def _moved(y: Tensor, key: torch.Generator) -> Tensor:
    del key
    return torch.cat([y[: len(y) // 2], y[len(y) // 2 :].roll(4, -1)])


def _wild(y: Tensor, key: torch.Generator) -> Tensor:
    return torch.where(torch.rand(y.shape, generator=key) < 0.03, y.amax() * torch.rand(y.shape, generator=key), y)


@dataclass(frozen=True)
class Fault:
    """What spoils a scan, or the settings, of some problems as seen by some methods."""

    about: str
    cases: Mapping[str, tuple[str, ...]]
    spoil: Callable[[Scan, torch.Generator], Scan] = lambda scan, _: scan
    settings: Mapping[str, Any] | None = None


_QUICK = ("fbp", "tv")
_SCANS: Mapping[str, tuple[str, ...]] = {"parallel": ("fbp", "tv", "lpn"), "fan": _QUICK, "dose": _QUICK}


def _on(methods: tuple[str, ...], *problems: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(problems, methods)


FAULTS: Mapping[str, Fault] = {
    "axis near": Fault(
        "the rotation axis 1.5 bins off", _on(_QUICK, "parallel"), partial(_geometry, axis_offset=lambda a: a + 1.5)
    ),
    "axis": Fault("the rotation axis 4 bins off", _SCANS, partial(_geometry, axis_offset=lambda a: a + 4)),
    "no axis": Fault(
        "the axis off the detector", _on(_QUICK, "parallel", "fan"), partial(_geometry, axis_offset=lambda a: 150.0)
    ),
    "arc 30": Fault(
        "an arc of 30 degrees", _on(("fbp", "tv", "pnp"), "parallel"), partial(_views, keep=lambda n: slice(0, n // 6))
    ),
    "arc 60": Fault(
        "an arc of 60 degrees",
        {"parallel": ("fbp", "tv", "lpn", "least-squares"), "dose": _QUICK, "counts": _QUICK},
        partial(_views, keep=lambda n: slice(0, n // 3)),
    ),
    "arc 120": Fault(
        "an arc of 120 degrees", _on(_QUICK, "parallel"), partial(_views, keep=lambda n: slice(0, 2 * n // 3))
    ),
    "few views": Fault(
        "one view in twelve",
        _on(("fbp", "tv", "pnp"), "parallel", "fan"),
        partial(_views, keep=lambda n: slice(0, n, 12)),
    ),
    "order": Fault("views in another order", {**_SCANS, "cone": _QUICK}, partial(_data, change=_shuffled)),
    "transposed": Fault("views and bins exchanged", _on(_QUICK, "parallel"), _turned),
    "angles": Fault("angles half as large", _on(_QUICK, "parallel", "fan"), partial(_geometry, angles=lambda a: a / 2)),
    "truncated": Fault(
        "a detector of half the width", _on(_QUICK, "parallel", "fan"), partial(_bins, first=0.25, last=0.75)
    ),
    "displaced": Fault(
        "a detector that sees one side", _on(_QUICK, "parallel", "fan"), partial(_bins, first=0.35, last=1.0)
    ),
    "flat field": Fault(
        "counts above the flat field",
        _on(_QUICK, "parallel", "fan"),
        partial(_data, change=lambda y, _: y - 0.3 * y.amax()),
    ),
    "below zero": Fault("negative images under x >= 0", _on(("tv", "pnp"), "blur", "motion"), _below_zero),
    "noise high": Fault(
        "a noise level 5 times too high",
        _on(("tv", "tikhonov"), "parallel", "blur", "camera"),
        partial(_noise, times=5),
    ),
    "noise low": Fault(
        "a noise level 5 times too low", _on(("tv", "tikhonov"), "parallel", "fan"), partial(_noise, times=0.2)
    ),
    "distance": Fault(
        "the source at half the distance",
        _on(_QUICK, "fan", "cone"),
        partial(_geometry, source_distance=lambda d: d / 1.5),
    ),
    "kernel": Fault(
        "a kernel 0.7 times as wide",
        _on(("tv", "wiener", "pnp"), "blur"),
        partial(_kernel, change=lambda k: k.square() / k.square().sum()),
    ),
    "stroke": Fault(
        "a kernel turned by 90 degrees", _on(("tv", "wiener"), "motion"), partial(_kernel, change=lambda k: k.rot90())
    ),
    "conjugate": Fault(
        "the conjugate kernel",
        _on(("direct", "tv"), "wave"),
        partial(_kernel, change=lambda k: k.conj().resolve_conj()),
    ),
    "hole places": Fault("holes one pixel beside", _on(("tv", "direct"), "holes"), _holes),
    "numbering": Fault(
        "readings in another order", _on(("tv", "tikhonov"), "compressed"), partial(_data, change=_shuffled)
    ),
    "unconverged": Fault(
        "stopped early", _on(("tv", "tikhonov"), "parallel", "blur", "holes"), settings={"max_iter": 2}
    ),
    "too strong": Fault(
        "a strength far too high",
        {"parallel": ("tv", "wavelet"), "blur": ("tv",), "fan": ("tv",), "holes": ("tv",)},
        settings={"strength": 0.3},
    ),
    "too weak": Fault(
        "a strength far too low", _on(("tv",), "parallel", "sparse", "blur", "holes"), settings={"strength": 1e-7}
    ),
    "adjoint": Fault("an adjoint that is none", _on(("tv", "tikhonov"), "parallel", "blur"), _adjoint),
    "rings": Fault("bins with an offset", _SCANS, partial(_data, change=_rings)),
    "saturated": Fault(
        "readings clipped at half the largest",
        _on(_QUICK, "parallel", "dose", "fan"),
        partial(_data, change=lambda y, _: y.clamp(max=0.5 * float(y.amax()))),
    ),
    "motion": Fault("an object that moves by 4 pixels", _SCANS, partial(_data, change=_moved)),
    "hardening": Fault(
        "beams that harden", _SCANS, partial(_data, change=lambda y, _: y - 0.12 * y.square() / y.amax() * 4)
    ),
    "outliers": Fault(
        "3 % of the readings wild",
        {"parallel": ("fbp", "tv", "pnp"), "blur": ("tv", "wiener"), "fan": ("tv",)},
        partial(_data, change=_wild),
    ),
}


# ---- the campaign


@dataclass(frozen=True)
class Verdict:
    """One reconstruction: its error and what was said of it."""

    problem: str
    fault: str
    method: str
    seed: int
    error: float
    grade: str
    words: str
    seconds: float

    @property
    def bad(self) -> bool:
        """Whether the image is worse than what is allowed."""
        return not self.error <= PROBLEMS[self.problem].allowed

    @property
    def alarm(self) -> bool:
        """Whether a good image of a sound scan is not green."""
        return not self.fault and not self.bad and self.grade != "good"


def cases(only: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> Iterator[tuple[str, str, str, int]]:
    """Yield problem, fault ("" of sound scans), method and seed of every reconstruction."""
    for name, problem in PROBLEMS.items():
        if only and name not in only:
            continue
        for method in problem.methods:
            for seed in seeds[:1] if method in ONCE else seeds:
                yield name, "", method, seed
        for fault, row in FAULTS.items():
            for method in row.cases.get(name, ()):
                for seed in seeds[:1] if method != "fbp" else seeds:
                    yield name, fault, method, seed


def judge(name: str, fault: str, method: str, seed: int) -> Verdict:
    """Reconstruct one case and return what was said of it; "refused" where it was not begun."""
    problem, started = PROBLEMS[name], time.perf_counter()
    scan, settings = problem.scan(name, seed), {}
    size = torch.linalg.vector_norm(scan.truth)  # also where a fault takes the mean away
    try:
        if fault:
            row = FAULTS[fault]
            scan, settings = row.spoil(scan, seeded(f"fault {fault} {seed}")), dict(row.settings or {})
        told = replace(scan, truth=None)
        result = reconstruct(told, method, **settings)
    except ValueError as error:
        return Verdict(name, fault, method, seed, float("inf"), "refused", str(error), time.perf_counter() - started)
    facts = None if result.certificate is None else result.certificate.as_dict()
    found = statements(facts, result.item_status)
    whole = verdict(found)
    against = "; ".join(s.text for s in found if s.grade == whole.grade and whole.grade in ("fair", "bad"))
    error = float(torch.linalg.vector_norm(result.x - scan.truth) / size)
    return Verdict(name, fault, method, seed, error, whole.grade, against, time.perf_counter() - started)


def table(verdicts: Sequence[Verdict]) -> str:
    """Return how many images of each kind were good and bad, and what was said of them, as a table in Markdown."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for v in verdicts:
        groups[v.fault].append(v)
    lines = [
        "| | images | bad | of the bad: green | amber | red | refused | of the good: green | amber | red |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for fault, row in [*groups.items(), ("all", list(verdicts))]:
        about = "nothing wrong" if not fault else fault if fault == "all" else FAULTS[fault].about
        cells = [str(len(row)), str(sum(v.bad for v in row))]
        cells += [str(sum(v.bad and v.grade == g for v in row)) for g in ("good", "fair", "bad", "refused")]
        cells += [str(sum(not v.bad and v.grade == g for v in row)) for g in ("good", "fair", "bad")]
        lines.append(f"| {about} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the campaign and print its table, with every image of which the verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=(), choices=tuple(PROBLEMS), help="some problems")
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS, help="of phantoms and noise")
    parser.add_argument("--json", type=Path, help="where every reconstruction goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Verdict] = []
    for case in cases(options.only, options.seeds):
        v = judge(*case)
        found.append(v)
        told = "WRONG" if v.bad and v.grade == "good" else "alarm" if v.alarm else ""
        line = f"{v.problem:10} {v.fault:12} {v.method:13} {v.seed} error {v.error:6.3f} {v.grade:7} {told:5}"
        print(f"{line} {v.seconds:5.1f} s  {v.words[:300]}", flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(v) for v in found]))
    print(table(found))


if __name__ == "__main__":
    main()
