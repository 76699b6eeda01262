"""What relaxation makes of magnetisation: models of the signal at several times, in front of an encoding."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invprob.grid import Channels, Grid
from invprob.linop import Linearised
from invprob.linop.operator import Operator

SLOWEST, FASTEST, RATES = 0.02, 15.0, 120  # rates among which a fit begins, relative to the usual one, and how many
STEPS = 12  # of Gauss-Newton per pixel, after which digits are those of the precision
LONGEST = 0.5  # share of its rate that a pixel's step may change


class SignalModel(Operator):
    """(m, R) -> m e_t(R): images at the times t, of magnetisation m and relaxation rate R in 1/s.

    From `(*batch, 2, *image)`, complex, to `(*batch, times, *image)`, complex; of the second parameter the real part
    counts, so that the derivative is linear over the real numbers. A subclass writes the curve e_t(R). Rates, not
    times: the exponent is linear in them, and they have no pole where nothing is.

    Arguments:
        times: in seconds, positive and rising.
        image_shape: of one image.
        usual: the rate in 1/s where fits and iterations begin, and whose scale is that of the parameters.
        dtype: the precision, torch.float32 or torch.float64.

    ValueError for fewer than two times, for times that are not positive and rising, and for a rate that is none.
    """

    channels: Channels | None = "echoes"

    def __init__(
        self,
        times: Sequence[float] | Tensor,
        image_shape: Sequence[int],
        *,
        usual: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        name = type(self).__name__
        t = torch.as_tensor(times, dtype=torch.float64)
        if t.ndim != 1 or len(t) < 2 or not bool((t > 0).all() and (t.diff() > 0).all() and t.isfinite().all()):
            raise ValueError(f"{name}: times are at least two, in seconds, positive and rising, got {t.tolist()}")
        if not 0 < usual < math.inf:
            raise ValueError(f"{name}: usual is a rate in 1/s, positive and finite, got {usual}")
        super().__init__(
            (2, *image_shape), (len(t), *image_shape), dtype=dtype, complex_domain=True, complex_range=True
        )
        self.times, self.usual = t, float(usual)

    @abstractmethod
    def curve(self, rate: Tensor) -> Tensor:
        """Return e, `(*batch, times, *image)`, of rates `(*batch, 1, *image)`."""

    @abstractmethod
    def slope(self, rate: Tensor) -> Tensor:
        """Return de / dR, `(*batch, times, *image)`, of rates `(*batch, 1, *image)`."""

    # ---- the operator

    def _forward(self, x: Tensor) -> Tensor:
        m, rate = self._parts(x)
        return m * self.curve(rate)

    def linearised(self, x: Tensor) -> Linearised:
        """Return (dm, dR) -> dm e + m de/dR dR, with the curves at the point kept."""
        return _Tangent(self, x)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        return {"times": self.times.numpy(), "image_shape": self.domain_shape[1:], "usual": self.usual}

    @property
    def grid(self) -> Grid:
        """Pixels along the axes of space."""
        return Grid.of_pixels(self._space)

    def start(self) -> Tensor:
        """Return m = 1 at the usual rate: at zero there is no slope."""
        x = torch.ones(self.domain_shape, dtype=self.domain_dtype, device=self.device)
        x[1] = self.usual
        return x

    # ---- from images to parameters, and to what is read

    def fit(self, images: Tensor) -> Tensor:
        """Return the parameters of least squares per pixel, `(*batch, 2, *image)`, of images at the times.

        The best of a list of rates, from 0.02 to 15 times the usual one, then Gauss-Newton with m eliminated (Golub &
        Pereyra 1973).
        """
        s, axis = self.as_data(images), -self._space - 1
        rate = self._best_of_list(s)
        low, high = self.usual * SLOWEST, self.usual * FASTEST
        for _ in range(STEPS):
            e, slope = self.curve(rate), self.slope(rate)
            m = self._best_m(s, e)
            across = slope - e * self._best_m(slope, e)
            steep = m.abs().square() * across.square().sum(axis, keepdim=True)
            fall = (m.conj() * (across * (s - m * e)).sum(axis, keepdim=True)).real
            step = torch.where(steep > 0, fall / torch.where(steep > 0, steep, 1.0), 0.0)
            rate = (rate + torch.clamp(step, -LONGEST * rate, LONGEST * rate)).clamp(low, high)
        return self.with_rates(s, rate)

    def with_rates(self, images: Tensor, rate: Tensor) -> Tensor:
        """Return the parameters of least squares, `(*batch, 2, *image)`, for rates `(*batch, 1, *image)`."""
        m = self._best_m(images, self.curve(rate))
        return torch.cat([m, rate.to(m.dtype)], dim=-self._space - 1)

    def _best_m(self, s: Tensor, e: Tensor) -> Tensor:
        """Return the m for which m e is nearest to s."""
        axis = -self._space - 1
        return (e * s).sum(axis, keepdim=True) / e.square().sum(axis, keepdim=True)

    def milliseconds(self, x: Tensor) -> Tensor:
        """Return the map of the relaxation time 1 / R in ms, `(*batch, *image)`; infinite where R is not positive."""
        rate = self._parts(x)[1].squeeze(-self._space - 1)
        return torch.where(rate > 0, 1e3 / torch.where(rate > 0, rate, 1.0), math.inf)

    def _best_of_list(self, s: Tensor) -> Tensor:
        """Return of each pixel the rate, of a list, whose curve explains most of its signal."""
        axis = -self._space - 1
        best = torch.full_like(s.real.narrow(axis, 0, 1), -1.0)
        found = torch.full_like(best, self.usual)
        for rate in torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), RATES).mul(self.usual).tolist():
            e = self.curve(torch.full((1,) * (1 + self._space), rate, dtype=best.dtype, device=best.device))
            seen = (e * s).sum(axis, keepdim=True).abs().square() / e.square().sum()
            found = torch.where(seen > best, rate, found)
            best = torch.maximum(best, seen)
        return found

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return m and R, each with the axis of the parameters."""
        axis = -self._space - 1
        return x.narrow(axis, 0, 1), x.narrow(axis, 1, 1).real

    @property
    def _space(self) -> int:
        return len(self.domain_shape) - 1

    def _column(self, like: Tensor) -> Tensor:
        """Return the times along the axis of the images."""
        return self.times.to(like).reshape(-1, *(1,) * self._space)

    def extra_repr(self) -> str:
        """Say the times."""
        first, last = (1e3 * float(self.times[i]) for i in (0, -1))
        return f"{len(self.times)} times from {first:g} to {last:g} ms, {super().extra_repr()}"


