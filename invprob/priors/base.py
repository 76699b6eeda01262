"""The base of the priors: a functional of the image times its weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invprob.functional import ABILITIES, Functional, Scalar
from invprob.linalg import per_item


class Prior(Functional):
    """lam g(x): the base of the priors, a functional of the image times its weight.

    A subclass writes `_value(x)`, `_grad(x)` and `_prox(v, t)` of the unweighted g as far as they exist.

    Arguments:
        lam: the weight, a number >= 0 or one per item, `(*batch,)`; a prox with step tau uses lam tau. By default 1.
        ndim: how many axes, the last ones, make one item: 2 for images (the default), 3 for volumes or channels.

    ValueError for a weight that is negative or not finite.
    """

    lam: Tensor

    def __init__(self, lam: Scalar = 1.0, ndim: int = 2) -> None:
        super().__init__()
        weight = nonnegative(lam, "lam", self)
        if isinstance(weight, nn.Parameter):
            self.lam = weight
        else:
            self.register_buffer("lam", weight, persistent=False)
        self.ndim = ndim

    def _value(self, x: Tensor) -> Tensor:
        raise self._lacks("value")

    def _grad(self, x: Tensor) -> Tensor:
        raise self._lacks("grad")

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        raise self._lacks("prox")

    @property
    def supports(self) -> frozenset[str]:
        """Which of value, grad and prox have been written, as a hook or in full."""
        own = type(self)
        return frozenset(
            name
            for name in ABILITIES
            if any(getattr(own, hook) is not getattr(Prior, hook) for hook in (name, f"_{name}"))
        )

    def value(self, x: Tensor) -> Tensor:
        """Return lam g(x) per item."""
        value = self._value(x)
        return self.lam.to(value) * value

    def grad(self, x: Tensor) -> Tensor:
        """Return lam grad g(x)."""
        return per_item(self.lam, x, self.ndim) * self._grad(x)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return argmin_x tau lam g(x) + 1/2 |x - v|^2."""
        return self._prox(v, self._step(v, tau))

    def _step(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return t = lam tau, the step of the unweighted g."""
        return self.lam.to(v.device) * nonnegative(tau, "tau", self).to(v.device)

    def extra_repr(self) -> str:
        """Show the weight."""
        return f"lam={self.lam.tolist()}"


def nonnegative(number: Scalar, what: str, owner: object) -> Tensor:
    """Return a number as float64, a floating tensor as it is; ValueError unless it is finite and >= 0."""
    t = number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64)
    t = t if t.is_floating_point() else t.double()
    if not bool(((t >= 0) & t.isfinite()).all()):
        raise ValueError(f"{type(owner).__name__}: {what} must be finite and not negative, got {number}")
    return t
