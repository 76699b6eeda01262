"""The recipes of quantitative MRI: t2-map and t1-map."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.continuation import Reached, continued
from invprob.methods.reporting import Progress, run, with_own_readings
from invprob.methods.scales import admm, contrast, first_image, penalty
from invprob.methods.strength import Found, Strength, choose, fixed
from invprob.operators.mri.relaxation_units import RelaxationUnits
from invprob.operators.mri.signal_models import InversionRecovery, MultiEcho, SignalModel
from invprob.priors import TotalVariation
from invprob.problem import Problem
from invprob.result import ParameterMap, Result
from invprob.solvers import ADMM, GaussNewton

FAINT = 0.05  # of the magnetisation's 99th percentile: a pixel below it has no relaxation time to be told
SHORTEST = 0.5  # ms: times all below it are seconds that were taken for ms
# lam of the images and of the parameters behind them, relative to the strength: images are many more numbers than two
# per pixel, and the model itself holds down what lam does in them
OF_IMAGES, OF_PARAMETERS = 0.6, 0.2
IMAGES_TOL = 2e-3  # residual at which the images that the maps begin from are good enough
INNER = 20  # steps of ADMM for one direction of Gauss-Newton

Times = str | Sequence[float] | None


def t2_map(
    problem: Problem, *, echo_times: Times = None, strength: Strength = "auto", tol: float = 1e-3, max_iter: int = 8
) -> Iterator[Progress]:
    """|A(m exp(-TE R2)) - y|^2 / 2 + lam (TV(u) + TV(v)) by Gauss-Newton, u and v being m and R2 (`RelaxationUnits`).

    Block, Uecker & Frahm (IEEE TMI 28, 2009). It begins with the fit per pixel to images with total variation of common
    edges. The image is that of the model at the echo times; `Result.maps` holds "T2" in ms, NaN where there is hardly
    any signal, "M0", the magnetisation, and "T2 by pixel", the fit it began with.

    Arguments:
        echo_times: TE of the images along the first axis, in ms, rising: numbers, or a text such as "12,24,36".
        strength: lam relative to max |A^H y|, a number >= 0; "auto" (the default) makes the images of total variation
            that predict data best (`choose`).
        tol: the relative residual that counts as converged.
        max_iter: the most steps of Gauss-Newton.

    ValueError without echo times, and for an operator whose images have no axis for them.
    """
    yield from _mapped(problem, MultiEcho, "T2", "echo_times", echo_times, strength, tol, max_iter)


def t1_map(
    problem: Problem,
    *,
    inversion_times: Times = None,
    strength: Strength = "auto",
    tol: float = 1e-3,
    max_iter: int = 8,
) -> Iterator[Progress]:
    """|A(m (1 - 2 exp(-TI R1))) - y|^2 / 2 + lam (TV(u) + TV(v)), as `t2_map`; `Result.maps` holds "T1" in ms.

    Arguments:
        inversion_times: TI of the images along the first axis, in ms, rising: numbers, or a text such as
            "100,400,1500".
        strength, tol, max_iter: as for `t2_map`.

    ValueError without inversion times, and for an operator whose images have no axis for them.
    """
    yield from _mapped(problem, InversionRecovery, "T1", "inversion_times", inversion_times, strength, tol, max_iter)


@dataclass(frozen=True, eq=False)
class _Mapping:
    """From parameters in units of the images, u, to m and R, images and maps.

    Arguments:
        name: of the relaxation time.
        model: from m and R to images.
        units: from u to m and R.
        by_pixel: m and R of the fit per pixel.
    """

    name: str
    model: SignalModel
    units: RelaxationUnits
    by_pixel: Tensor

    def images(self, u: Tensor) -> Tensor:
        """Return the images of the model."""
        images: Tensor = self.model(self.units(u))
        return images

    def maps(self, u: Tensor) -> dict[str, ParameterMap]:
        """Return the maps with their units."""
        x = self.units(u)
        return {
            self.name: ParameterMap(self._milliseconds(x), "ms"),
            "M0": ParameterMap(x.select(-len(self.model.domain_shape), 0), "", of_image=True),
            f"{self.name} by pixel": ParameterMap(self._milliseconds(self.by_pixel), "ms"),
        }

    def _milliseconds(self, x: Tensor) -> Tensor:
        return torch.where(_faint(self.model, x), math.nan, self.model.milliseconds(x))


def _mapped(
    problem: Problem,
    kind: type[MultiEcho | InversionRecovery],
    name: str,
    setting: str,
    given: Times,
    strength: Strength,
    tol: float,
    max_iter: int,
) -> Iterator[Progress]:
    A = problem.linear
    times = _times(setting, given)
    model = kind([1e-3 * t for t in times], _space(problem, len(times), name), dtype=A.dtype).to(A.device)
    balanced = problem.balanced()
    images, lam, found = yield from _images(balanced, strength)
    mapping, start = _begun(name, model, images)
    inner = replace(balanced, A=(A @ model) @ mapping.units)
    f = inner.fidelity()
    g = TotalVariation(OF_PARAMETERS * lam, ndim=problem.ndim, axes=A.grid.ndim, spacing=A.grid.relative)
    solver = GaussNewton(max_iter=max_iter, tol=tol, inner_steps=INNER)
    settings = {setting: list(times), "strength": found.strength.tolist(), "tol": tol, "max_iter": max_iter}
    events = run(
        f"{name} by its model",
        inner,
        solver,
        f,
        g,
        state=solver.init(f, g, start),
        settings=settings,
        choice=found.choice,
    )
    for event in events:
        yield event.changed(partial(_with_maps, mapping=mapping, problem=problem), mapping.images)


def _with_maps(done: Result, mapping: _Mapping, problem: Problem) -> Result:
    """Return a result of images and maps, which speaks of the readings as they are."""
    found = replace(done, x=mapping.images(done.x), maps=mapping.maps(done.x), state=None)
    return with_own_readings(found, problem)


def _times(setting: str, given: Times) -> list[float]:
    """Return the times in ms; ValueError in the setting's name unless they are at least two that rise."""
    example = f"{setting}=12,24,36 for times in ms" if setting == "echo_times" else f"{setting}=100,400,1500 in ms"
    if given is None:
        raise ValueError(f"no map without the times of the images: give {example}")
    try:
        times = [float(part) for part in (given.split(",") if isinstance(given, str) else given)]
    except (TypeError, ValueError):
        raise ValueError(f"{setting} is a list of numbers, got {given!r}: give {example}") from None
    if len(times) < 2 or not all(0 < a < b < math.inf for a, b in pairwise(times)):
        raise ValueError(f"{setting} must be at least two times, positive and rising, got {given!r}")
    if times[-1] < SHORTEST:
        raise ValueError(f"{setting} are in ms, and end at {times[-1]:g}: multiply times in seconds by 1000")
    return times


