"""Images in colour of which brightness alone is measured: what colourisation undoes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.grid import Channels
from invprob.linalg import Diagonal
from invprob.linop import DataKind, LinearOperator


class Greyscale(LinearOperator):
    """y = sum_c w_c x_c: images `(C, *shape)` in colour to pictures `shape` in grey.

    Arguments:
        shape: that of a picture.
        weights: w, one number per channel; by default the mean of red, green and blue. (0.299, 0.587, 0.114) is the
            luma of ITU-R BT.601.
        dtype: the precision, torch.float32 or torch.float64; `to` changes it later.

    ValueError for weights that are no list, all 0 or not finite.
    """

    data_kind: DataKind = "picture"
    channels: Channels | None = "colour"

    def __init__(
        self,
        shape: Sequence[int],
        weights: Sequence[float] | Tensor = (1 / 3, 1 / 3, 1 / 3),
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        w = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
        if w.ndim != 1 or not bool(w.isfinite().all()) or not bool((w != 0).any()):
            raise ValueError(f"Greyscale: weights must be finite numbers, one per channel, not all 0, got {weights}")
        super().__init__((len(w), *shape), shape, dtype=dtype)
        self.weights = w  # a plain attribute in float64, which no change of precision rounds
        self.nonnegative = bool((w >= 0).all())

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"shape": self.range_shape, "weights": self.weights.numpy()}

    def _w(self, t: Tensor) -> Tensor:
        return self.weights.to(t.device, t.real.dtype).reshape(-1, *(1,) * len(self.range_shape))

    def _forward(self, x: Tensor) -> Tensor:
        return (self._w(x) * x).sum(-1 - len(self.range_shape))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._w(y) * y.unsqueeze(-1 - len(self.range_shape))

    def row_gram_diagonal(self) -> Diagonal:
        """Return |w|^2: A A^H is a multiple of the identity."""
        return Diagonal(self.weights.square().sum().to(self.device, self.dtype), "any")

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the grey image with that brightness, y / sum w in every channel; A^+ y if the weights add up to 0."""
        y, w = self.as_data(y), self.weights
        total = float(w.sum())
        share = torch.full_like(w, 1 / total) if abs(total) > 1e-6 * float(w.abs().sum()) else w / w.square().sum()
        known = y if weights is None else self.fill(y, weights)
        return share.to(y.device, y.real.dtype).reshape(-1, *(1,) * len(self.range_shape)) * known.unsqueeze(
            -1 - len(self.range_shape)
        )

    def extra_repr(self) -> str:
        """Show the weights."""
        return f"{[round(v, 3) for v in self.weights.tolist()]}, {super().extra_repr()}"
