"""The acquisitions of an ISMRM Raw Data file that are of the image, as they are used: white, and of one sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.errors import InputError
from invprob.io.acquisitions import Acquisitions, flagged
from invprob.io.checks import sound_geometry
from invprob.io.ismrmrd_header import Encoding, Header
from invprob.io.mri_options import CONJUGATE
from invprob.io.options import Options
from invprob.operators.mri.coil_mixing import SAMPLES_PER_COIL, CoilMixing, noise_covariance, whitening

__all__ = ["BOTH", "CALIBRATION", "Imaging", "ReadOut", "imaging_of", "items_of"]

# flags of acquisitions by the numbers of the standard, from 1
NOISE, CALIBRATION, BOTH, REVERSE = 19, 20, 21, 22
_NO_IMAGE = (NOISE, 23, 24, 26, 27, 28, 29, 30, 31)  # noise, navigators, corrections, feedback, dummies, stabilisation
_ITEMS = ("contrast", "slice", "repetition", "phase", "set")


@dataclass(frozen=True, eq=False)
class ReadOut:
    """One acquisition as it is used.

    Arguments:
        samples: `(coils, samples)`, in the order of k-space along the read-out.
        centre: which of them is k = 0.
        kept: which of the samples in the file these are, in the order of these.
    """

    samples: NDArray[np.complex64]
    centre: int
    kept: slice


@dataclass(frozen=True, eq=False)
class Imaging:
    """Which acquisitions are of the image, and what all of them go through.

    Arguments:
        acquisitions: all of them.
        header: of the file.
        usable: which are of the image or of its calibration.
        indices: of those that are of the image.
        white: what makes the coils white, None where it is not known.
        conjugate: whether samples are conjugated.
        told: texts by name.
    """

    acquisitions: Acquisitions
    header: Header
    usable: NDArray[np.bool_]
    indices: NDArray[np.int64]
    white: CoilMixing | None
    conjugate: bool
    told: Mapping[str, str]

    @property
    def encoding(self) -> Encoding:
        """How k-space was sampled."""
        return self.header.encodings[0]

    @property
    def heads(self) -> NDArray[Any]:
        """The heads of the acquisitions of the image."""
        found: NDArray[Any] = self.acquisitions.heads[self.indices]
        return found

    @property
    def noise(self) -> float | None:
        """The noise level of a sample, sigma; 1 of white coils."""
        return None if self.white is None else 1.0

    def read_out(self, i: int) -> ReadOut:
        """Return one of all acquisitions without what is to be discarded, in the order of k-space."""
        head, samples = self.acquisitions.heads[i], self.acquisitions.samples[i]
        centre, n = int(head["center_sample"]), samples.shape[1]
        first, end = int(head["discard_pre"]), n - int(head["discard_post"])
        kept = slice(first, max(first, end))
        samples, centre = samples[:, kept], centre - first
        if flagged(head, REVERSE):
            samples, centre = samples[:, ::-1], samples.shape[1] - 1 - centre
            kept = slice(kept.stop - 1, kept.start - 1 if kept.start else None, -1)
        samples = samples.conj() if self.conjugate else samples
        if self.white is not None:
            samples = self.white(torch.from_numpy(np.ascontiguousarray(samples)), 1).numpy()
        return ReadOut(samples, centre, kept)


def imaging_of(acquisitions: Acquisitions, header: Header, options: Options, where: str) -> Imaging:
    """Return the acquisitions that are of the image; InputError where there are none."""
    heads = acquisitions.heads
    usable = ~flagged(heads, *_NO_IMAGE) & (heads["encoding_space_ref"] == 0)
    indices = np.flatnonzero(usable & ~flagged(heads, CALIBRATION))
    if not indices.size:
        raise InputError(f"{where} has no acquisition of an image among {len(heads)}: check how it was written")
    told = {"acquisitions": f"{indices.size} of {len(heads)}"}
    white, words = _whitening(acquisitions, indices, header)
    conjugate = options.get(CONJUGATE.name, "siemens" in header.vendor.lower())
    if conjugate:
        given = CONJUGATE.name in options
        told["conjugated"] = (
            "as asked for" if given else f"data of {header.vendor} assume the other sign of the transform"
        )
    return Imaging(acquisitions, header, usable, indices, white, conjugate, told | words)


def items_of(heads: NDArray[Any]) -> dict[str, range]:
    """Return the indices of the counters that tell items apart, by their names, of those that count at all."""
    found = {name: range(int(heads["idx"][name].max()) + 1) for name in _ITEMS}
    return {name: indices for name, indices in found.items() if len(indices) > 1}


def _whitening(
    acquisitions: Acquisitions, indices: NDArray[np.int64], header: Header
) -> tuple[CoilMixing | None, dict[str, str]]:
    """Return what makes the coils white by the acquisitions of noise, and words on it; None without enough of them."""
    heads = acquisitions.heads
    noisy = np.flatnonzero(flagged(heads, NOISE))
    coils = int(heads["active_channels"][indices[0]])
    parts = [acquisitions.samples[int(i)] for i in noisy if heads["active_channels"][i] == coils]
    count = sum(part.shape[1] for part in parts)
    if not count:
        return None, {}
    if count < SAMPLES_PER_COIL * coils:
        return None, {"whitening": f"none: {count} samples of noise are too few for {coils} coils"}
    dwell = [float(heads["sample_time_us"][i]) for i in (indices[0], noisy[0])]
    known = all(time > 0 for time in dwell)
    ratio = (header.noise_bandwidth or 1.0) * (dwell[0] / dwell[1] if known else 1.0)
    psi = noise_covariance(torch.from_numpy(np.concatenate(parts, axis=1)))
    with sound_geometry("the acquisitions of noise"):
        return whitening(psi, ratio), {"whitening": f"by {count} samples of noise, variance ratio {ratio:.4g}"}
