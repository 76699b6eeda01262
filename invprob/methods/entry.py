"""The door: a scan and the name of a method in, a result out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invprob import linalg, registry
from invprob.io.receiver import with_coil_maps
from invprob.likelihood import Readings
from invprob.linop import LinearOperator, Operator
from invprob.linop.pairing import require_adjoint
from invprob.methods.plain_functions import name_of, recipe_of, takes_scan
from invprob.methods.reporting import Progress, Recipe
from invprob.methods.second_look import halved, is_sparse, local_change
from invprob.methods.setting_kinds import as_real, wrong_kind
from invprob.methods.stack_views import few_views
from invprob.problem import Problem, prolong
from invprob.result import ParameterMap, Result
from invprob.scan import Scan

COUNTS, SIZES = ("max_iter", "steps"), ("strength", "tol")  # settings that mean the same to all recipes that have them
BOUNDS = {"lower", "upper"}  # settings in the unit of the image
VALUES = BOUNDS | {"grey_value"}  # and what recipes tell of besides
LOOKING = "where not to trust, from half of the readings"


def reconstruct(scan: Scan, method: str | Recipe = "tv", **settings: Any) -> Result:
    """Return the result of a method on a scan.

    Arguments:
        scan: the data with their operator and what is known of the noise.
        method: a registered name, by default "tv", a `"module:function"` or a function: a recipe, or a plain function
            whose first argument is called `scan` and which returns an image.
        settings: the method's keyword arguments; the docstring of the function in `invprob.methods` says what they are.

    Where the data have fewer readings than the image has pixels, and where views meet a strength of your own, it looks
    twice, the second time at half of them: `Result.half_change` is where not to trust. ValueError for unknown names,
    with the nearest, for settings out of range, for a method that is not for such data, and for an operator whose
    adjoint is none; a method that refuses half of the readings has that in a note of its certificate.
    """
    last = None
    for event in followed(scan, method, **settings):
        last = event  # the only one kept: each holds the state of its iteration
    if last is None:
        raise RuntimeError(f"the method {method} ended without a result")
    return last.result()


@torch.no_grad()
def followed(scan: Scan, method: str | Recipe = "tv", **settings: Any) -> Iterator[Progress]:
    """Yield as `progress` does, then while the method looks at half of the readings, if it has to.

    It has to where readings are fewer than pixels (`is_sparse`), and where a strength for views is the user's, so that
    no data have tried it. Every later event holds the same image; the last one also where not to trust it.
    """
    last, scan = None, with_coil_maps(scan)
    for last in progress(scan, method, **settings):
        yield last
    again = is_sparse(scan) or (scan.operator.data_kind == "views" and settings.get("strength", "auto") != "auto")
    half = halved(scan) if last is not None and again and not _takes_all(method, scan) else None
    if half is None or last is None:
        return
    done = last.result()
    yield Progress(LOOKING, 0, 1, None, lambda: done)  # whoever follows lets go of the iterations' state
    del last
    chosen = settings | {key: _one(done.settings[key]) for key in ("strength", "order") if key in done.settings}
    chosen = {key: value for key, value in chosen.items() if key in settings_of(find_recipe(method))}
    event = None
    try:
        for event in progress(half, method, **chosen):
            yield replace(event, phase=f"{LOOKING}: {event.phase}", conclude=lambda: done, show=lambda: done.x)
        looked = done if event is None else _with_change(done, event.image(), scan.operator)
    except ValueError as error:  # as of a method that takes all readings alike; the image stays what it is
        looked = _noted(done, f"half of the readings cannot tell where not to trust the image: {error}")
    yield Progress(LOOKING, 1, 1, None, lambda: looked)


def _takes_all(method: str | Recipe, scan: Scan) -> bool:
    """Return whether a method takes readings of no weight for readings: a plain function may look at no weights."""
    A = scan.operator
    return takes_scan(find_recipe(method)) and (not isinstance(A, LinearOperator) or A.thinned() is None)


def _one(value: Any) -> Any:
    """Return the one number that stands for those of all items."""
    flat = torch.as_tensor(value, dtype=torch.float64).flatten()
    return float(flat.median()) if flat.numel() else value


def _with_change(done: Result, other: Tensor, A: Operator) -> Result:
    """Return a result with what another image of the same object says of it."""
    change = local_change(done.x, other, done.ndim, A.grid.ndim)
    facts = done.certificate
    if facts is not None:
        moved = linalg.ratio(linalg.norm(other - done.x, done.ndim), linalg.norm(done.x, done.ndim))
        facts = replace(facts, half_change=moved, half_of="pixels" if A.data_kind == "picture" else A.data_kind)
    return replace(done, certificate=facts, half_change=change)


def _noted(done: Result, note: str) -> Result:
    facts = done.certificate
    return done if facts is None else replace(done, certificate=replace(facts, notes=(*facts.notes, note)))


@torch.no_grad()
def progress(scan: Scan, method: str | Recipe = "tv", **settings: Any) -> Iterator[Progress]:
    """Yield after every iteration of a method; the last one holds the final result.

    The arguments are those of `reconstruct`. The recipe sees each item's data divided by a power of two, so that
    multiplying the data by c multiplies the image by c, or by c^(1/d) where A has the degree d; results come in the
    units of the scan. Counts, which have a unit, and data of an operator without a degree stay as they are.
    """
    recipe = find_recipe(method)
    check_settings(recipe, settings)
    real = {name for name, default in settings_of(recipe).items() if name in SIZES or isinstance(default, float)}
    settings = {name: as_real(value) if name in real else value for name, value in settings.items()}
    scan = with_coil_maps(scan)
    if isinstance(scan.operator, LinearOperator):
        few = few_views(scan.operator) if is_direct(method) and math.prod(scan.batch_shape) > 1 else None
        require_adjoint(scan.operator if few is None else few.operator)
    problem, of_data, of_image = _normalised(scan)
    named = {"method": method if isinstance(method, str) else name_of(recipe)}

    def in_units(event: Progress) -> Progress:
        return event.changed(
            lambda done: _rescaled(done, of_data, of_image, problem.A.domain_shape, named).of_scan(scan),
            lambda x: _image_in_units(x, of_image, problem.A.domain_shape),
        )

    if takes_scan(recipe):
        recipe = recipe_of(recipe, scan, of_image, dict(settings))
    for name in BOUNDS & settings.keys():
        if isinstance(settings[name], Real | Tensor):
            settings[name] = torch.as_tensor(settings[name], dtype=torch.float64) / of_image
    yield from map(in_units, recipe(problem, **settings))


def find_recipe(method: str | Recipe) -> Recipe:
    """Return the function behind a method; ValueError with the nearest names for an unknown one."""
    if not isinstance(method, str):
        return method
    found: Recipe = registry.resolve(method) if ":" in method else registry.load(registry.METHODS, method)
    return found


def is_direct(method: str | Recipe) -> bool:
    """Return whether a method is a registered one that takes a single step, and needs the adjoint for that alone."""
    return isinstance(method, str) and method in registry.METHODS and registry.METHODS[method].kind == "direct"


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Return the names of a recipe's settings with their defaults; all but the first argument of a plain function."""
    parameters = list(inspect.signature(recipe).parameters.values())
    if takes_scan(recipe):
        return {p.name: p.default for p in parameters[1:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_settings(recipe: Recipe, settings: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the setting, for one that the recipe does not have or that is out of range.

    Ranges are those of the settings that recipes call by one name; what only one of them has it checks itself.
    """
    known = settings_of(recipe)
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{name_of(recipe)} has no setting {name!r}; {registry.nearest(name, known)}")
        wanted = wrong_kind(recipe, name, value) or _wanted(name, value, known[name])
        if wanted:
            raise ValueError(f"{name} of {name_of(recipe)} must be {wanted}, got {value!r}")


def _wanted(name: str, value: Any, default: Any) -> str:
    """Return what a setting must be and is not, an empty text where there is nothing to complain of."""
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    fits = number and 0 <= as_real(value) < math.inf
    if name in COUNTS and isinstance(default, int):
        return "" if fits and isinstance(value, Integral) and int(value) >= 1 else "a whole number >= 1"
    if name in SIZES and isinstance(default, Real):
        return "" if fits else "a number >= 0"
    if name in SIZES and default == "auto":
        return "" if fits or value == "auto" else "'auto' or a number >= 0"
    return ""


def _normalised(scan: Scan) -> tuple[Problem, Tensor, Tensor]:
    """Return the problem with what its data and its image have to be multiplied by, powers of two per item.

    Data are divided by 2^(d k) and images by 2^k, for the degree d of A, which brings the largest datum into
    [1, 2^|d|). Weights are divided by the mean of those that are not zero, and so is the noise's variance.
    """
    A, likelihood = scan.operator, scan.likelihood
    y, k = scan.data.to(A.device), len(A.range_shape)
    largest = _largest(y, k).double()
    degree = None if likelihood.counted else A.degree
    exponent = torch.zeros_like(largest)
    if degree:
        power = torch.log2(torch.where(largest > 0, largest, 1.0)) / degree
        exponent = power.floor() if degree > 0 else power.ceil()
    of_data, of_image = torch.exp2(exponent * (degree or 0)), torch.exp2(exponent)
    y = y / linalg.per_item(of_data, y, k)
    noise = None
    if scan.noise is not None:
        noise = torch.as_tensor(scan.noise, dtype=torch.float64, device=A.device).expand(of_data.shape) / of_data
    weights = None
    if scan.weights is not None:
        weights = scan.weights.to(A.device, torch.float64).expand(y.shape)
        usual = weights.sum(linalg.item_axes(k)) / (weights > 0).sum(linalg.item_axes(k))
        noise = None if noise is None else noise / usual.sqrt()
        weights = (weights / linalg.per_item(usual, weights, k)).to(A.dtype)
    problem = Problem(A, y, noise, weights, likelihood=likelihood)
    if likelihood.counted:
        problem = replace(problem, noise=likelihood.noise(Readings(y, problem.counted(), None, k)))
    return problem, of_data, of_image


def _largest(y: Tensor, k: int) -> Tensor:
    """Return the largest magnitude of each item."""
    if y.is_complex():
        return y.abs().flatten(y.ndim - k).amax(-1)
    low, high = torch.aminmax(y.flatten(y.ndim - k), dim=-1)
    return torch.maximum(-low, high)


def _rescaled(
    result: Result, of_data: Tensor, of_image: Tensor, shape: tuple[int, ...], named: dict[str, Any]
) -> Result:
    """Return the result in the units and on the grid of the scan; objectives go with the square of the data."""
    facts, history = result.certificate, dict(result.history)
    if facts is not None and facts.objective is not None:
        facts = replace(facts, objective=facts.objective * of_data**2)
    if "objective" in history:
        history["objective"] = history["objective"] * of_data**2
    return replace(
        result,
        x=_image_in_units(result.x, of_image, shape),
        samples=None if result.samples is None else _image_in_units(result.samples, of_image, shape),
        spread=None if result.spread is None else _image_in_units(result.spread, of_image, shape),
        maps={name: _map_in_units(found, of_image) for name, found in result.maps.items()},
        history=history,
        certificate=facts,
        state=None,
        settings=named | {name: _told(name, value, of_image) for name, value in result.settings.items()},
    )


def _map_in_units(found: ParameterMap, scale: Tensor) -> ParameterMap:
    if not found.of_image:
        return found
    values = found.values
    return replace(found, values=values * linalg.per_item(scale, values, values.ndim - scale.ndim))


def _told(name: str, value: Any, of_image: Tensor) -> Any:
    """Return a setting in the units of the scan."""
    if name not in VALUES or not isinstance(value, Real | list | Tensor):
        return value
    return (torch.as_tensor(value, dtype=torch.float64) * of_image.cpu()).tolist()


def _image_in_units(x: Tensor, scale: Tensor, shape: tuple[int, ...]) -> Tensor:
    return prolong(x, shape, smooth=True) * linalg.per_item(scale, x, len(shape))
