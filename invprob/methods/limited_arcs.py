"""The recipe of limited arcs: the support of the object, its material's hardening curve, and few grey values."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import mul
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.doubt import Doubt
from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.methods.constraints import Constraint, Support, coarse_support, constraint_of, filled
from invprob.methods.continuation import Reached, continued, reached
from invprob.methods.reporting import Progress, changed, run
from invprob.methods.scales import constant, penalty, pull_of_noise, variation_of
from invprob.methods.strength import EXPECTED, Strength, fixed
from invprob.methods.total_variation import tv
from invprob.operators.ct.beam_hardening import HardeningCurve, NoCurveError, envelope
from invprob.priors import GreyLevels, Sum
from invprob.problem import Problem, pyramid
from invprob.result import Result
from invprob.solvers import ADMM

OUTLINES = ("disc", "ellipse", "convex")  # which are tried, from the one that knows most
# total variation relative to max |A^H y|: less than that of one value fills what no ray tells with grey
WEAKEST = 3e-4
CONVEX, DRAWN, FINISH = 40, 25, 40  # iterations without and with a pull to the grey values, and on each finer grid
PULL = 0.1  # of the pull, relative to ADMM's penalty: more than half decides before the data do
ROUNDS, SETTLED = 8, 0.003  # of reconstruction and curve; relative change of the curve that is none
ONE_MATERIAL = (
    0.05  # misfit of a curve to the readings, over their size, beyond which the object is not of one material
)
WORSE = 1.1  # times the misfit before, with which a round has gone astray
HOPELESS = 0.2  # such a misfit after the first round, beyond which others do not help
COARSEST = 96  # pixels along a side, of which an object has some two thirds: with less, its edges decide the misfit
SHORT = 0.55  # share of the longest chord up to which some ray meets no hole: the rim of the object
NOTICED = 0.03  # share of the attenuation lost over the longest path that is hardening


def limited_angle(
    problem: Problem,
    *,
    strength: Strength = "auto",
    support: Support = "auto",
    material: str = "auto",
    beam_hardening: str = "auto",
    nonnegative: bool | None = None,
    tol: float = 1e-4,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """Total variation within the object's outline, of one material where readings are a curve of its thickness.

    On a coarse grid the image of two grey values and the curve that takes chords of its segmentation to readings are
    found in turns; finer grids go on with the readings made linear (`HardeningCurve`, `GreyLevels`). Data that no curve
    explains are those of several materials: `tv` within the outline.

    Arguments:
        strength: of total variation, relative to max |A^H y|; "auto" (the default) from the noise of one material, as
            for `tv` of several.
        support: as for `tv`; "auto" (the default) is the first of disc, ellipse and convex region that fits the edges.
        material: "auto" (the default) finds out whether there is one; "one" insists, "several" does not ask.
        beam_hardening: "auto" (the default) makes readings linear where they are hardened; "none" leaves them.
        nonnegative: of several materials, as for `tv`; one material is.
        tol, max_iter: as for `tv`, of several materials; of one the tolerance alone, as its steps are few.

    ValueError for data that are no views, other words, and an insisted material that no curve explains.
    """
    for name, value, known in (
        ("material", material, ("auto", "one", "several")),
        ("beam_hardening", beam_hardening, ("auto", "none")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if problem.linear.data_kind != "views":
        raise ValueError(f"limited-angle is for views of an object, not for {type(problem.A).__name__}: use tv")
    given = fixed(strength)
    constraint = _within(problem, support)
    bounded = partial(_several, strength=strength, nonnegative=nonnegative, tol=tol, max_iter=max_iter)
    single = problem.batch.numel() == 1
    reason = ""
    if constraint.support is None:
        reason = "the outline of the object is not known"
    elif not single or problem.ndim != 2 or problem.y.is_complex():
        reason = "one material is looked for in single real images"
    if reason and material == "one":
        raise ValueError(f"material=one cannot be had: {reason}; use tv with bounds")
    if reason or material == "several":
        yield from bounded(problem, constraint, reason)
        return
    yield from _one(problem, constraint, given, material, beam_hardening, tol, bounded)


def _several(
    problem: Problem,
    constraint: Constraint,
    reason: str,
    *,
    strength: Strength,
    nonnegative: bool | None,
    tol: float,
    max_iter: int,
) -> Iterator[Progress]:
    """Yield what total variation makes of the image within its support."""
    inside, told = constraint.support, {"support": constraint.where} if constraint.where else {}
    notes = (f"the object is not taken for one material: {reason}",) if reason else ()
    tol = max(tol, 6e-4)
    change = partial(_told, told=told | {"material": "several"}, notes=notes)
    for event in tv(problem, strength=strength, nonnegative=nonnegative, support=inside, tol=tol, max_iter=max_iter):
        yield event.changed(change)


def _one(
    problem: Problem,
    constraint: Constraint,
    given: float | None,
    material: str,
    beam_hardening: str,
    tol: float,
    otherwise: Callable[[Problem, Constraint, str], Iterator[Progress]],
) -> Iterator[Progress]:
    """Yield the reconstruction of one material, or what stands for it where the data are not such."""
    levels = _fine_enough(pyramid(problem.quadratic()))
    try:
        curve, at, chosen = yield from _curve(levels[0], constraint, given, tol)
    except NoCurveError as error:
        if material == "one":
            raise
        yield from otherwise(problem, constraint, str(error))
        return
    left = curve.misfit / float(np.sqrt((_readings(levels[0]) ** 2).mean()))
    if left > ONE_MATERIAL:
        words = f"a curve of its thickness leaves {left:.1%} of the readings"
        if material == "one":
            raise ValueError(f"material=one does not fit: {words}; leave it at auto, or use tv with bounds")
        yield from otherwise(problem, constraint, words)
        return
    settings = {"strength": chosen.tolist(), "tol": tol}
    for level in levels:
        on = _linear(level, curve, beam_hardening == "auto" and curve.size > NOTICED)
        solver, f, g = _parts(on, constraint, chosen, PULL, tol, FINISH)
        start = continued(on, solver, f, g, at, chosen)
        events = run(f"one material, {_size(level)}", on, solver, f, g, state=start, settings=settings)
        story = _story(curve, left, constraint, beam_hardening)
        state = yield from changed(events, partial(_told, unit=curve.mean, **story), partial(mul, curve.mean))
        at = reached(state, chosen)
        if level is not levels[-1]:
            curve = _followed(level, at)


def _fine_enough(levels: Sequence[Problem]) -> Sequence[Problem]:
    """Return the grids that know the thickness of an object, and be it the last alone."""
    return [level for level in levels if min(level.A.domain_shape) >= COARSEST] or levels[-1:]


def _story(curve: HardeningCurve, left: float, constraint: Constraint, beam_hardening: str) -> dict[str, Any]:
    """Return what a result tells of one material: settings, notes and doubts."""
    told: dict[str, Any] = {"support": constraint.where, "material": "one", "grey_value": curve.mean}
    notes = [f"the object is taken for one material, which explains all but {left:.1%} of the readings"]
    doubts: tuple[Doubt, ...] = ()
    if curve.size > NOTICED:
        lost = f"the beam hardens: its longest path is attenuated {curve.size:.0%} less per length than its shortest"
        if beam_hardening == "auto":
            told["beam_hardening"] = curve.size
            notes.append(f"{lost}; the readings were made linear")
        else:
            doubts = (Doubt(lost, "fair", "leave beam_hardening at auto"),)
    return {"told": told, "notes": tuple(notes), "doubts": doubts}


def _curve(
    level: Problem, constraint: Constraint, given: float | None, tol: float
) -> Generator[Progress, None, tuple[HardeningCurve, Reached, Tensor]]:
    """Return the curve of the material, the image it belongs to, in units of its grey value, and the strength.

    The first guess is what rays of short chords say, of which some meet no hole; chords of the segmented image correct
    it, until it settles.
    """
    y, outline = _readings(level), constraint.outline
    inside = None if outline is None else filled(outline, level.A.domain_shape)
    chords = level.A(_of(inside, level)).double().numpy(force=True)
    best = yield from _round(level, constraint, given, tol, envelope(chords, y, SHORT), None)
    for _ in range(ROUNDS):
        if best[0].misfit > HOPELESS * float(np.sqrt((y**2).mean())):
            break
        found = yield from _round(level, constraint, given, tol, best[0], best[1])
        at = chords.max() * np.array([0.1, 0.5, 0.9])
        settled = float(np.abs(found[0](at) / best[0](at) - 1).max()) < SETTLED
        worse = found[0].misfit > WORSE * best[0].misfit
        best = best if worse else found
        if settled or worse:
            break
    return best


def _round(
    level: Problem, constraint: Constraint, given: float | None, tol: float, curve: HardeningCurve, at: Reached | None
) -> Generator[Progress, None, tuple[HardeningCurve, Reached, Tensor]]:
    """Return the curve through readings by the chords of the image that a curve leads to, with that image."""
    on = _linear(level, curve, True)
    chosen = constant(on, max(WEAKEST, EXPECTED * float(pull_of_noise(on))) if given is None else given)
    inside = coarse_support(constraint.support, level.A.domain_shape) if constraint.support is not None else None
    image = 0.7 * _of(inside, level)
    for pull, steps in ((0.0, CONVEX), (PULL, DRAWN)):
        solver, f, g = _parts(on, constraint, chosen, pull, tol, steps)
        start = continued(on, solver, f, g, at or Reached(image), chosen)
        events = run("one material and its curve", on, solver, f, g, state=start, settings={})
        state = yield from changed(events, partial(_told, unit=curve.mean), partial(mul, curve.mean))
        at = reached(state, chosen)
    if at is None:
        raise RuntimeError("a round ends at an image")
    return _followed(level, at), at, chosen


def _followed(level: Problem, at: Reached) -> HardeningCurve:
    """Return the curve from the thickness of a segmented image, between 0 and 1, to the readings."""
    chords = level.A((at.x > 0.5).to(level.y.dtype)).double().numpy(force=True)
    return HardeningCurve.fit(chords, _readings(level))


def _readings(level: Problem) -> NDArray[np.float64]:
    """Return the readings, those of weight 0 interpolated."""
    readings: NDArray[np.float64] = level.linear.fill(level.y, level.counted()).double().numpy(force=True)
    return readings


def _of(inside: Tensor | None, level: Problem) -> Tensor:
    """Return a support as an image of the problem's shape and kind."""
    ones = torch.ones((*level.batch, *level.A.domain_shape), dtype=level.y.dtype, device=level.y.device)
    return ones if inside is None else ones * inside


