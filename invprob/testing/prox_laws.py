"""The laws of a proximal map: the minimiser, Moreau's identity, firm non-expansiveness, steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from invprob.testing.functional_probe import FunctionalProbe
from invprob.testing.numbers import on_items, relative, size, squares
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule

STEPS = (0.1, 3.0)
ROUNDS = 10  # of a search; one that begins at the true prox ends after the first few
RANDOM = 32  # random directions in each round, beside the axes and the way it came
FAILURES = 4  # rounds without anything lower that end a search


def least(p: FunctionalProbe) -> Iterator[Finding]:
    """tau g(x) + |x - v|^2 / 2 is nowhere smaller than at the prox, and grows from there as strong convexity asks."""
    if not {"value", "prox"} <= p.g.supports or p.own_batch:
        return
    with torch.no_grad():
        for tau in STEPS:
            for v in p.images():
                yield _beaten(p, v, tau)


def _beaten(p: FunctionalProbe, v: Tensor, tau: float) -> Finding:
    """Find by how much anything that a search comes by beats the prox, relative to the tolerance."""

    def objective(x: Tensor) -> Tensor:
        return tau * p.g.value(x).double() + 0.5 * squares(x - v, p.ndim)

    best = p.g.prox(v, tau)
    lowest = float(objective(best))
    if not math.isfinite(lowest):
        return fact(False, f"the value at the prox of step {tau} is {lowest}: the prox leaves the domain")
    slack = p.tol * max(1.0, abs(lowest))
    nearby = torch.stack([v, best + 0.01 * v])
    found = [(nearby, objective(nearby)), *searched(objective, best, p.seed, ROUNDS)]
    for start in (0.9 * v, v, torch.zeros_like(v)):
        found += searched(objective, start, p.seed, ROUNDS // 2)
    tried, reached = (torch.cat(some) for some in zip(*found, strict=True))
    growth = 0.5 * squares(tried - best, p.ndim) * (1.0 if p.convex else 0.0)
    missing = lowest + growth - 2 * (slack * growth).sqrt() - reached
    worst = max(float(missing.max()) / slack, 0.0)
    look = f"for a step {tau} a search finds a point that is lower by {worst * slack:.2g}: a factor of the step?"
    return Finding(worst, 1.0, look)


def searched(
    objective: Callable[[Tensor], Tensor], start: Tensor, seed: int, rounds: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of points, with their values, that a search without derivatives comes by on its way from `start`.

    Each round tries steps of many sizes along the axes, in random directions and on the way it came, all at once
    (Hooke & Jeeves 1961, with random directions), and goes on from the best.
    """
    width = 2 if start.is_complex() else 1
    n = start.numel() * width
    generator = torch.Generator().manual_seed(seed)
    here, before = start, start
    lowest = float(objective(start[None]))
    reach = max(size(start) / math.sqrt(start.numel()), 1e-3)
    sizes = reach * 2.0 ** -torch.arange(0, 28, 4, dtype=torch.float64)
    failures = 0
    for turn in range(rounds):
        random = torch.randn(RANDOM, n, dtype=torch.float64, generator=generator)
        ways = [torch.eye(n, dtype=torch.float64), random]
        moved = _flat(here - before)
        if bool(moved.any()):
            ways.append(moved[None] / moved.norm())
        directions = torch.cat(ways)
        steps = (sizes[:, None, None] * 2.0 ** -(2 * (turn % 2)) * torch.cat([directions, -directions])).reshape(-1, n)
        tried = here + _like(steps, start)
        values = objective(tried)
        yield tried, values
        values = torch.where(values.isnan(), math.inf, values)
        k = int(values.argmin())
        failures = 0 if float(values[k]) < lowest else failures + 1
        if failures == FAILURES:
            return
        if not failures:
            before, here, lowest = here, tried[k], float(values[k])


def _flat(x: Tensor) -> Tensor:
    return (torch.view_as_real(x) if x.is_complex() else x).flatten().double()


