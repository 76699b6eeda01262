"""Radar: a tumour in a breast
===========================

A tumour in a breast from the difference of two radar scans, the second with the breast turned by 36 degrees.

Skin and chest wall are the same in both and cancel. What is left shows the tumour twice, with opposite signs: as the
echoes y = A x - A' x of one image, A' being the array turned back. Antennas touch the breast, where the amplitudes of
the model rise without end, so patterns take them out; the image is the matched filter of both scans.

`radar_breast.py DATA` reads the phantoms of MERIT (O'Loughlin et al. 2018), B0_P3 and B0_P5, from a folder that holds
their signals (_p000 and _p036) and the three files beside them. Without DATA, a tumour is simulated.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invprob import load_scan
from invprob.operators import NearFieldMIMO

KNOWN = {"B0_P3": (0.015, 0.0, 0.035), "B0_P5": (0.015, 0.0, 0.030)}  # metres
TURN, PERMITTIVITY, RADIUS = np.deg2rad(36), 8.0, 0.06
ACROSS, UP = np.arange(-14, 15) * 0.005, np.arange(15) * 0.005
VOXELS = np.stack(np.meshgrid(ACROSS, ACROSS, UP, indexing="ij"), -1)
INSIDE = np.linalg.norm(VOXELS, axis=-1) <= RADIUS


def array(antennas: np.ndarray, frequencies: np.ndarray, pairs: np.ndarray) -> NearFieldMIMO:
    """Return an array whose amplitudes are 1 inside the breast and 0 outside."""
    far = np.linalg.norm(VOXELS - antennas[:, None, None, None], axis=-1) * np.sqrt(4 * np.pi)
    return NearFieldMIMO(
        (ACROSS, ACROSS, UP),
        antennas,
        antennas,
        frequencies,
        pairs,
        refractive_index=PERMITTIVITY**0.5,
        tx_pattern=far * INSIDE,
        rx_pattern=far,
    )


def turned(antennas: np.ndarray) -> np.ndarray:
    x, y, z = antennas.T
    return np.stack([x * np.cos(TURN) - y * np.sin(TURN), x * np.sin(TURN) + y * np.cos(TURN), z], -1)


def measured(folder: Path) -> Iterator[tuple[str, NearFieldMIMO, Tensor, tuple[float, ...]]]:
    for name, place in KNOWN.items():
        scan = load_scan(folder / f"{name}_p000.csv", reference=str(folder / f"{name}_p036.csv"))
        of, few = scan.operator, slice(None, None, 2)
        yield name, array(of.tx, of.frequencies[few], of.pairs), scan.data[few], place


def simulated() -> Iterator[tuple[str, NearFieldMIMO, Tensor, tuple[float, ...]]]:
    """Three rings of eight antennas, a tumour of 8 mm as points between the voxels of the image, and noise."""
    rings = [(0.069, 0.011, 0.0), (0.059, 0.037, 0.39), (0.037, 0.059, 0.0)]
    angles = np.arange(8) * np.pi / 4
    antennas = np.concatenate([np.stack([r * np.cos(angles + a), r * np.sin(angles + a), z + 0 * angles], -1)
                               for r, z, a in rings])  # fmt: skip
    pairs = np.array([(t, r) for t in range(24) for r in range(t + 1, min(t + 5, 24))])
    A, place = array(antennas, np.linspace(1.5e9, 4.5e9, 20), pairs), (0.016, -0.001, 0.033)
    ends = [np.linspace(p - 0.004, p + 0.004, 5) for p in place]
    data = [NearFieldMIMO(ends, p, p, A.frequencies, pairs, refractive_index=PERMITTIVITY**0.5)
            (torch.ones(5, 5, 5, dtype=torch.complex64)) for p in (antennas, turned(antennas))]  # fmt: skip
    y = data[0] - data[1]
    draw = torch.Generator().manual_seed(0)
    y = y + 0.5 * y.abs().square().mean().sqrt() * torch.randn(y.shape, dtype=y.dtype, generator=draw)
    yield "simulated", A, y, place


def off(image: Tensor, place: tuple[float, ...]) -> float:
    """Return by how many millimetres the middle of all within 3 dB of the largest magnitude lies off a place."""
    size = np.where(INSIDE, image.abs().numpy(), 0)
    bright = size > 0.7 * size.max()
    middle = (size[bright, None] * VOXELS[bright]).sum(0) / size[bright].sum()
    return float(1e3 * np.linalg.norm(middle - place))


torch.set_num_threads(1)
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", type=Path, help="folder of the signals")
arguments = parser.parse_args()

worst = 0.0
for name, A, y, place in measured(arguments.data) if arguments.data else simulated():
    plain = off(A.back_project(y) * torch.from_numpy(INSIDE), place)
    twice = A - array(turned(A.tx), A.frequencies, A.pairs)
    found = off(twice.adjoint(y), place)
    print(f"{name}: {found:.1f} mm off the tumour; back-projection of the difference {plain:.1f} mm", flush=True)
    worst = max(worst, found)

assert worst < 10
