"""Normal equations per item of the batch: in closed form where a basis makes them diagonal, else by iteration.

Every tolerance is relative, so that scaling the input scales the output; nothing here adds an epsilon.
`ndim` is the number of trailing axes that make one item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from invprob.linop.bases import Basis, from_basis, to_basis
from invprob.linop.diagonal import Diagonal
from invprob.linop.doors import takes_arrays
from invprob.linop.items import item_axes, per_item
from invprob.linop.krylov import CGResult, Map, conjugate_gradient

if TYPE_CHECKING:
    from invprob.linop.linear import LinearOperator


FLOOR = 1e-6  # smallest estimated eigenvalue a preconditioner divides by, relative to the largest
ROUNDINGS = 10  # of the unit in the last place: the relative residual below which no correction can be told
CONDITIONED = 1e-2  # of a number that rounding may take of what Woodbury's formula finds, where it is to precondition


@dataclass(frozen=True, eq=False)
class NormalTerm:
    """The part scale A^H W A of a normal equation: what a quadratic term scale/2 <A x, W A x> has for its Hessian.

    `operator` None stands for the identity; `weights` multiply data of A, None for no weights; `scale` is a number or
    a `(*batch,)` tensor.
    """

    operator: LinearOperator | None
    weights: Tensor | None = None
    scale: float | Tensor = 1.0

    def apply(self, x: Tensor, ndim: int) -> Tensor:
        """Return scale A^H W A x."""
        if self.operator is not None:
            part = self.operator.gram(x, self.weights)
        else:
            part = x if self.weights is None else self.weights * x
        return part if isinstance(self.scale, float) and self.scale == 1 else per_item(self.scale, part, ndim) * part

    def numbers(self) -> list[Tensor]:
        """Return the tensors among weights and scale."""
        return [t for t in (self.weights, self.scale) if isinstance(t, Tensor)]

    def parameters(self) -> list[Tensor]:
        """Return all tensors it depends on: those and what the operator holds."""
        held = () if self.operator is None else (*self.operator.parameters(), *self.operator.buffers())
        return [*self.numbers(), *held]

    def diagonal(self) -> Diagonal | None:
        """Return A^H W A where a basis makes it diagonal, without the scale."""
        if self.operator is not None:
            return self.operator.gram_diagonal(self.weights)
        return _ONE if self.weights is None else Diagonal(self.weights, "pixel")

    def estimate(self, basis: Basis | None = None) -> Diagonal | None:
        """Return what A^H A nearly is, without the scale, in a basis if asked for."""
        return _ONE if self.operator is None else self.operator.gram_diagonal_estimate(basis)

    def scaled_estimate(self, ndim: int, basis: Basis | None = None) -> tuple[float | Tensor, Diagonal | None]:
        """Return c and what A^H W A nearly is over c: what A knows of these weights, else of their mean per item."""
        own = None
        if self.operator is not None and self.weights is not None:
            own = self.operator.weighted_gram_estimate(self.weights)
        if own is not None and basis in (None, own.basis):
            return self.scale, own
        return self.mean_scale(ndim), self.estimate(basis)

    def mean_scale(self, ndim: int) -> float | Tensor:
        """Return the scale times the mean weight per item."""
        if self.weights is None:
            return self.scale
        item = ndim if self.operator is None else len(self.operator.range_shape)
        return self.scale * self.weights.double().mean(item_axes(min(item, self.weights.ndim)))


TermLike = NormalTerm | tuple["LinearOperator | None", "Tensor | None", "float | Tensor"]
T = TypeVar("T")
_ONE = Diagonal(torch.ones(()), "any")


@takes_arrays
def solve_normal(
    terms: Sequence[TermLike],
    b: Tensor,
    *,
    x0: Tensor | None = None,
    tol: float = 1e-6,
    reduction: float = 0.0,
    max_iter: int = 1000,
    ndim: int | None = None,
) -> Tensor:
    """Solve (sum_i rho_i A_i^H W_i A_i) x = b for x, per item; `terms` holds `NormalTerm`s or triples (A, W, rho).

    `NormalSystem.solve` for one right-hand side; `ndim` is by default that of the operators' images.
    """
    system = NormalSystem(terms, ndim, like=b)
    return system.solve(b, x0=x0, tol=tol, reduction=reduction, max_iter=max_iter)


class NormalSystem:
    """M = sum_i rho_i A_i^H W_i A_i, prepared to solve M x = b for one b after another.

    The way to solve is chosen once per kind of right-hand side: a closed form where all parts are diagonal in one
    basis, or for rho A^H A + s I with a diagonal A A^H (Woodbury 1950), else conjugate gradients. Their preconditioner
    is that formula with the factors of A A^H, which rounding alone keeps from being the inverse, or every part's
    estimated diagonal. What it works out for that it keeps, unless a part requires a gradient; so operators, weights
    and scales must stay as they are. `ndim`, the number of axes of an item, is by default that of the operators'
    images; `like` is an item where there is no operator. ValueError if there is no term.
    """

    def __init__(self, terms: Sequence[TermLike], ndim: int | None = None, *, like: Tensor | None = None) -> None:
        self.terms = tuple(term if isinstance(term, NormalTerm) else NormalTerm(*term) for term in terms)
        if not self.terms:
            raise ValueError("a system of normal equations needs at least one term")
        if ndim is None:
            operators = (term.operator for term in self.terms)
            ndim = next((len(A.domain_shape) for A in operators if A is not None), None if like is None else like.ndim)
        if ndim is None:
            raise ValueError("a system of normal equations without operators needs ndim, the number of axes of an item")
        self.ndim = ndim
        self._trained = [t for term in self.terms for t in term.parameters() if t.requires_grad]
        self._ways: dict[tuple[torch.dtype, torch.device], _Way] = {}

    def apply(self, x: Tensor) -> Tensor:
        """Return M x."""
        first, *rest = (term.apply(x, self.ndim) for term in self.terms)
        return sum(rest, start=first)

    def closed(self, b: Tensor) -> bool:
        """Say whether right-hand sides of the kind of b have a closed form, which needs no start and no tolerance."""
        return self._way(b).closed is not None

    def solve(
        self,
        b: Tensor,
        *,
        x0: Tensor | None = None,
        tol: float = 1e-6,
        reduction: float = 0.0,
        max_iter: int = 1000,
    ) -> Tensor:
        """Return x with M x = b per item; of least norm where a closed form meets a singular M.

        Conjugate gradients go to the relative residual `tol`, or to `reduction` of the one at x0. Differentiable in b,
        scales and weights, and once in the operators' parameters, by a second solve.
        """
        way = self._way(b)
        if way.closed is not None:
            return way.closed(b)
        settings: dict[str, Any] = {"x0": x0, "tol": tol, "reduction": reduction, "max_iter": max_iter}
        if self._differentiated(b):
            x: Tensor = _ImplicitSolution.apply(b, self, settings, *self._trained)  # type: ignore[no-untyped-call]
            return x
        return self._iterated(b, settings).x

    def correct(self, r: Tensor, *, reduction: float, max_iter: int = 1000) -> tuple[Tensor, Tensor]:
        """Return d with |r - M d| <= reduction |r| per item, and the remainder r - M d.

        Lengths are those of the preconditioner P, |r|^2 = r^H P r, nearly the energy of the error.
        So x + d solves M x = b better than x did, if r = b - M x; who keeps the remainder saves an M x the next time.
        """
        if self.closed(r) or self._differentiated(r):
            d = self.solve(r, tol=ROUNDINGS * torch.finfo(r.dtype).eps, reduction=reduction, max_iter=max_iter)
            return d, r - self.apply(d)
        found = self._iterated(r, {"tol": reduction, "max_iter": max_iter, "preconditioned": True})
        return found.x, found.remainder

    def _differentiated(self, b: Tensor) -> bool:
        return torch.is_grad_enabled() and (b.requires_grad or bool(self._trained))

    def _iterated(self, b: Tensor, settings: dict[str, Any]) -> CGResult:
        return conjugate_gradient(self.apply, b, ndim=self.ndim, preconditioner=self._way(b).preconditioner, **settings)

    def _way(self, b: Tensor) -> _Way:
        """Return how to solve for right-hand sides of the kind of b."""
        kind = (b.dtype, b.device)
        found = self._ways.get(kind)
        if found is None:
            closed, factored = self._by_diagonals(b), None
            if closed is None:
                closed, factored = self._by_rows(b)
            found = _Way(closed, None if closed else factored or self._preconditioner(b))
            if not self._trained:
                self._ways[kind] = found
        return found

    def _by_diagonals(self, b: Tensor) -> Map | None:
        """Return b -> M^-1 b where every part is diagonal in one basis, else None; least norm where M is singular."""
        total = self._total([(term.scale, term.diagonal()) for term in self.terms], b)
        if total is None:
            return None
        zero = total.values == 0
        singular = bool(zero.any())
        inverse = torch.where(zero, 0.0, 1 / torch.where(zero, 1.0, total.values)) if singular else 1 / total.values
        return partial(_multiplied, diagonal=Diagonal(inverse, total.basis), ndim=self.ndim)

    def _by_rows(self, b: Tensor) -> tuple[Map | None, Map | None]:
        """Return b -> M^-1 b for M = rho A^H A + s I, s > 0, from a diagonal and from a factored A A^H, one or neither.

        (rho A^H A + s)^-1 b = (b - rho A^H (rho A A^H + s)^-1 A b) / s (Woodbury 1950), where the difference loses as
        many digits as |rho A^H A| / s has: factors for which it would lose all but two are left alone.
        """
        parts = [term for term in self.terms if term.operator is not None]
        if len(parts) != 1 or any(term.weights is not None for term in self.terms):
            return None, None
        A, rho = parts[0].operator, parts[0].scale
        shift = torch.zeros((), dtype=torch.float64, device=b.device)
        for term in self.terms:
            shift = shift + term.scale if term.operator is None else shift
        if A is None or not bool((shift > 0).all()):
            return None, None
        k, rows, s = len(A.range_shape), A.row_gram_diagonal(), per_item(shift, b, self.ndim)
        if rows is None:
            spectrum = None if self._trained else A.row_spectrum()
            if spectrum is None:
                return None, None
            lost = torch.finfo(b.dtype).eps * torch.as_tensor(rho, device=b.device) * spectrum.values.amax() / shift
            if bool((lost > CONDITIONED).any()):
                return None, None
            shares = _share(torch.as_tensor(rho), shift, spectrum.values)
            return None, lambda b: (b - A.adjoint(spectrum.multiplied(A(b), shares, k))) / s
        y = A.as_data(b.new_empty(A.range_shape))  # of the kind of A b
        rows = _kept_for(y, rows)
        ratios = per_item(rho, y, k) / (per_item(rho, y, k) * rows.values + per_item(shift, y, k))
        inner = Diagonal(ratios, rows.basis)
        return lambda b: (b - A.adjoint(_multiplied(A(b), inner, k))) / s, None

    @torch.no_grad()
    def _preconditioner(self, b: Tensor) -> Map | None:
        """Return v -> M^-1 v with every part's estimated diagonal in place of it, None where one has no estimate."""
        parts = [term.scaled_estimate(self.ndim) for term in self.terms]
        basis = next((e.basis for _, e in parts if e is not None and e.basis != "any"), None)
        parts = [
            term.scaled_estimate(self.ndim, basis) if e is not None and e.basis not in ("any", basis) else (scale, e)
            for term, (scale, e) in zip(self.terms, parts, strict=True)
        ]
        total = self._total(parts, b)
        if total is None or total.basis == "any":
            return None
        floor = FLOOR * total.values.flatten(-self.ndim).amax(-1)
        inverse = 1 / torch.maximum(total.values, floor.reshape(floor.shape + (1,) * self.ndim))
        inverse = torch.where(inverse.isfinite(), inverse, 1.0)
        return partial(_multiplied, diagonal=Diagonal(inverse, total.basis), ndim=self.ndim)

    def _total(self, parts: Sequence[tuple[float | Tensor, Diagonal | None]], b: Tensor) -> Diagonal | None:
        """Return the sum of scaled diagonals if all are known and share a basis, as `_multiplied` wants it for b."""
        total = torch.zeros((), dtype=b.real.dtype, device=b.device)
        basis: Basis = "any"
        for scale, part in parts:
            if part is None or ("any" not in (basis, part.basis) and part.basis != basis):
                return None
            basis = basis if part.basis == "any" else part.basis
            total = torch.addcmul(total, per_item(scale, b, self.ndim), _kept_for(b, part).values.to(total))
        return Diagonal(total, basis)


