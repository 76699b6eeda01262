"""How compiled kernels are made and shared out among the processor's threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, cast

import numba

Share = Callable[[Callable[[int, int], None], int, int], None]


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, cached on disk where that is possible."""
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "reassoc", "nsz", "arcp"},
        "error_model": "numpy",
    }
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except (OSError, RuntimeError):  # no writable place for the cache
        return cast("Callable[..., Any]", numba.njit(**options)(function))
    _keep_if_possible(getattr(compiled, "_cache", None))
    return compiled


def _keep_if_possible(cache: Any) -> None:
    """Let compiled code be used where the disk has no room to keep it, or keeps what cannot be read.

    numba would raise what the disk says, and what it stumbles over in code that another version of the program kept.
    """
    save, load = (getattr(cache, name, None) for name in ("save_overload", "load_overload"))
    if save is None or load is None:  # compilation is switched off
        return

    def save_if_possible(*arguments: Any) -> None:
        with suppress(Exception):  # what the disk says, and whatever it stumbles over in what could not be flushed
            save(*arguments)

    def load_if_possible(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except MemoryError:
            raise
        except Exception:  # whatever pickle stumbles over: names of modules that are no more, damaged bytes
            with suppress(OSError):
                cache.flush()
            return None

    cache.save_overload, cache.load_overload = save_if_possible, load_if_possible


@contextmanager
def team(threads: int) -> Iterator[Share]:
    """Lend `share(work, count, size)`, which runs `work(first, last)` on pieces of `size` that make up 0 .. count.

    The pieces are dealt out in turn; the calling thread takes the first hand.
    """
    with ThreadPoolExecutor(max(1, threads - 1)) as pool:

        def share(work: Callable[[int, int], None], count: int, size: int) -> None:
            starts = range(0, count, size)

            def play(hand: int) -> None:
                for start in starts[hand::threads]:
                    work(start, min(start + size, count))

            others = [pool.submit(play, hand) for hand in range(1, min(threads, len(starts)))]
            play(0)
            for other in others:
                other.result()

        yield share


def share(work: Callable[[int, int], None], count: int, size: int, threads: int) -> None:
    """Run `work(first, last)` on pieces of `size` that make up 0 .. count, on a team of its own."""
    with team(threads) as deal:
        deal(work, count, size)
