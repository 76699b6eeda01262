"""The recipe for coloured noise: sobolev-tv, and what colour the noise of pictures has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from invprob.fidelities import estimate_s
from invprob.likelihood import Gaussian
from invprob.linop.doors import takes_arrays
from invprob.methods.examination import shows_noise
from invprob.methods.reporting import Progress
from invprob.methods.scales import kept_nonnegative
from invprob.methods.strength import Strength
from invprob.methods.total_variation import tv
from invprob.operators.image.noise_level import estimate_noise
from invprob.problem import Problem
from invprob.result import Result
from invprob.transforms import SobolevMetric

PATCH, FLAT = 16, 0.2  # pixels per side of what noise is looked for in, and the share of the picture that is flat
ROUGH = math.pi / 4  # frequencies below belong to the picture; no measurement of these three on record
# orders beyond are not believed, orders nearer to 0 are 0; no measurement on record
BLUEST, NEARLY_WHITE = -2.0, 0.2


def sobolev_tv(
    problem: Problem,
    *,
    order: float | str = "auto",
    strength: Strength = "auto",
    nonnegative: bool | None = None,
    tol: float = 6e-4,
    max_iter: int = 300,
) -> Iterator[Progress]:
    """1/2 |A x - y|^2 in H^s + lam TV(x), for noise of power spectrum <xi>^-2s: `tv` with data and operator whitened.

    Zhu, Hu, Lou & Yang 2021 (arXiv 2109.06255).

    Arguments:
        order: s; "auto" (the default) finds it in pictures (`noise_order`).
        strength, nonnegative, tol, max_iter: as for `tv`; the strength is relative to max |A^H P_2s y|.

    ValueError for weights, another likelihood than the Gaussian, and orders that cannot be found.
    """
    A, y = problem.linear, problem.y
    if problem.weights is not None or problem.A.measured is not None or not isinstance(problem.likelihood, Gaussian):
        raise ValueError(
            "sobolev-tv takes all readings alike, with Gaussian noise, and the scan has weights or another likelihood: "
            "use tv or wavelet"
        )
    s = _order(problem, order)
    settings: dict[str, Any] = {"strength": strength, "nonnegative": nonnegative, "tol": tol, "max_iter": max_iter}
    if s == 0:
        events = tv(problem, **settings)
    else:
        whiten = SobolevMetric(A.range_shape, s, boundary="neumann", dtype=A.dtype).to(A.device)
        white = Problem(whiten @ A, whiten(y), _whitened_noise(problem, whiten))
        events = tv(white, **settings | {"nonnegative": kept_nonnegative(problem, nonnegative)})
    for event in events:
        yield event.changed(partial(_with_order, s=s))


@takes_arrays
def noise_order(y: Tensor, ndim: int = 2) -> Tensor:
    """Return the order s <= 0 of the noise in pictures, of power spectrum <xi>^-2s, per item; 0 for nearly white noise.

    It is `estimate_s` of the high frequencies of patches, of the fifth of them whose low frequencies are weakest.
    Noise that is red cannot be told from the picture, and orders s > 0 gain next to nothing: they become 0.
    """
    wide = y if y.is_complex() else y.double()
    for axis in range(-ndim, 0):  # (*batch, patches, *patch)
        wide = wide.unfold(-ndim, min(PATCH, y.shape[axis]), min(PATCH, y.shape[axis]))
    patches = wide.flatten(-2 * ndim, -ndim - 1)
    metric = SobolevMetric(patches.shape[-ndim:], 1.0, boundary="neumann", dtype=torch.float64).to(y.device)
    square = metric.weights(2.0) - 1  # |xi|^2
    low = metric.power_spectrum(patches) * ((square > 0) & (square <= ROUGH**2))
    flat = low.flatten(-ndim).sum(-1).argsort(-1)[..., : max(1, round(FLAT * patches.shape[-ndim - 1]))]
    index = flat.reshape(*flat.shape, *(1,) * ndim).expand(*flat.shape, *patches.shape[-ndim:])
    axes = tuple(range(-ndim, 0))
    s = estimate_s(patches.gather(-ndim - 1, index), ndim + 1, above=ROUGH, boundary="neumann", axes=axes).s
    return torch.where(s < -NEARLY_WHITE, s.clamp(min=BLUEST), 0.0)


def _order(problem: Problem, order: float | str) -> float:
    """Return the order asked for, or what the items show; ValueError where they differ."""
    if order == "auto":
        if not shows_noise(problem.A):
            raise ValueError(
                f"order='auto' sees the noise of pictures, which the data of {type(problem.A).__name__} are not: "
                "give a number"
            )
        orders = noise_order(problem.y, len(problem.A.range_shape)).flatten()
        if bool((orders != orders[:1]).any()):
            raise ValueError(
                f"the items show noise of different orders {[round(s, 2) for s in orders.tolist()]}: "
                "reconstruct them one by one, or give order a number"
            )
        return float(orders[0]) if orders.numel() else 0.0
    if isinstance(order, str) or not math.isfinite(order):
        raise ValueError(f"order must be 'auto' or a finite number, got {order!r}")
    return float(order)


def _whitened_noise(problem: Problem, whiten: SobolevMetric) -> Tensor | None:
    """Return the noise level of P_s y: what the scan says, but no less than what pictures show."""
    given = None if problem.noise is None else problem.noise / whiten.weights(-2 * whiten.s).mean().sqrt()
    if not shows_noise(problem.A):
        return given
    seen = estimate_noise(whiten(problem.y), len(problem.A.range_shape))
    return seen if given is None else torch.maximum(given.to(seen), seen)


def _with_order(done: Result, s: float) -> Result:
    return replace(done, settings=done.settings | {"order": s})
