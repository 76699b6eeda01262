"""What a finished image is examined for: what it leaves of the data unexplained, and what these data are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invprob import linalg
from invprob.certificate import Certificate
from invprob.doubt import Doubt
from invprob.likelihood import Gaussian
from invprob.linop import LinearOperator, Operator
from invprob.operators.image.noise_level import estimate_noise
from invprob.problem import Problem

__all__ = ["data_doubts", "examined", "noise_in_data", "residual_correlation", "shared_by_blocks", "shows_noise"]

OVERSTATED = 1.5  # a noise level this many times what the data show is none of theirs: textures only add to that
NOTICED, PLENTY = 0.01, 0.1  # of all readings, the negative part that is more than noise
CLIPPED, FEWEST = 0.005, 12  # share and number of readings at one extreme value that make it a limit
TELLING = 0.5  # residual over noise below which its structure is that of the fit
NEARER, LEFT = 20, 1.0  # steps, and the residual over noise that they leave of no sound scan (0.95 at most)
BLOCK, SHARED = 5, 1.6  # readings along a block, and what sound residuals have in common over one (1.4 at most)
SURE = 3.0  # standard deviations
NEIGHBOURS = 16  # views in which the noise of a stack is looked for
Levels = tuple[Tensor, Tensor]  # between which a noise level lies
_TENTH, _TENTH_COMPLEX = 1.6449, math.sqrt(math.log(10))  # which a tenth of normal |n| with E|n|^2 = 1 exceed


def examined(
    facts: Certificate,
    problem: Problem,
    x: Tensor,
    settings: dict[str, Any],
    Ax: Tensor,
    *,
    whole: Problem | None = None,
) -> Certificate:
    """Return a certificate with what the residual of an image and the data by themselves give away.

    Where no noise level is stated, those that the data show stand for it.

    Arguments:
        facts: the certificate so far.
        problem: the data with their operator.
        x: the image.
        settings: those of the method.
        Ax: A(x).
        whole: the problem with all views, where `problem` has a few of them: noise shows in neighbouring views, and
            whether any image explains the data is then not sought.
    """
    changes: dict[str, Any] = {"residual_correlation": residual_correlation(problem, x, Ax)}
    seen = noise_in_data(problem) if whole is None else noise_in_data(whole, NEIGHBOURS)
    notes, tried = facts.notes, unexplained(problem, x, Ax, seen) if whole is None else ()
    doubts = [*facts.doubts, *tried, *data_doubts(problem, seen, settings)]
    if problem.noise is None and seen is not None and bool((seen[0] > 0).all()):
        found = problem.noise_seen(x, Ax).to(seen[0])
        changes["residual_to_noise"] = found / torch.minimum(torch.maximum(found, seen[0]), seen[1])
        low, high = (float(s.mean()) for s in seen)
        notes = (*notes, f"the noise level is not stated; the data show one between {low:.3g} and {high:.3g}")
    return replace(facts, notes=notes, doubts=tuple(dict.fromkeys(doubts)), **changes)


def unexplained(problem: Problem, x: Tensor, Ax: Tensor, seen: Levels | None) -> Iterator[Doubt]:
    """Yield that no image near x explains the data, if steps of conjugate gradients find none.

    They leave less than the noise of any sound scan, as they fit some of it, whatever held the image back (a direct
    one does not seek to meet the data at all), and nothing that blocks of readings share. Where x itself is such an
    image there is nothing to seek. Of a batch the middle item is tried. `seen` is `noise_in_data(problem)`.
    """
    if not isinstance(problem.A, LinearOperator) or not problem.y.numel():
        return
    middle = tuple(n // 2 for n in problem.batch)
    alone = not problem.A.parameter_batch  # else every item has an operator of its own, and all are tried together
    of = (_item(problem, middle) if alone else problem).quadratic()
    A, y, w, start = of.linear, of.y, of.weights, x[middle] if alone else x
    sigma = of.noise
    if sigma is None:
        seen = seen if of is problem else noise_in_data(of)
        sigma = None if seen is None else seen[1]

    def left(image: Tensor, d: Tensor) -> tuple[float, float]:
        """Return the residual over its noise, NaN where that is not known, and what its blocks share."""
        ratio = math.nan
        if sigma is not None and bool((sigma > 0).all()):
            found = replace(of, noise=sigma).residual_to_noise(image, d)
            ratio = math.nan if found is None else float(found if alone else found[middle])
        return ratio, shared_by_blocks(of, image, d)

    d = Ax[middle] if alone else Ax
    if _explains(*left(start, d), sure=True):
        return
    b = A.adjoint(y - d if w is None else w * (y - d))
    nearer = start + linalg.conjugate_gradient(lambda t: A.gram(t, w), b, ndim=of.ndim, max_iter=NEARER).x
    ratio, shared = left(nearer, A(nearer))
    if not _explains(ratio, shared):
        how = f"{ratio:.2f} times their noise" if ratio > LEFT else f"{shared:.1f} times what noise has in common"
        yield Doubt(
            f"no image explains these data: {NEARER} steps of conjugate gradients on from this one leave {how}"
            + ("" if ratio > LEFT else f" over blocks of {BLOCK} x {BLOCK} readings"),
            "fair",
            "check geometry, kernel, calibration and noise level",
        )


def _explains(ratio: float, shared: float, *, sure: bool = False) -> bool:
    """Return whether a residual is that of noise; if it is to be `sure`, by its size, too."""
    if sure and not ratio <= LEFT:
        return False
    return not (ratio > LEFT or (shared > SHARED and not ratio < TELLING))


def shared_by_blocks(problem: Problem, x: Tensor, Ax: Tensor | None = None) -> float:
    """Return the power of the residual's means over blocks, times the readings in a block, over its own power.

    1 of white noise, more where the data hold what the operator does not explain; 1 where readings lie in no plane.
    The problem is of least squares and a single item; of a flat detector the middle row is looked at.
    """
    weights = problem.counted()
    r = (problem.A(x) if Ax is None else Ax) - problem.y
    r = r if weights is None else weights.sqrt() * r
    if _is_flat_detector(problem.A):
        r = r.select(-2, r.shape[-2] // 2)
    if r.ndim < 2 or min(r.shape[-2:]) < 2 * BLOCK:
        return 1.0
    height, width = (n // BLOCK for n in r.shape[-2:])
    blocks = r[..., : height * BLOCK, : width * BLOCK].reshape(*r.shape[:-2], height, BLOCK, width, BLOCK)
    means, power = blocks.mean((-3, -1)).abs().double().square().mean(), blocks.abs().double().square().mean()
    return float(means * BLOCK**2 / power) if bool(power > 0) else 1.0


def _item(problem: Problem, index: tuple[int, ...]) -> Problem:
    """Return the problem of one item of a batch."""
    if not index:
        return problem
    k, lead = len(problem.A.range_shape), len(index)
    w, noise = problem.weights, problem.noise
    return replace(
        problem,
        y=problem.y[index],
        noise=noise[index] if isinstance(noise, Tensor) and noise.ndim else noise,
        weights=w if w is None else w.expand(problem.y.shape)[index],
        likelihood=problem.likelihood.mapped(lambda t: t[index] if t.ndim == k + lead else t),
    )


def residual_correlation(problem: Problem, x: Tensor, Ax: Tensor | None = None) -> Tensor:
    """Return the correlation of the residuals of neighbouring readings per item, the largest along an axis of the data.

    Residuals are divided by the standard deviations of their readings, as the likelihood has them. `Ax` is A(x), where
    it is known already.
    """
    d, k = problem.A(x) if Ax is None else Ax, len(problem.A.range_shape)
    mean = problem.likelihood.mean(d)
    r, counted = mean - problem.y, problem.counted()
    if problem.likelihood.counted:
        r = r / mean.clamp(min=1).sqrt()
    if counted is not None:
        r = counted.sqrt() * r
    seen = torch.ones_like(r.real) if counted is None else (counted > 0).to(r.real.dtype).expand(r.shape)
    found = [torch.zeros(problem.batch, dtype=torch.float64, device=r.device)]
    for axis in linalg.item_axes(k):
        n = r.shape[axis] - 1
        if n < 1:
            continue
        a, b = r.narrow(axis, 0, n), r.narrow(axis, 1, n)
        both = seen.narrow(axis, 0, n) * seen.narrow(axis, 1, n)
        size = linalg.norm(both * a, k) * linalg.norm(both * b, k)
        found.append(linalg.ratio(linalg.inner(both * a, both * b, k), size))
    return torch.stack(found).amax(0)


def noise_in_data(problem: Problem, views: int | None = None) -> Levels | None:
    """Return between which levels the noise of the data seems to lie, per item and for a reading with w = 1.

    The lower one is `estimate_noise`, that of quiet places; the higher one is what nine tenths of second differences
    stay below, in which textures and louder places have a part. None where data cannot show it. `views` are how many
    neighbouring ones of a sinogram are looked at, in the middle; None (the default) for all data.
    """
    A, y, counted = problem.A, problem.y, problem.counted()
    if not isinstance(problem.likelihood, Gaussian) or not _visible(A):
        return None
    if counted is not None:
        if not bool((counted > 0).all()):
            return None
        y = counted.sqrt() * y
    ndim = min(len(A.range_shape), 2)
    if _is_flat_detector(A):
        y = y.select(-2, A.range_shape[-2] // 2)  # its middle row
    if views is not None:
        views = min(views, y.shape[-2])
        y = y.narrow(-2, (y.shape[-2] - views) // 2, views)
    quiet, loud = estimate_noise(y, ndim).double(), _loud(y, ndim)
    axes = tuple(range(len(problem.batch), quiet.ndim))  # colours
    if axes:
        quiet, loud = (t.square().mean(axes).sqrt() for t in (quiet, loud))
    return quiet, torch.maximum(quiet, loud)


def _loud(y: Tensor, ndim: int) -> Tensor:
    """Return the standard deviation for which nine tenths of second differences would be as small as they are."""
    found, size = y.to(torch.complex128 if y.is_complex() else torch.float64), 1.0
    for axis in range(-ndim, 0):
        n = found.shape[axis] - 2
        if n > 0:
            found = found.narrow(axis, 0, n) - 2 * found.narrow(axis, 1, n) + found.narrow(axis, 2, n)
            size *= math.sqrt(6)
    flat = found.abs().flatten(-ndim)
    tail = flat.kthvalue(max(1, round(0.9 * flat.shape[-1])), dim=-1).values
    return tail / (size * (_TENTH_COMPLEX if y.is_complex() else _TENTH))


def _is_flat_detector(A: Operator) -> bool:
    """Return whether a view has rows and columns."""
    return A.data_kind == "views" and len(A.range_shape) - A.view_axes == 2


def _visible(A: Operator) -> bool:
    """Return whether noise can be seen in data: in views, and in pictures as `shows_noise` says."""
    if A.data_kind == "views":
        return A.measured is None and min(A.range_shape) > 4
    return shows_noise(A)


def shows_noise(A: Operator) -> bool:
    """Return whether data are a picture with about as many readings as pixels, in which noise can be seen."""
    return A.data_kind == "picture" and A.measured is None and 2 * math.prod(A.range_shape) > math.prod(A.domain_shape)


def data_doubts(problem: Problem, seen: Levels | None, settings: Mapping[str, Any]) -> Iterator[Doubt]:
    """Yield what is doubtful about the data themselves, whatever the image; `seen` is `noise_in_data(problem)`."""
    sigma = problem.noise if problem.noise is not None else None if seen is None else seen[1]
    if seen is not None and problem.noise is not None and bool((problem.noise > OVERSTATED * seen[1]).any()):
        times = float(linalg.ratio(problem.noise.double(), seen[1]).max())
        yield Doubt(
            f"the noise level is stated {times:.2g} times as high as the data show it: the image may be too smooth",
            "fair",
            "state the noise level of these data, or none",
        )
    if problem.likelihood.counted or problem.y.is_complex():
        return
    if problem.A.data_kind == "views" or settings.get("nonnegative") is True:
        yield from _negative(problem, sigma)
    if sigma is not None and bool((sigma > 0).all()):
        yield from _clipped(problem.y, len(problem.A.range_shape))


def _negative(problem: Problem, sigma: Tensor | None) -> Iterator[Doubt]:
    """Say whether readings are below zero by more than noise though no entry of A is, nor may the image be."""
    if not getattr(problem.A, "nonnegative", False):
        return
    k, y = len(problem.A.range_shape), problem.y
    noise = 0.0 if sigma is None else linalg.per_item(SURE * sigma, y, k)
    counted = problem.counted()
    if counted is not None:
        noise, y = noise / counted.clamp(min=1e-12).sqrt(), torch.where(counted > 0, y, 0.0)
    below = (-y - noise).clamp(min=0).double().sum(linalg.item_axes(k))
    share = float(linalg.ratio(below, y.abs().double().sum(linalg.item_axes(k))).max())
    if share <= (NOTICED if sigma is not None else PLENTY):
        return
    views = problem.A.data_kind == "views"
    cause = "brighter than the beam without an object" if views else "which no image x >= 0 leads to"
    remedy = "correct the flat field" if views else "set nonnegative=False, or add the offset that was taken away"
    yield Doubt(f"readings are negative by {share:.0%} of all, {cause}", "bad" if share > PLENTY else "fair", remedy)


def _clipped(y: Tensor, k: int) -> Iterator[Doubt]:
    """Say whether many readings have one extreme value, as where a detector saturates or counts nothing."""
    for end, values in (("highest", y), ("lowest", -y)):
        flat = values.flatten(-k)
        extreme = flat.amax(-1, keepdim=True)
        many = (flat == extreme).sum(-1)
        found = (many > CLIPPED * flat.shape[-1]) & (many > FEWEST) & (extreme.squeeze(-1) != 0)
        if bool(found.any()):
            share = float(torch.where(found, many, 0).max()) / flat.shape[-1]
            yield Doubt(
                f"{share:.1%} of the readings have the {end} value of all: a detector at its limit",
                "fair",
                "leave these readings out by weights 0, or expose otherwise",
            )
