"""The machine at hand: its processors, how much memory there is, is free, and is taken by this process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["address_space", "available_memory", "processors", "resident_memory", "total_memory"]

_OWN = 2**29  # bytes of the libraries, where the system does not say
_LEAST = 8 * 2**30  # bytes of a machine that does not say
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_KINDS = (  # of Linux's control groups: the controller, its folder, and the files of what may be and of what is used
    ("", "", "memory.max", "memory.current"),
    ("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """Return the limits of the groups that this process is in, up to the root, and what is used of them."""
    found = []
    for controller, folder, limit, used in _KINDS:
        within = _own_group(controller)
        for group in (within, *within.parents):
            with suppress(OSError, ValueError):
                place = _GROUPS / folder / group
                found.append((int((place / limit).read_text()), int((place / used).read_text())))
    return found


def _own_group(controller: str) -> Path:
    """Return the group of this process for a controller, by its path from the root, which it is where nothing tells."""
    with suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(",") and ".." not in path:  # a group outside of what is mounted
                return Path(path.lstrip("/"))
    return Path()


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
