"""A simulated MRI scanner: exact k-space of ellipses under coils, on lines, spokes and spirals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invprob.operators import CartesianMRI, NonCartesianMRI
from invprob.phantoms import (
    Ellipses,
    add_gaussian_noise,
    as_generator,
    birdcage,
    cartesian_positions,
    radial,
    random_ellipses,
    random_lines,
    shepp_logan,
    smooth_phase,
    spiral,
    vials,
)
from invprob.scan import Scan

__all__ = ["Magnet"]

CALIBRATION = 24  # lines in the middle, as far as the acceleration leaves room for others
DENSE = 2  # samples per pixel's share of a spoke, and of an interleaf


@dataclass(frozen=True)
class Magnet:
    """A phantom and a geometry by name, pixels per side, coils, and how much is measured.

    `acceleration` is that of Cartesian lines, `shots` are spokes or interleaves. With `echoes`, times in ms, the
    phantom is one of tissues, and every echo has lines of its own.
    """

    phantom: str
    geometry: str
    size: int
    coils: int
    acceleration: float
    shots: int
    seed: int
    echoes: tuple[float, ...] = ()

    def n_bytes(self, rows: int) -> int:
        """Return about how large the file will be."""
        samples = self.size**2 if self.geometry == "cartesian" else self.shots * self._samples()
        images = rows * max(1, len(self.echoes))
        return 8 * (images * (self.coils * samples + self.size**2) + self.coils * self.size**2)

    def scan(self, rows: int, *, percent: float | None, command: str) -> Scan:
        """Return a scan of `rows` phantoms (0: one, without a batch axis) with Gaussian noise."""
        generator = as_generator(self.seed)
        maps, phase, shape = birdcage(self.coils), smooth_phase(generator), (self.size, self.size)
        sampled = maps.sampled(shape).to(torch.complex64)
        A: CartesianMRI | NonCartesianMRI
        if self.echoes:
            masks = torch.stack([self._lines(generator) for _ in self.echoes])[:, None]
            A = CartesianMRI(masks, sampled, image_shape=shape, frames=len(self.echoes))
            omega = cartesian_positions(shape)
        elif self.geometry == "cartesian":
            A, omega = CartesianMRI(self._lines(generator), sampled), cartesian_positions(shape)
        else:
            omega = self._trajectory()
            A = NonCartesianMRI(shape, omega, sampled)
        seen = maps.times(phase)
        if self.echoes:
            tissues = vials(self.size / 2)
            times = torch.tensor(self.echoes, dtype=torch.float64)[:, None]
            signals = tissues.magnetisation * torch.exp(-times / tissues.t2)
            clean = tissues.kspace(signals, omega, shape, coils=seen)[None]
            truth = tissues.images(signals, shape)[None]
        else:
            bodies = [self._body(generator) for _ in range(max(1, rows))]
            clean = torch.stack([body.kspace(omega, shape, coils=seen) for body in bodies])
            truth = torch.stack([body.image(shape) for body in bodies])
        clean = clean.to(torch.complex64)
        measured = A.measured
        clean = clean if measured is None else clean * measured
        truth = (truth * phase.sampled(shape)[0]).to(torch.complex64)
        data, sigma, words = _noisy(clean, percent, generator, measured, len(A.range_shape))
        if not rows:
            data, truth, sigma = data[0], truth[0], None if sigma is None else sigma[0]
        echoes = f", echoes at {', '.join(f'{t:g}' for t in self.echoes)} ms" if self.echoes else ""
        provenance = {
            "command": command,
            "phantom": f"{'vials' if echoes else self.phantom}, seed {self.seed}, with a smooth phase{echoes}",
            "measured": f"exact k-space of ellipses under {self.coils} coils",
            "noise": words,
        }
        return Scan(A, data, float(sigma) if sigma is not None and not rows else sigma, truth, provenance=provenance)

    def _lines(self, generator: torch.Generator) -> Tensor:
        lines = int(min(self.size, self.size / self.acceleration))  # whose quotient by next to nothing is infinite
        return random_lines(self.size, self.acceleration, generator, calibration=min(CALIBRATION, lines // 2))

    def _body(self, generator: torch.Generator) -> Ellipses:
        half = self.size / 2
        return shepp_logan(half) if self.phantom == "shepp-logan" else random_ellipses(0.95 * half, generator)

    def _trajectory(self) -> Tensor:
        if self.geometry == "radial":
            return radial(self.shots, DENSE * self.size)
        return spiral(self.shots, self._samples(), turns=self._turns())

    def _turns(self) -> float:
        """Return the turns of an interleaf: full sampling from a sixteenth of the lines on, no more than that."""
        return self.size / (2 * max(self.shots, 16))

    def _samples(self) -> int:
        if self.geometry == "radial":
            return DENSE * self.size
        return math.ceil(DENSE * self.size * max(1.0, math.pi * self._turns()) / 2)


def _noisy(
    clean: Tensor, percent: float | None, generator: torch.Generator, measured: Tensor | None, ndim: int
) -> tuple[Tensor, Tensor | None, str]:
    if percent is None:
        return clean, None, "none"
    data, sigma = add_gaussian_noise(clean, percent / 100, generator, ndim=ndim, measured=measured)
    return data, sigma, f"Gaussian, {percent:g} % of the largest value"
