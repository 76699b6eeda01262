"""What a data step knows of the data: the operator, the readings, how noisy they are, and the solves that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from invprob import linalg
from invprob.linop import LinearOperator, Operator
from invprob.linop.spectrum import Spectrum, worth_factoring
from invprob.sampling.singular_vectors import SingularVectors, singular_vectors_of

TOL, MOST_CG = 1e-3, 200  # relative residual of the corrections that data steps solve for, and iterations at most
LEAST = 1e-4  # of the root mean square of the readings: noise below counts as so much, as 0 would make solves singular


@dataclass(frozen=True)
class Measurement:
    """y = A(x) + noise n, of complex data with E|n|^2 = 1, in which noise^2 / w is the variance of a reading.

    Arguments:
        A: the operator.
        y: the data, `(*batch, *A.range_shape)`.
        noise: their standard deviation, `(*batch,)`; less than 1e-4 of the root mean square of y counts as that.
        weights: w, which broadcast against y; 0 marks what was not measured.
    """

    A: Operator
    y: Tensor
    noise: Tensor
    weights: Tensor | None = None

    @classmethod
    def of(cls, A: Operator, y: Tensor, noise: float | Tensor, weights: Tensor | None = None) -> Measurement:
        """Return the measurement with checked data; ValueError for noise that is negative or not finite."""
        y = A.as_data(y)
        k = len(A.range_shape)
        level = torch.as_tensor(noise, dtype=torch.float64, device=y.device)
        if not bool(((level >= 0) & level.isfinite()).all()):
            raise ValueError(f"noise must be finite and not negative, got {noise}")
        if weights is not None:
            weights = weights.to(y.real)
        one = cls(A, y, level, weights)
        size = linalg.norm(y if weights is None else weights.sqrt() * y, k) / one.count.sqrt()
        least = torch.where(size > 0, LEAST * size, 1.0)
        return cls(A, y, torch.maximum(level.expand_as(size), least), weights)

    @property
    def ndim(self) -> int:
        """Item axes of an image."""
        return len(self.A.domain_shape)

    @property
    def k(self) -> int:
        """Item axes of the data."""
        return len(self.A.range_shape)

    @property
    def batch(self) -> torch.Size:
        """The batch of the data."""
        return self.y.shape[: self.y.ndim - self.k]

    @property
    def linear(self) -> LinearOperator:
        """The operator; ValueError unless it is linear."""
        if not isinstance(self.A, LinearOperator):
            raise ValueError(
                f"this data step needs a linear operator, which {type(self.A).__name__} is not: use daps "
                "with the step Langevin, or Descent"
            )
        return self.A

    @property
    def _is_linear(self) -> bool:
        return isinstance(self.A, LinearOperator)

    @cached_property
    def count(self) -> Tensor:
        """How many readings an item has, in float64."""
        on = torch.ones(self.A.range_shape, dtype=torch.bool, device=self.y.device)
        for part in (self.A.measured, None if self.weights is None else self.weights > 0):
            on = on if part is None else on & part.to(on.device)
        return on.sum(linalg.item_axes(self.k)).double().clamp(min=1)

    @cached_property
    def norm(self) -> float:
        """|A|, to which the rates of gradient steps are relative; of a nonlinear operator that of its derivative."""
        A = self.linear if self._is_linear else self.A.linearised(self.A.start())
        return float(A.norm().max()) or 1.0

    @cached_property
    def pulled(self) -> Tensor:
        """A^H W y."""
        return self.pull(self.y)

    @cached_property
    def singular_vectors(self) -> SingularVectors:
        """The singular values and vectors of W^1/2 A; ValueError where they cannot be had."""
        return singular_vectors_of(self.linear, self.weights, self.y.real)

    def misfit(self, x: Tensor) -> Tensor:
        """Return r = y - A(x)."""
        return self.y - self.A(x)

    def size(self, r: Tensor) -> Tensor:
        """Return |r|_w per item."""
        return linalg.norm(self.whitened(r), self.k)

    def residual_to_noise(self, x: Tensor) -> Tensor:
        """Return |y - A(x)|_w / (noise sqrt(count)) per item: 1 is perfect."""
        return self.size(self.misfit(x)) / (self.noise * self.count.sqrt())

    def pull(self, r: Tensor, x: Tensor | None = None) -> Tensor:
        """Return A^H W r, for a nonlinear operator with the derivative at x."""
        weighed = r if self.weights is None else self.weights * r
        return self.linear.adjoint(weighed) if self._is_linear or x is None else self.A.vjp(x, weighed)

    def whitened(self, r: Tensor) -> Tensor:
        """Return W^1/2 r, whose noise is the same in all readings."""
        return r if self.weights is None else self.weights.sqrt() * r

    def ridge(self, variance: float | Tensor) -> Tensor:
        """Return noise^2 / variance, the shift of the normal equations for an image known to that variance per item."""
        return self.noise**2 / variance

    def solve(self, q: Tensor, shift: Tensor) -> Tensor:
        """Return (A^H W A + shift)^-1 A^H W^1/2 q per item, for whitened data q.

        With the eigenvectors of B B^H, B = W^1/2 A, it is B^H (B B^H + shift)^-1 q, at the cost of one B^H.
        """
        if self._rows is not None:
            shares = 1 / (self._rows.values + shift.to(self._rows.values)[..., None])
            return self.linear.adjoint(self.whitened(self._rows.multiplied(q, shares, self.k)))
        terms: list[linalg.TermLike] = [(self.linear, self.weights, 1.0), (None, None, shift)]
        return linalg.solve_normal(terms, self.linear.adjoint(self.whitened(q)), tol=TOL, max_iter=MOST_CG)

    @cached_property
    def _rows(self) -> Spectrum | None:
        """The eigenvectors of W^1/2 A A^H W^1/2 where readings are so few that all steps together are worth them."""
        A, weights = self.linear, self.weights
        if A.parameter_batch or (weights is not None and weights.ndim > self.k) or not worth_factoring(A):
            return None
        closed = A.gram_diagonal(weights) is not None or A.row_gram_diagonal() is not None
        if closed or self.y.is_complex() != A.domain_dtype.is_complex:
            return None
        return A.factored_rows() if weights is None else Spectrum.of_rows(A, weights)

    def inverted(self, r: Tensor, variance: float) -> Tensor:
        """Return (A^H W A + noise^2 / variance)^-1 A^H W r.

        The pseudo-inverse A^+ r, as far as noise lets it be told for an image that is known to that variance.
        """
        return self.solve(self.whitened(r), self.ridge(variance))


def per_chain(m: Measurement, chains: int) -> Measurement:
    """Return the measurement with a batch `(chains, *batch)` of the same data."""
    y = m.y.expand(chains, *m.y.shape)
    return Measurement(m.A, y, m.noise.expand(chains, *m.noise.shape), m.weights)


def white(item: tuple[int, ...], like: Tensor, keys: tuple[int, ...], batch: torch.Size) -> Tensor:
    """Return white noise `(chains, *items, *item)` of the kind of `like`, `batch` = `(chains, *items)`.

    Every item has a stream of its own, which depends on the keys and its place among the items alone, so that
    neighbours and earlier draws change nothing.
    """
    chains, count = batch[0], math.prod(batch[1:])
    draws = []
    for place in range(count):
        words = np.random.SeedSequence([*keys, place]).generate_state(2, np.uint32).astype(np.int64)
        generator = torch.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))
        draws.append(torch.randn(chains, *item, dtype=like.dtype, generator=generator))
    whole = torch.stack(draws, 1) if draws else torch.empty(chains, 0, *item, dtype=like.dtype)
    return whole.reshape(*batch, *item).to(like.device)
