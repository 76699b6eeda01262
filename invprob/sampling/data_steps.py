"""How data correct what the prior says: the one thing in which most diffusion methods differ.

A data step sees a `Moment` and returns `Corrected`; it computes per item, and relative to |A| and to the spread of the
images, so that its settings mean the same for every operator and every unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from invprob import linalg
from invprob.sampling.measurement import Measurement

__all__ = [
    *("Ball", "Corrected", "DataStep", "DualProx", "Guide", "Krylov", "Moment", "Nothing", "PosteriorGuide"),
    *("Project", "Prox", "Restart", "Variational"),
]


@dataclass(frozen=True)
class Moment:
    """What is known at one step.

    Arguments:
        x: the noisy image at level `sigma`.
        x0: D(x, sigma).
        sigma, after: this noise level and the next one.
        spread: that of the prior's images.
        draw: returns white noise like an image, another one for every name.
        draw_data: returns white noise like the data.
        pull_back: returns J^H v with the derivative J of D at x, for steps that ask for it.
        left: returns the variance that x0 has left in a direction, or on average, per item, for one D more.
        memory: what the step kept the last time, empty at first.
        last: whether this is the last step.
    """

    x: Tensor
    x0: Tensor
    sigma: float
    after: float
    spread: float
    draw: Callable[[str], Tensor]
    draw_data: Callable[[str], Tensor]
    pull_back: Callable[[Tensor], Tensor]
    left: Callable[[Tensor | None], Tensor]
    memory: Mapping[str, Tensor]
    last: bool

    @property
    def white_variance(self) -> float:
        """The variance v sigma^2 / (v + sigma^2) that white images of that spread have left: no prior leaves more."""
        return left_of_white(self.spread, self.sigma)


def left_of_white(spread: float, sigma: float) -> float:
    """Return v sigma^2 / (v + sigma^2) for white images of variance v under noise of level sigma."""
    return 1 / (1 / spread**2 + 1 / sigma**2)


@dataclass(frozen=True)
class Corrected:
    """The corrected estimate x0, what is added to the next image, that image itself if known, and what to keep."""

    x0: Tensor
    add: Tensor | None = None
    following: Tensor | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)


class DataStep(ABC):
    """What data make of an estimate."""

    needs_gradient: bool = False  # whether the derivative of the prior's D is asked for

    @abstractmethod
    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the corrected estimate."""


@dataclass(frozen=True)
class Nothing(DataStep):
    """No correction: for methods that project before or after a step, and for draws from the prior."""

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the estimate as it is."""
        del m
        return Corrected(at.x0)


@dataclass(frozen=True)
class Project(DataStep):
    """x0 + strength A^+ (y - A x0), on what noise lets be told of the range of A^H (Wang, Yu & Zhang 2023)."""

    strength: float = 1.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the projected estimate."""
        return Corrected(at.x0 + self.strength * m.inverted(m.misfit(at.x0), at.white_variance))


