"""The laws of every operator, linear or not: doors, batches, purity, precision, copies, what it says of itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from invprob.linop import Channels, DataKind, LinearOperator, Operator
from invprob.linop.module import COMPLEX_OF
from invprob.testing.numbers import LOUD, Function, alone, product, pure, relative, size
from invprob.testing.operator_probe import Door, OperatorProbe
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule

NARROW = (torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
WIDE = (torch.float64, torch.complex128)


def finite(p: OperatorProbe) -> Iterator[Finding]:
    """Numbers come out where numbers go in."""
    with torch.no_grad():
        for door in p.doors:
            try:
                out = door.call(p.draw(door))
            except Exception:  # which the other laws tell
                continue
            bad = int((~out.isfinite()).sum())
            kind = "NaN" if bool(out.isnan().any()) else "infinite"
            what = "random data" if door.name == "A^H" else "a random image"
            domain = p.linear is None and p.around is None
            hint = ": give around=x, an image that it takes, if it does not take all" if domain else ""
            yield fact(bad == 0, f"{door.name} gives {kind} in {bad} of {out.numel()} values of {what}{hint}")


def shapes(p: OperatorProbe) -> Iterator[Finding]:
    """Right shapes come out, wrong ones are told."""
    for door in p.doors:
        out = door.call(p.draw(door)).shape
        due = (*p.own_batch, *door.shape_out)
        yield fact(out == due, f"{door.name} gives {tuple(out)} where {due} is due")
        wrong = (*door.shape_in[:-1], door.shape_in[-1] + 1)
        words = (type(p.A).__name__, ", ".join(map(str, door.shape_in)), ", ".join(map(str, wrong)))
        yield _told(door, wrong, words, p.A)
        yield _told(door, (), ("expects",), p.A)


def _told(door: Door, shape: tuple[int, ...], words: tuple[str, ...], A: Operator) -> Finding:
    try:
        door.call(torch.zeros(shape, dtype=A.dtype, device=A.device))
    except ValueError as error:
        missing = [word for word in words if word not in str(error)]
        return fact(not missing, f"{door.name}: the message about the shape {shape} does not name {missing}")
    except Exception as error:  # anything else is what this law is about
        return fact(False, f"{door.name} answers the shape {shape} with {type(error).__name__}, not with ValueError")
    return fact(False, f"{door.name} takes the shape {shape}: call A(x), which checks, and not A.forward or _forward")


def batches(p: OperatorProbe) -> Iterator[Finding]:
    """Items of a batch do not know each other."""
    loud = LOUD if p.linear else 2.0
    for door in p.doors:
        t = p.draw(door, (2, 3))
        out = door.call(t)
        wanted = (2, 3, *p.own_batch, *door.shape_out)
        yield fact(out.shape == wanted, f"{door.name}: a batch (2, 3) gives {tuple(out.shape)}, {wanted} is due")
        yield Finding(relative(out[1, 2], door.call(t[1, 2])), p.nearby, f"{door.name}: an item alone differs")
        none = door.call(t[:, :0]).shape
        yield fact(none == (2, 0, *wanted[2:]), f"{door.name}: a batch of no item gives {tuple(none)}")
        turned = relative(door.call(t.transpose(0, 1)), out.transpose(0, 1))
        yield Finding(turned, p.nearby, f"{door.name}: strides matter; use reshape, not view")
        yield from alone(door.call, p.draw(door, (3,)), p.nearby, door.name, loud)


def purity(p: OperatorProbe) -> Iterator[Finding]:
    """Nothing is remembered, nothing is changed."""
    with torch.no_grad():
        for door in p.doors:
            yield from pure(door.call, p.draw(door, (2,)), door.name)


def precision(p: OperatorProbe) -> Iterator[Finding]:
    """Lower precision is converted, higher is refused with the way out."""
    A = p.A
    for door in p.doors:
        t = p.draw(door)
        out = door.call(t).dtype
        as_told = A.range_dtype if door.shape_out is A.range_shape else A.domain_dtype
        as_told = as_told if p.linear is None or not t.is_complex() else COMPLEX_OF[A.dtype]
        yield fact(out == as_told, f"{door.name} gives {out} where the operator says {as_told}")
        for narrow in NARROW:
            low = (t.real > 0).to(narrow)
            yield Finding(relative(door.call(low), door.call(low.to(A.dtype))), 0.0, f"{door.name} of {narrow} differs")
        for wide in WIDE if p.single else ():
            yield _refused(door, t.real.to(wide), (type(A).__name__, f"A.to({wide})"))


def _refused(door: Door, t: Tensor, words: tuple[str, ...]) -> Finding:
    try:
        door.call(t)
    except TypeError as error:
        return fact(all(word in str(error) for word in words), f"{door.name} refuses {t.dtype} without naming {words}")
    return fact(False, f"{door.name} takes {t.dtype} and loses its digits")


def conversion(p: OperatorProbe) -> Iterator[Finding]:
    """A.to changes the precision and nothing else."""
    A, x = p.A, p.image()
    before = A(x)
    targets = WIDE if p.single else (torch.float32, torch.complex64)
    for target in targets:
        other = copy.deepcopy(A)
        yield fact(other.to(target) is other, "A.to(...) must return A")
        yield fact(
            other.dtype != A.dtype, f"after A.to({target}) the precision is still {other.dtype}: a part was left behind"
        )
        kinds = (other.complex_domain, other.complex_range) == (A.complex_domain, A.complex_range)
        yield fact(kinds, "A.to(...) changes real into complex or back")
        try:
            there = other(x.to(other.domain_dtype))
        except Exception as error:  # whatever the functions raise
            look = (
                f"after A.to({target}) it fails: tensors that the functions hold must follow, as in M.to(x) "
                f"({type(error).__name__}: {error})"
            )
            yield Finding(1.0, 0.0, look, error)
            continue
        yield fact(there.dtype == other.range_dtype, f"after A.to({target}) it gives {there.dtype}")
        yield Finding(relative(there, before), 2e-5, f"after A.to({target}) it computes something else")
        other.to(A.dtype)
        yield Finding(
            relative(other(x), before), 0.0 if p.single else 2e-5, "there and back, it computes something else"
        )
    yield fact(bool(torch.equal(A(x), before)), "a copy that changes its precision changes the operator: shared state")


def copies(p: OperatorProbe) -> Iterator[Finding]:
    """A deep copy, and a pickled one where promised, is the same operator."""
    x = p.image()
    before = p.A(x)
    twins: list[Operator] = [copy.deepcopy(p.A)]
    if p.pickles:
        twins.append(pickle.loads(pickle.dumps(p.A)))
    for twin in twins:
        yield fact(bool(torch.equal(twin(x), before)), "a copy computes something else")
        if isinstance(twin, LinearOperator) and p.linear is not None and p.small:
            yield fact(bool(torch.equal(twin.norm(), p.linear.norm())), "a copy has another norm")


def description(p: OperatorProbe) -> Iterator[Finding]:
    """The operator says what it is in one line."""
    text = repr(p.A)
    yield fact("\n" not in text, "repr(A) has several lines: write extra_repr")
    leaves = [part for part in p.A.modules() if isinstance(part, Operator) and not list(part.children())]
    for leaf in leaves:
        yield fact(repr(leaf) in text, f"repr(A) does not show its part {leaf!r}")
    yield from _config(p)


def _config(p: OperatorProbe) -> Iterator[Finding]:
    try:
        config = p.A.config()
    except TypeError:
        return  # it cannot be written to a file, and says so
    twin = type(p.A)(**config, dtype=p.A.dtype).to(p.A.device)
    yield fact(repr(twin) == repr(p.A), "type(A)(**A.config()) is described otherwise: an argument is missing")
    same = torch.equal(twin(p.image()), p.A(p.image()))
    yield fact(bool(same), "type(A)(**A.config()) computes something else: an argument is missing in config()")


def words(p: OperatorProbe) -> Iterator[Finding]:
    """What the operator says of its data and its image is said in the words there are."""
    A = p.A
    yield fact(A.data_kind in get_args(DataKind), f"data_kind {A.data_kind!r} is none of {get_args(DataKind)}")
    yield fact(A.channels in (None, *get_args(Channels)), f"channels {A.channels!r} is none of {get_args(Channels)}")
    yield fact(0 <= A.view_axes <= len(A.range_shape), f"view_axes {A.view_axes} exceeds the axes of the data")
    yield fact(1 <= A.grid.ndim <= len(A.domain_shape), f"a grid of {A.grid.ndim} axes for images {A.domain_shape}")
    if A.channels is None and not list(A.children()):
        yield fact(A.grid.ndim == len(A.domain_shape), f"a grid of {A.grid.ndim} axes for images {A.domain_shape}")
    y = A(p.image())
    for doubts in (A.doubts(), A.doubts(y[(0,) * len(p.own_batch)])):
        plain = isinstance(doubts, list) and all(isinstance(doubt, str) for doubt in doubts)
        yield fact(plain, "doubts() must return a list of sentences")


def degree(p: OperatorProbe) -> Iterator[Finding]:
    """A(c x) = c^d A(x) for c > 0, which normalising the data relies on."""
    d, x = p.A.degree, p.image()
    if d is None:
        return
    for c in (0.5, 4.0):
        look = f"degree says {d}; set degree = None if no such number is known"
        yield Finding(relative(p.A(c * x), c**d * p.A(x)), 10 * p.rounding, look)


def derivative(p: OperatorProbe) -> Iterator[Finding]:
    """Of a nonlinear operator: J by finite differences, J^H by J, linearised(x) by both."""
    if p.linear is not None:
        return
    A, x, u, v = p.A, p.image((2,)), p.image((2,), seed=5), p.data((2,))
    if p.around is not None:
        u = u - p.A.as_image(p.around)
    pushed, pulled = A.jvp(x, u), A.vjp(x, v)
    yield fact(pushed.shape == A(x).shape, f"jvp gives {tuple(pushed.shape)}, {tuple(A(x).shape)} is due")
    yield fact(pulled.shape == x.shape, f"vjp gives {tuple(pulled.shape)}, {tuple(x.shape)} is due")
    look = "jvp is not the derivative of _forward (differences halve their error with the step as they should not)"
    yield Finding(_slope_error(A, x, u, pushed), 1e-2 if p.single else 1e-5, look)
    gap = abs(product(pushed, v).real - product(u, pulled).real) / max(size(pushed) * size(v), 1e-300)
    yield Finding(gap, p.nearby, "<J u, v> = <u, J^H v> fails: vjp and jvp are not of one derivative")
    at_x = A.linearised(x)
    yield Finding(relative(at_x(u), pushed), p.nearby, "linearised(x) differs from jvp")
    yield Finding(relative(at_x.adjoint(v), pulled), p.nearby, "linearised(x).adjoint differs from vjp")


def _slope_error(A: Function, x: Tensor, u: Tensor, slope: Tensor) -> float:
    """Return the least relative error of central differences over a range of steps."""
    scale = size(x) / max(size(u), 1e-300)
    steps = [scale * 10.0**-k for k in range(1, 7)]
    return min(relative((A(x + h * u) - A(x - h * u)) / (2 * h), slope) for h in steps)


OPERATOR_RULES = (
    Rule("finite", "gives finite numbers of finite numbers", finite, first=True),
    Rule("shapes", "takes (*batch, *domain_shape), gives (*batch, *range_shape), and names what does not fit", shapes),
    Rule("batches", "treats every item of a batch as if it were alone: none, one or several batch axes", batches),
    Rule("purity", "gives the same bits for the same input, leaves it as it was, draws no global randomness", purity),
    Rule("precision", "converts lower precision, refuses higher precision and names A.to", precision),
    Rule("conversion", "A.to changes the precision and nothing else, there and back", conversion),
    Rule("copies", "a copy is the same operator and shares no state", copies),
    Rule("description", "repr is one line and shows every part; config() makes the same operator", description),
    Rule("words", "data_kind, view_axes, channels, grid and doubts are said in the words there are", words),
    Rule("degree", "A(c x) = c^degree A(x) for c > 0", degree),
    Rule("derivative", "jvp is the derivative, vjp its adjoint, linearised(x) both", derivative),
)