def _space(problem: Problem, count: int, name: str) -> tuple[int, ...]:
    """Return the shape of one image; ValueError unless the operator takes as many of them as there are times."""
    A = problem.linear
    space = tuple(A.domain_shape[-A.grid.ndim :])
    if A.domain_shape != (count, *space):
        raise ValueError(
            f"{name} needs images at {count} times, {(count, *space)}, and {type(A).__name__} takes "
            f"{A.domain_shape}: give the encoding frames={count}, or use A.lift(({count},))"
        )
    return space


def _images(problem: Problem, strength: Strength) -> Generator[Progress, None, tuple[Tensor, Tensor, Found]]:
    """Return images with total variation of edges common to all times, its weight, and how the strength was found."""
    A, given = problem.linear, fixed(strength)
    largest, first = problem.peak, first_image(problem)
    size = contrast(first, problem.ndim)

    def parts(on: Problem, chosen: Tensor, keep: Tensor | None) -> tuple[ADMM, Misfit, Functional]:
        lam = chosen * largest
        g = TotalVariation(OF_IMAGES * lam, ndim=on.ndim, axes=A.grid.ndim, spacing=A.grid.relative, shared_edges=True)
        f = on.fidelity(keep)
        return admm(f, g, penalty(lam, size, A), tol=IMAGES_TOL, max_iter=100), f, g

    found = yield from choose([problem], parts, given)
    chosen, at = found.strength, found.at
    solver, f, g = parts(problem, chosen, None)
    start = continued(problem, solver, f, g, at or Reached(first), chosen)
    settings = {"strength": chosen.tolist()}
    state = yield from run("images at all times", problem, solver, f, g, state=start, settings=settings)
    return state.x, chosen * largest, found


def _begun(name: str, model: SignalModel, images: Tensor) -> tuple[_Mapping, Tensor]:
    """Return the mapping whose parameters change images by about as much as images themselves, and where to begin."""
    d = len(model.domain_shape)
    by_pixel = model.fit(images)
    rate = by_pixel.narrow(-d, 1, 1).real
    # where nothing is the rate is that of noise, and the magnetisation may be anything
    faint = _faint(model, by_pixel).unsqueeze(-d)
    x = model.with_rates(images, torch.where(faint, torch.full_like(rate, model.usual), rate))
    size = contrast(x.select(-d, 0), d - 1)
    units = RelaxationUnits(model, torch.where(size > 0, size, 1.0))
    return _Mapping(name, model, units, by_pixel), units.inverse(x)


def _faint(model: SignalModel, x: Tensor) -> Tensor:
    """Return where parameters make hardly any signal, `(*batch, *image)`."""
    d = len(model.domain_shape)
    size = linalg.length(model(x), -d).squeeze(-d)
    return size <= FAINT * linalg.per_item(contrast(size, d - 1), size, d - 1)
