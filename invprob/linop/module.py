"""The base of operators and functionals: an nn.Module that stays real where it is real and complex where complex."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from invprob.linop.doors import open_doors

COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
REAL_OF: dict[torch.dtype | None, torch.dtype] = {c: r for r, c in COMPLEX_OF.items()}


def precision_of(dtype: torch.dtype, owner: object) -> torch.dtype:
    """Return float32 or float64 for itself or its complex dtype; TypeError for any other dtype."""
    precision = REAL_OF.get(dtype, dtype)
    if precision not in COMPLEX_OF:
        raise TypeError(
            f"{type(owner).__name__} computes in float32 or float64 (or complex), not in {dtype}: leave it out of the "
            "cast; it takes tensors of lower precision as they are"
        )
    return precision


class Module(nn.Module):
    """An nn.Module whose `to` changes precision and device, never the kind of a number.

    Its public methods take numpy arrays for tensors, and no part in autocast.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        open_doors(cls)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a precision and a device, as nn.Module.to: `A.to(torch.float64)`, `A.to("cuda")`.

        Real stays real and complex stays complex; `to(torch.complex128)` means `to(torch.float64)`.
        """
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None:
            dtype = precision_of(dtype, self)
        return super().to(device=device, dtype=dtype, non_blocking=non_blocking)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Do what `to`, `double`, `cuda` and the like come down to, also where a parent module calls them."""
        precision_of(fn(torch.empty(0)).dtype, self)

        def keep_kind(t: Tensor) -> Tensor:
            if not t.is_complex():
                return fn(t)
            target = fn(t.real.new_empty(0))
            return t.to(target.device, COMPLEX_OF[target.dtype])

        return cast("Self", super()._apply(keep_kind, recurse))  # type: ignore[no-untyped-call]
