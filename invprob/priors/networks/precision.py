"""Where half the precision buys more than twice the speed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

__all__ = ["autocast", "fast_bf16"]


def fast_bf16(device: torch.device | str = "cpu") -> bool:
    """Return whether a device multiplies bfloat16 in hardware, and so faster than float32.

    These are GPUs of compute capability 8 and later, and processors with AVX512-BF16 (some 1.5 times as fast
    for a small U-Net) or AMX (some 4 times); elsewhere on processors bfloat16 is emulated, and slower.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def autocast(device: torch.device, dtype: torch.dtype, *, bf16: bool | None) -> AbstractContextManager[Any]:
    """Return the context in which a network with parameters `dtype` computes; None for `bf16` chooses by itself."""
    wanted = fast_bf16(device) if bf16 is None else bf16
    if wanted and dtype == torch.float32:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
