"""Radar: an antenna that scans a plane
====================================

An antenna that scans a plane at 77 to 81 GHz before a square ring and two points behind it: range migration, l1.

Every layer of the image is a convolution, so that the scan costs Fourier transforms. `--png FILE` shows the largest
magnitude along each axis, in metres and decibels.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invprob import Scan, reconstruct
from invprob.operators import PlanarSAR
from invprob.report.projections import save_projections

torch.set_num_threads(1)
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--png", type=Path, help="where to draw the last image")
arguments = parser.parse_args()

SIZE, SCAN, STEP = 32, 48, 2e-3  # voxels and places of the antenna along x and y, every 2 mm
ACROSS, DEPTHS = STEP * (np.arange(SIZE) - (SIZE - 1) / 2), 0.15 + 0.02 * np.arange(6)
AXES = (ACROSS, ACROSS, DEPTHS)
A = PlanarSAR((SIZE, SIZE, DEPTHS.size), (SCAN, SCAN), STEP, DEPTHS, np.linspace(77e9, 81e9, 8))
print(A)

places = torch.zeros(SIZE, SIZE, DEPTHS.size)
places[6:26, 6:26, 1] = 1
places[10:22, 10:22, 1] = 0
places[12, 18, 4] = places[21, 14, 4] = 3
draw = torch.Generator().manual_seed(0)
phase = 2 * torch.pi * torch.rand(places.shape, generator=draw)  # rough on the scale of a wavelength
truth = torch.polar(places, phase)
clean = A(truth)
noise = 0.3 * float(clean.abs().square().mean().sqrt())
scan = Scan(A, clean + noise * torch.randn(clean.shape, dtype=clean.dtype, generator=draw), noise, truth)


def astray(image: Tensor) -> float:
    """Return the share of the energy that lies more than a voxel off the target."""
    near = torch.nn.functional.max_pool3d((places > 0).float()[None], (3, 3, 1), 1, (1, 1, 0))[0] > 0
    energy = image.abs().square()
    return float(energy[~near].sum() / energy.sum())


lost = {}
for method in ("range-migration", "back-projection", "l1-magnitude"):
    result = reconstruct(scan, method)
    lost[method] = astray(result.x)
    print(f"{method:16s} {100 * lost[method]:4.1f} % of the energy off the target, {result.status}")

if arguments.png:
    save_projections(arguments.png, result.x, AXES, overwrite=True)

behind = result.x.abs()[..., 4]
assert {divmod(int(k), SIZE) for k in behind.flatten().topk(2).indices} == {(12, 18), (21, 14)}
assert lost["l1-magnitude"] < 0.5 * lost["range-migration"]
