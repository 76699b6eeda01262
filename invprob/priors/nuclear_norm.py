"""The nuclear norm: images of few independent rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invprob.functional import Scalar
from invprob.linalg import per_item
from invprob.priors.base import Prior


class NuclearNorm(Prior):
    """lam |X|_* = lam sum of the singular values of X, whose rows are the first axes of an item; prox: shrinks them.

    Convex in the place of the rank (Fazel 2002; Cai, Candes & Shen 2010): few of the rows, such as the frames of a
    film, are independent. Complex items are taken as they are.

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        ndim: how many axes, the last ones, make one item; by default 3.
        grouped: how many axes of an item, the first ones, count rows; by default 1.
    """

    def __init__(self, lam: Scalar = 1.0, ndim: int = 3, *, grouped: int = 1) -> None:
        super().__init__(lam, ndim)
        if not 1 <= grouped < ndim:
            raise ValueError(f"NuclearNorm: grouped must be between 1 and {ndim - 1} axes, got {grouped}")
        self.grouped = grouped

    def _value(self, x: Tensor) -> Tensor:
        matrix = self._matrix(x)
        sound = _sound(matrix)
        total: Tensor = torch.linalg.svdvals(torch.where(sound, matrix, 0.0)).sum(-1)
        return torch.where(sound[..., 0, 0], total, torch.nan)

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        """Return U diag((1 - t / s)_+) U^H X with U and s^2 from X X^H, in float64 as that squares the condition."""
        matrix = self._matrix(v)
        wide = matrix.to(torch.promote_types(matrix.dtype, torch.float64))
        gram = wide @ wide.mH
        sound = _sound(gram)
        squares, vectors = torch.linalg.eigh(torch.where(sound, gram, 0.0))
        s = squares.clamp(min=0).sqrt()
        kept = (1 - per_item(t, s, 1) / s.clamp(min=torch.finfo(s.dtype).tiny)).clamp(min=0)
        small: Tensor = (vectors * kept.unsqueeze(-2)) @ vectors.mH
        return torch.where(sound, small.to(matrix) @ matrix, torch.nan).reshape(v.shape)

    def _matrix(self, x: Tensor) -> Tensor:
        """Return the rows of every item, (*batch, rows, columns)."""
        batch, item = x.shape[: x.ndim - self.ndim], x.shape[x.ndim - self.ndim :]
        return x.reshape(*batch, math.prod(item[: self.grouped]), math.prod(item[self.grouped :]))


def _sound(matrix: Tensor) -> Tensor:
    """Return which matrices are finite, `(*batch, 1, 1)`: no decomposition of others ends, so they stay NaN."""
    return torch.isfinite(matrix).flatten(-2).all(-1)[..., None, None]
