"""Data steps that need A(x) and its derivative alone, and so serve nonlinear operators, too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from invprob import linalg
from invprob.sampling.data_steps import Corrected, DataStep, Moment
from invprob.sampling.measurement import Measurement

__all__ = ["Descent", "Langevin"]


@dataclass(frozen=True)
class Langevin(DataStep):
    """Langevin steps on |u - x0|^2 / 2 r^2 + |y - A(u)|_w^2 / 2 noise^2 (Zhang, Chu, Berner et al. 2025).

    r = sigma; the step is a share of the inverse of the curvature 1 / r^2 + |A|^2 / noise^2, so that it is stable for
    every operator.

    Arguments:
        iterations: how many steps.
        rate: the share; the bias of the draws grows with it.
    """

    iterations: int = 50
    rate: float = 0.3

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the last draw."""
        noise = m.noise.to(at.x0.device)
        curvature = 1 / at.sigma**2 + (m.norm / noise) ** 2
        step = linalg.per_item(self.rate / curvature, at.x0, m.ndim)
        u = at.x0
        precision = linalg.per_item(noise**-2, u, m.ndim)
        for k in range(self.iterations):
            g = (u - at.x0) / at.sigma**2 - precision * m.pull(m.misfit(u), u)
            u = u - step * g + (2 * step).sqrt() * at.draw(f"langevin {k}")
        return Corrected(u)


@dataclass(frozen=True)
class Descent(DataStep):
    """Gradient steps on |y - A(u)|_w^2 / 2 from x0 until the misfit is what noise explains (Song, Kwon et al. 2024).

    The rule of Morozov per item, so that noise is not fitted.

    Arguments:
        iterations: the most steps.
        radius: where to stop, in units of what noise explains.
    """

    iterations: int = 50
    radius: float = 1.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the image that explains the data."""
        u = at.x0
        for _ in range(self.iterations):
            on = (m.residual_to_noise(u) > self.radius).double()
            if not bool(on.any()):
                break
            u = u + linalg.per_item(on, u, m.ndim) * m.pull(m.misfit(u), u) / m.norm**2
        return Corrected(u)


def starting(m: Measurement) -> Tensor:
    """Return an image to begin with where the prior is not known at large noise: the direct one, or the start of A."""
    from invprob.linop import LinearOperator

    if isinstance(m.A, LinearOperator):
        return m.A.direct(m.y, m.weights)
    start = m.A.start()
    return start.expand(*m.batch, *start.shape).to(torch.promote_types(start.dtype, m.y.real.dtype))
