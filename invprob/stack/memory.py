"""How much memory a computation may take, and how many rows of a stack that is at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from invprob.errors import ResourceError
from invprob.io.options import IMAGE_SHAPE, VIEWS
from invprob.machine import available_memory, resident_memory
from invprob.methods.trials import LARGE

if TYPE_CHECKING:
    from invprob.io import Stack
    from invprob.scan import Scan

__all__ = ["budget", "bytes_of_a_row", "check_limit", "rows_at_once"]

# What tv was measured to take per row (512 x 512 pixels, 120 views, peak of the process over 1 to 8 rows: 63 images;
# half of them go into SSIM where there is a truth), per ray for tables, and for compiled code. It is not the hungriest:
# methods with networks take over twice as much of one small image (docs/reliability.md, which has the peaks of methods
# beside the limit, too).
_IMAGES, _SINOGRAMS, _PER_RAY, _FIXED = 64, 16, 64, 2**27
# Images that a picture takes, its readings among them, with its strength given and with one to choose: beside a twin of
# the problem where it is small, and else before it. What allocators keep of arrays up to 32 MiB is among them. Measured
# with 0.26 and 0.52, with 1, 2.3 and 4, and with 12 megapixels, less _FIXED.
_OF_SMALL, _OF_MIDDLE, _OF_LARGE = (64, 192), (64, 80), (46, 62)
_KEPT = 2**25
_MAX_ROWS = 16  # more at once gain nothing, and an interruption would cost more
MOST = 1e9  # GiB, more than any machine has
SHARE = 0.6  # of the free memory, unless the caller sets a limit


def budget(limit_gb: float | None) -> int:
    """Return the bytes that a computation may take on top of what this process has taken already.

    ValueError for a limit that is none.

    Arguments:
        limit_gb: what the process may take in all, in GiB; None for 60 % of what is free.
    """
    check_limit(limit_gb)
    if limit_gb is None:
        return int(SHARE * available_memory())
    return max(0, int(limit_gb * 2**30) - resident_memory())


def check_limit(limit_gb: float | None) -> None:
    """Raise ValueError unless a limit is None or a number of GiB."""
    if limit_gb is not None and not (hasattr(limit_gb, "__float__") and 0 <= limit_gb <= MOST):
        raise ValueError(f"max_memory is a number of GiB from 0 to {MOST:g}, or None, got {limit_gb!r}")


def rows_at_once(stack: Stack, limit: int, *, choosing: bool = True) -> int:
    """Return how many rows of a stack fit into `limit` bytes at a time; ResourceError if not even one does.

    `choosing` says that the strength is not given.
    """
    fixed, per_row = bytes_of_a_row(stack.sample, choosing=choosing)
    fitting = (limit - fixed) // per_row
    if fitting < 1:
        one = "the image" if stack.rows is None else "one row"
        raise ResourceError(
            f"{one} takes about {(fixed + per_row) / 2**30:.2g} GiB, and {limit / 2**30:.2g} are free for it: "
            f"{_remedies(stack, choosing)}raise --max-memory"
        )
    return min(fitting, len(stack), _MAX_ROWS)


def _remedies(stack: Stack, choosing: bool) -> str:
    """Return what else a file lets one do to need less."""
    kind = stack.sample.operator.data_kind
    accepted = stack.accepts if kind == "views" else ()
    ways = [f"{less} {o.typed}" for less, o in (("a smaller", IMAGE_SHAPE), ("fewer", VIEWS)) if o in accepted]
    if choosing and kind == "picture":
        ways.append("a --strength")
    return f"choose {' or '.join(ways)}, or " if ways else ""


def bytes_of_a_row(row: Scan, *, choosing: bool = True) -> tuple[int, int]:
    """Return about what tv takes once, and what it takes for every row, or for a single item."""
    A = row.operator
    rays = math.prod(A.range_shape)
    rest = math.prod(row.batch_shape[1:])
    size, pixels = rest * row.data.element_size(), math.prod(A.domain_shape)
    if A.data_kind == "picture":
        one = size * max(pixels, rays)
        images = _OF_SMALL if row.data.numel() <= LARGE else _OF_MIDDLE if one <= _KEPT else _OF_LARGE
        return _FIXED, one * images[choosing]
    return _FIXED + _PER_RAY * rays, size * (_IMAGES * pixels + _SINOGRAMS * rays)
