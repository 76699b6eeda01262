"""One unit of work: a method on all images of a problem, with its own choice of strength and with a tuned one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob import metrics
from invprob.benchmark.plan import Unit
from invprob.benchmark.problems import Cases, Problem, cases
from invprob.errors import InputError, printable
from invprob.linop import LinearOperator
from invprob.methods import Progress, find_recipe, progress, settings_of
from invprob.result import Result

__all__ = ["MODES", "Mode", "Run", "Status", "measure"]

Mode = Literal["auto", "tuned"]
MODES: tuple[Mode, ...] = ("auto", "tuned")
Status = Literal["measured", "not for this", "failed", "nothing to tune"]
DATA_RANGE = 1.0  # scenes have values, or magnitudes, in [0, 1], whatever a single one of them uses of it
LEVEL = 0.9  # of the intervals whose coverage is a column
FIRST_STEP = math.log(10) / 2  # of the search for a strength, in its logarithm
_SMALL, _FIRST = 32, 10  # pixels of the image on which a method takes so many steps before its time is taken
_NO_START = 1e-2  # strength to begin with where none is known


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a method in one mode: columns with one entry per test image, in order.

    `columns` has psnr (dB), ssim, nrmse, spread (root mean square of the standard deviations of methods that tell
    some), coverage (the share of values inside their 90 % intervals), calibration (`metrics.calibration` of draws),
    iterations, each NaN of methods without, and seconds (per image, of the whole batch); `ends` the status of each
    image; `validation` is the mean PSNR on the validation images, `tried` the strengths with theirs. `image` is
    that of the first test image, of its shape and kind, `spread` and `sample` its standard deviations and a draw from
    the posterior of methods that have some, and `history` its convergence. `certificate` is empty where a method has
    none, and everything but `status` and `reason` where nothing was measured.
    """

    status: Status
    reason: str = ""
    columns: Mapping[str, list[float]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)
    validation: float | None = None
    tried: list[tuple[float, float]] = field(default_factory=list)
    certificate: Mapping[str, Any] = field(default_factory=dict)
    image: NDArray[Any] | None = None
    spread: NDArray[Any] | None = None
    sample: NDArray[Any] | None = None
    history: Mapping[str, list[float]] = field(default_factory=dict)


def measure(unit: Unit, mode: Mode, auto: Run | None = None) -> Run:
    """Return what a method achieves, with its own choices or with the strength tuned on the validation images.

    `auto` is the run with the method's own choices, which a tuned one begins from. Whatever goes wrong becomes the
    reason.
    """
    try:
        settings = settings_of(find_recipe(unit.method.target))
    except (ImportError, AttributeError, ValueError) as error:
        return Run("failed", f"cannot be loaded: {_words(error)}")
    if mode == "tuned" and "strength" not in settings:
        return Run("nothing to tune", "the method has no strength")
    if mode == "tuned" and auto is None:
        auto = measure(unit, "auto")
    if auto is not None and auto.status != "measured":
        return Run(auto.status, auto.reason)
    try:
        _warm_up(unit.method.target, unit.problem)
        return _automatic(unit) if auto is None else _tuned(unit, auto)
    except _RefusedError as error:
        return Run("not for this", str(error))
    except Exception as error:  # a method is a guest: whatever it raises is a row of the table
        return Run("failed", _words(error))


class _RefusedError(Exception):
    """The method has not even begun: the problem is not for it."""


def _automatic(unit: Unit) -> Run:
    """Run a method with its own choices; only what cannot be tuned is run on the validation images, too."""
    run = _judged(unit, {})
    tunable = "strength" in settings_of(find_recipe(unit.method.target))
    return run if tunable else replace(run, validation=_validated(unit, {}))


def _tuned(unit: Unit, auto: Run) -> Run:
    """Search from the strengths that a method chose itself, which it did without the truth."""
    positive = [value for value in auto.strengths if 0 < value < math.inf]
    start = math.exp(sum(map(math.log, positive)) / len(positive)) if positive else _NO_START
    tried = search(lambda strength: _score(unit, strength), start, unit.tries)
    best, validation = max(tried, key=lambda pair: pair[1])
    if validation == -math.inf:
        return Run("failed", f"none of {unit.tries} strengths around {start:.3g} gave an image")
    run = _judged(unit, {"strength": best})
    return replace(run, strengths=[best] * unit.tests, validation=validation, tried=tried)


def search(score: Callable[[float], float], start: float, tries: int) -> list[tuple[float, float]]:
    """Return the strengths tried with their scores: from `start` uphill in half decades, then in ever smaller steps."""
    found: dict[float, float] = {0.0: score(start)}  # by their logarithm relative to the start
    centre, step = 0.0, FIRST_STEP
    while len(found) < tries:
        near = [place for place in (centre - step, centre + step) if place not in found]
        if not near:
            step /= 2
            continue
        found[near[0]] = score(start * math.exp(near[0]))
        if found[near[0]] > found[centre]:
            centre = near[0]
    return [(start * math.exp(place), value) for place, value in found.items()]


def _score(unit: Unit, strength: float) -> float:
    try:
        validation = _validated(unit, {"strength": strength})
    except Exception:  # a strength too large or too small may break a method, and another one may not
        return -math.inf
    return -math.inf if math.isnan(validation) else validation


