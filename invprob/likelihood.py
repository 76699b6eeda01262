"""How data are spread around what an image predicts: Gaussian, counted, counted behind an absorber, with outliers.

A likelihood gives recipes their data term, f(x) = sigma^2 (-log p(y | A x)) up to a constant, with sigma^2 / w_k the
variance of reading k and weights w of mean 1: f is in the units of y^2 and as curved as least squares, so that a
strength means the same under each of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import (
    L2,
    AbsoluteDistance,
    Fidelity,
    HalfSquaredDistance,
    KullbackLeibler,
    Misfit,
    Multiple,
    TransmissionLikelihood,
)
from invprob.fidelities.transmission import logarithms
from invprob.functional import Functional
from invprob.linop import LinearOperator, Operator
from invprob.linop.doors import as_tensor

__all__ = ["LIKELIHOODS", "Gaussian", "Laplace", "Likelihood", "Poisson", "Transmission"]

LEAST = 0.1  # a mean, relative to the average one, below which a quadratic approximation takes no reading for surer
DIMMEST = 1e-3  # counts of a signal below which a reading behind an absorber has no line integral
FAINTEST = 1e-2  # a mean, relative to the average one, below which misfits believe in no darkness
WIDELY = 15.0  # mean count from which on the expected deviance is its series


@dataclass(frozen=True, eq=False)
class Readings:
    """Data with what is known of each of them.

    Arguments:
        y: the data, `(*batch, *item)`.
        weights: w >= 0, which broadcast against y, 0 where there is no reading; None for 1.
        noise: the standard deviation per item, `(*batch,)`, in the unit of y, that of a reading with w = 1; None where
            it is not known.
        ndim: how many axes, the last ones, make one item.
    """

    y: Tensor
    weights: Tensor | None
    noise: Tensor | None
    ndim: int

    @property
    def mask(self) -> Tensor | None:
        """Which readings count, None for all."""
        return None if self.weights is None else self.weights > 0

    def mean(self, t: Tensor) -> Tensor:
        """Return the mean of t over the readings that count, per item."""
        axes, t = linalg.item_axes(self.ndim), t.double().expand(self.y.shape)
        if self.mask is None:
            return t.mean(axes)
        return torch.where(self.mask, t, 0.0).sum(axes) / self.mask.expand(self.y.shape).sum(axes).clamp(min=1)

    def each(self, number: Tensor) -> Tensor:
        """Return a number per item in a shape that broadcasts against the data."""
        return linalg.per_item(number, self.y.real, self.ndim)


@dataclass(frozen=True, eq=False)
class Likelihood(ABC):
    """p(y | A x), each reading on its own. `name` is that of files; `counted` says that data count events."""

    name: ClassVar[str]
    counted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        arguments: Mapping[str, object] = self.arguments()
        for name, given in arguments.items():
            if isinstance(given, np.ndarray):
                object.__setattr__(self, name, as_tensor(f"{self.name}: {name}", given))

    def check(self, data: Tensor, item: tuple[int, ...], weights: Tensor | None, noise: object) -> None:
        """Raise ValueError for data, `(*batch, *item)`, weights or noise that cannot be; here all can."""
        del data, item, weights, noise

    @abstractmethod
    def phi(self, on: Readings) -> Functional:
        """Return the functional on data space whose multiple by `factor` is the data term."""

    @abstractmethod
    def factor(self, on: Readings) -> Tensor | float:
        """Return what balances `phi`, a number or one per item."""

    @abstractmethod
    def quadratic(self, on: Readings, at: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (z, w) so that 1/2 |d - z|^2_w stands for the data term: around data `at`, if given (Fisher scoring).

        Without, what the data themselves say.
        """

    def noise(self, on: Readings) -> Tensor | None:
        """Return the sigma of the data term per item, where the likelihood knows it by itself."""
        return on.noise

    def mean(self, d: Tensor) -> Tensor:
        """Return the mean of the data where A x = d."""
        return d

    def usual(self, d: Tensor) -> Tensor | float:
        """Return what -2 log p(y | d), up to its constant, is on average where A x = d is true."""
        del d
        return 1.0

    def spread(self, on: Readings, d: Tensor) -> Tensor | None:
        """Return the sigma that data speak for if A x = d is true, where that is not misfit / (readings)^1/2."""
        del on, d
        return None

    def credible(self, on: Readings, d: Tensor) -> Tensor:
        """Return d as misfits take it: nothing that a single reading could rule out for certain."""
        del on
        return d

    def force(self, on: Readings) -> Tensor:
        """Return W z, the pull of the data on an image of zeros, which strengths are relative to."""
        z, w = self.quadratic(on)
        return z if w is None else w * z

    def bound(self, A: Operator, on: Readings, factor: Tensor | float) -> Misfit:
        """Return the data term of an operator, `factor` times `phi`; a `Fidelity` for a linear one."""
        phi = Multiple(self.phi(on), factor)
        return Fidelity(A, phi) if isinstance(A, LinearOperator) else Misfit(A, phi)

    def arguments(self) -> dict[str, float | Tensor]:
        """Return the constructor's arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def in_words(self) -> str:
        """Return "transmission (blank 900 to 1100, background 0)"."""
        told = ", ".join(f"{key} {_range(value)}" for key, value in self.arguments().items())
        return f"{self.name} ({told})" if told else self.name

    def row(self, index: int, ndim: int) -> Self:
        """Return the likelihood of one index of the batch's first axis; `ndim` axes make one item."""
        return self.mapped(lambda t: t[index].clone() if t.ndim > ndim else t)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the likelihood with those of its arguments changed that are one number per reading."""
        known = self.arguments().items()
        return replace(self, **{k: change(v) for k, v in known if isinstance(v, Tensor) and v.ndim})


@dataclass(frozen=True, eq=False)
class Gaussian(Likelihood):
    """y = A x + n, n Gaussian of variance noise^2 / w; complex n is circular with E|n|^2 = noise^2 / w."""

    name: ClassVar[str] = "gaussian"

    def phi(self, on: Readings) -> Functional:
        """Return 1/2 |d - y|^2_w."""
        return HalfSquaredDistance(on.y, on.weights, on.ndim)

    def factor(self, on: Readings) -> float:
        """Return 1."""
        del on
        return 1.0

    def quadratic(self, on: Readings, at: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (y, w)."""
        del at
        return on.y, on.weights

    def bound(self, A: Operator, on: Readings, factor: Tensor | float) -> Misfit:
        """Return `L2`, which linear systems solve; `Misfit` for a nonlinear operator."""
        del factor
        return L2(A, on.y, on.weights) if isinstance(A, LinearOperator) else Misfit(A, self.phi(on))


