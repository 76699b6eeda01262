"""Half-quadratic splitting with a falling noise level: plug-and-play in a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import QuadraticFidelity
from invprob.functional import Functional, Scalar
from invprob.linalg import per_item
from invprob.priors import Denoiser
from invprob.solvers.base import Assumption, Solver, State, never, start_image


@dataclass(frozen=True, eq=False)
class HQSState(State):
    """Where the splitting stands; x is the denoised image.

    Arguments:
        split: the solution of the data step before it.
        data: A^H W y.
    """

    split: Tensor
    data: Tensor


@dataclass(frozen=True, kw_only=True)
class HQS(Solver[HQSState]):
    """v <- argmin f(v) + rho_k/2 |v - x|^2, x <- D(v, sigma_k), with rho_k = lam / sigma_k^2.

    DPIR (Zhang, Li, Zuo, Zhang, Van Gool & Timofte 2021, section 4). lam is that of `Denoiser(D, lam=...)`: DPIR's is
    0.23 times the variance of the noise. The first `steps` iterations have no residual, as every one solves another
    problem; then it is |x - x_old| / |x|. The data step is a closed form or conjugate gradients.

    Arguments:
        max_iter: the most iterations; those beyond `steps` seek a fixed point at sigma_min.
        steps: how many levels sigma_k fall from sigma_max to sigma_min, equally spaced in their logarithm; from there
            on sigma stays.
        sigma_max: the first level, a number or one per item, in units of the image; DPIR takes 49/255, the default, for
            images in [0, 1].
        sigma_min: the last level, likewise; DPIR takes the noise of the data.
        x_tol: in (0, 1), the relative accuracy of conjugate gradients in the data step.
    """

    max_iter: int = 8
    steps: int = 8
    sigma_max: Scalar = 49 / 255
    sigma_min: Scalar = 0.01
    x_tol: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"HQS: steps must be at least 1, got {self.steps}")
        low, high = torch.as_tensor(self.sigma_min), torch.as_tensor(self.sigma_max)
        if not bool(((low > 0) & (low <= high) & high.isfinite()).all()):
            raise ValueError(
                f"HQS: 0 < sigma_min <= sigma_max is needed, got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}"
            )
        if not 0 < self.x_tol < 1:
            raise ValueError(f"HQS: x_tol must lie in (0, 1), got {self.x_tol}")

    def sigma(self, iteration: int) -> Tensor:
        """Return the noise level of an iteration, counted from 0, 0-d or per item."""
        share = min(iteration / (self.steps - 1), 1.0) if self.steps > 1 else 1.0
        low, high = (torch.as_tensor(s, dtype=torch.float64) for s in (self.sigma_min, self.sigma_max))
        return high ** (1 - share) * low**share

    def init(self, f: Functional, g: Functional, x0: Tensor) -> HQSState:
        """Return the state at x0; TypeError unless f is quadratic and g a Denoiser with lam."""
        if not isinstance(f, QuadraticFidelity):
            raise TypeError(f"HQS solves a linear system for f, and {type(f).__name__} is not quadratic: use ADMM")
        _weight(g)
        x0 = start_image(self, f, g, x0)
        data = (f.back_projected() + torch.zeros_like(x0)).contiguous()
        return HQSState(x0, 0, never(x0, f.ndim), x0, data)

    def step(self, f: Functional, g: Functional, state: HQSState) -> HQSState:
        """Return the next state."""
        return self.prepared(f, g, state)(state)

    def prepared(self, f: Functional, g: Functional, state: HQSState) -> Callable[[HQSState], HQSState]:
        """Return the step for f and g; the linear system is built once per noise level."""
        del state
        return partial(self._step, *_weight(g), _DataSteps(f))

    def _step(self, denoiser: Denoiser, lam: Tensor, systems: _DataSteps, state: HQSState) -> HQSState:
        ndim, level = denoiser.ndim, min(state.iteration, self.steps - 1)
        rho = (lam.double() / self.sigma(level).to(lam.device) ** 2).to(state.x.device)
        b = state.data + per_item(rho, state.x, ndim) * state.x
        split = systems.at(level, rho).solve(b, x0=state.split, tol=self.x_tol)
        x = denoiser.prox(split, 1 / rho)
        change = linalg.ratio(linalg.norm(x - state.x, ndim), linalg.norm(x, ndim))
        settled = state.iteration + 1 >= self.steps
        residual = change if settled else torch.where(change.isnan(), change, torch.inf)
        return HQSState(x, state.iteration + 1, residual, split, state.data)

    def prox_steps(self, f: Functional, g: Functional, state: HQSState) -> tuple[tuple[Functional, Scalar], ...]:
        """Return sigma_k^2 / lam of the last iteration."""
        denoiser, lam = _weight(g)
        sigma = self.sigma(max(state.iteration - 1, 0)).to(lam.device)
        return ((denoiser, sigma**2 / lam),)

    def assumptions(self, f: Functional, g: Functional, state: HQSState) -> tuple[Assumption, ...]:
        """Return what is known: a fixed point is sought only once sigma stays."""
        constant = state.iteration > self.steps
        reason = f"{state.iteration} iterations, the first {self.steps} of them with a falling sigma"
        return (*super().assumptions(f, g, state), Assumption("sigma stays at last", constant, reason))


class _DataSteps:
    """The system A^H W A + rho I of the data step, kept as long as the noise level stays."""

    def __init__(self, f: Functional) -> None:
        self._hessian, self._ndim = f.normal_term(), f.ndim
        self._level = -1

    def at(self, level: int, rho: Tensor) -> linalg.NormalSystem:
        """Return the system of a noise level, given by its number."""
        if level != self._level:
            parts = (self._hessian, linalg.NormalTerm(None, scale=rho))
            system = linalg.NormalSystem([part for part in parts if part is not None], self._ndim)
            self._level, self._system = level, system
        return self._system


def _weight(g: Functional) -> tuple[Denoiser, Tensor]:
    """Return the denoiser and its lam; TypeError for a prior that has no noise level to lower."""
    if not isinstance(g, Denoiser) or g.lam is None or not bool((g.lam > 0).all()):
        raise TypeError(f"HQS lowers the noise level of a Denoiser(D, lam=...) with lam > 0, got {_in_words(g)}")
    return g, g.lam


def _in_words(g: Functional) -> str:
    """Return what was given, without the network that a denoiser may be."""
    return f"{type(g).__name__}({g.extra_repr()})"
