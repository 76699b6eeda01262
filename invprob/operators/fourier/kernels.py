"""What operators remember of the weights they were last asked about: the kernels of A^H W A."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

KEPT = 3  # kernels: those of all readings, of those kept and of those held out


class RecentKernels:
    """The kernels of the last few weights, as long as those live and have not been changed.

    Weights are known by identity and version, so that no call compares them. Copies begin empty.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[Hashable, tuple[weakref.ref[Tensor], Any]] = OrderedDict()

    def get(self, weights: Tensor, kind: Hashable, compute: Callable[[], Any]) -> Any:
        """Return `compute()`, remembered for these weights and this kind (a precision, a device)."""
        key = (id(weights), weights._version, kind)
        known = self._found.get(key)
        if known is not None and known[0]() is weights:
            self._found.move_to_end(key)
            return known[1]
        value = compute()
        self._found[key] = (weakref.ref(weights), value)
        for old in [k for k, (alive, _) in self._found.items() if alive() is None]:
            del self._found[old]
        while len(self._found) > KEPT:
            self._found.popitem(last=False)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        del memo
        return type(self)()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


def collapsed(t: Tensor, axes: Sequence[int]) -> Tensor:
    """Return t with size 1 along those of the axes, counted from the end, along which it is the same."""
    for axis in axes:
        if t.shape[axis] > 1:
            first = t.narrow(axis, 0, 1)
            if t.stride(axis) == 0 or bool((t == first).all()):
                t = first
    return t


def varying(t: Tensor, ndim: int) -> list[int]:
    """Return which of the last `ndim` axes, counted from the end, t varies along."""
    return [axis for axis in range(-ndim, 0) if t.shape[axis] > 1]


def real_weights(weights: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return weights as real numbers of a precision."""
    return (weights.real if weights.is_complex() else weights).to(device, dtype)


def stays(weights: Tensor) -> bool:
    """Whether kernels of these weights can be remembered: nobody differentiates them."""
    return not (torch.is_grad_enabled() and weights.requires_grad)