@dataclass(frozen=True)
class Prox(DataStep):
    """The Gaussian posterior of an image known to variance r^2 around x0: its mean, or a draw from it.

    u + (A^H W A + noise^2 / r^2)^-1 A^H W (y + n - A u) with u = x0 for the mean, and for a draw u = x0 + e and noise n
    of the data (perturb and maximise, Papandreou & Yuille 2010).

    Arguments:
        variance: r^2: "flat" is sigma^2 (Zhu et al. 2023), "white" v sigma^2 / (v + sigma^2) with the variance v of the
            images; "posterior" is what the prior itself leaves by Tweedie's second formula, Cov[x0 | x] = sigma^2 J, in
            the direction of the data A^H W (y - A x0), and for e on average over all directions, sigma^2 tr J / N.
        weight: divides r^2.
        noise: 1 draws from the posterior, 0 returns its mean.
    """

    variance: Literal["flat", "white", "posterior"] = "posterior"
    weight: float = 1.0
    noise: float = 0.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the mean or the draw."""
        if self.variance == "posterior":
            r2 = at.left(m.pull(m.misfit(at.x0)))
            average = at.left(None) if self.noise else r2
        else:
            r2 = torch.full_like(m.noise, at.sigma**2 if self.variance == "flat" else at.white_variance)
            average = r2
        return Corrected(posterior_of(m, at, at.x0, r2 / self.weight, average / self.weight, self.noise))


def posterior_of(m: Measurement, at: Moment, x0: Tensor, r2: Tensor, average: Tensor, noise: float) -> Tensor:
    """Return the mean of N(x0, r2) given the data, for a draw with `noise` of it and of the data; see `Prox`."""
    if not noise:
        return x0 + m.solve(m.whitened(m.misfit(x0)), m.ridge(r2))
    u = x0 + noise * linalg.per_item(average.sqrt(), x0, m.ndim) * at.draw("estimate")
    n = at.draw_data("data")
    return u + m.solve(m.whitened(m.misfit(u)) + linalg.per_item(noise * m.noise, n, m.k) * n, m.ridge(r2))


@dataclass(frozen=True)
class DualProx(DataStep):
    """`Prox` with r^2 = sigma^2 / weight at x0 - u, with the multiplier u of ADMM: without it, DiffPIR.

    u grows by what the last data step and the prior now disagree on, and shrinks with sigma^2, as its penalty grows.

    Arguments:
        weight: divides r^2.
    """

    weight: float = 1.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the corrected estimate, and u to be added."""
        u = at.memory.get("dual", torch.zeros_like(at.x0))
        u = u + at.memory.get("corrected", at.x0) - at.x0
        r2 = torch.full_like(m.noise, at.sigma**2 / self.weight)
        found = posterior_of(m, at, at.x0 - u, r2, r2, 0.0)
        if at.last:
            return Corrected(found)
        return Corrected(found, add=u, memory={"dual": (at.after / at.sigma) ** 2 * u, "corrected": found})


@dataclass(frozen=True)
class Krylov(DataStep):
    """A few conjugate-gradient steps on |x - x0|^2 + gamma |A x - y|^2 / |A|^2 from x0 (Chung, Lee & Ye 2024).

    Arguments:
        gamma: the weight of the data.
        iterations: how many steps.
    """

    gamma: float = 5.0
    iterations: int = 5

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the corrected estimate."""
        g, A = self.gamma / m.norm**2, m.linear
        b = g * m.pull(m.misfit(at.x0))
        found = linalg.conjugate_gradient(
            lambda d: d + g * A.gram(d, m.weights), b, ndim=m.ndim, max_iter=self.iterations
        )
        return Corrected(at.x0 + found.x)


@dataclass(frozen=True)
class Ball(DataStep):
    """The nearest image whose misfit is what noise explains, |A x - y|_w <= radius noise sqrt(count).

    (A^H W A + s) (u - x0) = A^H W (y - A x0), where the misfit rises with s, which is found by bisection of ln s.

    Arguments:
        radius: the misfit in units of what noise explains.
        iterations: of the bisection.
    """

    radius: float = 1.0
    iterations: int = 10

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return x0 itself where it lies in the ball."""
        q = m.whitened(m.misfit(at.x0))
        inside = m.residual_to_noise(at.x0) <= self.radius
        top = torch.full_like(inside, 6.0, dtype=torch.float64)  # decades around |A|^2, far beyond what can matter
        low, high = -top - 2, top.clone()
        for _ in range(self.iterations):
            middle = (low + high) / 2
            u = at.x0 + m.solve(q, m.norm**2 * 10**middle)
            far = m.residual_to_noise(u) > self.radius
            low, high = torch.where(far, low, middle), torch.where(far, middle, high)
        u = at.x0 + m.solve(q, m.norm**2 * 10**low)
        return Corrected(torch.where(linalg.per_item(inside.double(), u.real, m.ndim) > 0, at.x0, u))


