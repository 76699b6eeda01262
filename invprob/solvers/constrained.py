"""A prior under a bound on the misfit, where few readings make every step exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities import L2Ball
from invprob.functional import Functional, Scalar, require
from invprob.linalg import NormalTerm, per_item
from invprob.linop.spectrum import Spectrum
from invprob.solvers.base import Assumption, Solver, State, never, start_image


@dataclass(frozen=True, eq=False)
class CSALSAState(State):
    """Where C-SALSA stands; x is what the prior made of the image.

    Arguments:
        primal: s, the solution of the linear system.
        data: v2, the data in the ball that stand for A s.
        dual, data_dual: d1 and d2, the scaled dual variables.
    """

    primal: Tensor
    data: Tensor
    dual: Tensor
    data_dual: Tensor


@dataclass(frozen=True, kw_only=True)
class CSALSA(Solver[CSALSAState]):
    """min g(x) subject to |A x - y| <= eps by ADMM with two splittings, v1 = s in g and v2 = A s in the ball.

    s <- (kappa I + A^H A)^-1 (kappa (v1 + d1) + A^H (v2 + d2)), v1 <- prox_{tau g}(s - d1), v2 <- the point of the ball
    nearest to A s - d2, d1 -= s - v1, d2 -= A s - v2 (Afonso, Bioucas-Dias & Figueiredo 2011; Oral & Oktem 2024). Where
    the operator finds the eigenvectors of A A^H (`row_spectrum`) worth so many systems, the first step is exact at the
    cost of one A and one A^H, which are all of an iteration, as A s = v2 + d2 - kappa q for s = v1 + d1 + A^H q.
    Elsewhere it is solved by conjugate gradients from the last s. The residual is the largest
    of the relative changes of v1, of |s - v1| / |s| and of |A s - v2| / |y|.

    Arguments:
        max_iter, tol: of the loop.
        kappa: the weight of the first splitting relative to the second, in the unit of |A|^2, a number > 0 or one per
            item; by default a hundredth of |A|^2.
        tau: the step of the prox, a number > 0 or one per item.
        falling: in (0, 1], by what tau is multiplied after each iteration; 1 (the default) leaves it.
        rising: at least 1, by what kappa is multiplied after each iteration; 1 (the default) leaves it.
        x_tol: in (0, 1), the relative accuracy of conjugate gradients.
        systems: how many first steps there will be with this A, in all runs; by default `max_iter`.
    """

    max_iter: int = 100
    kappa: Scalar | None = None
    tau: Scalar = 1.0
    falling: float = 1.0
    rising: float = 1.0
    x_tol: float = 1e-3
    systems: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kappa", "tau"):
            value = getattr(self, name)
            if value is not None and not bool(((v := torch.as_tensor(value)) > 0).all() and v.isfinite().all()):
                raise ValueError(f"CSALSA: {name} must be positive, got {value}")
        if not 0 < self.falling <= 1 or not 1 <= self.rising < float("inf"):
            raise ValueError(
                f"CSALSA: falling lies in (0, 1] and rising is at least 1, got {self.falling}, {self.rising}"
            )
        if not 0 < self.x_tol < 1:
            raise ValueError(f"CSALSA: x_tol must lie in (0, 1), got {self.x_tol}")

    def init(self, f: Functional, g: Functional, x0: Tensor) -> CSALSAState:
        """Return the state at x0; TypeError unless f is an `L2Ball` and g has a prox."""
        if not isinstance(f, L2Ball):
            raise TypeError(f"CSALSA keeps the misfit in a ball: f must be an L2Ball, got {type(f).__name__}")
        require(g, "prox", self)
        x0 = start_image(self, f, g, x0)
        data = f.A(x0)
        zero, none = torch.zeros_like(x0), torch.zeros_like(data)
        return CSALSAState(x0, 0, never(x0, f.ndim), x0, f.phi.prox(data, 1.0), zero, none)

    def step(self, f: Functional, g: Functional, state: CSALSAState) -> CSALSAState:
        """Return the next state."""
        return self.prepared(f, g, state)(state)

    def prepared(self, f: Functional, g: Functional, state: CSALSAState) -> Callable[[CSALSAState], CSALSAState]:
        """Return the step for f and g with the spectrum and the weight of the splittings at hand."""
        del state
        if not isinstance(f, L2Ball):
            raise TypeError(f"CSALSA keeps the misfit in a ball: f must be an L2Ball, got {type(f).__name__}")
        kappa = 1e-2 * f.A.norm().double() ** 2 if self.kappa is None else torch.as_tensor(self.kappa).double()
        spectrum = f.A.row_spectrum(self.max_iter if self.systems is None else self.systems)
        return partial(self._step, f, g, kappa.to(f.A.device), spectrum)

    def _step(
        self, f: L2Ball, g: Functional, kappa: Tensor, spectrum: Spectrum | None, state: CSALSAState
    ) -> CSALSAState:
        kappa = kappa * self.rising**state.iteration
        tau = torch.as_tensor(self.tau) * self.falling**state.iteration
        image, data = state.x + state.dual, state.data + state.data_dual
        if spectrum is None:
            primal, seen = self._solved(f, kappa, image, data, state.primal)
        else:
            primal, seen = _exact(f, kappa, spectrum, image, data)
        x = g.prox(primal - state.dual, tau)
        ball = f.phi.prox(seen - state.data_dual, 1.0)
        n, k = f.ndim, len(f.A.range_shape)
        size, y = linalg.norm(primal, n), f.phi.y
        residual = torch.stack(
            [
                linalg.ratio(linalg.norm(x - state.x, n), size),
                linalg.ratio(linalg.norm(primal - x, n), size),
                linalg.ratio(linalg.norm(seen - ball, k), linalg.norm(y, k).expand(size.shape)),
            ]
        ).amax(0)
        return replace(
            state,
            x=x,
            iteration=state.iteration + 1,
            residual=residual,
            primal=primal,
            data=ball,
            dual=state.dual - (primal - x),
            data_dual=state.data_dual - (seen - ball),
        )

    def _solved(self, f: L2Ball, kappa: Tensor, image: Tensor, data: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return s and A s by conjugate gradients."""
        b = per_item(kappa, image, f.ndim) * image + f.A.adjoint(data)
        system = linalg.NormalSystem([NormalTerm(f.A), NormalTerm(None, scale=kappa)], f.ndim)
        primal = system.solve(b, x0=start, tol=self.x_tol)
        return primal, f.A(primal)

    def prox_steps(self, f: Functional, g: Functional, state: CSALSAState) -> tuple[tuple[Functional, Scalar], ...]:
        """Return the tau of the last iteration."""
        del f
        return ((g, torch.as_tensor(self.tau) * self.falling ** max(state.iteration - 1, 0)),)

    def assumptions(self, f: Functional, g: Functional, state: CSALSAState) -> tuple[Assumption, ...]:
        """Return the conditions of Eckstein & Bertsekas 1992, theorem 8."""
        constant = self.falling == self.rising == 1
        reason = "no continuation" if constant else "tau or kappa change with every iteration"
        return (*super().assumptions(f, g, state), Assumption("the penalties are constant", constant, reason))


def _exact(f: L2Ball, kappa: Tensor, spectrum: Spectrum, image: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Return s and A s by q = (kappa I + A A^H)^-1 (data - A image), s = image + A^H q (Woodbury 1950)."""
    k = len(f.A.range_shape)
    shares = 1 / (kappa.to(spectrum.values)[..., None] + spectrum.values)
    q = spectrum.multiplied(data - f.A(image), shares, k)
    return image + f.A.adjoint(q), data - per_item(kappa, data, k) * q