@dataclass(frozen=True)
class _Way:
    """How a system is solved: in closed form, or else by conjugate gradients with a preconditioner if there is one."""

    closed: Map | None
    preconditioner: Map | None


class _ImplicitSolution(torch.autograd.Function):
    """x = M^-1 b, dx = M^-1 (db - dM x): backwards u = M^-1 g belongs to b, and what -M x gives u to M."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, system: NormalSystem, settings: dict[str, Any], *trained: Tensor) -> Tensor:
        x = system._iterated(b, settings).x
        ctx.save_for_backward(x)
        ctx.system, ctx.trained = system, trained
        ctx.settings = {"tol": settings["tol"], "max_iter": settings["max_iter"]}
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        system: NormalSystem = ctx.system
        u = system.solve(grads[0], **ctx.settings)
        if not ctx.trained:
            return u, None, None
        twice = torch.is_grad_enabled()
        with torch.enable_grad():
            # twins, so that the way from M x back to the parameters does not lead through x as well
            twins = {id(t): t.view_as(t) for term in system.terms for t in term.numbers()}
            terms = [replace(t, weights=_twin(twins, t.weights), scale=_twin(twins, t.scale)) for t in system.terms]
            if any(id(t) not in twins for t in ctx.trained):
                x = x.detach()
                if twice:
                    raise NotImplementedError("solve_normal has no second derivative in an operator's parameters")
            Mx = NormalSystem(terms, system.ndim).apply(x)
        wanted = [twins.get(id(t), t) for t in ctx.trained]
        others = torch.autograd.grad(Mx, wanted, -u, create_graph=twice, allow_unused=True)
        return u, None, None, *others


def _share(rho: Tensor, shift: Tensor, values: Tensor) -> Tensor:
    """Return rho / (rho values + shift), (*batch, M)."""
    rho, shift = (t.to(values)[..., None] for t in (rho, shift))
    return rho / (rho * values + shift)


def _twin(twins: Mapping[int, Tensor], t: T) -> T:
    return cast("T", twins.get(id(t), t))


def _kept_for(x: Tensor, diagonal: Diagonal) -> Diagonal:
    """Return the half of a Fourier diagonal that real x need: a real system is even in frequency."""
    if diagonal.basis != "fourier" or x.is_complex():
        return diagonal
    return Diagonal(diagonal.values[..., : x.shape[-1] // 2 + 1], "fourier")


def _multiplied(x: Tensor, diagonal: Diagonal, ndim: int) -> Tensor:
    """Return B^H diag B x; a Fourier diagonal as `_kept_for` x."""
    values, basis = diagonal.values, diagonal.basis
    if basis == "fourier" and not x.is_complex():
        axes, sizes = item_axes(ndim), x.shape[-ndim:]
        y: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * values, sizes, axes)
        return y
    return from_basis(to_basis(x, basis, ndim) * values, basis, ndim)
