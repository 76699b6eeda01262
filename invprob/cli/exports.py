"""The files beside the result: a picture, TIFF, NPY, the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from invprob.cli.errors import UsageError
from invprob.errors import ResourceError, printable
from invprob.grid import printed_unit
from invprob.io import save_npy, save_tiff
from invprob.io.atomic import PAGE, check_output

if TYPE_CHECKING:
    from invprob.result import Result
    from invprob.scan import Scan

__all__ = ["Exports"]


@dataclass(frozen=True)
class Exports:
    """Where to write what, None for not at all; a picture and a page show one row of a stack.

    `labels` are those of `classes` grey values.
    """

    png: Path | None
    tiff: Path | None
    npy: Path | None
    report: Path | None
    labels: Path | None = None
    classes: int = 0

    @property
    def wanted(self) -> bool:
        """Whether there is anything to write."""
        return self.whole_stack or self.png is not None or self.report is not None

    @property
    def whole_stack(self) -> bool:
        """Whether a file is wanted that holds all rows and is written at once."""
        return any(path is not None for path in (self.tiff, self.npy, self.labels))

    def check(self, main: Path, source: Path, n_bytes: int, memory: int, *, overwrite: bool) -> None:
        """Raise UsageError, OutputError or ResourceError for what could not be written; call it first."""
        paths = [path for path in (main, self.png, self.tiff, self.npy, self.report, self.labels) if path is not None]
        if len({path.absolute() for path in paths}) < len(paths):
            raise UsageError("two outputs have the same name: choose another for one of them")
        sizes = (
            (self.png, PAGE),
            (self.tiff, n_bytes),
            (self.npy, n_bytes),
            (self.report, PAGE),
            (self.labels, n_bytes // 4),
        )
        for path, size in sizes:
            if path is not None:
                check_output(path, size, overwrite=overwrite, sources=[source])
        if self.whole_stack and n_bytes > memory:
            raise ResourceError(
                f"--tiff, --npy and --segment need all of {n_bytes / 2**30:.1f} GiB in memory: leave them out, "
                f"{printable(main)} will hold everything"
            )

    def write(self, shown: Result, scan: Scan, images: Tensor | None, *, overwrite: bool) -> Iterator[tuple[str, Path]]:
        """Write them and yield what each is.

        `shown` has the item that a picture and the page show, `images` are all of them, None if no file needs them.
        """
        if self.png is not None:
            yield self._write_png(self.png, shown, scan, overwrite=overwrite), self.png
        if images is not None and self.tiff is not None:
            save_tiff(self.tiff, images, grid=shown.grid, units=shown.units, overwrite=overwrite)
            yield "TIFF of the magnitudes, then the phases" if images.is_complex() else "TIFF", self.tiff
        if images is not None and self.npy is not None:
            save_npy(self.npy, images, overwrite=overwrite)
            yield "NumPy array", self.npy
        if images is not None and self.labels is not None:
            from invprob.methods import segment

            save_npy(self.labels, segment(images, self.classes, shown.ndim), overwrite=overwrite)
            yield f"labels of {self.classes} grey values", self.labels
        if self.report is not None:
            from invprob.report import save_report

            save_report(self.report, shown, scan, overwrite=overwrite)
            yield "page with everything", self.report

    @staticmethod
    def _write_png(path: Path, shown: Result, scan: Scan, *, overwrite: bool) -> str:
        """Write the picture, of a radar's volume its projections, and return in words what it is."""
        from invprob.operators.radar.base import Radar
        from invprob.report import show
        from invprob.report.projections import save_projections

        if isinstance(A := scan.operator, Radar):
            save_projections(path, shown.item().x, A.axes, unit=A.grid.unit, overwrite=overwrite)
            return "picture, the largest magnitude along each axis, in dB"
        picture = show(shown)
        picture.save(path, overwrite=overwrite)
        what = f"picture, {picture.caption}" if picture.caption else "picture"
        return f"{what}, black {picture.low:.4g} to white {picture.high:.4g} {printed_unit(shown.units.image)}".rstrip()
