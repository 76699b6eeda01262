"""Near-field radar with any antennas: multistatic arrays, monostatic scans, turntables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from invprob.linalg import Diagonal
from invprob.linop import Coarser
from invprob.linop.adapters import FromFunctions
from invprob.linop.bases import Basis
from invprob.linop.module import COMPLEX_OF
from invprob.linop.spectrum import Spectrum, worth_factoring
from invprob.operators.radar import matrices, sweeps
from invprob.operators.radar.base import Radar
from invprob.operators.radar.geometry import (
    LIGHT,
    Pairs,
    check_wavelength,
    even_axis,
    frequencies_in_hertz,
    full_spacing,
    pairs_of,
    places,
    wavenumbers,
)
from invprob.operators.radar.legs import Leg, Waves, even, tables
from invprob.operators.radar.sweeps import FILL, Chunk, planar

__all__ = ["NearFieldMIMO", "Pairs"]

WORKING_SET = 2**16  # waves of a chunk of voxels at one frequency: they stay in a core's cache
KEPT = 2**28  # bytes of wave tables that are kept between calls; what needs more computes them anew, the same ones
SQUARE = 2**24  # entries of a chunk of the matrix, where A A^H is made
INSIDE = 0.5  # spacings: nearer to an antenna amplitudes rise no further, as voxels are no points


class NearFieldMIMO(Radar):
    """y[k,t,r] = sum_n e^(-i kappa_k (R_t + R_r)) / (4 pi R_t R_r) x_n: echoes of point scatterers in the near field.

    R_t and R_r are the ways from the transmitter and to the receiver, kappa = 2 pi f n / c (Oral & Oktem 2024, eq. 1).
    Transmit and receive factors are separate, and follow from frequency to frequency by a recurrence: no matrix is
    ever stored. A turntable is a monostatic scan whose antenna goes round.

    Arguments:
        axes: the places of the voxels along x, y and z in metres, evenly spaced: images are (X, Y, Z).
        tx: positions of the transmitters (Nt, 3), in metres.
        rx: those of the receivers (Nr, 3); None where transmitters receive, too.
        frequencies: in hertz, ascending; evenly spaced ones are faster.
        pairs: "all", for data (Nf, Nt, Nr); a list of (t, r), (P, 2), or "monostatic", every transmitter with the
            receiver of the same number: for data (Nf, P).
        refractive_index: n of the medium, 1 in air.
        tx_pattern: complex or real gains of the transmitters towards the voxels, which broadcast to (Nt, X, Y, Z).
        rx_pattern: those of the receivers.
        gain: complex factors of the readings, which broadcast to the data: a pulse's spectrum as (Nf, 1, 1),
            calibrations of antennas as (1, Nt, 1).
        dtype: the precision, torch.float32 or torch.float64, in which waves are held; `to` changes it later.

    Within half a spacing of an antenna amplitudes rise no further. ValueError for axes that are not even, frequencies
    that are not positive and ascending or that are no hertz, and pairs that do not exist or come twice.
    """

    def __init__(
        self,
        axes: Sequence[ArrayLike | Tensor],
        tx: ArrayLike | Tensor,
        rx: ArrayLike | Tensor | None = None,
        frequencies: ArrayLike | Tensor = (),
        pairs: Pairs = "all",
        *,
        refractive_index: float = 1.0,
        tx_pattern: ArrayLike | Tensor | None = None,
        rx_pattern: ArrayLike | Tensor | None = None,
        gain: ArrayLike | Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(axes) != 3:
            raise ValueError(f"NearFieldMIMO: axes are those of x, y and z, got {len(axes)}")
        grids = [even_axis(self, name, axis) for name, axis in zip("xyz", axes, strict=True)]
        self_tx = places(self, "tx", tx)
        self_rx = self_tx if rx is None else places(self, "rx", rx)
        hertz = frequencies_in_hertz(self, frequencies)
        chosen = pairs_of(pairs, len(self_tx), len(self_rx))
        ends = (len(self_tx), len(self_rx)) if chosen is None else (len(chosen),)
        super().__init__([a.size for a, _ in grids], (hertz.size, *ends), dtype=dtype, is_complex=True)
        if not 0 < refractive_index < math.inf:
            raise ValueError(f"NearFieldMIMO: refractive_index must be positive, got {refractive_index}")
        self.axes = tuple(a for a, _ in grids)
        self.spacing = full_spacing([h for _, h in grids], LIGHT / (2 * refractive_index * hertz[-1]))
        self.tx, self.rx, self.frequencies = self_tx, self_rx, hertz
        self.pairs, self.refractive_index = chosen, float(refractive_index)
        self.tx_pattern = self._pattern("tx_pattern", tx_pattern, len(self_tx))
        self.rx_pattern = self._pattern("rx_pattern", rx_pattern, len(self_rx))
        self.gain = self._gain(gain)
        self._own_receivers, self._pairs_as_given = rx is not None, pairs
        self._voxels = torch.from_numpy(np.stack(np.meshgrid(*self.axes, indexing="ij"), -1).reshape(-1, 3))
        self._nearest, self._farthest = self._ways()
        check_wavelength(self, hertz, 2 * self._farthest)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype."""
        found: dict[str, Any] = {
            "axes": tuple(axis.tolist() for axis in self.axes),
            "tx": self.tx,
            "frequencies": self.frequencies,
            "pairs": self._pairs_as_given if isinstance(self._pairs_as_given, str) else self.pairs,
            "refractive_index": self.refractive_index,
        }
        if self._own_receivers:
            found["rx"] = self.rx
        for name in ("tx_pattern", "rx_pattern", "gain"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name).numpy()
        return found

    # ---- the waves

    @property
    def wavenumbers(self) -> NDArray[np.float64]:
        """Kappa at every frequency, in 1/m."""
        return wavenumbers(self.frequencies, self.refractive_index)

    @property
    def _chunk(self) -> int:
        """Return how many voxels of a run have waves that stay in cache; it depends on the geometry alone."""
        antennas = len(self.tx) + len(self.rx) if self.pairs is None else len(self.pairs)
        return max(64, WORKING_SET // antennas // FILL * FILL)

    @property
    def _chunks(self) -> list[slice]:
        """Return all runs of voxels."""
        return [slice(k, k + self._chunk) for k in range(0, len(self._voxels), self._chunk)]

    def _legs(self, chunk: slice, weigh: str = "echo") -> tuple[Leg, Leg]:
        """Return the ways to and from a chunk of voxels, of a list of pairs one of each for every pair.

        `weigh` says which amplitudes: those of an "echo", "none", or of "kirchhoff".
        """
        ways, amplitudes = [], []
        for antennas, pattern in ((self.tx, self.tx_pattern), (self.rx, self.rx_pattern)):
            apart = self._voxels[chunk] - torch.from_numpy(antennas)[:, None]
            way = torch.linalg.vector_norm(apart, dim=-1)
            far = way.clamp(min=INSIDE * min(self.spacing))
            if weigh == "none":
                amplitude = torch.ones_like(way)
            elif weigh == "kirchhoff":
                amplitude = apart[..., 2] / far.square()
            else:
                amplitude = 1 / (math.sqrt(4 * math.pi) * far)
                if pattern is not None:
                    gains = pattern.expand(len(antennas), *self.domain_shape)
                    amplitude = amplitude * gains.reshape(len(antennas), -1)[:, chunk]
            ways.append(way)
            amplitudes.append(amplitude)
        rising = weigh == "kirchhoff"
        if self.pairs is None:
            left, right = (Leg(way, amplitude, rising) for way, amplitude in zip(ways, amplitudes, strict=True))
            return left, right
        t, r = torch.from_numpy(self.pairs).mT
        left, right = Leg(ways[0][t], amplitudes[0][t], rising), Leg(ways[1][r], amplitudes[1][r], rising)
        return left, right

    def _waves(self, chunk: slice, weigh: str = "echo") -> tuple[Waves, Waves]:
        """Return the waves of both legs; of a list of pairs the first is 1 and the second the product of both."""
        left, right = self._legs(chunk, weigh)
        dtype = COMPLEX_OF[self.dtype]
        if self.pairs is not None:
            both = Leg(left.way + right.way, left.amplitude * right.amplitude)
            one = torch.ones(1, left.way.shape[1], dtype=torch.float64)
            left, right = Leg(torch.zeros_like(one), one), both
        near, far = (Waves(leg, self.wavenumbers, dtype, self.device) for leg in (left, right))
        return near, far

    @property
    def _keeps(self) -> bool:
        """Whether the tables of waves are kept between calls."""
        shape = sweeps.filled(self.range_shape) if self._swept else (len(self.frequencies), *self._ends)
        return tables(self.wavenumbers) * 2 * self.dtype.itemsize * sum(shape[1:]) * len(self._voxels) <= KEPT

    @property
    def _swept(self) -> bool:
        """Whether products are compiled sweeps: on a processor, where waves follow from those one frequency before."""
        return self.device.type == "cpu" and even(self.wavenumbers)

    def _planes(self, number: int, weigh: str = "echo") -> Chunk:
        chunk = slice(number * self._chunk, (number + 1) * self._chunk)
        left, right = self._waves(chunk, weigh)
        return planar(chunk.start, left if self.pairs is None else None, right)

    # ---- products

    def _forward(self, x: Tensor) -> Tensor:
        return self._amplified(self._echoes(x, "echo"), conjugate=False)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._focused(self._amplified(y, conjugate=True), "echo")

    def _weighed(self, weigh: str) -> FromFunctions:
        """Return the operator of waves that are weighed as `_legs` says, without gains of the readings."""
        pair = partial(self._echoes, weigh=weigh), partial(self._focused, weigh=weigh)
        made = FromFunctions(*pair, self.domain_shape, self.range_shape, dtype=self.dtype, is_complex=True)
        return made.to(self.device)

    def _echoes(self, x: Tensor, weigh: str) -> Tensor:
        """Return sum_n a_k x_n b_k."""
        batch = x.shape[:-3]
        flat = x.reshape(math.prod(batch), len(self._voxels))
        if self._swept and weigh != "kirchhoff":
            data = sweeps.forward(flat, self.range_shape, *self._tables(weigh))
        else:
            data = matrices.forward(flat, (len(self.frequencies), *self._ends), self._all_waves(weigh))
        return data.reshape(*batch, *self.range_shape)

    def _focused(self, y: Tensor, weigh: str) -> Tensor:
        """Return conj(sum_k sum_t a_k (conj(y_k) b_k))."""
        batch = y.shape[: y.ndim - len(self.range_shape)]
        items, voxels, readings = math.prod(batch), len(self._voxels), y.conj().resolve_conj()
        if self._swept and weigh != "kirchhoff":
            image = sweeps.adjoint(readings.reshape(items, *self.range_shape), voxels, *self._tables(weigh))
        else:
            apart = readings.reshape(items, len(self.frequencies), *self._ends)
            image = matrices.adjoint(apart, voxels, self._all_waves(weigh))
        return image.conj().resolve_conj().reshape(*batch, *self.domain_shape)

    def _tables(self, weigh: str) -> tuple[Callable[[int], Chunk], int, int]:
        """Return what gives the waves of a chunk, of how many, and how many threads may ask: one, if made anew."""
        chunks = len(self._chunks)
        if weigh == "echo" and self._keeps:
            kept = self._cached("planes", lambda: [self._planes(number) for number in range(chunks)])
            return kept.__getitem__, chunks, torch.get_num_threads()
        return partial(self._planes, weigh=weigh), chunks, 1

    def _all_waves(self, weigh: str) -> Iterable[tuple[slice, Waves, Waves]]:
        """Return the chunks with their waves, those of echoes kept between calls if they fit."""
        waves = ((chunk, *self._waves(chunk, weigh)) for chunk in self._chunks)
        return self._cached("waves", lambda: list(waves)) if weigh == "echo" and self._keeps else waves

    @property
    def _ends(self) -> tuple[int, int]:
        """Rows of the first and of the second leg."""
        return (len(self.tx), len(self.rx)) if self.pairs is None else (1, len(self.pairs))

    def _amplified(self, y: Tensor, *, conjugate: bool) -> Tensor:
        if self.gain is None:
            return y
        gain = self._cached("gain", lambda: self.gain.to(self.device, COMPLEX_OF[self.dtype]))  # type: ignore[union-attr]
        return y * (gain.conj() if conjugate else gain)

    # ---- focusing

    def back_project(self, y: Tensor) -> Tensor:
        """Return sum e^(+i kappa (R_t + R_r)) y over all readings: the adjoint without amplitudes."""
        return self._weighed("none").adjoint(self._phased(y))

    def kirchhoff(self, y: Tensor) -> Tensor:
        """Return Kirchhoff's migration of data of planar arrays, z being the normal.

        Sum of (cos_t / R_t) (cos_r / R_r) (1 + i kappa R_t) (1 + i kappa R_r) e^(i kappa (R_t + R_r)) y (Zhuge,
        Yarovoy, Savelyev & Ligthart 2010): amplitudes separate as waves do. ValueError where the antennas lie in no
        plane z = const, and for lists of pairs.
        """
        z = np.concatenate([self.tx[:, 2], self.rx[:, 2]])
        if np.ptp(z) > 1e-6 * self._farthest:
            raise ValueError("kirchhoff is for antennas in one plane z = const: use back-projection or matched-filter")
        if self.pairs is not None:
            raise ValueError("kirchhoff is for all pairs of an array, not for a list of them: use back-projection")
        return self._weighed("kirchhoff").adjoint(self._phased(y))

    def _phased(self, y: Tensor) -> Tensor:
        """Return data without the phases of the gains."""
        y = self.as_data(y)
        return y if self.gain is None else y * torch.exp(-1j * self.gain.angle()).to(y)

    # ---- closed forms

    def gram_diagonal_estimate(self, basis: Basis | None = None) -> Diagonal:
        """Return the energy of the echoes of each voxel, the diagonal of A^H A: a preconditioner in pixels."""
        del basis
        return Diagonal(self._cached("energy", self._energy), "pixel")

    def _energy(self) -> Tensor:
        gain = torch.ones(self.range_shape) if self.gain is None else self.gain.abs().square().expand(self.range_shape)
        per_pair = gain.double().sum(0).reshape(self._ends)
        energy = torch.empty(len(self._voxels), dtype=torch.float64)
        for chunk in self._chunks:
            left, right = (leg.amplitude.abs().square() for leg in self._legs(chunk))
            if self.pairs is None:
                energy[chunk] = torch.einsum("tn,rn,tr->n", left, right, per_pair)
            else:
                energy[chunk] = torch.einsum("pn,pn,p->n", left, right, per_pair[0])
        return energy.reshape(self.domain_shape).to(self.device, self.dtype)

    def row_spectrum(self, systems: int = 1) -> Spectrum | None:
        """Return the eigenvectors of A A^H, computed once; None where there are too many readings for that."""
        if not worth_factoring(self, systems):
            return None
        return self._cached("spectrum", lambda: Spectrum.of(self._row_gram()))

    @property
    def solved_by_rows(self) -> bool:
        """Whether a single `solve` goes through A A^H, and not by iterations in image space."""
        return worth_factoring(self)

    def _row_gram(self) -> Tensor:
        """Return A A^H, (M, M), from chunks of the matrix; half of the blocks follow from the other half."""
        rows, size = math.prod(self.range_shape), math.prod(self._ends)
        total = torch.zeros(rows, rows, dtype=COMPLEX_OF[self.dtype], device=self.device)
        step = max(1, SQUARE // rows // (self._chunks[0].stop or 1))
        for group in (self._chunks[k : k + step] for k in range(0, len(self._chunks), step)):
            left, right = self._waves(slice(group[0].start, group[-1].stop))
            part = torch.cat([(a[:, None] * b).reshape(size, -1) for a, b in zip(left, right, strict=True)])
            for k in range(0, rows, size):
                total[k : k + size, k:] += part[k : k + size] @ part[k:].mH
        upper = total.triu()
        total = upper + upper.triu(1).mH
        if self.gain is None:
            return total
        gain = self.gain.to(total).expand(self.range_shape).flatten()
        return gain[:, None] * total * gain.conj()

    def thinned(self) -> Coarser | None:
        """Return the array with every other transmitter, or the other pairs of a list; None where there is but one."""
        count, other = len(self.tx if self.pairs is None else self.pairs), slice(None, None, 2)
        kept = (..., other, slice(None)) if self.pairs is None else (..., other)
        changes: dict[str, Any] = {"dtype": self.dtype}
        if self.pairs is not None:
            changes["pairs"] = self.pairs[other]
        else:
            changes |= {"tx": self.tx[other], "rx": self.rx}
            if self.tx_pattern is not None:
                changes["tx_pattern"] = self.tx_pattern.expand(count, *self.domain_shape)[other]
        if count < 2:
            return None
        if self.gain is not None:
            changes["gain"] = self.gain.expand(self.range_shape)[kept]
        fewer = NearFieldMIMO(**{**self.config(), **changes}).to(self.device)
        return Coarser(fewer, lambda y: y[kept], 1)

    # ---- checks and words

    def _pattern(self, name: str, given: ArrayLike | Tensor | None, antennas: int) -> Tensor | None:
        return self._broadcast(name, given, (antennas, *self.domain_shape))

    def _gain(self, given: ArrayLike | Tensor | None) -> Tensor | None:
        return self._broadcast("gain", given, self.range_shape)

    def _broadcast(self, name: str, given: ArrayLike | Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
        if given is None:
            return None
        values = given.detach().cpu().resolve_conj() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
        values = values.to(torch.complex128 if values.is_complex() else torch.float64)
        fits = values.ndim <= len(shape) and all(
            n in (1, m) for n, m in zip(values.shape[::-1], shape[::-1], strict=False)
        )
        if not fits or not bool(values.isfinite().all()):
            raise ValueError(
                f"NearFieldMIMO: {name} must be finite and broadcast to {shape}, got shape {tuple(values.shape)}"
            )
        return values

    def _ways(self) -> tuple[float, float]:
        """Return the shortest and the longest way between antennas and voxels."""
        nearest, farthest = math.inf, 0.0
        for place in torch.from_numpy(np.concatenate([self.tx, self.rx])):
            apart = torch.linalg.vector_norm(self._voxels - place, dim=-1)
            nearest, farthest = min(nearest, float(apart.min())), max(farthest, float(apart.max()))
        return nearest, farthest

    def _range_extent(self) -> float:
        return self._farthest - self._nearest

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return what `Radar` says, and whether antennas stand among the voxels."""
        low, high = ([axis[end] for axis in self.axes] for end in (0, -1))
        antennas = np.unique(np.concatenate([self.tx, self.rx]), axis=0)
        among = int(((antennas >= low) & (antennas <= high)).all(1).sum())
        told = [f"{among} antennas stand inside the box of the image, where the model is poor"] if among else []
        if self._nearest < INSIDE * min(self.spacing):
            told.append("an antenna stands in a voxel of the image, which outshines all others: leave it out by a mask")
        return told + super().doubts(y)

    def extra_repr(self) -> str:
        """Name antennas, frequencies and how systems are solved."""
        f = self.frequencies
        band = f"{f[0]:.4g} Hz" if f.size == 1 else f"{f[0]:.4g} to {f[-1]:.4g} Hz"
        how = "" if self.pairs is None else f", {len(self.pairs)} pairs"
        medium = "" if self.refractive_index == 1 else f", n = {self.refractive_index:g}"
        solved = "measurement" if self.solved_by_rows else "image"
        return (
            f"{len(self.tx)} transmitters, {len(self.rx)} receivers{how}, {f.size} frequencies, {band}{medium}, "
            f"solved in {solved} space, {super().extra_repr()}"
        )
