"""Data steps in the basis that makes A^H A diagonal, coefficient by coefficient (Kawar, Elad, Ermon & Song 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from invprob import linalg
from invprob.sampling.data_steps import Corrected, DataStep, Moment
from invprob.sampling.measurement import Measurement


@dataclass(frozen=True)
class Spectral(DataStep):
    """Every coefficient moves as far towards its datum as the two noise levels allow.

    With y = V^H A^+ y and noise / s its standard deviation, of the next image at level sigma': where s = 0 that of the
    prior alone; where sigma' < noise / s the estimate, drawn to the datum by the part of sigma' that is not new noise;
    else around the datum, with what is missing of sigma' for noise.

    Arguments:
        eta: the share of new noise where data say little.
        eta_data: how far coefficients move to data that are better than sigma'.
    """

    eta: float = 0.85
    eta_data: float = 1.0

    def __call__(self, m: Measurement, at: Moment) -> Corrected:
        """Return the next image."""
        basis = m.singular_vectors
        there, s = basis.there, basis.s
        known = s > 0
        safe = torch.where(known, s, 1.0)
        datum = there(m.pulled) / safe.square()
        level = linalg.per_item(m.noise, at.x.real, m.ndim) / safe
        x0, z, direction = there(at.x0), there(at.draw("transition")), there((at.x - at.x0) / at.sigma)
        kept = (1 - self.eta**2) ** 0.5
        unseen = x0 + at.after * (kept * direction + self.eta * z)
        weak = x0 + kept * at.after * (datum - x0) / level + self.eta * at.after * z
        room = (at.after**2 - (self.eta_data * level).square()).clamp(min=0).sqrt()
        strong = (1 - self.eta_data) * x0 + self.eta_data * datum + room * z
        following = torch.where(known, torch.where(level > at.after, weak, strong), unseen)
        return Corrected(at.x0, following=basis.back(following, at.x))