@dataclass(frozen=True, eq=False)
class Laplace(Likelihood):
    """y = A x + n with p(n) ~ exp(-c |n|), for outliers; sigma^2 = E|n|^2 is 2 / c^2, and 6 / c^2 for complex n.

    Weights w say that the variance of a reading is 1 / w times the usual one, its scale 1 / w^1/2 times.
    """

    name: ClassVar[str] = "laplace"

    def phi(self, on: Readings) -> Functional:
        """Return sum_k w_k^1/2 |d_k - y_k|."""
        return AbsoluteDistance(on.y, on.ndim, None if on.weights is None else on.weights.sqrt())

    def factor(self, on: Readings) -> Tensor:
        """Return sigma^2 c, the mean of |y| where sigma is not known: any number serves, as strengths go with it."""
        if on.noise is not None and bool((on.noise > 0).all()):
            return on.noise.double() * (math.sqrt(6) if on.y.is_complex() else math.sqrt(2))
        usual = on.mean(on.y.abs())
        return torch.where(usual > 0, usual, 1.0)

    def quadratic(self, on: Readings, at: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (y, c sigma^2 w^1/2 / |at - y|), as reweighted least squares does; (y, w) without `at`."""
        if at is None:
            return on.y, on.weights
        r = (at - on.y).abs()
        least = torch.where(on.mean(r) > 0, LEAST * on.mean(r), 1.0)
        w = on.each(torch.as_tensor(self.factor(on))) / torch.maximum(r, on.each(least))
        return on.y, w if on.weights is None else on.weights.sqrt() * w

    def usual(self, d: Tensor) -> float:
        """Return E 2 c |n|: 2, and 4 for complex data."""
        return 4.0 if d.is_complex() else 2.0

    def spread(self, on: Readings, d: Tensor) -> Tensor:
        """Return 2^1/2 E |n|, and (3/2)^1/2 E |n| for complex data."""
        r = (d - on.y).abs()
        mean = on.mean(r if on.weights is None else on.weights.sqrt() * r)
        return mean * (math.sqrt(1.5) if on.y.is_complex() else math.sqrt(2))

    def force(self, on: Readings) -> Tensor:
        """Return sigma^2 c w^1/2 sign(y)."""
        s = on.each(torch.as_tensor(self.factor(on))) * torch.sgn(on.y)
        return s if on.weights is None else on.weights.sqrt() * s


@dataclass(frozen=True, eq=False)
class Counted(Likelihood):
    """What Poisson counts of mean u(d) share; u is that of `mean`."""

    counted: ClassVar[bool] = True

    def check(self, data: Tensor, item: tuple[int, ...], weights: Tensor | None, noise: object) -> None:
        """Raise ValueError for what are no counts, and for a noise level, which counts bring along."""
        if data.is_complex() or not bool((data >= 0).all()):
            raise ValueError(f"{self.name}: the data are counts, real and not negative: leave out others by weights 0")
        if noise is not None:
            raise ValueError(f"{self.name}: counts bring their own noise level: leave noise out")
        counting = None if weights is None else weights[weights > 0]
        if counting is not None and bool((counting != counting[0]).any()):
            raise ValueError(f"{self.name}: counts bring their own variances: weights say which count, by 1 and 0")
        for name, given in self.arguments().items():
            t = torch.as_tensor(given)
            if tuple(t.shape) not in ((), item, tuple(data.shape)):
                raise ValueError(f"{self.name}: {name} must be a number or have the shape {item}, got {tuple(t.shape)}")
            low = bool((t > 0).all()) if name == "blank" else bool((t >= 0).all())
            if t.is_complex() or not low or not bool(t.isfinite().all()):
                wanted = "positive" if name == "blank" else "not negative"
                raise ValueError(f"{self.name}: {name} counts events: real, finite and {wanted}")

    @abstractmethod
    def _weighted(self, on: Readings, at: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (z, 1 / variance of z), zeros where no reading is."""

    def factor(self, on: Readings) -> Tensor:
        """Return sigma^2, one over the mean weight of a reading."""
        usual = on.mean(self._weighted(on, None)[1])
        return torch.where(usual > 0, 1 / usual, 1.0)

    def noise(self, on: Readings) -> Tensor:
        """Return sigma."""
        return self.factor(on).sqrt()

    def quadratic(self, on: Readings, at: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what stands for d in the counts, and sigma^2 over its variance."""
        z, w = self._weighted(on, at)
        return z, w * on.each(self.factor(on))

    def usual(self, d: Tensor) -> Tensor:
        """Return the mean deviance of counts of mean u."""
        return expected_deviance(self.mean(d))


@dataclass(frozen=True, eq=False)
class Poisson(Counted):
    """Counts of mean A x + b: emission, photon-counting cameras.

    Arguments:
        background: b >= 0, counts that do not come from the object, a number (by default 0) or one per reading.
    """

    name: ClassVar[str] = "poisson"
    background: float | Tensor = 0.0

    def phi(self, on: Readings) -> Functional:
        """Return the Kullback-Leibler distance."""
        b = torch.as_tensor(self.background).to(on.y)
        mask = on.mask
        y = on.y if mask is None else torch.where(mask, on.y, 1.0)
        return KullbackLeibler(y, b, on.ndim, mask)

    def mean(self, d: Tensor) -> Tensor:
        """Return d + b."""
        return d + torch.as_tensor(self.background).to(d)

    def credible(self, on: Readings, d: Tensor) -> Tensor:
        """Return d with a mean count of at least a hundredth of the average: an image is not quite 0 anywhere."""
        u = self.mean(d)
        return d + (on.each(FAINTEST * on.mean(on.y)).to(u) - u).clamp(min=0)

    def _weighted(self, on: Readings, at: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (y - b, 1 / u), with max(y, 1) for u at first."""
        z = on.y - torch.as_tensor(self.background).to(on.y)
        if at is None:
            u = on.y.clamp(min=1)
        else:
            u = self.mean(at)
            u = torch.maximum(u, on.each(LEAST * on.mean(u).clamp(min=torch.finfo(u.dtype).tiny)))
        return _where(on.mask, z, 1 / u)


@dataclass(frozen=True, eq=False)
class Transmission(Counted):
    """Counts of mean I_0 exp(-A x) + b: absorption (Lange & Carson 1984), for A x without unit.

    Arguments:
        blank: I_0 > 0, the counts without an object, a number or one per reading.
        background: b >= 0, counts that no absorber stops, a number (by default 0) or one per reading.
    """

    name: ClassVar[str] = "transmission"
    blank: float | Tensor
    background: float | Tensor = 0.0

    def phi(self, on: Readings) -> Functional:
        """Return the negative log-likelihood."""
        blank, b = (torch.as_tensor(t).to(on.y) for t in (self.blank, self.background))
        mask = on.mask
        mask = None if mask is None else mask.expand(on.y.shape)
        y = on.y if mask is None else torch.where(mask, on.y, 1.0)
        return TransmissionLikelihood(y, blank, b, mask, on.ndim)

    def mean(self, d: Tensor) -> Tensor:
        """Return I_0 exp(-d) + b."""
        return torch.as_tensor(self.blank).to(d) * (-d).exp() + torch.as_tensor(self.background).to(d)

    def _weighted(self, on: Readings, at: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (log(I_0 / s), s^2 / y), s = y - b (Sauer & Bouman 1993); around d: (d + (u - y) / s, s^2 / u).

        Without weight where no signal is left, behind a beam stop or where no photon came through.
        """
        blank, b = (torch.as_tensor(t).to(on.y) for t in (self.blank, self.background))
        if at is None:
            return logarithms(on.y, blank, b, on.mask)
        s = (blank * (-at).exp()).clamp(min=DIMMEST)
        u = s + b
        return _where(on.mask, at + (u - on.y) / s, s.square() / u)


LIKELIHOODS: dict[str, type[Likelihood]] = {kind.name: kind for kind in (Gaussian, Poisson, Transmission, Laplace)}


def _range(value: float | Tensor) -> str:
    low, high = (f"{float(end):.4g}" for end in torch.as_tensor(value).aminmax())
    return low if low == high else f"{low} to {high}"


def _where(mask: Tensor | None, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return (z, w) if mask is None else (torch.where(mask, z, 0.0), torch.where(mask, w, 0.0))


def expected_deviance(u: Tensor) -> Tensor:
    """Return E 2 (u - y + y log(y / u)) for Poisson counts y of mean u: 1 for many counts, 0 for none."""
    knots, values = (t.to(u.device) for t in _deviances())
    place = u.double().clamp(min=math.exp(float(knots[0])), max=WIDELY).log()
    right = torch.bucketize(place, knots).clamp(1, len(knots) - 1)
    share = (place - knots[right - 1]) / (knots[right] - knots[right - 1])
    few = torch.lerp(values[right - 1], values[right], share)
    many = 1 + (1 + 1 / u.double().clamp(min=WIDELY)) / (6 * u.double().clamp(min=WIDELY))
    return torch.where(u > WIDELY, many, few).to(u)


@cache
def _deviances() -> tuple[Tensor, Tensor]:
    """Return the logarithms of some means and the sums over all counts there, float64."""
    with torch.inference_mode(False), torch.no_grad():  # what is kept has to serve training, too
        knots = torch.linspace(math.log(1e-3), math.log(WIDELY), 128, dtype=torch.float64)
        u, k = knots.exp().unsqueeze(-1), torch.arange(100, dtype=torch.float64)
        chances = torch.exp(torch.xlogy(k, u) - u - torch.lgamma(k + 1))
        return knots, (chances * 2 * (u - k + torch.xlogy(k, k / u))).sum(-1)
