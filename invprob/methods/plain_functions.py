"""Plain functions from a scan to an image as methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invprob import linalg
from invprob.linop import Operator
from invprob.methods.reporting import Progress, Recipe, direct_result
from invprob.problem import Problem
from invprob.scan import Scan

__all__ = ["name_of", "recipe_of", "takes_scan"]


def name_of(function: Callable[..., Any]) -> str:
    """Return what a function is called; of a partial one that of what it calls, of other objects their class."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def takes_scan(function: Callable[..., Any]) -> bool:
    """Return whether a function is a plain one, whose first argument is called `scan`; a recipe's is `problem`."""
    first = next(iter(inspect.signature(function).parameters), None)
    return first == "scan"


def recipe_of(function: Callable[..., Any], scan: Scan, of_image: Tensor, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a plain function, which sees the scan itself.

    Arguments:
        function: from a scan and settings to an image in the scan's units, `(*batch, *domain_shape)`.
        scan: the one that the problem of the recipe was made from.
        of_image: what the images of that problem are multiplied by to be in the scan's units, `(*batch,)`.
        settings: those of the function, in the scan's units.

    The recipe raises ValueError where the function returns anything else.
    """
    name = name_of(function)

    def recipe(problem: Problem, **told: Any) -> Iterator[Progress]:
        x = _image(function(scan, **settings), name, problem.A, (*problem.batch, *problem.A.domain_shape))
        result = direct_result(problem, x / linalg.per_item(of_image, x, problem.ndim), told)
        yield Progress(name, 1, 1, None, lambda: result)

    return recipe


def _image(image: Any, name: str, A: Operator, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(image, Tensor | np.ndarray):
        raise ValueError(f"{name} returned {type(image).__name__}, not an image, as a function of a scan does")
    x = torch.as_tensor(image, device=A.device)
    if tuple(x.shape) != shape:
        raise ValueError(f"{name} returned an image of shape {tuple(x.shape)} where {shape} is due")
    return x.to(A.dtype.to_complex() if x.is_complex() else A.dtype)
