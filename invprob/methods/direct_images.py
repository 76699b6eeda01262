"""The recipes without iterations: direct, fbp, wiener."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor

from invprob import linalg
from invprob.doubt import Doubt
from invprob.linop import LinearOperator
from invprob.linop.algebra import Wrapped
from invprob.linop.lifted import Lifted
from invprob.methods.reporting import Progress, direct_result
from invprob.methods.scales import first_image
from invprob.operators import Blur
from invprob.operators.image.noise_level import estimate_noise
from invprob.problem import Problem

BEYOND = 0.3  # of the range of the data: sound images stay below 0.27, those of a kernel turned round reach 0.67
TRUSTED = 1.5  # a noise level more than this many times what the data show is taken for wrong; no measurement on record


def direct(problem: Problem) -> Iterator[Progress]:
    """The direct reconstruction of the field: filtered back-projection, Wiener's filter, interpolation, A^H y."""
    x = first_image(problem)
    yield Progress("direct reconstruction", 1, 1, 0.0, lambda: direct_result(problem, x, {}), lambda: x)


def fbp(problem: Problem, *, window: str = "ramp") -> Iterator[Progress]:
    """Filtered back-projection; of cone beams that of Feldkamp, Davis & Kress 1984.

    Of counts behind an absorber their logarithms.

    Arguments:
        window: tapers the ramp: "ramp" (not at all, the default), "shepp-logan", "cosine", "hamming" or "hann".

    ValueError for data that are no views of a parallel, fan or cone beam.
    """
    A, of = problem.linear, problem.quadratic()
    filters = "window" in inspect.signature(A.direct).parameters
    wrapped = "window" in inspect.signature(_innermost(A).direct).parameters
    if A.data_kind != "views" or not wrapped:
        name = type(A).__name__
        raise ValueError(f"fbp is for parallel, fan and cone beams, not for {name}: use least-squares or tv")
    if not filters and window != "ramp":
        raise ValueError(f"{A!r} takes the plain ramp alone: leave out the window, or reconstruct {_innermost(A)!r}")
    x = A.direct(of.y, of.weights, **({"window": window} if filters else {}))
    settings = {"window": window}
    yield Progress("filtering and back-projecting", 1, 1, 0.0, lambda: direct_result(problem, x, settings), lambda: x)


def _innermost(A: LinearOperator) -> LinearOperator:
    """Return what multiples and lifts of operators are made of."""
    return _innermost(A.inner) if isinstance(A, Wrapped) else A


def wiener(problem: Problem) -> Iterator[Progress]:
    """Wiener's filter for blurred images, `Blur.direct`, with the noise level of the scan or that of the data.

    The scan's level only ever raises what the data show (`estimate_noise`), and at most to 1.5 times that. Channels are
    filtered one by one. ValueError for another operator than `Blur`, and for weights.
    """
    of = problem.quadratic()
    A = problem.A.inner if isinstance(problem.A, Lifted) else problem.A  # channels are filtered one by one
    if not isinstance(A, Blur):
        raise ValueError(f"wiener is for blurred images (Blur), not for {type(A).__name__}: use tikhonov or tv")
    if of.weights is not None:
        raise ValueError(
            "wiener takes all readings alike and those of this scan have weights, their own or those of counts: "
            "use tv or wavelet"
        )
    ndim = len(A.domain_shape)
    channels = tuple(range(ndim - problem.ndim, 0))
    seen = estimate_noise(of.y, ndim)
    given = seen if of.noise is None else linalg.per_item(of.noise.to(seen), seen, len(channels))
    sigma = torch.minimum(torch.maximum(given, seen), seen * TRUSTED)
    x = A.direct(of.y, noise=sigma)
    ratio = torch.where(seen > 0, linalg.ratio(sigma, seen), 1.0)
    settings = {"noise_to_seen": (ratio.mean(channels) if channels else ratio).tolist()}
    yield Progress(
        "Wiener's filter",
        1,
        1,
        0.0,
        lambda: direct_result(problem, x, settings, _ringing(x, of.y, ndim)),
        lambda: x,
    )


def _ringing(x: Tensor, y: Tensor, ndim: int) -> list[Doubt]:
    """Say that an image goes far beyond the range of its blurred data, as where edges ring; small things do, too."""
    if x.is_complex():
        return []
    axes = linalg.item_axes(ndim)
    low, high = y.amin(axes), y.amax(axes)
    beyond = torch.maximum(x.amax(axes) - high, low - x.amin(axes)).double()
    share = float(linalg.ratio(beyond, (high - low).double()).max())
    if share <= BEYOND:
        return []
    text = f"the image goes beyond the range of the data by {share:.0%} of it: edges ring, or the kernel is another"
    return [Doubt(text, "fair", "compare tv, and check the kernel")]
