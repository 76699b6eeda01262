"""The base of the priors: a functional of the image times its weight."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.functional import Functional, Scalar
from invprob.linalg import per_item


class Prior(Functional):
    """lam g(x): `lam` is a number or one per item, `(*batch,)`; a prox with step tau uses lam tau.

    A subclass writes `_value(x)`, `_grad(x)` and `_prox(v, t)` of the unweighted g as far as they exist.
    """

    def __init__(self, lam: Scalar = 1.0, ndim: int = 2) -> None:
        super().__init__()
        weight = torch.as_tensor(lam, dtype=torch.float64) if not isinstance(lam, Tensor) else lam
        if not bool((weight >= 0).all() and weight.isfinite().all()):
            raise ValueError(f"{type(self).__name__}: lam must be finite and not negative, got {lam}")
        if isinstance(lam, torch.nn.Parameter):
            self.lam: Tensor = lam
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
        """Which of value, grad and prox have been written."""
        hooks = {"value": "_value", "grad": "_grad", "prox": "_prox"}
        return frozenset(k for k, hook in hooks.items() if getattr(type(self), hook) is not getattr(Prior, hook))

    def value(self, x: Tensor) -> Tensor:
        """Return lam g(x) per item."""
        value = self._value(x)
        return self.lam.to(value) * value

    def grad(self, x: Tensor) -> Tensor:
        """Return lam grad g(x)."""
        return per_item(self.lam, x, self.ndim) * self._grad(x)

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return argmin_x tau lam g(x) + 1/2 |x - v|^2."""
        step = torch.as_tensor(tau, dtype=torch.float64, device=v.device) if not isinstance(tau, Tensor) else tau
        t = self.lam.to(v.device) * step
        if not bool((t >= 0).all()):
            raise ValueError(f"{type(self).__name__}.prox: the step must not be negative, got {tau}")
        return self._prox(v, t)

    def extra_repr(self) -> str:
        """Show the weight."""
        return f"lam={self.lam.tolist()}"
