"""Networks that were trained to undo noise, in whichever way, as priors of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from invprob.functional import Scalar
from invprob.priors.base import nonnegative
from invprob.priors.denoiser import ComplexAs, DenoiserPrior, Scale
from invprob.priors.denoiser_functions import DenoiserFunction
from invprob.priors.networks import PretrainedDenoiser
from invprob.priors.score import ScorePrior

Prediction = Literal["image", "noise", "score", "velocity", "flow"]
Process = Literal["ve", "vp", "flow"]
SPREAD = 0.25  # of images on [0, 1] of which nothing else is known; bodies and natural images have 0.2 to 0.3


class DiffusionPrior(DenoiserPrior, ScorePrior):
    """p(x0) as a network knows it that was trained to undo noise: D(x, sigma) = E[x0 | x], whatever it predicts.

    Everything here is in variance-exploding variables, x = x0 + sigma n. A network that saw variance-preserving images
    is given x / sqrt(1 + sigma^2), one of a linear flow x (1 - t) with t = sigma / (1 + sigma) (Karras, Aittala, Aila &
    Laine 2022). As a prior it has `prox(v, tau) = D(v, sqrt(tau))`, too, that of `Denoiser(D, lam=1)`.

    Arguments:
        D: a denoiser as `Denoiser` takes it, pretrained weights as `load_pretrained` returns them (asked in the
            precision of x), or with another `predicts` or `process` a network for (B, C, H, W) and its times (B,).
        predicts: what the network answers: the "image" x0 (the default), the "noise" n, the "score" of what it sees,
            the "velocity" a n - b x0 for a x0 + b n (Salimans & Ho 2022), or the "flow" n - x0 of a linear one.
        process: what the network sees: "ve" (the default), "vp" or "flow".
        times: how a network is told sigma, in units of its own images: a table of sigma, rising, in which the (broken)
            index is sought by interpolation of ln sigma, or a function of sigma `(B,)`. By default sigma itself for
            "ve", the thousand steps of `linear_levels` for "vp", and t for "flow".
        data_range: what the network has for 0 and 1, such as (-1, 1); by default (0, 1).
        spread: the standard deviation of the images' values, in units of x; by default the network's own, else 0.25
            times `scale` where that is a number.
        ndim, scale, complex_as, channels, power_steps: as for `Denoiser`.

    ValueError for unknown words, an empty data range, and a spread <= 0.
    """

    def __init__(
        self,
        D: DenoiserFunction,
        predicts: Prediction = "image",
        process: Process = "ve",
        *,
        times: Tensor | Callable[[Tensor], Tensor] | None = None,
        data_range: tuple[float, float] = (0.0, 1.0),
        spread: float | None = None,
        ndim: int = 2,
        scale: Scale = 1.0,
        complex_as: ComplexAs = None,
        channels: bool | None = None,
        power_steps: int = 8,
    ) -> None:
        if predicts not in get_args(Prediction) or process not in get_args(Process):
            raise ValueError(
                f"DiffusionPrior: predicts must be one of {', '.join(get_args(Prediction))} and process one of "
                f"{', '.join(get_args(Process))}, got {predicts!r} and {process!r}"
            )
        if not data_range[0] < data_range[1]:
            raise ValueError(f"DiffusionPrior: data_range must rise, got {data_range}")
        span = getattr(D, "sigma_range", None)
        D = D.network if isinstance(D, PretrainedDenoiser) else D  # which would compute in bfloat16 where it can
        own = getattr(D, "spread", SPREAD)
        if (predicts, process, data_range) != ("image", "ve", (0.0, 1.0)) or times is not None:
            D = _Reparametrised(D, predicts, process, times, data_range)
        super().__init__(D, ndim, scale, complex_as, channels, power_steps)
        unit = float(scale) if isinstance(scale, int | float) else 1.0
        self.spread = own * unit if spread is None else spread
        self._span = None if span is None else (span[0] * unit, span[1] * unit)
        if not self.spread > 0:
            raise ValueError(f"DiffusionPrior: spread must be positive, got {spread}")

    @property
    def sigma_range(self) -> tuple[float, float] | None:
        """The noise levels that the network was trained for, in units of x; None where that is not known."""
        return self._span

    def noise_level(self, tau: Scalar | None = None) -> Tensor | None:
        """Return sqrt(tau)."""
        return None if tau is None else nonnegative(tau, "tau", self).sqrt()

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return D(v, sqrt(tau))."""
        return self.denoise(v, nonnegative(tau, "tau", self).sqrt().to(v.device))

    def forward(self, x: Tensor, sigma: Scalar) -> Tensor:
        """Return D(x, sigma)."""
        return self.denoise(x, sigma)

    def extra_repr(self) -> str:
        """Show the scale of the images."""
        return f"spread={self.spread:.3g}"


def linear_levels(count: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Return sigma of the steps of a variance-preserving process with linear betas (Ho, Jain & Abbeel 2020)."""
    kept = (1 - torch.linspace(first, last, count, dtype=torch.float64)).cumprod(0)
    return ((1 - kept) / kept).sqrt()


class _Reparametrised(nn.Module):
    """D(x, sigma) on (B, C, *space) with sigma (B,), of a network that sees and says something else."""

    def __init__(
        self,
        network: DenoiserFunction,
        predicts: Prediction,
        process: Process,
        times: Tensor | Callable[[Tensor], Tensor] | None,
        data_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.network, self.predicts, self.process, self.data_range = network, predicts, process, data_range
        self.times = linear_levels() if times is None and process == "vp" else times

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return E[x0 | x]."""
        low, high = self.data_range
        u, level = low + (high - low) * x, (high - low) * sigma
        s = level.reshape(-1, *(1,) * (x.ndim - 1))
        if self.process == "ve":
            a = torch.ones_like(s)  # what the network sees is a u0 + b n
        else:
            a = (1 + s.square()).rsqrt() if self.process == "vp" else 1 / (1 + s)
        b = a * s
        answer: Tensor = self.network(a * u, self._time(level))
        if self.predicts == "noise":
            answer = u - s * answer
        elif self.predicts == "score":
            answer = u + s * b * answer
        elif self.predicts == "velocity":  # a n - b u0, and a u = a u0 + b n
            answer = (a * a * u - b * answer) / (a * a + b * b)
        elif self.predicts == "flow":  # n - u0
            answer = (a * u - b * answer) / (a + b)
        return (answer - low) / (high - low)

    def _time(self, level: Tensor) -> Tensor:
        """Return how the network is told noise levels (B,)."""
        if callable(self.times):
            return self.times(level)
        if self.times is None:
            return level if self.process == "ve" else level / (1 + level)
        table, wanted = self.times.to(level).log(), level.log()
        after = torch.searchsorted(table, wanted).clamp(1, len(table) - 1)
        low, high = table[after - 1], table[after]
        return (after - 1 + (wanted - low) / (high - low)).clamp(0, len(table) - 1)