class _Tangent(Linearised):
    """The derivative of a signal model: (dm, dR) -> e dm + (m de/dR) Re dR."""

    operator: SignalModel

    def _prepare(self) -> Tensor:
        m, rate = self.operator._parts(self.point)
        self.e = self.operator.curve(rate)
        self.steep = m * self.operator.slope(rate)
        return m * self.e

    def _push(self, x: Tensor, u: Tensor) -> Tensor:
        dm, d_rate = self.operator._parts(u)
        return self.e * dm + self.steep * d_rate

    def _pull(self, x: Tensor, v: Tensor) -> Tensor:
        axis = -len(self.domain_shape)
        dm = (self.e * v).sum(axis, keepdim=True)
        d_rate = (self.steep.conj() * v).real.sum(axis, keepdim=True)
        return torch.cat([dm, d_rate.to(dm.dtype)], dim=axis)


class MultiEcho(SignalModel):
    """m exp(-TE R2): spin echoes at the times TE.

    Arguments:
        times, image_shape, dtype: as of `SignalModel`.
        usual: the rate R2 in 1/s where fits and iterations begin; by default 20, T2 = 50 ms.
    """

    def __init__(
        self,
        times: Sequence[float] | Tensor,
        image_shape: Sequence[int],
        *,
        usual: float = 20.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(times, image_shape, usual=usual, dtype=dtype)

    def curve(self, rate: Tensor) -> Tensor:
        """Return exp(-TE R2)."""
        return torch.exp(-self._column(rate) * rate)

    def slope(self, rate: Tensor) -> Tensor:
        """Return -TE exp(-TE R2)."""
        return -self._column(rate) * self.curve(rate)


class InversionRecovery(SignalModel):
    """m (1 - 2 exp(-TI R1)): images at the times TI after an inversion.

    Magnitudes fold the sign, so the data have to be complex; times on both sides of T1 log 2 tell m and R1 apart.

    Arguments:
        times, image_shape, dtype: as of `SignalModel`.
        usual: the rate R1 in 1/s where fits and iterations begin; by default 1, T1 = 1000 ms.
    """

    def __init__(
        self,
        times: Sequence[float] | Tensor,
        image_shape: Sequence[int],
        *,
        usual: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(times, image_shape, usual=usual, dtype=dtype)

    def curve(self, rate: Tensor) -> Tensor:
        """Return 1 - 2 exp(-TI R1)."""
        return 1 - 2 * torch.exp(-self._column(rate) * rate)

    def slope(self, rate: Tensor) -> Tensor:
        """Return 2 TI exp(-TI R1)."""
        t = self._column(rate)
        return 2 * t * torch.exp(-t * rate)
