"""The one loop of all diffusion methods, in the variables x = x0 + sigma n."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from invprob import linalg
from invprob.priors import ScorePrior
from invprob.sampling.data_steps import Corrected, Moment, left_of_white
from invprob.sampling.measurement import Measurement, white
from invprob.sampling.nonlinear_steps import starting
from invprob.sampling.presets import Preset
from invprob.sampling.schedules import SCHEDULES

__all__ = ["Sampler", "SamplerState"]

INFORMED = 10.0  # spreads of noise below which a chain cannot begin with noise alone: it begins with the direct image
PROBE = 0.03  # how far the probe of a derivative reaches, in noise levels
LEAST_LEFT = 1e-3  # of what white images would have: the variance left is no less, whatever the probe says
_CHECKED = 1.001  # slack of a prior's range of noise levels


@dataclass(frozen=True)
class SamplerState:
    """Where a chain stands: all that the next step depends on, so that a resumed run has the same bits.

    Arguments:
        x: the noisy images, `(chains, *batch, *item)`.
        x0: the estimate of the step before, corrected by the data; the last that is finite.
        step: how many steps are done.
        memory: what the data step kept.
    """

    x: Tensor
    x0: Tensor
    step: int
    memory: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampler:
    """Draws from p(x | y) by a preset: `init`, then `advance` until `done`; then `state.x` holds the draws.

    Arguments:
        prior: D(x, sigma), with the item axes of the images.
        m: the data, with a batch `(chains, *batch)`.
        preset: how to sample.
        seed: of all noise; every item has streams of its own.
    """

    prior: ScorePrior
    m: Measurement
    preset: Preset
    seed: int = 0

    @cached_property
    def pairs(self) -> list[tuple[float, float]]:
        """The noise levels of every step: before and after."""
        p, s, span = self.preset, self.prior.spread, self.prior.sigma_range
        low, high = p.low, p.high  # in spreads, in which schedules are made
        if span is not None:
            low, high = min(max(low, span[0] / s), span[1] / s), min(high, _CHECKED * span[1] / s)
        pairs: list[tuple[float, float]] = []
        for top in (min(rho, high) for rho in p.falls or (high,)):
            levels = (s * SCHEDULES[p.schedule](p.steps, min(low, top), top)).tolist()
            pairs += itertools.pairwise(levels)
        return pairs

    @property
    def total(self) -> int:
        """How many steps there are."""
        return len(self.pairs)

    @property
    def informed(self) -> bool:
        """Whether the first noise is too little to begin with it alone: chains begin around an image."""
        return self.pairs[0][0] < INFORMED * self.prior.spread

    def done(self, state: SamplerState) -> bool:
        """Whether all steps are, or no chain is a number any more."""
        return state.step >= self.total or not bool(self.sound(state).any())

    def sound(self, state: SamplerState) -> Tensor:
        """Return which chains are numbers, `(chains, *batch)`."""
        return linalg.norm(state.x, self.m.ndim).isfinite()

    @torch.no_grad()
    def init(self, start: Tensor | None = None) -> SamplerState:
        """Return the first state: noise around `start` `(*batch, *item)`, by default around nothing.

        Where the prior knows too little noise for that, or begins to sample at little, around the direct image.
        """
        if start is None and self.informed:
            start = starting(self.m)
        like = self._blank()
        x = like if start is None else start.to(like.dtype).expand_as(like)
        return SamplerState(x + self.pairs[0][0] * self._image_noise("start", 0), x, 0)

    def advance(self, state: SamplerState) -> SamplerState:
        """Return the state one step further."""
        p, k = self.preset, state.step
        sigma, after = self.pairs[k]
        x = state.x.detach()
        with torch.no_grad():
            for number, what in enumerate(p.before):
                x = self._merged(x, sigma, k, number) if what == "merge" else self._agitated(x, sigma, k, number)
        with torch.set_grad_enabled(p.step.needs_gradient):
            x = x.detach().requires_grad_(p.step.needs_gradient)
            raw = self._estimate(x, sigma)
        with torch.no_grad():
            moment = self._moment(x.detach(), raw.detach(), sigma, after, k, state.memory, self._pull_back(raw, x))
            found = p.step(self.m, moment)
            following = self._following(moment, found)
            if p.projected:
                following = following + p.projected * self._towards_data(following, after or sigma)
            finite = linalg.norm(found.x0, self.m.ndim).isfinite()
            x0 = linalg.choose(finite, found.x0, state.x0, self.m.ndim)
        return SamplerState(following, x0, k + 1, found.memory)

    def _estimate(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x, sigma), or where several steps of the probability flow dx = (x - D) dsigma / sigma end."""
        stops = self.preset.ode_steps
        if stops == 1 or sigma <= self.pairs[-1][0]:
            return self.prior.denoise(x, sigma)
        levels = SCHEDULES["karras"](stops, self.pairs[-1][0], sigma).tolist()
        for level, after in itertools.pairwise(levels):
            x0 = self.prior.denoise(x, level)
            x = x0 + after / level * (x - x0)
        return x

    def _moment(
        self,
        x: Tensor,
        x0: Tensor,
        sigma: float,
        after: float,
        k: int,
        memory: Mapping[str, Tensor],
        pull_back: Callable[[Tensor], Tensor],
    ) -> Moment:
        many = self.preset.ode_steps > 1  # whose x0 is no D
        return Moment(
            x,
            x0,
            sigma,
            after,
            self.prior.spread,
            lambda name: self._image_noise(name, k),
            lambda name: self._data_noise(name, k),
            pull_back,
            lambda along: self._left(x, self.prior.denoise(x, sigma) if many else x0, sigma, k, along),
            memory,
            last=k + 1 == self.total,
        )

    def _left(self, x: Tensor, x0: Tensor, sigma: float, k: int, along: Tensor | None) -> Tensor:
        """Return sigma^2 <b, J b> / |b|^2 per item, J the derivative of D by a difference.

        b is a direction, or None for a random one: then an estimate of tr Cov[x0 | x] / N, averaged over the chains.
        """
        ndim = self.m.ndim
        b = self._image_noise("probe", k) if along is None else along
        size, count = linalg.norm(b, ndim), math.prod(self.m.A.domain_shape)
        b = b * linalg.per_item(torch.where(size > 0, count**0.5 / size, 0.0), b, ndim)  # as long as white noise
        reach = PROBE * sigma
        share = linalg.inner(b, self.prior.denoise(x + reach * b, sigma) - x0, ndim) / (reach * count)
        most, white_share = 1.0, left_of_white(self.prior.spread, sigma) / sigma**2
        if along is None:
            share, most = share.mean(0).expand(self.m.batch), white_share  # no images leave more on average
        return sigma**2 * share.clamp(min=LEAST_LEFT * white_share, max=most)

    @staticmethod
    def _pull_back(raw: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
        def pull(v: Tensor) -> Tensor:
            return torch.autograd.grad(raw, x, v.to(raw.dtype), retain_graph=True)[0]

        return pull

    def _following(self, at: Moment, found: Corrected) -> Tensor:
        """Return the image at the next noise level."""
        p = self.preset
        if found.following is not None:
            return found.following
        add = torch.zeros_like(found.x0) if found.add is None else found.add
        if at.after == 0:
            return found.x0 + add
        if p.eta == "reverse":
            fall = at.sigma**2 - at.after**2
            score = (found.x0 - at.x) / at.sigma**2
            return torch.add(at.x + fall * score + add, at.draw("transition"), alpha=fall**0.5)
        eta = (1 - (at.after / at.sigma) ** 2) ** 0.5 if p.eta == "ddpm" else float(p.eta)
        x = found.x0 + add
        if eta < 1:
            towards = at.x0 if p.direction == "prior" else found.x0
            x = x + at.after * (1 - eta**2) ** 0.5 * (at.x - towards) / at.sigma
        return x + at.after * eta * at.draw("transition") if eta > 0 else x

    def _merged(self, x: Tensor, sigma: float, k: int, number: int) -> Tensor:
        """Return x + A^+ (y + sigma A z - A x), as far as it can be told of an image known at level sigma."""
        z = self._image_noise(f"merge {number}", k)
        return x + self.m.inverted(self.m.misfit(x - sigma * z), left_of_white(self.prior.spread, sigma))

    def _towards_data(self, x: Tensor, sigma: float) -> Tensor:
        """Return A^+ (y - A x), as far as it can be told of an image known at level sigma."""
        return self.m.inverted(self.m.misfit(x), left_of_white(self.prior.spread, sigma))

    def _agitated(self, x: Tensor, sigma: float, k: int, number: int) -> Tensor:
        """Return x after a Langevin step of 2 (snr |z| / |s|)^2 along the score s."""
        s, z = self.prior.score(x, sigma), self._image_noise(f"langevin {number}", k)
        ndim = self.m.ndim
        size = 2 * (self.preset.snr * linalg.ratio(linalg.norm(z, ndim), linalg.norm(s, ndim))).square()
        step = linalg.per_item(size, x, ndim)
        return x + step * s + (2 * step).sqrt() * z

    def _image_noise(self, name: str, k: int) -> Tensor:
        return white(self.m.A.domain_shape, self._blank(), self._keys(name, k), self.m.batch)

    def _data_noise(self, name: str, k: int) -> Tensor:
        return white(self.m.A.range_shape, self.m.y, self._keys(name, k), self.m.batch)

    def _keys(self, name: str, k: int) -> tuple[int, ...]:
        return (self.seed, k, zlib.crc32(name.encode()))

    def _blank(self) -> Tensor:
        """Return an image of zeros, complex where the operator's images are, or where its data say so."""
        A = self.m.A
        return torch.zeros(*self.m.batch, *A.domain_shape, dtype=A.image_dtype(self.m.y), device=A.device)


def changed(preset: Preset, changes: Mapping[str, object]) -> Preset:
    """Return a preset with other settings; TypeError that names them for one that is not there."""
    known = Preset.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise TypeError(f"there is no setting {name!r} of a preset; there are {', '.join(known)}")
    return replace(preset, **changes)  # type: ignore[arg-type]
