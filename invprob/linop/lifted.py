"""One operator for many channels, echoes, frames or slices at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.grid import CHANNELS, Channels, Grid
from invprob.linop.algebra import Wrapped, in_front_of_dot
from invprob.linop.bases import Basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.linear import Coarser, LinearOperator
from invprob.linop.operator import Place, Shape


class Lifted(Wrapped):
    """A applied along extra item axes, which count `channels`: what a volume prior needs of a slice operator.

    `LinearOperator.lift` says what the arguments are. ValueError for unknown channels, or a spacing of what are no
    slices.
    """

    def __init__(
        self, inner: LinearOperator, shape: Shape, channels: Channels | None = None, spacing: float | None = None
    ) -> None:
        super().__init__((inner,), (*shape, *inner.domain_shape), (*shape, *inner.range_shape))
        if channels is not None and channels not in CHANNELS:
            raise ValueError(f"lift: channels must be one of {', '.join(CHANNELS)} or None, got {channels!r}")
        if inner.parameter_batch:
            raise ValueError(
                f"lift: {type(inner).__name__} is another operator for each of {inner.parameter_batch} items, which "
                "would be taken for channels: lift one after the other"
            )
        if channels == "slices" and inner.grid.ndim < len(inner.domain_shape):
            raise ValueError(f"lift: images with {inner.channels or 'channels'} are no slices: lift the slices first")
        if spacing is not None and channels != "slices":
            raise ValueError(f"lift: only slices have a spacing, got channels={channels!r} and spacing={spacing}")
        self.extra = tuple(shape)
        self.channels, self.spacing = channels, spacing
        self.data_kind = inner.data_kind
        # a group of readings is then one view of one index
        self.view_axes = len(self.extra) + inner.view_axes if inner.view_axes else 0

    @property
    def grid(self) -> Grid:
        """That of A, and the axes of slices before it."""
        known = self.inner.grid
        if self.channels != "slices":
            return known
        between = known.spacing[0] if self.spacing is None else self.spacing
        return Grid((between,) * len(self.extra) + known.spacing, known.unit)

    @property
    def measured(self) -> Tensor | None:
        """That of A, for every index."""
        mask, k = self.inner.measured, len(self.inner.range_shape)
        if mask is None or mask.ndim <= k:
            return mask
        return mask.reshape(*mask.shape[: mask.ndim - k], *(1,) * len(self.extra), *mask.shape[mask.ndim - k :])

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Set the same readings aside for every index: their scenes may be alike and would predict each other."""
        return self.inner.hold_out(share, generator).expand(self.range_shape)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask A, for every index."""
        return self.inner.fill(y, weights)

    def density(self) -> Tensor | None:
        """Ask A: the weights are the same for every index."""
        return self.inner.density()

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Ask A about the middle item."""
        middle = None if y is None else y.reshape(-1, *self.inner.range_shape)[math.prod(self.extra) // 2]
        return self.inner.doubts(middle)

    def outline(self, y: Tensor, shape: str) -> Place | None:
        """Ask A, for every index; the words are those of the middle one."""
        items = y.reshape(-1, *self.inner.range_shape)
        found = [place for place in (self.inner.outline(item, shape) for item in items) if place is not None]
        if len(found) < len(items):
            return None
        inside, fitted = (torch.stack(m) for m in zip(*((p.inside, p.fitted) for p in found), strict=True))
        words = found[len(found) // 2].words
        return Place(inside.reshape(self.domain_shape), fitted.reshape(self.domain_shape), words)

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Ask A, for every index."""
        return self.inner.unseen_edges(x)

    def coarser(self) -> Coarser | None:
        """Return what A knows, for every index; there are as many of them as before."""
        found = self.inner.coarser()
        if found is None:
            return None
        coarse = found.operator.lift(self.extra, channels=self.channels, spacing=self.spacing)
        return found._replace(operator=coarse)

    def thinned(self) -> Coarser | None:
        """Return what A knows, for every index."""
        found = self.inner.thinned()
        if found is None:
            return None
        return found._replace(operator=found.operator.lift(self.extra, channels=self.channels, spacing=self.spacing))

    def _forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(y)

    def _gram(self, x: Tensor) -> Tensor:
        return self.inner.gram(x)

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.inner.gram(x, weights)

    def diagonal(self) -> Diagonal | None:
        """Return the diagonal of A, the same for every index."""
        return self._for_all(self.inner.diagonal(), self.domain_shape)

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the diagonal of A^H W A, the same for every index."""
        return self._for_all(self.inner.gram_diagonal(weights), self.domain_shape)

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return the estimate of A, the same for every index."""
        return self._for_all(self.inner.gram_diagonal_estimate(basis), self.domain_shape)

    def weighted_gram_estimate(self, weights: Tensor) -> Diagonal | None:
        """Return the estimate of A^H W A, of every index."""
        return self._for_all(self.inner.weighted_gram_estimate(weights), self.domain_shape)

    def row_gram_diagonal(self) -> Diagonal | None:
        """Return the diagonal of A A^H, the same for every index."""
        return self._for_all(self.inner.row_gram_diagonal(), self.range_shape)

    def _for_all(self, found: Diagonal | None, shape: Shape) -> Diagonal | None:
        # along the extra axes A does nothing, which is diagonal in any basis
        if found is None or found.basis == "any" or found.values.ndim >= len(shape):
            return found
        return Diagonal(found.values.expand(shape), found.basis)

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the inner operator's direct reconstruction per index."""
        return self.inner.direct(self.as_data(y), weights)

    def __repr__(self) -> str:
        named = "" if self.channels is None else f", channels={self.channels!r}"
        return f"{in_front_of_dot(self.inner)}.lift({self.extra}{named})"
