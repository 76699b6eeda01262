"""Pixels that are measured and pixels that are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob import linalg
from invprob.linalg import Diagonal
from invprob.linop import DataKind, LinearOperator
from invprob.linop.bases import Basis
from invprob.linop.readings import zero_filled
from invprob.transforms import Gradient


class Mask(LinearOperator):
    """y = m x, pixel by pixel, for real weights or booleans m; zero where nothing is measured.

    Arguments:
        mask: m, of the shape of the image; `(*batch, *image)` with one mask per item, which broadcast against the
            images, where `ndim` is given.
        ndim: how many axes of the mask, the last ones, are the image's; by default all.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for weights that are not finite, and for a mask that measures nothing.
    """

    data_kind: DataKind = "picture"
    transparent = True

    def __init__(
        self, mask: ArrayLike | Tensor, *, ndim: int | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        given = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        if np.iscomplexobj(given):
            raise ValueError("Mask: the weights must be real; a complex factor is a coil map, see CartesianMRI")
        weights = torch.from_numpy(np.array(given, dtype=np.float64))
        d = weights.ndim if ndim is None else ndim
        if not 1 <= d <= weights.ndim:
            raise ValueError(f"Mask: an image of {d} axes does not fit a mask of shape {tuple(weights.shape)}")
        super().__init__(weights.shape[weights.ndim - d :], weights.shape[weights.ndim - d :], dtype=dtype)
        if not bool(weights.isfinite().all()):
            raise ValueError(f"Mask: {int((~weights.isfinite()).sum())} weights are NaN or infinite")
        if not bool((weights != 0).flatten(-d).any(-1).all()):
            raise ValueError("Mask: the mask is zero everywhere, so that nothing would be measured")
        self.parameter_batch = tuple(weights.shape[:-d])
        self.weights = weights  # a plain attribute in float64, which no change of precision rounds
        self.nonnegative = bool((weights >= 0).all())
        self._is_bool = given.dtype == np.bool_

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        weights = self.weights.numpy()
        return {"mask": weights != 0 if self._is_bool else weights, "ndim": len(self.domain_shape)}

    def _m(self) -> Tensor:
        return self._cached("weights", lambda: self.weights.to(self.device, self.dtype))

    def _forward(self, x: Tensor) -> Tensor:
        return self._m() * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._m() * y

    def diagonal(self) -> Diagonal:
        """Return the mask, in pixels."""
        return Diagonal(self._m(), "pixel")

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the mean of m^2, in any basis, so that it goes with finite differences."""
        del basis
        d = len(self.domain_shape)
        mean = self._m().square().flatten(-d).mean(-1)
        return Diagonal(linalg.per_item(mean, mean, d), "any")

    @property
    def measured(self) -> Tensor:
        """Where m is not 0."""
        return self._m() != 0

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y / m with the holes filled smoothly: the image whose Laplacian is zero inside the holes.

        A harmonic image has no extrema inside a hole, so nothing overshoots. By conjugate gradients per item, free
        (Neumann) at the border of the image. Where the weights are 0, there is a hole, too.
        """
        y, d = self.as_data(y), len(self.domain_shape)
        m = zero_filled(self._m(), weights)
        holes = (m == 0).to(m.dtype)
        known = y / (m + holes) * (1 - holes)
        # starting from the mean leaves the hole with what differs from it
        mean = known.flatten(-d).sum(-1) / (1 - holes).flatten(-d).sum(-1)
        known = known + holes * linalg.per_item(mean, known, d)
        D = Gradient(self.domain_shape, dtype=self.dtype).to(self.device)
        slope = -holes * D.gram(known)
        filled = linalg.conjugate_gradient(lambda v: holes * D.gram(holes * v), slope, ndim=d, tol=1e-4)
        return known + filled.x

    def extra_repr(self) -> str:
        """Say how much is measured."""
        batch: Sequence[int] = self.weights.shape[: -len(self.domain_shape)]
        share = float((self.weights != 0).double().mean())
        many = f", one per item of {tuple(batch)}" if batch else ""
        return f"{share:.3g} of the pixels{many}, {super().extra_repr()}"
