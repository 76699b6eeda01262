"""Denoisers as plain functions D(v, sigma) of items: networks, numpy code, averages over a group, relaxations."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from invprob.priors.networks import DenoisingUNet, DiffusionUNet, PretrainedDenoiser, VolumeUNet

DenoiserFunction = Callable[[Tensor, Tensor], Tensor]
ArrayFunction = Callable[[np.ndarray, float], np.ndarray]
OWN = (DenoisingUNet, DiffusionUNet, VolumeUNet, PretrainedDenoiser)  # networks that take any batch of their own items
SYMMETRIES = tuple((turns, flipped) for flipped in (False, True) for turns in range(4))  # of the square
TRANSPOSITION = (3, True)  # the one of them that exchanges rows and columns


class PerItem:
    """D(v, sigma) of a numpy function: called once per item with a copy of it as an array and sigma as a float.

    Arguments:
        function: takes an array of one item and a float, and returns an array of the same shape; one of another
            floating precision is converted to that of v.
        ndim: how many axes, the last ones, make one item; by default 2.
    """

    def __init__(self, function: ArrayFunction, ndim: int = 2) -> None:
        self.function = function
        self.ndim = ndim
        self.sigma_range: tuple[float, float] | None = getattr(function, "sigma_range", None)

    def __call__(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return D(v, sigma) for v `(*batch, *item)` and sigma 0-d or `(*batch,)`."""
        cut = v.ndim - self.ndim
        items = v.detach().cpu().reshape(-1, *v.shape[cut:])
        levels = sigma.detach().double().cpu().expand(v.shape[:cut]).flatten().tolist()
        if not levels:
            return v.clone()
        found = [self._one(item, level) for item, level in zip(items, levels, strict=True)]
        return torch.stack(found).reshape(v.shape).to(v.device)

    def _one(self, item: Tensor, level: float) -> Tensor:
        answer = np.asarray(self.function(item.numpy().copy(), level))
        kind = np.complexfloating if item.is_complex() else np.floating
        if answer.shape != tuple(item.shape) or not np.issubdtype(answer.dtype, kind):
            raise ValueError(
                f"the denoiser was given an array {tuple(item.shape)} {item.dtype} and returned "
                f"{answer.shape} {answer.dtype}"
            )
        return torch.from_numpy(np.ascontiguousarray(answer)).to(item.dtype)


class OnBatch(nn.Module):
    """D(v, sigma) of a network for (B, C, *space) and sigma (B,): the batch is made one axis and restored.

    Arguments:
        network: the module that is called.
        ndim: how many axes, the last ones, make one item; by default 2.
        channels: whether the first axis of an item counts channels; without, one channel is put in.
    """

    def __init__(self, network: nn.Module, ndim: int = 2, *, channels: bool | None = None) -> None:
        super().__init__()
        self.network = network
        self.ndim = ndim
        self.channels = ndim > 2 if channels is None else channels

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return D(v, sigma) for v `(*batch, *item)` and sigma 0-d or `(*batch,)`."""
        _check_precision(self.network, v)
        cut = v.ndim - self.ndim
        item = v.shape[cut:] if self.channels else (1, *v.shape[cut:])
        flat = v.reshape(-1, *item)
        answer = self.network(flat, sigma.expand(v.shape[:cut]).flatten())
        return check_answer(answer, flat).reshape(v.shape)


class Around(nn.Module):
    """A denoiser made of another one, which knows the same range of noise levels.

    Arguments:
        D: the other denoiser, D(v, sigma).
    """

    def __init__(self, D: DenoiserFunction) -> None:
        super().__init__()
        self.D = D
        self.sigma_range: tuple[float, float] | None = getattr(D, "sigma_range", None)


class Equivariant(Around):
    """D averaged over the rotations by 90 degrees and flips T of the last two axes: mean of T^-1 D(T v, sigma).

    Arguments:
        D: the denoiser, D(v, sigma).
        how: "mean" (the default) over all eight T; "pair", over the image and its transpose alone: a quarter of the
            work, and more than half of the gain; or "one" T per call, chosen by the bits of v, so that equal images get
            equal answers (Terris, Moreau, Pustelnik & Tachella 2024 draw it at random).
    """

    def __init__(self, D: DenoiserFunction, how: Literal["mean", "pair", "one"] = "mean") -> None:
        super().__init__(D)
        if how not in ("mean", "pair", "one"):
            raise ValueError(f"Equivariant: how must be 'mean', 'pair' or 'one', got {how!r}")
        self.how = how

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the average of all eight, of two, or one of them."""
        if self.how == "one":
            return self._turned(v, sigma, *SYMMETRIES[_bits(v) % len(SYMMETRIES)])
        chosen = SYMMETRIES if self.how == "mean" else (SYMMETRIES[0], TRANSPOSITION)
        first, *rest = (self._turned(v, sigma, *symmetry) for symmetry in chosen)
        return sum(rest, start=first) / len(chosen)

    def _turned(self, v: Tensor, sigma: Tensor, turns: int, flipped: bool) -> Tensor:
        t = v.rot90(turns, (-2, -1))
        t = t.flip(-1) if flipped else t
        x = check_answer(self.D(t, sigma), t)
        x = x.flip(-1) if flipped else x
        return x.rot90(-turns, (-2, -1))


