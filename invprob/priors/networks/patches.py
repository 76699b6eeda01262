"""Networks for images of one size, on larger images: exact averages over patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import fold, pad, unfold

from invprob.priors.networks.convex import ConvexPotential

__all__ = ["PatchAverage"]


class PatchAverage(ConvexPotential):
    """psi(y) = 1/c sum_p psi_0(P_p y) over the patches of a torus, `side` wide and `stride` apart.

    Each pixel lies in c = (side / stride)^2 patches, so that f = 1/c sum_p P_p^T f_0(P_p y) is again the gradient of a
    strongly convex potential. Where pixels are covered unequally the average of the outputs is none. What is
    missing to a multiple of the stride is padded with zeros. ValueError unless the stride divides the side.
    """

    def __init__(self, network: ConvexPotential, side: int, stride: int | None = None) -> None:
        super().__init__()
        stride = max(1, side // 2) if stride is None else stride
        if stride < 1 or side % stride:
            raise ValueError(f"PatchAverage: the stride must divide the side {side}, got {stride}")
        if network.ndim != 2:
            raise ValueError(f"PatchAverage is for networks of images, {type(network).__name__} is none")
        self.network, self.side, self.stride = network, side, stride
        self.mu, self.conditional = network.mu, network.conditional

    @property
    def arguments(self) -> dict[str, object]:
        """What the constructor needs besides the network."""
        return {"side": self.side, "stride": self.stride}

    def project(self) -> None:
        """Project the network's weights."""
        self.network.project()

    def lipschitz_bound(self) -> float:
        """Return the network's."""
        return self.network.lipschitz_bound()

    def _pair(self, y: Tensor, sigma: Tensor, *, value: bool) -> tuple[Tensor | None, Tensor]:
        side, stride = self.side, self.stride
        height, width = y.shape[-2:]
        low, right = (max(n, side) + (-max(n, side)) % stride - n for n in (height, width))
        torus = pad(y[:, None], (0, right, 0, low))
        rows, columns = torus.shape[-2:]
        round_ = pad(torus, (0, side - stride, 0, side - stride), mode="circular") if side > stride else torus
        cut = unfold(round_, side, stride=stride)
        count = cut.shape[-1]
        patches = cut.transpose(1, 2).reshape(-1, side, side)
        psi, f = self.network._pair(patches, sigma.repeat_interleave(count), value=value)
        back = fold(f.reshape(len(y), count, -1).transpose(1, 2), tuple(round_.shape[-2:]), side, stride=stride)
        for axis, n in ((-2, rows), (-1, columns)):
            extra = back.shape[axis] - n
            wrapped = back.narrow(axis, n, extra)
            back = back.narrow(axis, 0, n)
            if extra:
                rest = back.narrow(axis, extra, n - extra)
                back = torch.cat([back.narrow(axis, 0, extra) + wrapped, rest], dim=axis)
        share = (stride / side) ** 2
        total = None if psi is None else share * psi.reshape(len(y), count).sum(1)
        return total, share * back[:, 0, :height, :width]