def _like(steps: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(steps.reshape(len(steps), *like.shape, 2)).to(like)
    return steps.reshape(len(steps), *like.shape).to(like)


def moreau(p: FunctionalProbe) -> Iterator[Finding]:
    """prox_{tau g}(v) + tau prox_{g* / tau}(v / tau) = v."""
    if "prox" not in p.g.supports or p.own_batch:
        return
    for tau in (0.3, torch.tensor([0.3, 2.0], dtype=torch.float64)):
        for v in p.images((2,)):
            t = on_items(torch.as_tensor(tau, dtype=torch.float64).expand(2), v, p.ndim)
            both = p.g.prox(v, tau) + t * p.g.conjugate_prox(v / t, 1 / tau)
            allowed = p.rounding if p.tol <= 1e-9 else max(p.rounding, min(math.sqrt(p.tol), 1e-4))
            yield Finding(relative(both, v), allowed, "conjugate_prox is not that of g*")


def guessed(p: FunctionalProbe) -> Iterator[Finding]:
    """prox_near(v, tau, guess) is the prox whatever the guess."""
    if "prox" not in p.g.supports:
        return
    for v in p.images((2,)):
        expected = p.g.prox(v, 0.7)
        for guess in (v, torch.zeros_like(v), expected):
            wrong = relative(p.g.prox_near(v, 0.7, guess), expected)
            yield Finding(wrong, max(10 * p.tol, p.rounding), "the guess changes the answer")


def firm(p: FunctionalProbe) -> Iterator[Finding]:
    """|prox v - prox w|^2 <= Re <prox v - prox w, v - w> for a convex g."""
    if "prox" not in p.g.supports or not p.convex:
        return
    for v, w in p.pairs((20,)):
        moved, apart = p.g.prox(v, 0.7) - p.g.prox(w, 0.7), v - w
        product = (moved.conj() * apart).real.double().sum(tuple(range(-p.ndim, 0)))
        excess = (squares(moved, p.ndim) - product - 1e3 * p.tol) / product.abs().clamp(min=1e-300)
        look = "two points come apart: g is not convex (say convex = False), or this is no prox"
        yield Finding(float(excess.max()), max(1e-9, p.rounding), look)


def steps(p: FunctionalProbe) -> Iterator[Finding]:
    """A step 0 leaves the point, a constraint leaves what fulfils it; steps are per item."""
    if "prox" not in p.g.supports:
        return
    for v in p.images((2,)):
        if p.constraint:
            inside = p.g.prox(v, 1.0)
            yield Finding(relative(p.g.prox(inside, 5.0), inside), 0.0, "the prox of a feasible point is another one")
            continue
        small = 1e-6 if p.single else 1e-14
        outside = "value" in p.g.supports and not bool(p.g.value(v).isfinite().all())
        v = p.g.prox(v, 1.0) if outside else v  # a step of 0 brings to the domain what lies outside
        yield Finding(relative(p.g.prox(v, 0.0), v), small, "a step 0 moves the point")
        if p.make is not None:
            yield Finding(relative(p.make(0.0).prox(v, 3.0), v), small, "a weight 0 moves the point")
        if p.own_batch:
            continue
        some = p.g.prox(v, torch.tensor([0.0, 3.0]))
        yield Finding(relative(some[0], v[0]), small, "with steps (0, 3) the first item moves")
        yield fact(
            relative(some[1], v[1]) > 1e-3 or p.degree == 0 or outside, "with steps (0, 3) the second item stays"
        )


INNER = 1e-4  # what a linear system solved to 1e-6 of its right-hand side leaves beside v


def stationary(p: FunctionalProbe) -> Iterator[Finding]:
    """tau grad g(p) + p = v where there is a gradient."""
    if not {"grad", "prox"} <= p.g.supports or p.own_batch:
        return
    tau = torch.tensor([0.3, 4.0], dtype=torch.float64)
    for v in p.images((2,)):
        best = p.g.prox(v, tau)
        pull = on_items(tau, v, p.ndim) * p.g.grad(best)
        wrong = size(pull + best - v) / max(size(pull) + size(v), 1e-300)
        yield Finding(
            wrong, max(INNER, 10 * p.tol), "tau grad g(p) + p - v is not zero at the prox: grad or prox is wrong"
        )


PROX_RULES = (
    Rule("prox", "no search beats the prox, and from there the objective grows as it must", least),
    Rule("moreau", "prox and conjugate_prox add up to the point", moreau),
    Rule("guess", "prox_near gives the prox, wherever its search begins", guessed),
    Rule("non-expansive", "the prox brings no two points apart", firm),
    Rule("steps", "a step of 0 leaves the point; steps are per item", steps),
    Rule("stationary", "tau grad g(p) + p = v at the prox p", stationary),
)