class Averaged(Around):
    """(1 - theta) v + theta D(v, sigma): averaged if D is non-expansive and theta < 1.

    The fixed points are those of D (Bauschke & Combettes 2017, section 4.5).

    Arguments:
        D: the denoiser, D(v, sigma).
        theta: its share, in (0, 1], by default 0.5; ValueError else.
    """

    def __init__(self, D: DenoiserFunction, theta: float = 0.5) -> None:
        super().__init__(D)
        if not 0 < theta <= 1:
            raise ValueError(f"Averaged: theta must lie in (0, 1], got {theta}")
        self.theta = theta

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the mixture."""
        return (1 - self.theta) * v + self.theta * check_answer(self.D(v, sigma), v)


class Clipped(Around):
    """max(D(v, sigma), 0): a denoiser of images that cannot be negative."""

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised image without its negative part."""
        return check_answer(self.D(v, sigma), v).clamp(min=0)


class Within(Around):
    """D(v, sigma) kept between bounds that broadcast to v: a denoiser of images of which they are known."""

    lower: Tensor
    upper: Tensor

    def __init__(self, D: DenoiserFunction, lower: Tensor, upper: Tensor) -> None:
        super().__init__(D)
        self.register_buffer("lower", lower, persistent=False)
        self.register_buffer("upper", upper, persistent=False)

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised image within its bounds."""
        return check_answer(self.D(v, sigma), v).clamp(self.lower.to(v), self.upper.to(v))


class Signed(Around):
    """2 D((v + 1) / 2, sigma / 2) - 1: a denoiser of images in [0, 1] for images of either sign, in [-1, 1].

    What a network has learnt of black it does not know of what is below: real and imaginary parts lie on both sides.
    """

    def __init__(self, D: DenoiserFunction) -> None:
        super().__init__(D)
        known = self.sigma_range
        self.sigma_range = None if known is None else (2 * known[0], 2 * known[1])

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised image."""
        half = 0.5 * v + 0.5
        return 2 * check_answer(self.D(half, 0.5 * sigma), half) - 1


class Either(Around):
    """D(v, sigma) where a mask that broadcasts to v says so, another denoiser's answer elsewhere."""

    which: Tensor

    def __init__(self, which: Tensor, D: DenoiserFunction, other: DenoiserFunction) -> None:
        super().__init__(D)
        self.other = other
        self.register_buffer("which", which, persistent=False)

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised image."""
        return torch.where(self.which, check_answer(self.D(v, sigma), v), check_answer(self.other(v, sigma), v))


class KeepsZero(Around):
    """D(v, sigma), and 0 where the last two axes hold nothing but 0: a network that is told sigma sees grain there."""

    def forward(self, v: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised image."""
        empty = (v == 0).all(-1, keepdim=True).all(-2, keepdim=True)
        return torch.where(empty, v, check_answer(self.D(v, sigma), v))


def innermost(D: DenoiserFunction) -> DenoiserFunction:
    """Return what the denoisers `Around` others are made of in the end."""
    return innermost(D.D) if isinstance(D, Around) else D


def per_slice(D: DenoiserFunction, v: Tensor, sigma: Tensor) -> Tensor:
    """Return sigma for every image that this package's networks see in v, such as each slice of a volume."""
    own = innermost(D)
    if not isinstance(own, OWN) or not sigma.ndim:
        return sigma
    slices = v.shape[sigma.ndim : v.ndim - own.ndim]
    return sigma.reshape(sigma.shape + (1,) * len(slices)).expand(*sigma.shape, *slices)


def is_network(D: DenoiserFunction) -> bool:
    """Return whether D is made of a network, which sees real images of any size."""
    return isinstance(innermost(D), nn.Module)


def wants_batches(D: DenoiserFunction) -> bool:
    """Return whether D wants (B, C, *space), as networks do unless they are this package's own."""
    return is_network(D) and not isinstance(innermost(D), (OnBatch, *OWN))


def check_answer(x: object, v: Tensor) -> Tensor:
    """Return x if it is what a denoiser may make of v; ValueError, in one line, if it is not.

    NaN is an error where v is so small that no square overflows: elsewhere the solver has diverged, not D failed.
    """
    if not isinstance(x, Tensor) or x.shape != v.shape or x.dtype != v.dtype:
        got = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        hint = ": wrap a numpy function in PerItem" if isinstance(x, np.ndarray) else ""
        raise ValueError(f"the denoiser was given {tuple(v.shape)} {v.dtype} and returned {got}{hint}")
    lost = x.isnan()
    if bool(lost.any()) and bool((v.abs() < torch.finfo(v.dtype).max ** 0.5).all()):
        raise ValueError(f"the denoiser was given finite numbers and returned NaN in {int(lost.sum())} of {x.numel()}")
    return x


def phase(v: Tensor) -> Tensor:
    """Return v / |v|, and 1 where v is 0."""
    size = v.abs()
    return torch.where(size == 0, torch.ones_like(v), v / torch.where(size == 0, torch.ones_like(size), size))


def _check_precision(network: nn.Module, v: Tensor) -> None:
    """Refuse a single-precision network for a double-precision image, and the reverse."""
    for weight in _weights(network):
        if {weight.dtype, v.dtype} == {torch.float32, torch.float64}:
            raise TypeError(
                f"the denoiser's weights are {weight.dtype} and the image is {v.dtype}: "
                f"move one of them, as by prior.to({v.dtype})"
            )
        return


def _weights(network: nn.Module) -> Iterator[Tensor]:
    return (p for p in network.parameters() if p.is_floating_point())


def _bits(v: Tensor) -> int:
    """Return a number that depends on every bit of v, and on nothing else."""
    return zlib.crc32(v.detach().cpu().contiguous().numpy().tobytes())
