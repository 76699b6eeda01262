"""The inverse problem that recipes solve: operator, data, noise, weights, likelihood; and the same on coarser grids."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from invprob import linalg
from invprob.fidelities import Misfit
from invprob.likelihood import Gaussian, Likelihood, Readings
from invprob.linop import Coarser, LinearOperator, Operator
from invprob.operators.image.noise_level import estimate_noise

SMALLEST = 96  # a level's image has at least this many pixels along its shorter side; a rule of thumb
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # torch's words for one thing
SURE, MUCH = 4.0, 0.03  # noise levels below zero that noise does not explain; share of the data that is no flat field
HELD_OUT = 0.1  # share of the readings set aside to be predicted, the share of tenfold cross-validation


@dataclass(frozen=True)
class Problem:
    """What the recipes solve: data y = A(x) + noise, of which the image x is sought.

    Arguments:
        A: the operator.
        y: the data, `(*batch, *A.range_shape)`.
        noise: the standard deviation of their noise per item, `(*batch,)`, of complex data noise^2 = E|n|^2; None where
            it is not known.
        weights: w, of the shape of y: noise^2 / w is the variance of each reading, and 0 marks what was not measured.
        likelihood: how readings are spread, by default `Gaussian`.
    """

    A: Operator
    y: Tensor
    noise: Tensor | None
    weights: Tensor | None = None
    likelihood: Likelihood = field(default=Gaussian(), kw_only=True)

    @property
    def linear(self) -> LinearOperator:
        """The operator; ValueError unless it is linear."""
        if not isinstance(self.A, LinearOperator):
            raise ValueError(
                f"this method needs a linear operator, which {type(self.A).__name__} is not: use gauss-newton"
            )
        return self.A

    @property
    def batch(self) -> torch.Size:
        """The batch shape."""
        return self.y.shape[: self.y.ndim - len(self.A.range_shape)]

    @property
    def ndim(self) -> int:
        """Item axes of the image."""
        return len(self.A.domain_shape)

    @property
    def colours(self) -> int:
        """Channels of an image in colour, `A.lift((3,), channels="colour")`, else 1."""
        return self.A.domain_shape[0] if self.A.channels == "colour" else 1

    @property
    def readings(self) -> int | Tensor:
        """How many data make one item, without those of weight 0 and what is no reading at all."""
        return self.count()

    def count(self, mask: Tensor | None = None) -> int | Tensor:
        """Return how many readings of an item count, under a mask if there is one."""
        counted = self.counted(mask)
        if counted is None:
            return prod(self.A.range_shape)
        return (counted > 0).expand(self.y.shape).sum(linalg.item_axes(len(self.A.range_shape)))

    def counted(self, mask: Tensor | None = None) -> Tensor | None:
        """Return the weights of what counts under a mask: all without one, None where all readings count alike."""
        found = self.weights
        for part in (self.A.measured, mask):
            if part is not None:
                part = part.to(self.y.device)
                found = part.to(self.y.real.dtype) if found is None else found * part
        return found

    def size(self, r: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return |r|_w per item for r in data space, over what counts, under a mask if there is one."""
        weights = self.counted(mask)
        return linalg.norm(r if weights is None else weights.sqrt() * r, len(self.A.range_shape))

    def fidelity(self, keep: Tensor | None = None) -> Misfit:
        """Return the data term f(x) = sigma^2 (-log p(y | A x)) + const, over the readings that `keep` marks.

        1/2 |A x - y|^2_w for Gaussian noise, an `L2` if A is linear. See `invprob.likelihood` for the others.
        """
        return self.likelihood.bound(self.A, self._under(keep), self._factor)

    def misfit(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (2 f(x))^1/2 per item, over the readings under a mask: |A x - y|_w for Gaussian noise."""
        return self._distance(self.A(x), mask)

    def residual_to_noise(self, x: Tensor, Ax: Tensor | None = None) -> Tensor | None:
        """Return the misfit over what it would be on average for the true image; None where that is not known.

        Here and below `Ax` is A(x) where it is known already.
        """
        if self.noise is None:
            return None
        d = self.A(x) if Ax is None else Ax
        return self._distance(d) / (self.noise.to(d.device) * self._due(d).sqrt())

    def data_residual(self, x: Tensor, Ax: Tensor | None = None) -> Tensor:
        """Return how far the data are from those that x predicts, |A x - y|_w / |y|_w for Gaussian noise."""
        d = self.A(x) if Ax is None else Ax
        return linalg.ratio(self.size(self.likelihood.mean(d) - self.y), self.size(self.y))

    def excess(self, x: Tensor, Ax: Tensor | None = None) -> Tensor:
        """Return the misfit in a unit in which that of the true image is noise (number of readings)^1/2 on average."""
        d = self.A(x) if Ax is None else Ax
        return self._distance(d) * (torch.as_tensor(self.readings, device=d.device) / self._due(d)).sqrt()

    def noise_seen(self, x: Tensor, Ax: Tensor | None = None) -> Tensor:
        """Return the noise level per item that the misfit of x speaks for."""
        d = self.A(x) if Ax is None else Ax
        found = self.likelihood.spread(self._under(None), d)
        return self.excess(x, d) / torch.as_tensor(self.readings).double().sqrt() if found is None else found

    def _distance(self, d: Tensor, mask: Tensor | None = None) -> Tensor:
        if isinstance(self.likelihood, Gaussian):
            return self.size(d - self.y, mask)
        on = self._under(mask)
        d = self.likelihood.credible(self._under(None), d)
        return (2 * self.likelihood.phi(on).value(d).double() * torch.as_tensor(self._factor).to(d.device)).sqrt()

    def _due(self, d: Tensor) -> Tensor:
        """Return the sum of what each reading adds to misfit^2 / noise^2 on average."""
        usual = self.likelihood.usual(d)
        if not isinstance(usual, Tensor):
            return usual * torch.as_tensor(self.readings, dtype=torch.float64, device=d.device)
        counted = self.counted()
        axes = linalg.item_axes(len(self.A.range_shape))
        return (usual if counted is None else torch.where(counted > 0, usual, 0.0)).double().sum(axes)

    def quadratic(self, at: Tensor | None = None) -> Problem:
        """Return the problem of least squares that stands for this one: around an image `at`, if one is known.

        Itself for Gaussian noise; ValueError unless the operator is linear.
        """
        A = self.linear
        if isinstance(self.likelihood, Gaussian):
            return self
        z, w = self.likelihood.quadratic(self._under(None), None if at is None else A(at))
        return replace(self, y=z, weights=w, likelihood=Gaussian())

    def balanced(self) -> Problem:
        """Return the problem with weights that even out how densely readings lie, of mean 1; itself where they do.

        An image fits the same data, as weights of least squares go; noise of equal variance has the same weighted size
        on average as before.
        """
        density = self.A.density()
        if density is None:
            return self
        weights = density.to(self.y.real.dtype).expand(self.A.range_shape)
        weights = weights if self.weights is None else self.weights * weights
        usual = self.counted()
        due = (
            torch.as_tensor(self.readings).double()
            if usual is None
            else usual.expand(self.y.shape).sum(linalg.item_axes(len(self.A.range_shape)))
        )
        have = replace(self, weights=weights).counted()
        if have is None:
            return self
        k = len(self.A.range_shape)
        have = have.double().sum(linalg.item_axes(k))
        return replace(self, weights=weights * linalg.per_item(due / have, weights, k))

    def force(self) -> Tensor:
        """Return W y, the pull of the data on an image of zeros; for other likelihoods what stands for it."""
        return self.likelihood.force(self._under(None))

    @cached_property
    def peak(self) -> Tensor:
        """The largest |A^H W y| per item, what strengths are relative to; ValueError unless the operator is linear."""
        return self.linear.adjoint(self.force()).abs().flatten(-self.ndim).amax(-1).double()

    def held_out(self, seed: int = 0) -> Tensor:
        """Return which readings of an item are set aside to be predicted, the same for the same seed."""
        drawn = self.A.hold_out(HELD_OUT, torch.Generator().manual_seed(seed)).to(self.y.device)
        return drawn if self.A.measured is None else drawn & self.A.measured.to(self.y.device)

    def coarser(self) -> Problem | None:
        """Return the problem on a grid of half as many pixels per axis; None where the operator knows none."""
        found = self.linear.coarser()
        if found is None:
            return None
        A, restrict, averaged = found
        counted = self.counted()
        counted = None if counted is None else counted.expand(self.y.shape)
        weights = None if counted is None else restrict(counted)

        def mean(t: Tensor, empty: float = 0.0) -> Tensor:
            if counted is None or weights is None:
                return restrict(t)
            return torch.where(weights > 0, restrict(counted * t) / torch.where(weights > 0, weights, 1.0), empty)

        y = mean(self.y)
        likelihood = self.likelihood.mapped(lambda t: mean(t.to(self.y).expand(self.y.shape), empty=1.0))
        coarse = Problem(A, y, None, weights, likelihood=likelihood)
        if self.noise is None:
            return coarse
        finer = self.noise / averaged**0.5
        if not likelihood.counted:
            return replace(coarse, noise=finer)
        return replace(coarse, noise=finer * (torch.as_tensor(coarse._factor) / self._factor).sqrt())

    def of_views(self, few: Coarser) -> Problem:
        """Return the problem of some of the views, as `LinearOperator.thinned` chooses them."""
        weights = None if self.weights is None else few.restrict(self.weights.expand(self.y.shape))
        likelihood = self.likelihood.mapped(lambda t: few.restrict(t.expand(self.y.shape)))
        return replace(self, A=few.operator, y=few.restrict(self.y), weights=weights, likelihood=likelihood)

    @cached_property
    def _factor(self) -> Tensor | float:
        return self.likelihood.factor(self._under(None))

    def _under(self, mask: Tensor | None) -> Readings:
        """Return the readings that count under a mask."""
        plain = isinstance(self.likelihood, Gaussian)  # what is no reading is zero there, in A x and in y
        if not plain:
            weights = self.counted(mask)
        elif mask is None:
            weights = self.weights
        else:
            mask = mask.to(self.y.real.dtype)
            weights = mask if self.weights is None else self.weights * mask
        return Readings(self.y, weights, self.noise, len(self.A.range_shape))


def contradicts_nonnegative(problem: Problem) -> Tensor:
    """Return per item, `(*batch,)`, whether real readings lie further below zero than any A x of x >= 0, A >= 0.

    By more than their noise, the stated or the seen one, explains, and not by so little that a flat field does. Counts
    are never negative, and outliers say nothing, so that this is for Gaussian noise only.
    """
    A, y = problem.A, problem.y
    k, counted = len(A.range_shape), problem.counted()
    none = torch.zeros(problem.batch, dtype=torch.bool, device=y.device)
    if y.is_complex() or not isinstance(problem.likelihood, Gaussian):
        return none
    y = y if counted is None else counted.sqrt() * y
    much = MUCH * linalg.norm(y, k)
    if not bool((linalg.norm(y.clamp(max=0), k) > much).any()):
        return none
    sigma = estimate_noise(problem.y, k)
    if problem.noise is not None:
        sigma = torch.maximum(sigma, problem.noise.to(sigma))
    below = y < -SURE * linalg.per_item(sigma, y, k)
    return linalg.norm(torch.where(below, y, 0.0), k) > much


def pyramid(problem: Problem) -> list[Problem]:
    """Return the problem from the coarsest grid worth solving to the given one."""
    levels = [problem]
    while min(levels[0].A.domain_shape[-2:]) >= 2 * SMALLEST and (coarser := levels[0].coarser()) is not None:
        sizes = zip(levels[0].A.domain_shape, coarser.A.domain_shape, strict=True)
        if min(n for n, half in sizes if n != half) < 2 * SMALLEST:  # channels and slices stay as they are
            break
        levels.insert(0, coarser)
    return levels


def prolong(t: Tensor, shape: tuple[int, ...], *, smooth: bool) -> Tensor:
    """Return t, whose last axes are a coarse image, on a finer grid of `shape`, one to three axes.

    `smooth` interpolates linearly between the pixels' middles, else every pixel keeps its value. ValueError for more
    axes.
    """
    d = len(shape)
    if tuple(t.shape[-d:]) == tuple(shape):
        return t
    if d not in LINEAR:
        raise ValueError(f"prolong: shape must be that of an image of one to three axes, got {tuple(shape)}")
    if t.is_complex():
        return torch.complex(prolong(t.real, shape, smooth=smooth), prolong(t.imag, shape, smooth=smooth))
    flat, size = t.reshape(1, -1, *t.shape[-d:]), list(shape)
    fine = F.interpolate(flat, size, mode=LINEAR[d], align_corners=False) if smooth else F.interpolate(flat, size)
    return fine.reshape(*t.shape[:-d], *size)
