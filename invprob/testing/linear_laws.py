"""The laws of linear operators: adjoint, matrix, complex numbers, derivatives, scipy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from invprob.linop import LinearOperator
from invprob.linop.algebra import Adjoint
from invprob.linop.forward_mode import load_rules, value_and_derivative
from invprob.linop.module import COMPLEX_OF
from invprob.testing.numbers import mismatch, normal, product, relative, size
from invprob.testing.operator_probe import Door, OperatorProbe
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule


def linearity(p: OperatorProbe) -> Iterator[Finding]:
    """A(a x + b z) = a A x + b A z."""
    for door in p.doors:
        x, z = p.draw(door), p.draw(door, seed=3)
        a, b = (0.7 - 1.1j, 0.4j) if x.is_complex() and not p.over_reals else (0.7, -1.3)
        expected = a * door.call(x) + b * door.call(z)
        yield Finding(relative(door.call(a * x + b * z), expected), 10 * p.rounding, f"{door.name} is not linear")
        yield fact(not bool(door.call(torch.zeros_like(x)).any()), f"{door.name} of zero is not zero: an offset?")


def adjoint(p: OperatorProbe) -> Iterator[Finding]:
    """<A x, y> = <x, A^H y>, in single items and batches, real and complex."""
    if not p.matched:
        return
    A = _linear(p)
    kinds = (False,) if p.over_reals else (False, True)
    for batch in ((), (2,)):
        for as_complex in kinds:
            x, y = p.image(batch, as_complex=as_complex), p.data(batch, as_complex=as_complex)
            wrong = mismatch(A, x, y, over_reals=p.over_reals)
            yield Finding(wrong, p.rounding, _what_is_wrong(A, x, y) if wrong > p.rounding else "")


def _what_is_wrong(A: LinearOperator, x: Tensor, y: Tensor) -> str:
    """Say in what way <A x, y> and <x, A^H y> differ, so that the mistake is found."""
    Ax, pulled = A(x), A.adjoint(y)
    if Ax.shape != y.shape or pulled.shape != x.shape:
        return f"A gives {tuple(Ax.shape)} and the adjoint {tuple(pulled.shape)}; they need {y.shape} and {x.shape}"
    if x.is_complex() and not bool(Ax.imag.any()):
        return "_forward drops the imaginary part"
    if y.is_complex() and not bool(pulled.imag.any()):
        return "_adjoint drops the imaginary part"
    # seen from the range of A: <A x, A z> against <x, A^H A z>, which a wrong factor leaves in proportion
    z = torch.roll(x, 1, -1) + x
    seen = A(z)
    left, right = product(Ax, seen), product(x, A.adjoint(seen))
    other = product(A(x.flip(-1)), seen), product(x.flip(-1), A.adjoint(seen))
    if abs(left) > 0 and abs(other[0]) > 0:
        factors = right.conjugate() / left.conjugate(), other[1].conjugate() / other[0].conjugate()
        if abs(factors[0] - factors[1]) <= 1e-3 * abs(factors[0]):
            return _factor(factors[0], A)
    if A.is_complex and abs(product(Ax, y) - product(x, pulled).conjugate()) <= 1e-4 * size(Ax) * size(y):
        return "the adjoint is conjugated: A^H is the conjugate transpose"
    return (
        "_adjoint is not the conjugate transpose of _forward: leave it out and it is derived, or compare the matrices"
    )


def _factor(factor: complex, A: LinearOperator) -> str:
    """Say which factor the adjoint has too much, and where it may come from."""
    if abs(factor.imag) > 1e-3 * abs(factor):
        return f"the adjoint is the true one times {factor:.3g}: a missing conjugate of a factor?"
    c = factor.real
    counts = {"the number of pixels": A.domain_shape, "the number of data": A.range_shape}
    for what, shape in counts.items():
        n = math.prod(shape)
        for name, value in (("", float(n)), ("the root of ", math.sqrt(n))):
            if n > 1 and any(math.isclose(c, v, rel_tol=1e-3) for v in (value, 1 / value)):
                word = "too large" if c > 1 else "too small"
                return f"the adjoint is {word} by {name}{what}, {n}: a missing 1/N (norm='ortho' in an FFT)?"
    if c < 0:
        return f"the adjoint is the true one times {c:.3g}: a sign?"
    word, by = ("too large", c) if c > 1 else ("too small", 1 / c if c else math.inf)
    return f"the adjoint is {word} by {by:.2f}: a missing 1/N or a factor left out?"


def matrix(p: OperatorProbe) -> Iterator[Finding]:
    """Small operators against their dense matrix."""
    if not p.small or p.over_reals:
        return
    A, M = _linear(p), p.matrix
    x, y = p.image(as_complex=True), p.data(as_complex=True)
    wide = M.to(x.dtype)
    yield Finding(relative(A(x).cpu().flatten(), wide @ x.cpu().flatten()), p.nearby, "A is not its matrix")
    if p.matched:
        expected = wide.mH @ y.cpu().flatten()
        back = Finding(relative(A.adjoint(y).cpu().flatten(), expected), p.nearby, "A^H is not M^H")
        yield back
        if back.passed:  # else gram may be wrong by that alone
            expected = wide.mH @ (wide @ x.cpu().flatten())
            yield Finding(relative(A.gram(x).cpu().flatten(), expected), p.nearby, "gram is not M^H M")
    if A.nonnegative:
        below = -float(M.real.min()) / max(float(M.abs().max()), 1e-300)
        yield Finding(below, p.nearby, "an entry is negative: nonnegative = True is not so")
        yield fact(not A.is_complex, "nonnegative = True and yet complex")


def adjoint_operator(p: OperatorProbe) -> Iterator[Finding]:
    """A.H as an operator."""
    A = _linear(p)
    A = A.H if isinstance(A, Adjoint) else A  # of an adjoint, look at what it is made of
    yield fact(A.H.H is A, "A.H.H is another object")
    shapes = (A.H.domain_shape, A.H.range_shape) == (A.range_shape, A.domain_shape)
    yield fact(shapes, "the shapes of A.H are not those of A exchanged")
    kinds = (A.H.complex_domain, A.H.complex_range) == (A.complex_range, A.complex_domain)
    yield fact(kinds, "A.H is complex where A is not")
    H, x, y = _linear(p).H, p.image(), p.data()
    yield Finding(relative(H(y), _linear(p).adjoint(y)), 0.0, "A.H(y) is not A.adjoint(y)")
    yield Finding(relative(H.adjoint(x), _linear(p)(x)), 0.0, "A.H.adjoint(x) is not A(x)")


def complex_numbers(p: OperatorProbe) -> Iterator[Finding]:
    """A real operator acts on both parts, a complex one promotes; nothing drops an imaginary part."""
    A = _linear(p)
    if p.over_reals:
        return
    for door in p.doors:
        t = p.draw(door, as_complex=True)
        whole, real, imag = door.call(t), door.call(t.real), door.call(t.imag)
        yield fact(whole.dtype == COMPLEX_OF[A.dtype], f"{door.name} of complex input gives {whole.dtype}")
        due = COMPLEX_OF[A.dtype] if A.is_complex else A.dtype
        look = f"{door.name} of real input gives {real.dtype}, {due} is due"
        yield fact(real.dtype == due, look)
        gone = whole.is_complex() and not bool(whole.imag.any()) and bool(imag.real.any())
        look = f"{door.name} drops the imaginary part" if gone else f"{door.name} mixes real and imaginary parts"
        yield Finding(relative(whole, real + 1j * imag), 10 * p.rounding, look)


def autograd(p: OperatorProbe) -> Iterator[Finding]:
    """The derivative of A is A, backwards A^H, twice again A."""
    if not p.matched:
        return
    A = _linear(p)
    back = {"A": A.adjoint, "A^H": A.__call__, "gram": A.gram}
    for door in p.doors:
        for as_complex in (False, True) if door.name == "A" and not p.over_reals else (False,):
            t = p.draw(door, (2,), as_complex=as_complex).requires_grad_()
            yield from _pulled(p, door, back[door.name], t)
    if A.is_complex and not p.over_reals:
        yield from _pulled(p, p.doors[0], A.adjoint, p.image((2,)).real.clone().requires_grad_())
    if not p.single and p.small:
        yield from _by_differences(p)


def _pulled(p: OperatorProbe, door: Door, back: object, t: Tensor) -> Iterator[Finding]:
    out = door.call(t)
    if not out.requires_grad:
        yield fact(False, f"{door.name} loses the gradient: detach or numpy inside? Set traceable = False")
        return
    v = normal(out.shape, out.dtype, p.seed + 8).to(out.device).requires_grad_()
    (g,) = torch.autograd.grad(out, t, v, create_graph=True)
    expected = back(v.detach())  # type: ignore[operator]
    expected = expected if t.is_complex() else expected.real
    yield Finding(relative(g, expected), p.nearby, f"the gradient of {door.name} is not its adjoint")
    w = normal(g.shape, g.dtype, p.seed + 9).to(g.device)
    (twice,) = torch.autograd.grad(g, v, w)
    yield Finding(relative(twice, door.call(w).to(twice.dtype)), p.nearby, f"the second derivative of {door.name}")


def _by_differences(p: OperatorProbe) -> Iterator[Finding]:
    """torch's own checks, on A / |A| as they take steps of fixed size."""
    load_rules()
    scale = 1 / p.largest if p.largest > 0 else 1.0
    for door in p.doors:
        factor = scale**2 if door.name == "gram" else scale
        t = p.draw(door).requires_grad_()

        def scaled(t: Tensor, door: Door = door, factor: float = factor) -> Tensor:
            return factor * door.call(t)

        with torch.random.fork_rng(devices=[]):  # they draw from the global generator
            torch.manual_seed(p.seed)
            gradcheck(scaled, t, check_forward_ad=not p.points, fast_mode=True)  # torch nests no forward derivatives
            gradgradcheck(scaled, t, fast_mode=True)
    yield fact(True)


