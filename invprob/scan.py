"""A measurement with what is needed to make sense of it: geometry, units, noise, likelihood and origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from invprob import registry
from invprob.grid import PIXEL, Units
from invprob.likelihood import Gaussian, Likelihood, Readings
from invprob.linop.doors import as_tensor

if TYPE_CHECKING:
    from invprob.linop import Operator

__all__ = ["Scan", "Units"]


@dataclass(frozen=True, eq=False, repr=False)
class Scan:
    """Data y = A(x) + noise with its operator A.

    Arguments:
        operator: A, with the geometry in the unit of lengths that `units` names.
        data: y, `(*batch, *operator.range_shape)`, in `units.data`. What the operator's `measured` leaves out is no
            reading, may be anything, and becomes 0.
        noise: the standard deviation sigma of the noise n in the units of the data, sigma^2 = E|n|^2, so that of
            complex data each part has sigma / sqrt(2): a number or `(*batch,)`; None where it is not known.
        truth: the image that is sought, `(*batch, *operator.domain_shape)`, where it is known, as of phantoms.
        weights: w >= 0, of the shape of the data or of one item of them: the variance of a reading's noise is
            noise^2 / w. Where w = 0 nothing was measured (dead pixels, a beam stop), and the data may be anything and
            become 0, too. None counts all readings alike.
        likelihood: how readings are spread: `Gaussian`, counts, which bring their own noise level (`Poisson`,
            `Transmission`), or with outliers (`Laplace`).
        units: of lengths, image and data; by default those of the operator, pixels for most, and values without unit.
        provenance: where the data come from and what was done to them, texts by name.
        warned: what reading them from a file warned of, sentences.
        doubted: what is doubtful of an item that stands for these, as one of a stack does for all its parts, sentences;
            None (the default) where `doubts` has to look at them.

    Arrays become tensors; data, truth and weights that are integers, booleans or of lower precision become numbers of
    the operator's precision. ValueError if a shape does not fit, data that count hold NaN or infinity, noise or weights
    are negative, or the likelihood cannot have led to the data; TypeError for what is neither a tensor nor an array, no
    likelihood or no units.
    """

    operator: Operator
    data: Tensor
    noise: float | Tensor | None = None
    truth: Tensor | None = None
    weights: Tensor | None = field(default=None, kw_only=True)
    likelihood: Likelihood = field(default=Gaussian(), kw_only=True)
    units: Units = field(default=Units(), kw_only=True)
    provenance: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    warned: tuple[str, ...] = field(default=(), kw_only=True)
    doubted: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_kinds(self)
        for name in ("data", "truth", "weights"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _numbers(f"Scan: {name}", given, self.operator.dtype))
        if (grid := self.operator.grid).known:
            if self.units.length not in (PIXEL, grid.unit):
                raise ValueError(f"{type(self.operator).__name__} counts in {grid.unit}, not in {self.units.length}")
            object.__setattr__(self, "units", replace(self.units, length=grid.unit))
        noise: object = self.noise
        if isinstance(noise, np.ndarray | np.generic):
            object.__setattr__(self, "noise", as_tensor("Scan: noise", noise))
        shape, item = tuple(self.data.shape), self.operator.range_shape
        if shape[len(shape) - len(item) :] != item:
            raise ValueError(
                f"the data have shape {shape}, but {type(self.operator).__name__} measures items of {item}: "
                f"expected (*batch, {', '.join(map(str, item))})"
            )
        if self.weights is not None:
            _check_weights(self.weights, shape, item)
            self._leave_out(self.weights > 0)
        if self.operator.measured is not None:
            measured = self.operator.measured.to(self.data.device)
            _check_overlap(self.weights, measured, len(item))
            self._leave_out(measured)
        _check_finite(self.data)
        _check_noise(self.noise, self.batch_shape)
        self.likelihood.check(self.data, item, self.weights, self.noise)
        due = (*self.batch_shape, *self.operator.domain_shape)
        if self.truth is not None and tuple(self.truth.shape) != due:
            raise ValueError(f"the truth has shape {tuple(self.truth.shape)}, but data and operator need {due}")

    def __repr__(self) -> str:
        noise = self.noise
        level = f"noise {noise:.4g}" if isinstance(noise, float | int) else "" if noise is None else "noise per item"
        data = f"data {' x '.join(map(str, self.data.shape))}"
        others = [name for name in ("truth", "weights") if getattr(self, name) is not None]
        plain = isinstance(self.likelihood, Gaussian)
        parts = (repr(self.operator), data, level, *others, "" if plain else self.likelihood.name)
        return f"Scan({', '.join(part for part in parts if part)})"

    def _repr_html_(self) -> str:
        html: str = registry.load(registry.VIEWS, "html of a scan")(self)
        return html

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of the data: () for a single item."""
        return tuple(self.data.shape[: self.data.ndim - len(self.operator.range_shape)])

    @property
    def origin(self) -> dict[str, str]:
        """The provenance as results tell it: with the likelihood in words, unless it is Gaussian."""
        plain = isinstance(self.likelihood, Gaussian)
        return dict(self.provenance) | ({} if plain else {"likelihood": self.likelihood.in_words()})

    def row(self, index: int) -> Scan:
        """Return a copy of one index of the batch's first axis as a scan of its own."""
        k = len(self.operator.range_shape)
        noise, weights = self.noise, self.weights
        return replace(
            self,
            data=self.data[index].clone(),
            noise=noise[index] if isinstance(noise, Tensor) and noise.ndim else noise,
            truth=None if self.truth is None else self.truth[index].clone(),
            weights=weights if weights is None or weights.ndim == k else weights[index].clone(),
            likelihood=self.likelihood.row(index, k),
        )

    def estimate(self) -> tuple[Tensor, Tensor | None]:
        """Return (z, w): what the readings by themselves say A x is, and their weights (`Likelihood.quadratic`)."""
        return self.likelihood.quadratic(Readings(self.data, self.weights, None, len(self.operator.range_shape)))

    def doubts(self) -> list[str]:
        """Return what is doubtful, as sentences, `Doubt`s where it is known how much.

        What reading the data warned of, and what the operator says of its geometry and of a batch's middle item.
        """
        return [*self.warned, *(self._doubted if self.doubted is None else self.doubted)]

    @cached_property
    def _doubted(self) -> list[str]:
        """What the operator says: a command asks before it reconstructs, and the result again."""
        if not self.data.numel():
            return self.operator.doubts()
        z, w = self.estimate()
        middle = tuple(n // 2 for n in self.batch_shape)
        known = w is None or bool((w.expand(z.shape)[middle] > 0).any())
        return self.operator.doubts(self.operator.fill(z, w)[middle] if known else None)

    def _leave_out(self, seen: Tensor) -> None:
        object.__setattr__(self, "data", torch.where(seen, self.data, torch.zeros_like(self.data)))


def _numbers(name: str, given: object, dtype: torch.dtype) -> Tensor:
    """Return what was given as numbers to compute with: as they are, or in `dtype` where that loses nothing."""
    t = as_tensor(name, given)
    if t.is_complex():
        return t.to(dtype.to_complex()) if t.dtype == torch.complex32 else t
    return t if t.dtype in (torch.float32, torch.float64) else t.to(dtype)


def _check_kinds(scan: Scan) -> None:
    if not isinstance(scan.likelihood, Likelihood):
        raise TypeError(f"likelihood must be an object such as Poisson(), got {_kind(scan.likelihood)}")
    texts = vars(scan.units).values() if isinstance(scan.units, Units) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"units must be Units of three texts, as in Units.attenuation('mm'), got {scan.units!r}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _check_finite(data: Tensor) -> None:
    if bool(torch.isfinite(data.sum())):  # a finite sum has nothing else, and is found faster
        return
    finite = torch.isfinite(data)
    if not finite.all():
        first = tuple(torch.nonzero(~finite)[0].tolist())
        raise ValueError(
            f"the data hold {int((~finite).sum())} NaN or infinite values, the first at index {first}: "
            "repair or leave out these measurements first"
        )


def _check_weights(weights: Tensor, shape: tuple[int, ...], item: tuple[int, ...]) -> None:
    if tuple(weights.shape) not in (shape, item):
        raise ValueError(f"weights must have the shape {shape} of the data, or {item}, got {tuple(weights.shape)}")
    if weights.is_complex() or not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError("weights must be real, finite and not negative")
    if not bool((weights > 0).flatten(weights.ndim - len(item)).any(-1).all()):
        raise ValueError("weights are zero in a whole item, of which nothing is known: leave it out")


def _check_overlap(weights: Tensor | None, measured: Tensor, k: int) -> None:
    if weights is None:
        return
    counted = (weights > 0) & measured
    if not bool(counted.flatten(counted.ndim - k).any(-1).all()):
        raise ValueError("weights are zero wherever the operator measures anything: nothing is known of an item")


def _check_noise(noise: float | Tensor | None, batch: tuple[int, ...]) -> None:
    if noise is None:
        return
    sigma = torch.as_tensor(noise)
    if tuple(sigma.shape) not in ((), batch):
        raise ValueError(f"noise must be a number or have the batch shape {batch}, got shape {tuple(sigma.shape)}")
    if not bool((torch.isfinite(sigma) & (sigma >= 0)).all()):
        raise ValueError(f"noise is a standard deviation: finite and not negative, got {noise}")