@dataclass(frozen=True)
class Guide(DataStep):
    """- zeta (s + sigma^2 / s) grad |y - A D(x)|_w / |A| is added to the next image, s the spread of the images.

    Chung, Kim, McCann, Klasky & Ye 2023; the factor is that of a variance-preserving process with images of unit
    spread. With `null_space` only what A does not see of the gradient is kept, so that a projection may follow
    (manifold constraints: Chung, Sim, Ryu & Ye 2022). With `adam` it is Adam's direction, as long as the gradient.

    Arguments:
        zeta: the rate.
        null_space, adam: see above.
    """

    zeta: float = 0.3
    null_space: bool = False
    adam: bool = False
    needs_gradient = True

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the estimate as it is, and what to add."""
        r = m.misfit(at.x0)
        size = linalg.per_item(m.size(r).clamp(min=1e-30), at.x0, m.ndim)
        g = -at.pull_back(m.pull(r, at.x0) / (m.norm * size))
        if self.null_space:
            g = g - m.inverted(m.linear(g), at.white_variance)
        memory: dict[str, Tensor] = {}
        if self.adam:
            direction, memory = adam(g, at.memory, 0.9, 0.999)
            size = linalg.ratio(linalg.norm(g, m.ndim), linalg.norm(direction, m.ndim))
            g = direction * linalg.per_item(size, direction, m.ndim)
        return Corrected(at.x0, add=-self.zeta * (at.spread + at.sigma**2 / at.spread) * g, memory=memory)


def adam(g: Tensor, memory: Mapping[str, Tensor], first: float, second: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Return Adam's direction for a gradient, with its moments (Kingma & Ba 2015)."""
    m = memory.get("first", torch.zeros_like(g)).lerp(g, 1 - first)
    v = memory.get("second", torch.zeros_like(g.real)).lerp(g.abs().square(), 1 - second)
    count = memory.get("count", torch.zeros((), dtype=torch.float64)) + 1
    direction = (m / (1 - first**count).to(g.real)) / ((v / (1 - second**count).to(g.real)).sqrt() + 1e-30)
    return direction, {"first": m, "second": v, "count": count}


@dataclass(frozen=True)
class PosteriorGuide(DataStep):
    """x0 + sigma^2 J^H A^H (r^2 A A^H + noise^2)^-1 (y - A x0): E[x0 | x, y] for an estimate known to variance r^2.

    Song, Vahdat, Mardani & Kautz 2023; but r^2 is the variance sigma^2 <g, J g> / |g|^2 that the prior leaves in the
    direction g = A^H (y - A x0) of the data: one number for all of the image is far too little where images vary most,
    and steps would overshoot. The same for white images, for which the step is exact.
    """

    needs_gradient = True

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the corrected estimate."""
        r = m.misfit(at.x0)
        g = m.pull(r)
        share = linalg.ratio(linalg.inner(g, at.pull_back(g), m.ndim), linalg.inner(g, g, m.ndim))
        r2 = at.sigma**2 * share.clamp(min=at.white_variance / at.sigma**2 * 1e-3)
        v = m.solve(m.whitened(r), m.ridge(r2))
        return Corrected(at.x0 + at.pull_back(v * linalg.per_item(at.sigma**2 / r2, v, m.ndim)))


@dataclass(frozen=True)
class Variational(DataStep):
    """One step of Adam on |y - A mu|^2 / 2 noise^2 + weight |mu - D|^2 / 2 sigma s, mu kept (Mardani et al. 2024).

    Arguments:
        weight: of the prior's pull.
        rate: of Adam, relative to the spread s of the images.
    """

    weight: float = 0.25
    rate: float = 0.1

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return mu, one step further."""
        mu = at.memory.get("mu")
        if mu is None:
            mu = m.inverted(m.y, at.spread**2)
        noise = linalg.per_item(m.noise, mu, m.ndim)
        g = -m.pull(m.misfit(mu), mu) / noise.square() + self.weight * (mu - at.x0) / (at.sigma * at.spread)
        direction, memory = adam(g, at.memory, 0.9, 0.99)
        mu = mu - self.rate * at.spread * direction
        return Corrected(mu, memory={"mu": mu, **memory})


@dataclass(frozen=True)
class Restart(DataStep):
    """Split Gibbs sampling: x | z by the prior's diffusion from sigma = rho to 0, then z | x, y by `posterior_of`.

    The schedule falls from every rho to 0 in turn (Wu, Sun, Chen, Zhang, Yue & Bouman 2024); the data speak when it has
    reached 0, with the rho that follows, unless it is the last.

    Arguments:
        rhos: rho after each fall but the last, relative to the spread of the images.
    """

    rhos: tuple[float, ...]

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the estimate, or where a fall has ended a draw around it that knows the data."""
        done = at.memory.get("falls", torch.zeros((), dtype=torch.int64))
        if at.after > 0:
            return Corrected(at.x0, memory={"falls": done})
        k = int(done)
        if k >= len(self.rhos):
            return Corrected(at.x0)
        r2 = torch.full_like(m.noise, (self.rhos[k] * at.spread) ** 2)
        z = posterior_of(m, at, at.x0, r2, r2, 1.0)
        return Corrected(z, memory={"falls": done + 1})
