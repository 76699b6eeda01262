"""Radar: a target on a turntable
==============================

A target on a turntable before one antenna at 220 GHz, an image of inverse synthetic aperture.

`radar_turntable.py DATA` takes the aircraft of OscarWenGang's repository CV-CNN-enhanced-radar-imaging from the file
Experiment_data_airplane.mat, a bare matrix: 500 frequencies from 215 to 228 GHz at 300 angles, 0.01 degrees apart, of
which the reader takes means as far as the image allows. Without DATA, points are simulated. `--png FILE` shows the
image in decibels over metres.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.constants import c

from invprob import load_scan, show
from invprob.operators import NearFieldMIMO, turntable
from invprob.report.projections import save_projections

FREQUENCIES = 16e6 * np.linspace(13449, 14250, 4000)[::8]  # hertz
ANGLES = 0.01125 * np.arange(-150, 150)  # degrees
DISTANCE = 30.0  # metres: far enough for plane waves; ranges count from the axis
PLACES = 0.006 * np.arange(-48, 48)


def table(frequencies: np.ndarray, angles: np.ndarray) -> NearFieldMIMO:
    """Return the antenna that goes round, with phases relative to the echo of the axis."""
    axis = np.exp(4j * np.pi * frequencies / c * DISTANCE)[:, None]
    antenna = turntable(angles, DISTANCE)
    return NearFieldMIMO((PLACES, PLACES, [0.0]), antenna, None, frequencies, "monostatic", gain=axis)


torch.set_num_threads(1)
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", type=Path, help="Experiment_data_airplane.mat")
parser.add_argument("--png", type=Path, help="where to draw the image")
arguments = parser.parse_args()

if arguments.data:
    told = {"frequencies": FREQUENCIES, "angles": ANGLES, "angles_unit": "degrees"}
    scan = load_scan(arguments.data, **told, image_shape=(96, 96), image_pixel_size=0.006)
    A, y, truth = scan.operator, scan.data, None
else:
    A = table(FREQUENCIES[::10], np.deg2rad(ANGLES[::6]))
    truth = torch.zeros(A.domain_shape, dtype=torch.complex64)
    truth[20, 40, 0], truth[60, 30, 0], truth[62, 70, 0] = 1, 1j, -0.7
    y = A(truth)
    draw = torch.Generator().manual_seed(0)
    y = y + 0.3 * y.abs().square().mean().sqrt() * torch.randn(y.shape, dtype=y.dtype, generator=draw)

print(A)
x = A.direct(y)  # the back-projection that explains the data best
energy = x.abs().square().flatten().sort(descending=True).values
share = float(energy[: energy.numel() // 10].sum() / energy.sum())
print(f"a tenth of the image holds {100 * share:.0f} % of the energy")

images = {"decibels": show(x[..., 0].T.flip(0), 2, part="dB")}
if arguments.png:
    save_projections(arguments.png, x, A.axes, dynamic_range=40, overwrite=True)

assert share > (0.75 if arguments.data else 0.4)
if truth is not None:
    assert int(x.abs().argmax()) == int(truth.abs().argmax())
