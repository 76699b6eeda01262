"""The laws of functionals: abilities, values, gradients, weights, batches, precision, terms."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from invprob.functional import ABILITIES, require
from invprob.testing.functional_probe import FunctionalProbe, asked
from invprob.testing.numbers import LOUD, alone, normal, pure, relative, squares
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule

FACTORS = (1e-8, 1e8)


def abilities(p: FunctionalProbe) -> Iterator[Finding]:
    """`supports` is what does not raise; the rest says what is missing."""
    g, name = p.g, type(p.g).__name__
    x = next(p.images(inside=True))
    for ability in ABILITIES:
        if ability in g.supports:
            p.call(ability, x)
            require(g, ability, p)
            continue
        asks: list[tuple[Callable[[], object], str]] = [
            (partial(p.call, ability, x), f"has no {ability}; it has"),
            (partial(require, g, ability, p), f"needs the {ability} of {name}, which has"),
        ]
        for ask, due in asks:
            try:
                ask()
            except TypeError as error:
                yield fact(due in str(error), f"a missing {ability} must say '{due}', it says '{error}'")
            else:
                yield fact(False, f"{ability} is not in supports and yet works")
    smooth = "grad" in g.supports
    yield fact(smooth or g.lipschitz() is None, "a Lipschitz constant without a gradient")
    yield fact(smooth or g.normal_term() is None, "a Hessian without a gradient")


def values(p: FunctionalProbe) -> Iterator[Finding]:
    """One number per item."""
    if "value" not in p.g.supports:
        return
    for batch in ((), (2,), (2, 3)):
        for x in p.images(batch, inside=True):
            value = p.g.value(x)
            due = (*batch, *p.own_batch)
            yield fact(value.shape == due, f"value gives {tuple(value.shape)} for a batch {due}: sum over all items?")
            yield fact(value.dtype == p.dtype, f"value gives {value.dtype} for {x.dtype}")
            yield fact(not bool(value.isnan().any()), "value is NaN")
            if batch and value.shape == due:
                last, alone_there = value[(-1,) * len(batch)], p.g.value(x[(-1,) * len(batch)])
                yield Finding(_apart(last, alone_there), p.rounding, "an item alone differs")


def _apart(found: Tensor, expected: Tensor) -> float:
    """Return the relative difference; none between infinite values."""
    return 0.0 if bool(torch.equal(found, expected)) else relative(found, expected)


def gradient(p: FunctionalProbe) -> Iterator[Finding]:
    """grad is the derivative of value, by autograd and by differences."""
    if not {"value", "grad"} <= p.g.supports:
        return
    for x in p.images((2,), inside=True):
        g = p.g.grad(x)
        yield fact((g.shape, g.dtype) == (x.shape, x.dtype), f"grad gives {tuple(g.shape)} {g.dtype}")
        t = x.clone().requires_grad_()
        value = p.g.value(t).sum()
        if value.requires_grad:
            (expected,) = torch.autograd.grad(value, t)
            yield Finding(relative(g, expected), p.rounding, "grad is not the derivative of value, by autograd")
        yield Finding(_slope_error(p, x, g), 3e-2 if p.single else 1e-5, "grad is not the derivative, by differences")


def _slope_error(p: FunctionalProbe, x: Tensor, g: Tensor) -> float:
    """Return the least relative error of central differences along a random direction over a range of steps."""
    u = normal(x.shape, x.dtype, p.seed + 5).to(x.device)
    u = u * (0.1 * x.abs().amin() if p.positive else 1) / u.abs().max()
    slope = (g.conj() * u).real.double().sum(tuple(range(-p.ndim, 0)))
    scale = (squares(g, p.ndim) * squares(u, p.ndim)).sqrt().clamp(min=1e-300)
    errors = []
    for k in range(1, 7):
        h = 10.0**-k
        found = (p.g.value(x + h * u).double() - p.g.value(x - h * u).double()) / (2 * h)
        errors.append(float(((found - slope).abs() / scale).max()))
    return min(errors)


def smoothness(p: FunctionalProbe) -> Iterator[Finding]:
    """|grad g(x) - grad g(z)| <= L |x - z| per item."""
    L = p.g.lipschitz() if "grad" in p.g.supports else None
    if L is None:
        return
    for x, z in p.pairs((2,), inside=True):
        change = squares(p.g.grad(x) - p.g.grad(z), p.ndim).sqrt()
        room = torch.as_tensor(L, dtype=torch.float64) * squares(x - z, p.ndim).sqrt()
        excess = (change / room.expand_as(change).clamp(min=1e-300))[change > 0]
        yield Finding(float(excess.max()) if len(excess) else 0.0, 1 + p.rounding, "lipschitz() is too small")


def weights(p: FunctionalProbe) -> Iterator[Finding]:
    """A weight per item is the weight of that item alone, and so is a step."""
    if p.make is None:
        return
    lam = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    tau = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    g = p.make(lam)
    for x in p.images((3,), inside=True):
        whole = {ability: asked(g, ability, x, tau) for ability in ABILITIES if ability in g.supports}
        for k in range(3):
            one = p.make(float(lam[k]))
            for ability, together in whole.items():
                single = asked(one, ability, x[k], float(tau[k]))
                look = f"{ability} with a weight per item differs from that of item {k} alone"
                yield Finding(_apart(together[k], single), p.rounding, look)


def scale(p: FunctionalProbe) -> Iterator[Finding]:
    """g(c x) = c^d g(x), so prox_{tau g}(c v) = c prox_{tau c^(d-2) g}(v)."""
    if p.degree is None or p.single:
        return
    d, g = p.degree, p.g
    for c in FACTORS:
        for x in p.images(inside=True):
            if "value" in g.supports:
                look = f"g(c x) is not c^{d} g(x) for c = {c:g}: an absolute threshold or epsilon?"
                yield Finding(_apart(g.value(c * x), c**d * g.value(x)), 1e-9, look)
            if "prox" in g.supports:
                scaled = g.prox(c * x, 0.7 * c ** (2 - d))
                look = f"the prox does not scale with the point, c = {c:g}: an absolute threshold or epsilon?"
                yield Finding(relative(scaled, c * g.prox(x, 0.7)), 1e-9, look)


def batches(p: FunctionalProbe) -> Iterator[Finding]:
    """Items of a batch do not know each other."""
    g = p.g
    if p.own_batch:
        return
    allowed = p.rounding if p.single else max(p.rounding, 10 * p.tol)
    for x in p.images((3,), inside=True):
        if "value" in g.supports and bool(g.value(LOUD * x).isfinite().all()):
            yield from alone(g.value, x, allowed, "value", LOUD)
        if "grad" in g.supports:
            yield from alone(g.grad, x, allowed, "grad", LOUD)
        if "prox" in g.supports:
            yield from alone(lambda v: g.prox(v, 0.7), x, allowed, "prox", LOUD)


def purity(p: FunctionalProbe) -> Iterator[Finding]:
    """Same input, same bits, of the same precision."""
    g = p.g
    with torch.no_grad():
        for x in p.images((2,), inside=True):
            for ability in ABILITIES:
                if ability not in g.supports:
                    continue
                out = p.call(ability, x)
                due = x.real.dtype if ability == "value" else x.dtype
                yield fact(out.dtype == due, f"{ability} of {x.dtype} gives {out.dtype}")
                if ability != "value":
                    yield fact(out.shape == x.shape, f"{ability} gives {tuple(out.shape)} for {tuple(x.shape)}")
                yield from pure(partial(p.call, ability), x, ability, own_memory=False)


def parts(p: FunctionalProbe) -> Iterator[Finding]:
    """What splitting solvers see is the same functional: sum g_i(C_i x)."""
    g = p.g
    for x in p.images((2,), inside=True):
        terms = g.terms(x)
        if "value" not in g.supports:
            yield fact([(t.functional, t.operator) for t in terms] == [(g, None)], "terms() of what has no value")
            continue
        total = sum((t.functional.value(t.apply(x)) for t in terms), start=torch.zeros_like(g.value(x)))
        same = bool((total == g.value(x)).all())
        yield Finding(0.0 if same else relative(total, g.value(x)), p.rounding, "terms() do not add up to value")
        for term in terms:
            Cx = term.apply(x)
            expected = x if term.operator is None else term.operator.gram(x)
            yield Finding(relative(term.pull(Cx), expected), p.rounding, "a term's pull is not its adjoint")
            quadratic = term.normal_term()
            if quadratic is not None and "grad" in term.functional.supports:
                slope = term.pull(term.functional.grad(Cx) - term.functional.grad(torch.zeros_like(Cx)))
                hessian = quadratic.apply(x, p.ndim)
                yield Finding(relative(hessian, slope), p.rounding, "normal_term() is not the Hessian")


def copies(p: FunctionalProbe) -> Iterator[Finding]:
    """A copy is the same functional."""
    g, x = p.g, next(p.images(inside=True))
    twins = [copy.deepcopy(g)]
    if p.pickles:
        twins.append(pickle.loads(pickle.dumps(g)))
    for twin in twins:
        yield fact(twin.supports == g.supports, "a copy has other abilities")
        if "value" in g.supports:
            yield fact(bool(torch.equal(twin.value(x), g.value(x))), "a copy has another value")
    yield fact(type(g).__name__ in repr(g), "repr does not name the class")


FUNCTIONAL_RULES = (
    Rule("abilities", "has what `supports` says, and says by name what it has not", abilities),
    Rule("value", "one number per item of the batch", values),
    Rule("gradient", "grad is the derivative of value", gradient),
    Rule("lipschitz", "the gradient changes no faster than lipschitz() says", smoothness),
    Rule("weights", "weights and steps per item are those of the item alone", weights),
    Rule("scale", "g(c x) = c^degree g(x), and the prox follows", scale),
    Rule("batches", "treats every item of a batch as if it were alone", batches),
    Rule("purity", "gives the same bits for the same input, in its precision, and leaves it as it was", purity),
    Rule("terms", "terms() add up to it, normal_term() is its Hessian", parts),
    Rule("copies", "a copy is the same functional", copies),
)
