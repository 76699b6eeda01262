"""The eigenvectors of A A^H: with few readings, what solves all systems of one operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A A^H = V diag(values) V^H on flattened data, for values (M,) >= 0 in float64 and unitary vectors V (M, M)."""

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> Spectrum:
        """Return the spectrum of a Hermitian matrix A A^H, (M, M)."""
        values, vectors = torch.linalg.eigh(matrix)
        return cls(values.double().clamp(min=0), vectors)

    def multiplied(self, y: Tensor, factors: Tensor, ndim: int) -> Tensor:
        """Return V diag(factors) V^H y for data y of `ndim` item axes; factors (M,) or (*batch, M)."""
        shape = y.shape[y.ndim - ndim :]
        flat = y.flatten(-ndim)
        rows = flat.reshape(-1, flat.shape[-1])
        seen = (rows.conj().resolve_conj() @ self.vectors).conj().reshape(flat.shape)  # V^H y
        mixed = seen * factors.to(seen.real.dtype)
        back = mixed.reshape(-1, flat.shape[-1]) @ self.vectors.mT
        return back.reshape(*mixed.shape[:-1], *shape)
