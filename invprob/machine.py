"""The memory of the machine at hand: how much there is, how much is free, and how much this process has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["address_space", "available_memory", "resident_memory", "total_memory"]

_OWN = 2**29  # bytes of the libraries, where the system does not say
_LEAST = 8 * 2**30  # bytes of a machine that does not say
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def total_memory() -> int:
    """Return the bytes of memory of the machine, or of the container where that may have fewer."""
    return min([_physical(), *(limit for limit, _ in _containers())])


def available_memory() -> int:
    """Return the bytes of memory that are free to use, those of a container included."""
    return max(0, min([_free(), *(limit - used for limit, used in _containers())]))


def resident_memory() -> int:
    """Return the bytes of memory that this process takes."""
    with suppress(OSError, ValueError, AttributeError):
        return _pages(1)
    return _OWN


def address_space() -> int:
    """Return the bytes that this process has addresses for, which is what RLIMIT_AS limits; OSError if unknown."""
    return _pages(0)


def _pages(column: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[column]) * os.sysconf("SC_PAGE_SIZE")


def _containers() -> list[tuple[int, int]]:
    """Return the limits of a container, and what is used of them."""
    found = []
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):
            found.append((int(Path(limit).read_text()), int(Path(used).read_text())))
    return found


def _physical() -> int:
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _LEAST


def _free() -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return _physical() // 2
