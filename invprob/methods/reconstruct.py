"""The door: a scan and the name of a method in, a result out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invprob import linalg, registry
from invprob.linop import LinearOperator
from invprob.methods.progress import Progress, Recipe
from invprob.problem import Problem, prolong
from invprob.result import Result
from invprob.scan import Scan


def reconstruct(scan: Scan, method: str | Recipe = "tv", **settings: Any) -> Result:
    """Return the result of a method on a scan; `settings` are the method's keyword arguments.

    `method` is a registered name, a `"module:function"` or a function. ValueError for unknown names, with the nearest.
    """
    last = None
    for event in progress(scan, method, **settings):
        last = event  # the only one kept: each holds the state of its iteration
    if last is None:
        raise RuntimeError(f"the method {method} ended without a result")
    return last.result()


@torch.no_grad()
def progress(scan: Scan, method: str | Recipe = "tv", **settings: Any) -> Iterator[Progress]:
    """Yield after every iteration of a method; the last one holds the final result.

    The recipe sees each item's data divided by a power of two, so that multiplying the data by c multiplies the
    image by c; results come in the units of the scan.
    """
    recipe = find_recipe(method)
    _check_settings(recipe, settings)
    level, scale = _normalised(scan)
    named = {"method": method if isinstance(method, str) else recipe.__name__}

    def in_units(event: Progress) -> Progress:
        return replace(
            event,
            conclude=lambda: _rescaled(event.result(), scale, level.A.domain_shape, named).of_scan(scan),
            show=lambda: _image_in_units(event.image(), scale, level.A.domain_shape),
        )

    yield from map(in_units, recipe(level, **settings))


def find_recipe(method: str | Recipe) -> Recipe:
    """Return the function behind a method; ValueError with the nearest names for an unknown one."""
    if not isinstance(method, str):
        return method
    found: Recipe = registry.resolve(method) if ":" in method else registry.load(registry.METHODS, method)
    return found


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Return the names of a recipe's settings with their defaults."""
    parameters = inspect.signature(recipe).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _check_settings(recipe: Recipe, settings: dict[str, Any]) -> None:
    known = settings_of(recipe)
    for name in settings:
        if name not in known:
            raise ValueError(f"{recipe.__name__} has no setting {name!r}; {registry.nearest(name, known)}")


def _normalised(scan: Scan) -> tuple[Problem, Tensor]:
    """Return the scan with each item's data divided by the power of two that brings their maximum into [1, 2).

    Weights are divided by the mean of those that are not zero, and so is the noise's variance.
    """
    A = scan.operator
    if not isinstance(A, LinearOperator):
        raise ValueError(f"the methods need a linear operator, {type(A).__name__} is none")
    y = scan.data.to(A.device)
    largest = y.abs().flatten(y.ndim - len(A.range_shape)).amax(-1).double()
    scale = torch.where(largest > 0, torch.exp2(torch.floor(torch.log2(largest))), 1.0)
    noise = None
    if scan.noise is not None:
        noise = torch.as_tensor(scan.noise, dtype=torch.float64, device=A.device).expand(scale.shape) / scale
    k = len(A.range_shape)
    y = y / linalg.per_item(scale, y, k)
    if scan.weights is None:
        return Problem(A, y, noise), scale
    weights = scan.weights.to(A.device, torch.float64).expand(y.shape)
    usual = weights.sum(linalg.item_axes(k)) / (weights > 0).sum(linalg.item_axes(k))
    noise = None if noise is None else noise / usual.sqrt()
    return Problem(A, y, noise, (weights / linalg.per_item(usual, weights, k)).to(A.dtype)), scale


def _rescaled(result: Result, scale: Tensor, shape: tuple[int, ...], named: dict[str, Any]) -> Result:
    """Return the result in the units and on the grid of the scan; objectives go with the square of the data."""
    facts, history = result.certificate, dict(result.history)
    if facts is not None and facts.objective is not None:
        facts = replace(facts, objective=facts.objective * scale**2)
    if "objective" in history:
        history["objective"] = history["objective"] * scale**2
    return replace(
        result,
        x=_image_in_units(result.x, scale, shape),
        samples=None if result.samples is None else _image_in_units(result.samples, scale, shape),
        spread=None if result.spread is None else _image_in_units(result.spread, scale, shape),
        history=history,
        certificate=facts,
        state=None,
        settings=named | dict(result.settings),
    )


def _image_in_units(x: Tensor, scale: Tensor, shape: tuple[int, ...]) -> Tensor:
    return prolong(x, shape, smooth=True) * linalg.per_item(scale, x, len(shape))
