"""Radar: an array before a cube
=============================

A target in a cube before an X-shaped array of 25 antennas, from 10 frequencies: 5 % as many readings as voxels.

Its voxels scatter with random phases, so that a prior can speak of magnitudes alone. `--png FILE` shows the largest
magnitude along each axis, in metres and decibels.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from invprob import Scan, metrics, reconstruct
from invprob.operators import NearFieldMIMO, x_array
from invprob.phantoms import radar_targets
from invprob.report.projections import save_projections

torch.set_num_threads(1)
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--frequencies", type=int, default=10, help="from 4 to 16 GHz (default: 10)")
parser.add_argument("--png", type=Path, help="where to draw the last image")
arguments = parser.parse_args()

ACROSS, DEEP = np.linspace(-0.15, 0.15, 25), np.linspace(0.35, 0.65, 49)
AXES = (ACROSS, ACROSS, DEEP)
A = NearFieldMIMO(AXES, *x_array(), np.linspace(4e9, 16e9, arguments.frequencies))
truth = radar_targets("test", 1)[0]
clean = A(truth)
noise = float(clean.abs().square().mean().sqrt()) / 10 ** (30 / 20)
draw = torch.Generator().manual_seed(0)
scan = Scan(A, clean + noise * torch.randn(clean.shape, dtype=clean.dtype, generator=draw), noise, truth)
print(A)

quality = {}
for method in ("back-projection", "kirchhoff", "pnp-magnitude"):
    result = reconstruct(scan, method)
    image = result.x.abs() / result.x.abs().max()
    quality[method] = float(metrics.psnr(image, truth.abs(), data_range=1.0, ndim=3))
    print(f"{method:16s} {quality[method]:5.1f} dB, {result.status}")

if arguments.png:
    save_projections(arguments.png, result.x, AXES, overwrite=True)

assert quality["pnp-magnitude"] > quality["kirchhoff"] + 3
