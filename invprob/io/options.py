"""What a user may say about a file on top of what the file says itself."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from invprob.errors import InputError

__all__ = ["ScanOptions", "as_slice", "selected"]


@dataclass(frozen=True)
class ScanOptions:
    """The keyword arguments of `load_scan`, as every reader receives them; None means: as the file says."""

    rows: slice | None = None
    views: slice | None = None
    angles: ArrayLike | None = None
    angles_unit: str | None = None
    pixel_size: float | None = None
    axis: float | None = None
    image_shape: tuple[int, int] | None = None
    rings: bool | None = None

    def refuse(self, *names: str, because: str) -> None:
        """Raise InputError if one of the options `names` is given to a reader that cannot honour it."""
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(f"leave out --{name.replace('_', '-')}: {because}")


def selected(selection: slice | None, count: int, option: str) -> range:
    """Return the indices below `count` that `selection` picks; InputError naming `option` if none."""
    chosen = range(count) if selection is None else range(*selection.indices(count))
    if chosen.step < 0 or not chosen:
        raise InputError(f"{option} {_colons(selection)} picks none of the {count} there are, counted from 0 up")
    return chosen


def as_slice(indices: range) -> slice:
    """Return the slice that picks `indices`, which must run upwards."""
    return slice(indices.start, indices.stop, indices.step)


def _colons(selection: slice | None) -> str:
    ends = [selection.start, selection.stop, selection.step] if selection else []
    while ends and ends[-1] is None:
        ends.pop()
    return ":".join("" if end is None else str(end) for end in ends)