def functional(p: OperatorProbe) -> Iterator[Finding]:
    """torch.func looks through: vmap is the batch, vjp the adjoint, jvp the map."""
    A = _linear(p)
    x, u, y = p.image((3,)), p.image((3,), seed=5), p.data((3,))
    yield Finding(relative(torch.func.vmap(A)(x), A(x)), p.nearby, "vmap(A) differs from A of a batch")
    mapped = torch.func.vmap(A.adjoint, in_dims=1)(y.movedim(0, 1))
    yield Finding(relative(mapped, A.adjoint(y)), p.nearby, "vmap(A.adjoint) differs from A.adjoint of a batch")
    value, tangent = value_and_derivative(A, x, u)
    yield Finding(relative(value, A(x)), 0.0, "jvp changes the value")
    yield Finding(relative(tangent, A(u)), p.nearby, "torch.func.jvp is not A u")
    yield fact(bool(torch.equal(A.jvp(x, u), A(u))), "A.jvp is not A u")
    if not p.matched:
        return
    pull = torch.func.vjp(A, x)[1]
    yield Finding(relative(pull(y)[0], A.adjoint(y)), p.nearby, "torch.func.vjp is not A^H y")
    each = torch.func.vmap(lambda b, v: torch.func.vjp(A, b)[1](v)[0])(x, y)
    yield Finding(relative(each, A.adjoint(y)), p.nearby, "vjp under vmap is not A^H y")
    yield fact(bool(torch.equal(A.vjp(x, y), A.adjoint(y))), "A.vjp is not A^H y")


