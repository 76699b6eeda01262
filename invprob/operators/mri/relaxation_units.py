"""Parameters of a signal model in units in which neither knows of the other, and both move images alike."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.grid import Channels, Grid
from invprob.linalg import per_item
from invprob.linop import Linearised
from invprob.linop.operator import Operator
from invprob.operators.mri.signal_models import SignalModel


class RelaxationUnits(Operator):
    """(u, v) -> (m, R) = (u / |e(R)|, b v) for a model with the curve e.

    The images are u e / |e|: a change of u is one along the curve, a change of v one across it, so that what a prior
    takes from one is not made up for by the other. b makes v move the images of a usual m at the usual rate by as much
    as u itself does.

    Arguments:
        model: the model.
        size: |m| where it is usual, per item, `(*batch,)`, positive.
    """

    channels: Channels | None = "echoes"

    def __init__(self, model: SignalModel, size: Tensor) -> None:
        shape = model.domain_shape
        super().__init__(shape, shape, dtype=model.dtype, complex_domain=True, complex_range=True)
        self.to(model.device)
        self.parameter_batch = tuple(size.shape)
        self.model = model
        usual = torch.full((1,) * len(shape), model.usual, dtype=torch.float64)
        e, slope = model.curve(usual), model.slope(usual)
        across = slope - (e * slope).sum() / e.square().sum() * e
        self.b = 1 / (size.double() * float(across.norm()))

    def _forward(self, x: Tensor) -> Tensor:
        u, rate = self._parts(x)
        return self._joined(u / self._length(rate), rate)

    def inverse(self, x: Tensor) -> Tensor:
        """Return (u, v) of (m, R)."""
        m, rate = self._halves(x)
        return self._joined(m * self._length(rate.real), rate.real / self._b(rate.real))

    def linearised(self, x: Tensor) -> Linearised:
        """Return (du, dv) -> (du / |e| - m <e, e'> / |e|^2 dR, dR) with dR = b dv."""
        return _Tangent(self, x)

    @property
    def grid(self) -> Grid:
        """Pixels along the axes of space."""
        return self.model.grid

    @property
    def _axis(self) -> int:
        return -len(self.domain_shape)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.narrow(self._axis, 0, 1), x.narrow(self._axis, 1, 1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and R."""
        u, v = self._halves(x)
        return u, self._b(v.real) * v.real

    def _length(self, rate: Tensor) -> Tensor:
        """Return |e(R)|."""
        return self.model.curve(rate).square().sum(self._axis, keepdim=True).sqrt()

    def _b(self, like: Tensor) -> Tensor:
        return per_item(self.b, like, len(self.domain_shape))

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = torch.broadcast_tensors(first, second.to(first.dtype))  # type: ignore[no-untyped-call]
        return torch.cat([first, second], dim=self._axis)


class _Tangent(Linearised):
    """The derivative of the units at a point."""

    operator: RelaxationUnits

    def _prepare(self) -> Tensor:
        of = self.operator
        u, rate = of._parts(self.point)
        e, slope = of.model.curve(rate), of.model.slope(rate)
        square = e.square().sum(of._axis, keepdim=True)
        self.scale, self.stretch = square.rsqrt(), of._b(rate)
        m = u * self.scale
        self.cross = -m * ((e * slope).sum(of._axis, keepdim=True) / square) * self.stretch
        return of._joined(m, rate)

    def _push(self, x: Tensor, u: Tensor) -> Tensor:
        du, dv = self.operator._halves(u)
        return self.operator._joined(self.scale * du + self.cross * dv.real, self.stretch * dv.real)

    def _pull(self, x: Tensor, v: Tensor) -> Tensor:
        dm, d_rate = self.operator._halves(v)
        return self.operator._joined(self.scale * dm, self.stretch * d_rate.real + (self.cross.conj() * dm).real)