def _validated(unit: Unit, settings: Mapping[str, Any]) -> float:
    """Return the mean PSNR on the validation images."""
    held = cases(unit.problem, unit.size, "validation", unit.validations)
    x = _last(unit.method.target, held, settings).image()
    return float(_quality(x, held)["psnr"].mean())


def _judged(unit: Unit, settings: Mapping[str, Any]) -> Run:
    """Return what a method makes of the test images."""
    test = cases(unit.problem, unit.size, "test", unit.tests)
    result, seconds = _timed(unit.method.target, test, settings)
    x, spread = result.x.to(test.truth.device), result.spread
    if x.shape != test.truth.shape:
        raise ValueError(f"the image has shape {tuple(x.shape)}, the truth {tuple(test.truth.shape)}")
    if not bool(x.isfinite().all()):
        raise ArithmeticError("the image holds NaN or infinite values")
    columns = {
        **{name: values.tolist() for name, values in _quality(x, test).items()},
        **_uncertainty(result, test),
        "iterations": [float(n) if n else math.nan for n in result.n_iter.flatten().tolist()],
        "seconds": [seconds / unit.tests] * unit.tests,
    }
    return Run(
        "measured",
        columns=columns,
        ends=list(result.item_status),
        strengths=_strengths(result),
        certificate={} if result.certificate is None else result.certificate.as_dict(),
        image=_single(x[0]),
        spread=None if spread is None else _single(spread[0]),
        sample=None if result.samples is None else _single(result.samples[0, 0]),
        history={name: _first(column) for name, column in result.history.items()},
    )


def _quality(x: Tensor, on: Cases) -> dict[str, Tensor]:
    """Return PSNR, SSIM and relative error per image; an imaginary part that is wrong, or too much, is an error."""
    A = on.scan.operator
    found = metrics.quality(x, on.truth, ndim=len(A.domain_shape), space=A.grid.ndim, data_range=DATA_RANGE)
    nothing = torch.full_like(found["PSNR"], math.nan)  # similarity of images too small for its window
    return {"psnr": found["PSNR"], "ssim": found.get("SSIM", nothing), "nrmse": found["relative error"]}


def _uncertainty(result: Result, on: Cases) -> dict[str, list[float]]:
    """Return the columns of what a method says of its own errors, one number per image, NaN where it says nothing.

    The spread is in the units of the image, to be compared with its root mean square error.
    """
    truth, spread, draws = on.truth, result.spread, result.samples
    ndim, nothing = len(on.scan.operator.domain_shape), torch.full((len(truth),), math.nan)
    columns = dict.fromkeys(("spread", "coverage", "calibration"), nothing)
    if spread is not None:
        if spread.shape != truth.shape:
            raise ValueError(f"the spread has shape {tuple(spread.shape)}, the truth {tuple(truth.shape)}")
        columns["spread"] = spread.double().square().flatten(1).mean(1).sqrt()
        columns["coverage"] = metrics.coverage(result.x, spread, truth, level=LEVEL, ndim=ndim)
    if draws is not None and len(draws) > 1:
        columns["calibration"] = metrics.calibration(draws, truth, ndim=ndim)
    return {name: values.tolist() for name, values in columns.items()}


def _single(x: Tensor) -> NDArray[Any]:
    """Return an image as NumPy holds it in single precision, real or complex as it is."""
    found: NDArray[Any] = x.to(torch.complex64 if x.is_complex() else torch.float32).numpy(force=True)
    return found


def _timed(target: str, on: Cases, settings: Mapping[str, Any]) -> tuple[Result, float]:
    """Return the result of a method and the processor seconds it took; the operator's own preparations are done before.

    Other programs on the machine leave them as they are.
    """
    A = on.scan.operator
    if isinstance(A, LinearOperator):
        A.direct(on.scan.data)
        A.norm_bound()
    started = time.process_time()
    result = _last(target, on, settings).result()
    return result, time.process_time() - started


def _last(target: str, on: Cases, settings: Mapping[str, Any]) -> Progress:
    """Run a method to its end; _RefusedError where it does not even begin, for another reason than a missing file."""
    last: Progress | None = None
    try:
        for event in progress(on.scan, target, **settings):
            last = event
    except ValueError as error:
        if last is None and not isinstance(error, InputError):  # that is about files, such as missing weights
            raise _RefusedError(_words(error)) from error
        raise
    if last is None:
        raise RuntimeError("the method ended without a result")
    return last


@cache
def _warm_up(target: str, problem: Problem) -> None:
    """Begin with a method on a small image, so that no compilation is part of its time."""
    try:
        for _ in islice(progress(cases(problem, _SMALL, "validation", 1).scan, target), _FIRST):
            pass
    except Exception:  # the real run will tell
        return


def _strengths(result: Result) -> list[float]:
    """Return the strengths that a method reports, one per image; none where it has none."""
    found = result.settings.get("strength", [])
    return [float(value) for value in np.ravel(found) if np.isreal(value)]


def _first(column: Tensor) -> list[float]:
    return [float(row.flatten()[0]) for row in column]


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return printable(text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}", 300)
