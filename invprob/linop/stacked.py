"""Several operators on one image: their data joined along the first item axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invprob.linop.algebra import Combined, share_what_agrees
from invprob.linop.bases import Basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.items import broadcast_batch
from invprob.linop.linear import Coarser, LinearOperator
from invprob.linop.operator import Place


class VStack(Combined):
    """[A; B; ...] x: the data of several operators, joined along the first item axis."""

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        if not operators:
            raise ValueError("vstack needs at least one operator")
        first = operators[0]
        for op in operators[1:]:
            if op.domain_shape != first.domain_shape or op.range_shape[1:] != first.range_shape[1:]:
                raise ValueError(
                    f"vstack: {first.extra_repr()} and {op.extra_repr()} need one domain and ranges that "
                    "differ in their first axis alone"
                )
        sizes = [op.range_shape[0] for op in operators]
        super().__init__(operators, first.domain_shape, (sum(sizes), *first.range_shape[1:]))
        self.sizes = sizes
        self.short_gram = all(op.short_gram for op in operators)
        share_what_agrees(self, *operators)

    def _pieces(self, y: Tensor) -> tuple[Tensor, ...]:
        """Return what belongs to each part of data, or of what broadcasts against them."""
        k = len(self.range_shape)
        whole = y.expand(*y.shape[: max(y.ndim - k, 0)], *self.range_shape)
        return torch.split(whole, self.sizes, dim=-k)

    @property
    def measured(self) -> Tensor | None:
        """What is a reading of the part it belongs to."""
        known = [part.measured for part in self._list()]
        if all(mask is None for mask in known):
            return None
        masks = [
            torch.ones(part.range_shape, dtype=torch.bool, device=self.device) if mask is None else mask
            for part, mask in zip(self._list(), known, strict=True)
        ]
        k = len(self.range_shape)
        batch = broadcast_batch(*(mask.shape[: max(mask.ndim - k, 0)] for mask in masks))
        whole = (mask.expand(*batch, *part.range_shape) for part, mask in zip(self._list(), masks, strict=True))
        return torch.cat(list(whole), dim=-k)

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Ask every part about its own readings."""
        return torch.cat([part.hold_out(share, generator) for part in self._list()])

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Ask every part about its own readings."""
        if weights is None:
            return y
        parts = zip(self._list(), self._pieces(y), self._pieces(weights), strict=True)
        return torch.cat([part.fill(piece, w) for part, piece, w in parts], dim=-len(self.range_shape))

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Ask every part about its own readings."""
        pieces = (None,) * len(self.sizes) if y is None else self._pieces(y)
        found = (part.doubts(piece) for part, piece in zip(self._list(), pieces, strict=True))
        return list(dict.fromkeys(doubt for each in found for doubt in each))

    def outline(self, y: Tensor, shape: str) -> Place | None:
        """Return the region that all parts that see one leave to the object."""
        found = (part.outline(piece, shape) for part, piece in zip(self._list(), self._pieces(y), strict=True))
        seen = [place for place in found if place is not None]
        if not seen:
            return None
        inside, fitted = (torch.stack(m).all(0) for m in zip(*((p.inside, p.fitted) for p in seen), strict=True))
        return Place(inside, fitted, " and ".join(dict.fromkeys(p.words for p in seen)))

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Return the slopes that no part tells of."""
        return self._unseen_by_all(x)

    def coarser(self) -> Coarser | None:
        """Return the stack of what the parts know, if all know one and average as many readings."""
        found = [part.coarser() for part in self._list()]
        known = [coarse for coarse in found if coarse is not None]
        if len(known) < len(found) or len({coarse.averaged for coarse in known}) > 1:
            return None
        if len({coarse.operator.domain_shape for coarse in known}) > 1:
            return None
        k = len(self.range_shape)

        def restrict(y: Tensor) -> Tensor:
            pieces = zip(known, torch.split(y, self.sizes, dim=-k), strict=True)
            return torch.cat([coarse.restrict(piece) for coarse, piece in pieces], dim=-k)

        return Coarser(vstack([coarse.operator for coarse in known]), restrict, known[0].averaged)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([op(x) for op in self._list()], dim=-len(self.range_shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        pieces = torch.split(y, self.sizes, dim=-len(self.range_shape))
        first, *rest = (op.adjoint(piece) for op, piece in zip(self._list(), pieces, strict=True))
        return sum(rest, start=first)

    def _gram(self, x: Tensor) -> Tensor:
        first, *rest = (op.gram(x) for op in self._list())
        return sum(rest, start=first)

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        parts = zip(self._list(), self._pieces(weights), strict=True)
        first, *rest = (op.gram(x, w) for op, w in parts)
        return sum(rest, start=first)

    def gram_diagonal(self, weights: Tensor | None = None) -> Diagonal | None:
        """Return the sum of the parts' where all are diagonal in one basis."""
        pieces = (None,) * len(self.sizes) if weights is None else self._pieces(weights)
        found = [op.gram_diagonal(w) for op, w in zip(self._list(), pieces, strict=True)]
        total = found[0]
        for diagonal in found[1:]:
            total = None if total is None or diagonal is None else total.joined(diagonal, torch.add)
        return total

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return the sum of the parts' in one basis, that asked for or the first part's."""
        total = self._list()[0].gram_diagonal_estimate(basis)
        for op in self._list()[1:]:
            found = None if total is None else op.gram_diagonal_estimate(None if total.basis == "any" else total.basis)
            total = None if total is None or found is None else total.joined(found, torch.add)
        return total

    def __repr__(self) -> str:
        return f"vstack([{', '.join(map(repr, self._list()))}])"


def vstack(operators: Sequence[LinearOperator]) -> LinearOperator:
    """Return [A; B; ...], whose data are joined along the first item axis."""
    return operators[0] if len(operators) == 1 else VStack(operators)
