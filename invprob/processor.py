"""What kernels need to know of the processor at hand: how much of their data stays close to a core.

Only how fast they are may depend on it, never what they compute.
"""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

LINUX = Path("/sys/devices/system/cpu/cpu0/cache/index2")
USUAL = 2**19  # bytes: what processors had for a second-level cache that did not say; a smaller guess costs little
LEAST, MOST = 2**17, 2**22  # bytes that a core may have for itself: what says more is shared by several


@lru_cache(maxsize=1)
def second_level_cache() -> int:
    """Return the bytes of the second-level cache that belong to one core, `USUAL` where the system does not say."""
    told = _by_sysconf() or _by_sysfs() or _by_sysctl() or USUAL
    return min(max(told, LEAST), MOST)


def pieces(size: int, share: float) -> int:
    """Return how many pieces of `size` bytes fill that share of a core's second-level cache, 1 at least.

    At most half, as a rule: the rest is for what streams by, and for the second thread of the same core.
    """
    return max(1, int(share * second_level_cache()) // max(1, size))


def _by_sysconf() -> int:
    with suppress(ValueError, OSError, AttributeError):
        return max(0, os.sysconf("SC_LEVEL2_CACHE_SIZE"))
    return 0


def _by_sysfs() -> int:
    """Linux on processors of which the C library knows nothing."""
    units = {"K": 2**10, "M": 2**20}
    with suppress(OSError, ValueError, IndexError):
        text = (LINUX / "size").read_text().strip()
        return int(text.rstrip("KM")) * units.get(text[-1], 1)
    return 0


def _by_sysctl() -> int:
    """Of the fast cores of a Mac, several of which share a cache."""
    if platform.system() != "Darwin":
        return 0
    size = _sysctl("hw.perflevel0.l2cachesize") or _sysctl("hw.l2cachesize")
    return size // max(1, _sysctl("hw.perflevel0.cpusperl2"))


def _sysctl(name: str) -> int:
    value, length = ctypes.c_int64(0), ctypes.c_size_t(8)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(length), None, 0)
    return int(value.value)
