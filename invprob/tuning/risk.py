"""How well an image predicts data of its own kind, estimated from the data alone: what the best strength minimises.

For a map y -> A x(y) with n readings, df = (1/n) tr d(A x)/dy is the share of the noise that it lets through, here from
one probe b of independent signs: df = Re <b, A x(y + eps b) - A x(y)>_w / (n eps) (Ramani, Blu & Unser, IEEE Trans.
Image Process. 17, 2008).
"""

from __future__ import annotations

import torch
from torch import Tensor

PROBE = 0.3  # eps over the noise level: smaller ones drown in what unfinished iterations leave, larger ones see bends
MOST = (
    0.999  # more degrees of freedom per reading are taken for this many: generalised cross-validation divides by 1 - df
)


def probe(shape: tuple[int, ...], like: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return b of an item's shape and the kind of `like` with E |b|^2 = 1 / w: independent signs, 0 where w is.

    Always the same, for every item, so that neighbours in a batch change nothing; with weights `(*batch, *shape)` of
    their shape.
    """
    generator = torch.Generator().manual_seed(0)

    def signs() -> Tensor:
        return (2 * torch.randint(0, 2, shape, generator=generator) - 1).to(like.device, like.real.dtype)

    b = torch.complex(signs(), signs()) / 2**0.5 if like.is_complex() else signs()
    if weights is None:
        return b
    return torch.where(weights > 0, b / torch.where(weights > 0, weights, 1.0).sqrt(), 0.0)


def generalised_cross_validation(misfit: Tensor, df: Tensor) -> Tensor:
    """Return (|A x - y|^2 / n) / (1 - df)^2, given the first factor (Golub, Heath & Wahba, Technometrics 21, 1979)."""
    return misfit / (1 - df.clamp(0, MOST)) ** 2


def predictive_risk(misfit: Tensor, df: Tensor, noise: Tensor) -> Tensor:
    """Return |A x - y|^2 / n + 2 sigma^2 df, given the first term: on average the prediction's error plus sigma^2.

    Mallows, Technometrics 15, 1973; Stein, Ann. Statist. 9, 1981. Of several trials, `(trials, *batch)`: sigma^2 is
    at most the least score of cross-validation, which is sigma^2 and more, as a noise level above it is wrong.

    Arguments:
        misfit: |A x - y|^2 / n.
        df: degrees of freedom per reading.
        noise: sigma, `(*batch,)`.
    """
    most = generalised_cross_validation(misfit, df).amin(0)
    return misfit + 2 * torch.minimum(noise**2, most) * df.clamp(min=0)


def unexplained_noise(misfit: Tensor, df: Tensor) -> Tensor:
    """Return sqrt((|A x - y|^2 / n) / (1 - df)), the noise level that an image speaks for, given the first factor.

    Wahba, J. R. Stat. Soc. B 45, 1983. What the prior cannot explain counts as noise, too.
    """
    return (misfit / (1 - df.clamp(0, MOST))).sqrt()
