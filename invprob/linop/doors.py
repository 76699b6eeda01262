"""What comes in at the public methods of operators and functionals: arrays become tensors, autocast stays outside."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

DOORS = (
    *("forward", "adjoint", "vjp", "jvp", "gram", "solve", "direct", "linearised", "as_image", "as_data"),
    *("hold_out", "fill", "doubts", "value", "grad", "prox", "prox_near", "conjugate_prox", "denoise", "bounds"),
)
# torch stores these, but has few functions for them
SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}

F = TypeVar("F", bound=Callable[..., Any])


def as_tensor(name: str, given: Any) -> Tensor:
    """Return a tensor, a numpy array or a number as a tensor that torch can compute with.

    Arrays keep their values and share their memory where they can; unsigned integers of more than eight bits become
    signed ones. TypeError, naming what was given to `name`, for anything else.
    """
    if isinstance(given, Tensor):
        return given.to(SIGNED[given.dtype]) if given.dtype in SIGNED else given
    if isinstance(given, np.ndarray | np.generic):
        return _of_array(name, np.asarray(given))
    if isinstance(given, bool | int | float | complex):
        return torch.tensor(given)
    whole = isinstance(getattr(given, "x", None), Tensor)  # a result
    way = f"give its image, as in {name}(result.x)" if whole else f"as in {name}(torch.as_tensor(x))"
    raise TypeError(f"{name}: a tensor or a numpy array is needed, got {type(given).__name__}: {way}")


def _of_array(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biufc":
        raise TypeError(f"{name}: numbers are needed, got an array of {array.dtype}: convert it, as in x.astype(float)")
    wide = {"u": f"i{min(2 * size, 8)}" if size > 1 else "u1", "f": f"f{min(size, 8)}", "c": f"c{min(size, 16)}"}
    if kind == "u" and size == 8 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        wide["u"] = "f8"
    plain = np.ascontiguousarray(array, dtype=wide.get(kind, array.dtype.newbyteorder("=")))
    tensor = torch.from_numpy(plain if plain.flags.writeable else plain.copy())
    return tensor.reshape(array.shape)  # contiguous arrays have an axis at least


def takes_arrays(function: F) -> F:
    """Let a function take numpy arrays wherever it takes tensors, and compute in its own precision under autocast.

    Physics in sixteen bits would be wrong by a hundredth, and never by intention.
    """
    name = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(given, np.ndarray) for given in (*args, *kwargs.values())):
            args = tuple(_opened(name, given) for given in args)
            kwargs = {key: _opened(name, given) for key, given in kwargs.items()}
        first = next((given for given in args if isinstance(given, Tensor)), None)
        if first is None or not torch.is_autocast_enabled(first.device.type):
            return function(*args, **kwargs)
        with torch.autocast(first.device.type, enabled=False):
            return function(*args, **kwargs)

    return cast("F", door)


def open_doors(cls: type, names: Iterable[str] = DOORS) -> None:
    """Let those of the named methods that a class defines itself take arrays."""
    for name in names:
        method = vars(cls).get(name)
        if inspect.isfunction(method):
            setattr(cls, name, takes_arrays(method))


def _opened(name: str, given: Any) -> Any:
    return as_tensor(name, given) if isinstance(given, np.ndarray) else given