def scipy(p: OperatorProbe) -> Iterator[Finding]:
    """There and back through scipy."""
    A = _linear(p)
    if not p.small or p.over_reals or A.complex_domain != A.complex_range:
        return
    L, x, y, two = A.as_scipy(), p.image(), p.data(), p.image((2,))
    yield fact(L.shape == (y.numel(), x.numel()), f"as_scipy() has the shape {L.shape}")
    yield fact(L.dtype == np.dtype(str(A.range_dtype)[6:]), f"as_scipy() has the dtype {L.dtype}")
    back = LinearOperator.from_scipy(L, A.domain_shape, A.range_shape)
    yield fact((back.dtype, back.is_complex) == (A.dtype, A.is_complex), "from_scipy(A.as_scipy()) is of another kind")
    pairs = (
        (torch.from_numpy(L @ x.flatten().cpu().numpy()), A(x).flatten()),
        (torch.from_numpy(L.H @ y.flatten().cpu().numpy()), A.adjoint(y).flatten()),
        (torch.from_numpy(L @ two.flatten(1).T.cpu().numpy()), A(two).flatten(1).T),
        (back(two.cpu()), A(two)),
        (back.adjoint(y.cpu()), A.adjoint(y)),
    )
    for found, expected in pairs:
        yield Finding(relative(found, expected.cpu()), p.rounding, "as_scipy() computes something else")


def _linear(p: OperatorProbe) -> LinearOperator:
    if p.linear is None:
        raise TypeError(f"{type(p.A).__name__} is not linear")
    return p.linear


LINEAR_RULES = (
    Rule("linearity", "A(a x + b z) = a A x + b A z", linearity),
    Rule("adjoint", "<A x, y> = <x, A^H y>", adjoint),
    Rule("matrix", "A, A^H and gram are products with one matrix and its conjugate transpose", matrix),
    Rule("adjoint operator", "A.H is the adjoint as an operator, and A.H.H is A", adjoint_operator),
    Rule("complex", "acts on real and imaginary parts, and drops neither", complex_numbers),
    Rule("autograd", "its gradient is its adjoint, twice differentiable", autograd),
    Rule("torch.func", "vmap, vjp and jvp of torch.func agree with it", functional),
    Rule("scipy", "as_scipy() and from_scipy() are the same operator", scipy),
)
