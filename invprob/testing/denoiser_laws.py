"""The laws of a function D(v, sigma) that removes noise of standard deviation sigma from images v."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from invprob.testing.numbers import alone, normal, pure, relative
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule

SIGMAS = (0.05, 0.2)


class DenoiserProbe:
    """A denoiser with the images it is tried on: float32 items of `shape`, values about 0 to 1."""

    def __init__(
        self,
        D: Callable[[Tensor, Tensor], Tensor],
        *,
        shape: Sequence[int] = (16, 20),
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        self.D, self.shape, self.dtype, self.seed = D, tuple(shape), dtype, seed
        self.rounding = 1e-5 if dtype == torch.float32 else 1e-12

    def images(self, batch: Sequence[int] = ()) -> Tensor:
        """Return slopes with noise."""
        slope = torch.linspace(0, 1, self.shape[-1], dtype=self.dtype)
        return slope + 0.1 * normal((*batch, *self.shape), self.dtype, self.seed)

    def at(self, sigma: float) -> Callable[[Tensor], Tensor]:
        """Return D(., sigma)."""
        return lambda v: self.D(v, torch.tensor(sigma, dtype=self.dtype))


def shapes(p: DenoiserProbe) -> Iterator[Finding]:
    """The result is an image like v."""
    for batch in ((), (2,), (2, 3)):
        v = p.images(batch)
        x = p.at(SIGMAS[0])(v)
        yield fact(
            isinstance(x, Tensor) and x.shape == v.shape, f"D gives {getattr(x, 'shape', type(x))} for {v.shape}"
        )
        yield fact(x.dtype == v.dtype, f"D gives {x.dtype} for {v.dtype}")
        yield fact(bool(x.isfinite().all()), "D gives NaN or infinity")


def batches(p: DenoiserProbe) -> Iterator[Finding]:
    """Items of a batch do not know each other; sigma may be one per item."""
    with torch.no_grad():
        yield from alone(p.at(SIGMAS[0]), p.images((3,)), p.rounding, "D", 10.0)
        v = p.images((2,))
        both = p.D(v, torch.tensor(SIGMAS, dtype=p.dtype))
        for k, sigma in enumerate(SIGMAS):
            look = f"D with sigma per item differs from D of item {k} alone with sigma {sigma}"
            yield Finding(relative(both[k], p.at(sigma)(v[k])), p.rounding, look)


def purity(p: DenoiserProbe) -> Iterator[Finding]:
    """Nothing is remembered, nothing is changed."""
    with torch.no_grad():
        yield from pure(p.at(SIGMAS[0]), p.images((2,)), "D", own_memory=False)


DENOISER_RULES = (
    Rule("shapes", "D(v, sigma) is an image of v's shape and precision, for any number of batch axes", shapes),
    Rule("batches", "treats every item of a batch as if it were alone; sigma is a number or one per item", batches),
    Rule("purity", "gives the same bits for the same input, leaves it as it was, draws no global randomness", purity),
)
