"""The laws of what physics says of its data: direct reconstruction, readings, groups of them, coarser twins."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from invprob.linop import Coarser, LinearOperator, Operator
from invprob.linop.readings import MANY_GROUPS
from invprob.testing.linear_laws import _linear
from invprob.testing.numbers import alone, dense_map, normal, relative
from invprob.testing.operator_probe import OperatorProbe
from invprob.testing.report import Finding, fact
from invprob.testing.rules import Rule

COARSE = 0.5  # relative difference of coarse and averaged data; a factor 2 forgotten is 1 or more


def direct(p: OperatorProbe) -> Iterator[Finding]:
    """The field's own reconstruction: it scales with the data, and what has weight 0 does not matter."""
    A = _linear(p)
    with torch.no_grad():
        y = A(p.image((2,)))
        x = A.direct(y)
        due = (2, *p.own_batch, *A.domain_shape)
        yield fact(x.shape == due, f"direct gives {tuple(x.shape)}, {due} is due")
        loose, c = (1e-4, 4) if p.single else (1e-6, 3)  # a power of two rounds nothing, which an iteration may magnify
        look = f"direct({c} y) is not {c} direct(y): a fixed threshold?"
        yield Finding(relative(A.direct(c * y), c * x), loose, look)
        yield fact(not bool(A.direct(torch.zeros_like(y)).any()), "direct of zero data is not the zero image")
        # in data space, where an iteration in single precision does not magnify its rounding as much
        yield from alone(lambda y: A(A.direct(y)), y, 5e-2 if p.single else 1e-4, "direct", 10.0)
        if type(A).direct is LinearOperator.direct and p.small:
            yield Finding(relative(A(A.direct(y)), y), 0.1, "ten conjugate-gradient steps do not explain the data")
        keep = _kept(p)
        spoilt = y + 10 * y.abs().max() * p.data((2,), seed=6).to(y.dtype) * (1 - keep)
        good, bad = A.direct(y, keep), A.direct(spoilt, keep)
        yield fact(good.shape == due, f"direct(y, weights) gives {tuple(good.shape)}, {due} is due")
        look = "direct(y, weights) depends on readings whose weight is 0"
        yield Finding(relative(bad, good), 100 * loose, look)


def _kept(p: OperatorProbe) -> Tensor:
    """Return weights 1 and, for some readings, 0."""
    keep = normal(p.A.range_shape, torch.float64, p.seed + 4) > -1
    keep.view(-1)[0] = True
    return keep.to(p.A.device, p.A.dtype)


def holding_out(p: OperatorProbe) -> Iterator[Finding]:
    """Readings are set aside in whole groups, about the share asked for, the same for the same generator."""
    A = p.A

    def drawn(share: float, seed: int = 0) -> Tensor:
        return A.hold_out(share, torch.Generator().manual_seed(p.seed + seed))

    for share in (0.2, 0.5):
        mask = drawn(share)
        yield fact(mask.dtype == torch.bool, f"hold_out gives {mask.dtype}, a mask of booleans is due")
        yield fact(tuple(mask.shape) == A.range_shape, f"hold_out gives {tuple(mask.shape)}, {A.range_shape} is due")
        yield fact(bool(torch.equal(mask, drawn(share))), "hold_out differs for the same generator")
        groups, found = _independent(mask), float(mask.double().mean())
        spread = 4 * math.sqrt(share * (1 - share) / groups) + 1 / groups
        yield Finding(abs(found - share), spread, f"hold_out({share}) sets {found:.3g} of the readings aside")
        views = math.prod(A.range_shape[: A.view_axes])
        if A.view_axes and views >= MANY_GROUPS and type(A).hold_out is Operator.hold_out:
            whole = bool((mask.reshape(views, -1).all(1) == mask.reshape(views, -1).any(1)).all())
            look = f"hold_out splits groups, the first {A.view_axes} axes of the data: parts of one predict the rest"
            yield fact(whole, look)
    yield fact(not bool(drawn(0.0).any()), "hold_out(0) sets something aside")
    yield fact(bool(drawn(1.0).all()), "hold_out(1) leaves something")


def _independent(mask: Tensor) -> int:
    """Return how many readings are not forced to agree along a whole axis with others."""
    count = 1
    for axis, n in enumerate(mask.shape):
        first = mask.narrow(axis, 0, 1)
        count *= 1 if n > 1 and bool((mask == first).all()) else n
    return count


