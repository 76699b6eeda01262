"""What a reconstruction leaves behind: the image, the story of how it came about, and where it belongs."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invprob import registry
from invprob.doubt import Doubt
from invprob.grid import Channels, Grid, Units, size_in_words, space_axes
from invprob.status import INCOMPLETE, SENTENCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from invprob.certificate import Certificate
    from invprob.scan import Scan
    from invprob.solvers.base import State

__all__ = ["ParameterMap", "Result", "current_versions", "grid_of"]

_PACKAGES = ("torch", "numpy", "invprob")


@dataclass(frozen=True, eq=False)
class ParameterMap:
    """A quantity at every pixel that is read off an image of several channels, NaN where the data do not say.

    Arguments:
        values: `(*batch, *space)`.
        unit: such as "ms"; "" for a plain number, and for that of the image where the values go with it.
        of_image: whether the values go with the image, doubled when it is.
    """

    values: Tensor
    unit: str
    of_image: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The image `x` `(*batch, *item)`, the last `ndim` axes of which are one item, with the story behind it.

    What `invprob.reconstruct` and `solve` return, and `invprob.load_result` reads.

    Arguments:
        status: the worst of `item_status`: converged, stopped, max_iter or diverged; `message` is the sentence.
        n_iter: iterations per item, `(*batch,)`; 0 of a direct method, empty where a file does not tell.
        seconds: how long it took, NaN where a file does not tell.
        history: columns over the checks: iteration and seconds `(rows,)`, residual and objective `(rows, *batch)`;
            where a strength was chosen trial_strength and trial_score, `(trials, *batch)` from strong to weak.
        certificate: what was checked; None where nothing was.
        state: where the solver stopped, to go on from; never part of a file.
        samples: draws from the posterior, `(S, *batch, *item)`, of a method that samples.
        spread: the standard deviation of every value, of the shape of x, of a method that knows it.
        half_change: how far the image from half of the readings is from this one around each pixel, of the shape of x,
            where readings are fewer than pixels: where not to trust it.
        maps: quantities at every pixel by name, of a method that finds any: relaxation times, with their units.
        grid: the spacing of the axes of space, the last ones; None where the image belongs to no geometry.
        channels: what the first axis of an item counts where it is no direction in space (`Operator.channels`).
        provenance, versions, command: where the data come from, what computed, and as which command line.
    """

    x: Tensor
    status: str
    item_status: tuple[str, ...]
    n_iter: Tensor
    seconds: float
    history: Mapping[str, Tensor]
    certificate: Certificate | None
    state: State | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    samples: Tensor | None = field(default=None, kw_only=True)
    spread: Tensor | None = field(default=None, kw_only=True)
    half_change: Tensor | None = field(default=None, kw_only=True)
    maps: Mapping[str, ParameterMap] = field(default_factory=dict, kw_only=True)
    ndim: int = field(default=2, kw_only=True)
    grid: Grid | None = field(default=None, kw_only=True)
    channels: Channels | None = field(default=None, kw_only=True)
    units: Units = field(default=Units(), kw_only=True)
    provenance: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    versions: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    command: str = field(default="", kw_only=True)

    def __repr__(self) -> str:
        method = str(self.settings.get("method", ""))
        seconds = f"in {self.seconds:.1f} s" if math.isfinite(self.seconds) else ""
        unit = "" if self.units.image == "1" else f"values in {self.units.image}"
        return f"Result({', '.join(part for part in (self.size, unit, method, self.status, seconds) if part)})"

    def _repr_html_(self) -> str:
        html: str = registry.load(registry.VIEWS, "html of a result")(self)
        return html

    def plot(self, axes: Axes | None = None, **options: Any) -> Axes:
        """Draw the image with matplotlib and return the axes.

        Arguments:
            axes: where to; by default a new figure.
            options: `part`, `over`, `window`, `colours`, as of `invprob.show`.
        """
        drawn: Axes = registry.load(registry.VIEWS, "plot of a result")(self, axes, **options)
        return drawn

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What is doubtful about the data and their geometry, sentences that say how much they matter."""
        return () if self.certificate is None else self.certificate.doubts

    @property
    def message(self) -> str:
        """The status as a sentence."""
        return SENTENCES[self.status]

    @property
    def space(self) -> int:
        """How many axes of an item, the last ones, are directions in space."""
        return space_axes(self.ndim, self.grid, self.channels)

    @property
    def size(self) -> str:
        """The size of the image in words: "64 x 64 x 64 voxels of 0.5 mm"."""
        return size_in_words(self.x.shape, self.ndim, self.grid, self.channels)

    def item(self) -> Result:
        """Return the result with a copy of the middle item of the batch alone, index n // 2, which pictures show.

        Status, iterations, history and the certificate's numbers are those of it; settings stay those of all.
        """
        batch = self._batch
        middle, axes = math.prod(batch) // 2, len(batch)
        return self._of(
            lambda t, lead: t.reshape(*t.shape[:lead], -1, *t.shape[lead + axes :]).select(lead, middle).clone()
        )

    def row(self, index: int) -> Result:
        """Return the result with a copy of one index of the batch's first axis alone, the rest as `item` does.

        IndexError without a batch.
        """
        if not self._batch:
            raise IndexError("row: the result is of a single item, which has no rows")
        return self._of(lambda t, lead: t.select(lead, index).clone())

    @property
    def _batch(self) -> torch.Size:
        return self.x.shape[: self.x.ndim - self.ndim]

    def _of(self, pick: Callable[[Tensor, int], Tensor]) -> Result:
        """Return the result with a part of all images; `pick` is told how many axes stand before the batch.

        What a file tells of another batch than that of the images stays as it is; so does all of a single item.
        """
        batch = self._batch
        part = replace(
            self,
            x=pick(self.x, 0),
            samples=None if self.samples is None else pick(self.samples, 1),
            spread=None if self.spread is None else pick(self.spread, 0),
            half_change=None if self.half_change is None else pick(self.half_change, 0),
            maps={name: replace(found, values=pick(found.values, 0)) for name, found in self.maps.items()},
        )
        if not batch:
            return part
        status, ends = self.status, self.item_status
        if len(ends) == math.prod(batch):
            kept = pick(torch.arange(len(ends)).reshape(batch), 0).flatten().tolist()
            ends = tuple(ends[i] for i in kept)
            status = status if status == INCOMPLETE else max(ends, key=[*SENTENCES].index, default=status)
        facts = {} if self.certificate is None else vars(self.certificate)
        numbers: dict[str, Any] = {
            name: pick(t, 0) for name, t in facts.items() if isinstance(t, Tensor) and t.shape == batch
        }
        return replace(
            part,
            certificate=None if self.certificate is None else replace(self.certificate, **numbers),
            status=status,
            item_status=ends,
            n_iter=pick(self.n_iter, 0) if self.n_iter.shape == batch else self.n_iter,
            history={
                name: pick(column, 1) if column.shape[1:] == batch else column for name, column in self.history.items()
            },
            state=None,
        )

    def of_scan(self, scan: Scan, command: str | None = None) -> Result:
        """Return the result with grid, channels, units and provenance of the scan it was made from.

        A certificate takes over what is doubtful about the scan, but for what the method has dealt with.
        """
        facts = self.certificate
        if facts is not None:
            found = [doubt for doubt in map(Doubt, scan.doubts()) if doubt.cured_by not in self.settings]
            facts = replace(facts, doubts=tuple(dict.fromkeys([*facts.doubts, *found])))
        return replace(
            self,
            certificate=facts,
            ndim=len(scan.operator.domain_shape),
            grid=grid_of(scan),
            channels=scan.operator.channels,
            units=scan.units,
            provenance=scan.origin,
            versions=dict(current_versions()),
            command=self.command if command is None else command,
        )


def grid_of(scan: Scan) -> Grid:
    """Return the grid of a scan's image, in the unit of the scan's lengths where the operator names none."""
    grid = scan.operator.grid
    return grid if grid.known else grid.with_unit(scan.units.length)


@cache
def current_versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that compute."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