def _linear(level: Problem, curve: HardeningCurve, hardened: bool) -> Problem:
    """Return the problem of the lengths of material that readings speak for."""
    noise = None if level.noise is None else level.noise / curve.mean
    if not hardened:
        return replace(level, y=level.y / curve.mean, noise=noise)
    lengths = torch.from_numpy(curve.lengths(level.y.double().numpy(force=True)))
    return replace(level, y=lengths.to(level.y), noise=noise)


def _parts(
    on: Problem, constraint: Constraint, chosen: Tensor, pull: float, tol: float, steps: int
) -> tuple[ADMM, Misfit, Functional]:
    """Return solver, data term and prior for an image between 0 and 1, drawn to them."""
    lam, support = chosen * on.peak, constraint.support
    inside = None if support is None else coarse_support(support, on.A.domain_shape)
    rho = penalty(lam, torch.ones_like(lam), on.linear)
    f, grey = on.fidelity(), GreyLevels((0.0, 1.0), pull * rho, support=inside, ndim=on.ndim)
    return ADMM(rho=rho, tol=tol, max_iter=steps), f, Sum(variation_of(on.A, lam), grey)


def _within(problem: Problem, support: Support) -> Constraint:
    """Return the support that was asked for, of "auto" the first shape that fits, or none."""
    if not isinstance(support, str) or support != "auto":
        return constraint_of(problem, None, None, support)
    for shape in OUTLINES:
        try:
            return constraint_of(problem, None, None, shape)
        except ValueError:  # another shape, or an edge that is not seen
            continue
    return Constraint()


def _told(
    result: Result,
    *,
    unit: float = 1.0,
    told: Mapping[str, Any] = MappingProxyType({}),
    notes: tuple[str, ...] = (),
    doubts: tuple[Doubt, ...] = (),
) -> Result:
    """Return a result in other units, with what more there is to say of it."""
    facts, history = result.certificate, dict(result.history)
    if facts is not None:
        objective = None if facts.objective is None else facts.objective * unit**2
        facts = replace(facts, objective=objective, notes=(*facts.notes, *notes), doubts=(*facts.doubts, *doubts))
    if "objective" in history:
        history["objective"] = history["objective"] * unit**2
    settings = {**result.settings, **told}
    return replace(result, x=unit * result.x, certificate=facts, history=history, settings=settings)


def _size(level: Problem) -> str:
    return " x ".join(map(str, level.A.domain_shape))
