"""Where not to trust an image: what becomes of it when half of the readings are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from invprob import linalg
from invprob.linop import LinearOperator
from invprob.scan import Scan

__all__ = ["halved", "is_sparse", "local_change"]

HALF = 0.5
BORDER = 0.75  # of the pixels, the share that readings without a border may have
REACH = 2  # pixels around each over which changes are averaged: where they lie matters, not how they alternate
_AVERAGE: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def is_sparse(scan: Scan) -> bool:
    """Return whether an image has more pixels than data have readings: part of it is the prior's, or the filter's.

    A picture that is the image but for a border it has not got counts as all of it.
    """
    A = scan.operator
    if not isinstance(A, LinearOperator) or not scan.data.numel():
        return False
    seen = torch.ones(A.range_shape, dtype=torch.bool)
    seen = seen if A.measured is None else seen & A.measured.cpu()
    if scan.weights is not None:
        seen = seen & (scan.weights.cpu() > 0)
    enough = prod(A.domain_shape) * (BORDER if A.data_kind == "picture" and A.measured is None else 1.0)
    return bool((seen.sum(linalg.item_axes(len(A.range_shape))) < enough).any())


def halved(scan: Scan) -> Scan | None:
    """Return the scan with every other view, or with a random half of the readings where there are no views.

    None where nothing is left of an item.
    """
    A, y = scan.operator, scan.data
    if not isinstance(A, LinearOperator):
        return None
    found = A.thinned()
    if found is not None:
        fewer, restrict, _ = found
        weights = None if scan.weights is None else restrict(scan.weights)
        likelihood = scan.likelihood.mapped(restrict)
        return replace(scan, operator=fewer, data=restrict(y), weights=weights, likelihood=likelihood, truth=None)
    kept = ~A.hold_out(HALF, torch.Generator().manual_seed(0)).to(y.device)
    weights = kept.to(A.dtype) if scan.weights is None else kept * scan.weights
    left = weights > 0 if A.measured is None else (weights > 0) & A.measured.to(y.device)
    if not bool(left.flatten(left.ndim - len(A.range_shape)).any(-1).all()):
        return None
    return replace(scan, weights=weights, truth=None)


def local_change(x: Tensor, other: Tensor, ndim: int, space: int) -> Tensor:
    """Return how far two images differ around each pixel, `(*batch, *item)`: the root of the mean square nearby."""
    square = (other - x).abs().square()
    axes = min(space, 3)
    shape = square.shape[square.ndim - axes :]
    reach = [REACH if n > 2 * REACH else 0 for n in shape]
    flat = square.reshape(-1, 1, *shape)
    size = [2 * r + 1 for r in reach]
    mean = _AVERAGE[axes](flat, size, stride=1, padding=reach, count_include_pad=False)
    return mean.reshape(square.shape).sqrt()