def readings(p: OperatorProbe) -> Iterator[Finding]:
    """`measured` is a mask that broadcasts against the data."""
    mask = p.A.measured
    if mask is None:
        return
    yield fact(mask.dtype == torch.bool, f"measured is {mask.dtype}, booleans are due")
    fits = torch.broadcast_shapes(mask.shape, (*p.own_batch, *p.A.range_shape))  # type: ignore[no-untyped-call]
    yield fact(tuple(fits) == (*p.own_batch, *p.A.range_shape), f"measured, {tuple(mask.shape)}, does not fit the data")
    yield fact(bool(mask.any()), "measured says that nothing is")
    yield fact(mask.device.type == p.A.device.type, f"measured is on {mask.device}")


def filling(p: OperatorProbe) -> Iterator[Finding]:
    """What counts stays as it is, what does not is replaced and does not matter."""
    A, y = p.A, p.data((2,))
    yield fact(bool(torch.equal(A.fill(y), y)), "fill(y) without weights changes the data")
    keep = _kept(p)
    for weights in (keep, keep.expand(2, *keep.shape), keep[(0,) * (keep.ndim - 1)]):
        filled = A.fill(y, weights)
        yield fact(filled.shape == y.shape, f"fill gives {tuple(filled.shape)}, {tuple(y.shape)} is due")
        seen = (weights > 0).expand_as(filled)
        yield fact(bool((filled == y)[seen].all()), "fill changes readings that count")
        yield fact(bool(filled.isfinite().all()), "fill gives NaN or infinity")
        other = torch.where(seen, y, 7 * y.abs().max() + y)
        yield Finding(relative(A.fill(other, weights), filled), 0.0, "fill depends on readings whose weight is 0")


def coarser(p: OperatorProbe) -> Iterator[Finding]:
    """The operator on half as many pixels per axis explains averaged data."""
    found = _linear(p).coarser()
    if found is None:
        return
    A, (coarse, restrict, averaged) = _linear(p), found
    less = math.prod(coarse.domain_shape) < math.prod(A.domain_shape) or math.prod(A.domain_shape) == 1
    yield fact(less or coarse.domain_shape == A.domain_shape, f"coarser() has images {coarse.domain_shape}")
    yield fact((coarse.dtype, coarse.complex_range) == (A.dtype, A.complex_range), "coarser() is of another kind")
    y = p.data((2,))
    fits = restrict(y).shape == (2, *p.own_batch, *coarse.range_shape)
    yield fact(fits, f"restrict gives {tuple(restrict(y).shape)} for data {coarse.range_shape}")
    ones = restrict(torch.ones_like(y))
    yield Finding(relative(ones, torch.ones_like(ones)), p.nearby, "restrict does not average: constants change")
    look = "the coarser operator says other words of its data or image"
    same = (coarse.data_kind, coarse.view_axes, coarse.channels) == (A.data_kind, A.view_axes, A.channels)
    yield fact(same and coarse.grid.unit == A.grid.unit, look)
    if p.small:
        rows = dense_map(restrict, A.range_shape, torch.float64)
        noise = rows.square().sum(1) * averaged
        yield Finding(float((noise - 1).abs().max()), 1e-9, f"restrict does not average {averaged} readings into one")
    yield from _explains(p, A, found)


def _explains(p: OperatorProbe, A: LinearOperator, found: Coarser) -> Iterator[Finding]:
    """Find how well coarse data of blocks are the averaged fine data of the same blocks."""
    coarse, restrict, _ = found
    factors = [-(-n // m) for n, m in zip(A.domain_shape, coarse.domain_shape, strict=True)]
    if any(n % m or n == 1 for n, m in zip(A.domain_shape, coarse.domain_shape, strict=True)):
        return  # blocks that hang over the border
    blocks = normal(coarse.domain_shape, coarse.domain_dtype, p.seed).abs().to(coarse.domain_dtype).to(coarse.device)
    fine = blocks
    for axis, factor in enumerate(factors):
        fine = fine.repeat_interleave(factor, axis)
    look = "the coarser operator does not explain averaged data: a factor of the pixels' size?"
    yield Finding(relative(coarse(blocks), restrict(A(fine))), COARSE, look)


DATA_RULES = (
    Rule("hold_out", "sets aside whole groups of readings, about the share asked for", holding_out),
    Rule("measured", "says which entries of the data are readings", readings),
    Rule("fill", "replaces what has weight 0 and nothing else", filling),
)
RECONSTRUCTION_RULES = (
    Rule("direct", "direct(y) scales with the data, item by item, and what has weight 0 does not matter", direct),
    Rule("coarser", "the coarser operator explains averaged data", coarser),
)
